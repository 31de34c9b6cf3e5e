// From arguments to an exit code: finds the command, runs it, tells its failure.

import { readFileSync } from "node:fs";
import type { Command } from "./command.ts";
import { describeFailure, OutputClosed, UsageError } from "./errors.ts";
import { findCommand, parseFlags } from "./flags.ts";
import { type CommandName, commandHelp, flagsOf, pages, programHelp } from "./help.ts";
import { type Interrupts, openInterrupts } from "./interrupts.ts";
import { type Io, openOutput, widthOf } from "./io.ts";
import { nearest } from "./nearest.ts";

const names = Object.keys(pages) as CommandName[];

/** Loaded when asked for: help stays quick. */
const commands: Readonly<Record<CommandName, () => Promise<Command>>> = {
  run: async () => (await import("./commands/run.ts")).run,
  chat: async () => (await import("./commands/chat.ts")).chat,
  inspect: async () => (await import("./commands/inspect.ts")).inspect,
  tokenize: async () => (await import("./commands/tokenize.ts")).tokenize,
  score: async () => (await import("./commands/score.ts")).score,
  devices: async () => (await import("./commands/devices.ts")).devices,
};

const later = ["serve", "download", "quantize", "eval", "bench"];

/** Exit codes: 0 done, 1 failed, 2 usage, 130 interrupted. */
export async function run(argv: readonly string[], io: Io): Promise<number> {
  const interrupts = openInterrupts(io);
  const json = findCommand(argv).json;
  try {
    const code = await dispatch(argv, io, interrupts);
    return interrupts.signal.aborted ? endOf(interrupts.signal) : code;
  } catch (error) {
    const { signal } = interrupts;
    if (signal.aborted && (error === signal.reason || (error as Error)?.name === "AbortError")) {
      const code = endOf(signal);
      if (json && code === 130) io.stdout.write(`${JSON.stringify({ error: { code: "INTERRUPTED", message: "interrupted" } })}\n`);
      return code;
    }
    return tell(error, json, io);
  } finally {
    interrupts.release();
  }
}

async function dispatch(argv: readonly string[], io: Io, interrupts: Interrupts): Promise<number> {
  const { command, help, version, json, rest } = findCommand(argv);
  const output = openOutput(io, { json }, interrupts.signal);
  const show = async (key: string, text: string) => {
    await (json ? output.document({ [key]: text.trimEnd() }) : output.text(text));
    return 0;
  };
  if (version) return show("version", `${versionOf()}\n`);
  if (command === undefined) {
    parseFlags(rest, flagsOf("devices"), "jamba");
    if (help) return show("help", programHelp(widthOf(io.stdout)));
    if (json) throw new UsageError("jamba: expected a command; `jamba --help` lists them");
    io.stderr.write(programHelp(widthOf(io.stderr)));
    return 2;
  }
  if (command === "help") {
    const topic = names.find((name) => rest.includes(name));
    return show("help", topic ? commandHelp(topic, widthOf(io.stdout)) : programHelp(widthOf(io.stdout)));
  }
  const name = expectCommand(command);
  if (help) return show("help", commandHelp(name, widthOf(io.stdout)));
  const { flags, positionals } = parseFlags(rest, flagsOf(name), `jamba ${name}`);
  const start = await commands[name]();
  return (await start({ io, flags, positionals, interrupts, output: openOutput(io, flags, interrupts.signal) })) ?? 0;
}

function expectCommand(found: string): CommandName {
  if (names.includes(found as CommandName)) return found as CommandName;
  if (later.includes(found)) throw new UsageError(`jamba ${found}: not part of this version`);
  const near = nearest(found, names);
  throw new UsageError(`jamba: unknown command ${found}; ${near ? `did you mean ${near}?` : "`jamba --help` lists them"}`);
}

function endOf(signal: AbortSignal): number {
  return signal.reason instanceof OutputClosed ? 0 : 130;
}

async function tell(error: unknown, json: boolean, io: Io): Promise<number> {
  const { exitCode, code, message, hint } = await describeFailure(error);
  if (json) io.stdout.write(`${JSON.stringify({ error: { code, message } })}\n`);
  else io.stderr.write(code === "USAGE" ? `${message}\n` : `jamba: [${code}] ${message}\n${hint ? `${hint}\n` : ""}`);
  if (io.env.JAMBA_DEBUG === "1" && error instanceof Error) io.stderr.write(`${error.stack}\n`);
  return exitCode;
}

function versionOf(): string {
  return JSON.parse(readFileSync(new URL("../package.json", import.meta.url), "utf8")).version;
}
