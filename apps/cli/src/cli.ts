// Finds the command, runs it, and turns what goes wrong into one line and an exit code.

import { JambaError } from "jamba";
import { bench } from "./commands/bench.ts";
import { chat } from "./commands/chat.ts";
import { completion } from "./commands/completion.ts";
import { devices } from "./commands/devices.ts";
import { download } from "./commands/download.ts";
import { evaluate } from "./commands/eval.ts";
import { help, unknownCommand } from "./commands/help.ts";
import { inspect } from "./commands/inspect.ts";
import { list } from "./commands/list.ts";
import { prepare } from "./commands/prepare.ts";
import { ps } from "./commands/ps.ts";
import { quantize } from "./commands/quantize.ts";
import { rm } from "./commands/rm.ts";
import { run } from "./commands/run.ts";
import { schema } from "./commands/schema.ts";
import { score } from "./commands/score.ts";
import { serve } from "./commands/serve.ts";
import { tokenize } from "./commands/tokenize.ts";
import { version } from "./commands/version.ts";
import { inFlags } from "./flag-names.ts";
import { FailedError, type Flags, type FlagValues, type Parsed, parseFlags, UsageError } from "./flags.ts";
import { commandHelp, generalHelp } from "./help.ts";
import { nearestIds } from "./model-word.ts";
import { coloursFor, type Terminal } from "./terminal.ts";

/** What parsing, help and completion know of a command. */
export interface Command {
  /** What it takes beside flags. */
  readonly words: string;
  /** In a line. */
  readonly summary: string;
  /** Lines of at most 78 columns, before the flags. */
  readonly about?: string;
  /** What completion offers in place of files for the words. */
  choices?(): readonly string[];
  readonly flags: Flags;
  /** The same, after them. */
  readonly notes?: string;
  /** @returns the exit code */
  run(parsed: Parsed, terminal: Terminal): Promise<number>;
}

export type Commands = Readonly<Record<string, Command>>;

const commands: Commands = {
  run,
  chat,
  serve,
  ps,
  inspect,
  download,
  list,
  rm,
  prepare,
  quantize,
  tokenize,
  schema,
  score,
  eval: evaluate,
  bench,
  devices,
  completion: completion(() => commands),
  help: help(() => commands),
  version,
};

const aliases: Readonly<Record<string, string>> = {
  "--help": "help",
  "-h": "help",
  "--version": "version",
  "-v": "version",
  "-V": "version",
};

/** @returns the exit code */
export async function main(args: readonly string[], terminal: Terminal): Promise<number> {
  const [given, ...rest] = args;
  if (given === undefined) return withoutCommand(terminal);
  const name = Object.hasOwn(aliases, given) ? aliases[given] : given;
  const command = Object.hasOwn(commands, name) ? commands[name] : undefined;
  let parsed: Parsed = { flags: { json: args.includes("--json") }, words: [] };
  try {
    if (!command) throw unknownCommand(name, commands);
    parsed = parseFlags(rest, command.flags);
    if (parsed.flags.help) {
      terminal.stdout.write(commandHelp(name, command));
      return 0;
    }
    return await command.run(parsed, terminal);
  } catch (error) {
    return await report(error, parsed.flags, command?.flags ?? {}, terminal);
  }
}

/** Somebody who sits there is asked; a script is told. */
async function withoutCommand(terminal: Terminal): Promise<number> {
  const { stdin, stdout, stderr } = terminal;
  if (!(stdin.isTTY && stdout.isTTY && stderr.isTTY)) {
    stdout.write(generalHelp(commands));
    return 2;
  }
  try {
    // Only here are prompts needed.
    const { start } = await import("./start.ts");
    return await start(terminal, (args) => main(args, terminal));
  } catch (error) {
    return report(error, {}, {}, terminal);
  }
}

async function report(error: unknown, given: FlagValues, flags: Flags, terminal: Terminal): Promise<number> {
  const code =
    error instanceof JambaError || error instanceof FailedError ? error.code : error instanceof UsageError ? "USAGE" : "UNEXPECTED";
  const said = error instanceof Error ? error.message : String(error);
  const [, absent] = /^(\S+): the hub answers 40[14]\b/.exec(said) ?? [];
  const near = absent === undefined ? [] : await nearestIds(absent);
  const hint = near.length > 0 ? `; did you mean ${near.join(" or ")}?` : "";
  const message = error instanceof JambaError ? inFlags(said, flags, given) + hint : said;
  if (given.json) terminal.stdout.write(`${JSON.stringify({ error: { code, message } })}\n`);
  const { red } = coloursFor(terminal.stderr, terminal);
  terminal.stderr.write(`${red("jamba:")} [${code}] ${message}\n`);
  if (terminal.env.JAMBA_DEBUG && error instanceof Error) terminal.stderr.write(`${error.stack}\n`);
  return code === "USAGE" || code === "OPTION" ? 2 : 1;
}
