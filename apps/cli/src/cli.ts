// Finds the command, runs it, and turns what goes wrong into one line and an exit code.

import { JambaError } from "jamba";
import { bench } from "./commands/bench.ts";
import { chat } from "./commands/chat.ts";
import { devices } from "./commands/devices.ts";
import { download } from "./commands/download.ts";
import { inspect } from "./commands/inspect.ts";
import { prepare } from "./commands/prepare.ts";
import { quantize } from "./commands/quantize.ts";
import { run } from "./commands/run.ts";
import { score } from "./commands/score.ts";
import { tokenize } from "./commands/tokenize.ts";
import { type Parsed, parseFlags, UsageError } from "./flags.ts";
import { coloursFor, type Terminal } from "./terminal.ts";

export interface Command {
  readonly help: string;
  readonly flags: Parameters<typeof parseFlags>[1];
  /** @returns the exit code */
  run(parsed: Parsed, terminal: Terminal): Promise<number>;
}

const commands: Readonly<Record<string, Command>> = { run, chat, inspect, download, prepare, quantize, tokenize, score, bench, devices };
const absent = ["serve", "eval"];

const help = `jamba: run Jamba models in this terminal

  jamba run [MODEL] [PROMPT]       write text
  jamba chat [MODEL]               a conversation
  jamba inspect [MODEL]            config, layers and bytes, without loading
  jamba download ID                bring a model from the Hugging Face hub
  jamba prepare MODEL FOLDER --dtype D
                                   convert weights once, load them at once
  jamba tokenize [MODEL] TEXT      text to tokens, or --ids to text
  jamba quantize IN OUT --dtype D  a GGUF file with smaller weights
  jamba score [MODEL …]            perplexity and right answers, per dtype
  jamba bench [MODEL]              tokens per second on this machine
  jamba devices                    what can run here, and why not more

MODEL is a hub id (OWNER/NAME, OWNER/NAME:Q4_K_M), a directory, a .safetensors
or .gguf file, a URL, or tiny (if left out).

  --json         one JSON document on stdout, nothing else
  --quiet, -q    nothing on stderr but errors
  --backend B  --dtype D  --threads N  --context-length N  --offline
  --help, -h     also after a command       --version

Text goes to stdout, everything else to stderr.
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
    if (absent.includes(name)) throw new UsageError(`${name}: not part of this version of jamba`);
    const command = Object.hasOwn(commands, name) ? commands[name] : undefined;
    if (!command) throw new UsageError(`${name}: expected a command (${Object.keys(commands).join(", ")}), found this; see jamba --help`);
    const parsed = parseFlags(rest, command.flags);
    if (parsed.flags.help) {
      terminal.stdout.write(command.help);
      return 0;
    }
    return await command.run(parsed, terminal);
  } catch (error) {
    return report(error, json, terminal);
  }
}

function report(error: unknown, json: boolean, terminal: Terminal): number {
  const code = error instanceof JambaError ? error.code : error instanceof UsageError ? "USAGE" : "UNEXPECTED";
  const message = error instanceof Error ? error.message : String(error);
  if (json) terminal.stdout.write(`${JSON.stringify({ error: { code, message } })}\n`);
  const { red } = coloursFor(terminal.stderr, terminal);
  terminal.stderr.write(`${red("jamba:")} [${code}] ${message}\n`);
  if (terminal.env.JAMBA_DEBUG && error instanceof Error) terminal.stderr.write(`${error.stack}\n`);
  return code === "USAGE" || code === "OPTION" ? 2 : 1;
}
