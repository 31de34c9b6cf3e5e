// Finds the command, runs it, and turns what goes wrong into one line and an exit code.

import { JambaError } from "jamba";
import { bench } from "./commands/bench.ts";
import { chat } from "./commands/chat.ts";
import { completion } from "./commands/completion.ts";
import { devices } from "./commands/devices.ts";
import { download } from "./commands/download.ts";
import { evaluate } from "./commands/eval.ts";
import { inspect } from "./commands/inspect.ts";
import { prepare } from "./commands/prepare.ts";
import { quantize } from "./commands/quantize.ts";
import { run } from "./commands/run.ts";
import { score } from "./commands/score.ts";
import { serve } from "./commands/serve.ts";
import { tokenize } from "./commands/tokenize.ts";
import { FailedError, type Flags, nearest, type Parsed, parseFlags, UsageError } from "./flags.ts";
import { commandHelp } from "./help.ts";
import { coloursFor, type Terminal } from "./terminal.ts";

/** What parsing, help and completion know of a command. */
export interface Command {
  /** What it takes beside flags. */
  readonly words: string;
  /** In a line. */
  readonly summary: string;
  /** Lines of at most 78 columns, before the flags. */
  readonly about?: string;
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
  inspect,
  download,
  prepare,
  quantize,
  tokenize,
  score,
  eval: evaluate,
  bench,
  devices,
  completion: completion(() => commands),
};

const help = `jamba: run Jamba models in this terminal

${Object.entries(commands)
  .map(([name, { words, summary }]) => `  jamba ${`${name} ${words}`.padEnd(26)} ${summary}`)
  .join("\n")}

MODEL is a hub id (OWNER/NAME, OWNER/NAME:Q4_K_M), a directory, a .safetensors
or .gguf file, a URL, or tiny (if left out). All commands take --json --quiet
--backend --dtype --threads --context-length --offline; --help tells the rest.

Text goes to stdout, everything else to stderr; NO_COLOR is respected.
Exit codes: 0 done, 1 failed, 2 usage, 130 interrupted.
`;

/** @returns the exit code */
export async function main(args: readonly string[], terminal: Terminal): Promise<number> {
  const [name, ...rest] = args;
  if (name === undefined || name === "--help" || name === "-h" || name === "help") {
    terminal.stdout.write(help);
    return name === undefined ? 2 : 0;
  }
  if (name === "--version" || name === "-v") {
    terminal.stdout.write(`${terminal.version}\n`);
    return 0;
  }
  const json = args.includes("--json");
  try {
    const command = Object.hasOwn(commands, name) ? commands[name] : undefined;
    if (!command) {
      const near = nearest(name, Object.keys(commands));
      const hint = near ? `did you mean jamba ${near}?` : "see jamba --help";
      throw new UsageError(`${name}: expected a command (${Object.keys(commands).join(", ")}), found this; ${hint}`);
    }
    const parsed = parseFlags(rest, command.flags);
    if (parsed.flags.help) {
      terminal.stdout.write(commandHelp(name, command));
      return 0;
    }
    return await command.run(parsed, terminal);
  } catch (error) {
    return report(error, json, terminal);
  }
}

function report(error: unknown, json: boolean, terminal: Terminal): number {
  const code =
    error instanceof JambaError || error instanceof FailedError ? error.code : error instanceof UsageError ? "USAGE" : "UNEXPECTED";
  const message = error instanceof Error ? error.message : String(error);
  if (json) terminal.stdout.write(`${JSON.stringify({ error: { code, message } })}\n`);
  const { red } = coloursFor(terminal.stderr, terminal);
  terminal.stderr.write(`${red("jamba:")} [${code}] ${message}\n`);
  if (terminal.env.JAMBA_DEBUG && error instanceof Error) terminal.stderr.write(`${error.stack}\n`);
  return code === "USAGE" || code === "OPTION" ? 2 : 1;
}
