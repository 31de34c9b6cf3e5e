// Command lines to options. Everything wrong with one is a UsageError: exit code 2.

import { readFile } from "node:fs/promises";
import { parseArgs } from "node:util";
import type { BackendName, Format, GenerateOptions, LoadDtype, LoadOptions } from "jamba";
import { nearest } from "./nearest.ts";
import { coloursFor, type Terminal } from "./terminal.ts";

export class UsageError extends Error {}

/** What went wrong while a command ran, where no JambaError says it: exit code 1. */
export class FailedError extends Error {
  constructor(
    readonly code: string,
    message: string,
  ) {
    super(message);
  }
}

export type FlagValues = Readonly<Record<string, string | boolean | string[] | undefined>>;

/** A flag as `parseArgs` takes it, and what help and completion say of it. */
export interface Flag {
  readonly type: "string" | "boolean";
  readonly short?: string;
  readonly multiple?: boolean;
  /** What stands for the value; FILE and DIR are completed with paths, words between bars with these words. */
  readonly value?: string;
  /** What holds if it is not given. */
  readonly fallback?: string;
  /** Flags of one group stand together in help; "options" if not given. */
  readonly group?: string;
  readonly help: string;
}

export type Flags = Readonly<Record<string, Flag>>;

const everywhere = (flag: Omit<Flag, "group">): Flag => ({ ...flag, group: "general" });
const answer = (value: string, help: string, more: Partial<Flag> = {}): Flag => ({ type: "string", value, help, group: "answer", ...more });
const sampling = (value: string, fallback: string, help: string, short?: string): Flag => ({
  type: "string",
  value,
  fallback,
  help,
  group: "sampling",
  ...(short && { short }),
});

/** Records, so that a name that the library gets is missed here by the compiler. */
const backends: Readonly<Record<BackendName, true>> = { auto: true, cuda: true, webgpu: true, cpu: true, wasm: true, reference: true };
const dtypes: Readonly<Record<LoadDtype, true>> = {
  auto: true,
  f32: true,
  bf16: true,
  f16: true,
  q8: true,
  q4_1: true,
  q4_k: true,
  q4: true,
  "experts-int8": true,
};
const oneOf = (names: object) => Object.keys(names).join("|");

export const commonFlags: Flags = {
  json: everywhere({ type: "boolean", help: "one JSON document on stdout, nothing else" }),
  quiet: everywhere({ type: "boolean", short: "q", help: "nothing on stderr but errors" }),
  backend: everywhere({ type: "string", value: oneOf(backends), fallback: "auto", help: "what computes" }),
  dtype: everywhere({ type: "string", value: oneOf(dtypes), fallback: "auto", help: "what weights are held as" }),
  threads: everywhere({ type: "string", value: "N", help: "as many as cores if left out" }),
  "context-length": everywhere({ type: "string", value: "N", help: "tokens a conversation may hold" }),
  offline: everywhere({ type: "boolean", help: "of the hub, only what is here already" }),
  help: everywhere({ type: "boolean", short: "h", help: "how a command is used" }),
};

export const generateFlags: Flags = {
  "max-tokens": answer("N", "new tokens at most", { short: "n", fallback: "1024" }),
  stop: answer("TEXT", "end before TEXT; may be given again", { multiple: true }),
  temperature: sampling("T", "0", "0 is always the most probable token", "t"),
  seed: sampling("N", "random", "same seed, same text", "s"),
  "top-k": sampling("K", "0", "keep the K most probable tokens; 0 keeps all"),
  "top-p": sampling("P", "1", "keep the fewest that together reach P"),
  "min-p": sampling("P", "0", "drop those below this share of the best one"),
  "typical-p": sampling("P", "1", "keep those of expected surprise, up to P"),
  "repetition-penalty": sampling("R", "1", "above 1: less of what was there"),
  "frequency-penalty": sampling("F", "0", "less of a token for each time it occurred"),
  "presence-penalty": sampling("F", "0", "less of a token that occurred"),
  "xtc-probability": sampling("P", "0", "how often to drop the likeliest tokens"),
  "xtc-threshold": sampling("P", "0.1", "from which probability a token is likely"),
  "dry-multiplier": sampling("M", "0", "what a copy of earlier text costs"),
  "dry-base": sampling("B", "1.75", "what each token more multiplies that with"),
  "dry-allowed-length": sampling("N", "2", "tokens that a copy may have for free"),
  "dry-last-n": sampling("N", "all", "tokens back to look for copies"),
  "logit-bias": { ...sampling("ID=B", "", "add B to the logit of token ID"), multiple: true },
  "prompt-lookup": { type: "boolean", group: "more", help: "guess ahead what repeats: the same text, sooner" },
  "ignore-eos": { type: "boolean", group: "more", help: "go on after an end token" },
};

export interface Parsed {
  readonly flags: FlagValues;
  readonly words: readonly string[];
}

/** @throws UsageError for a flag that `spec` does not have, with the nearest one it has */
export function parseFlags(args: readonly string[], spec: Flags): Parsed {
  try {
    const { values, positionals } = parseArgs({ args: joinNegatives(args), options: spec, allowPositionals: true, strict: true });
    return { flags: values as FlagValues, words: positionals };
  } catch (error) {
    const { code, message } = error as { code?: string; message: string };
    if (code !== "ERR_PARSE_ARGS_UNKNOWN_OPTION") throw new UsageError(message.split("\n")[0]);
    const name = /'--?([^']+)'/.exec(message)?.[1] ?? "";
    const near = nearest(name.replaceAll("_", "-"), Object.keys(spec));
    throw new UsageError(`--${name}: expected a known flag, found this one; ${near ? `did you mean --${near}?` : "see --help"}`);
  }
}

/** `--temperature -1` is a value, not a flag: what is wrong with it is said by who knows its range. */
function joinNegatives(args: readonly string[]): string[] {
  const joined: string[] = [];
  for (const arg of args) {
    const before = joined.at(-1);
    if (/^-\d/.test(arg) && before?.startsWith("--") && !before.includes("=")) joined[joined.length - 1] = `${before}=${arg}`;
    else joined.push(arg);
  }
  return joined;
}

/** As people write it: "0x10", "Infinity" and what is too large to be one are no numbers of a command line. @throws UsageError */
function decimal(flag: string, text: string): number {
  const number = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(text) ? Number(text) : Number.NaN;
  if (!Number.isFinite(number)) throw new UsageError(`${flag}: expected a number, found ${JSON.stringify(text)}`);
  return number;
}

/** What it may be is said by who takes it. */
export function numberFlag(flags: FlagValues, name: string): number | undefined {
  const text = flags[name];
  if (text === undefined) return undefined;
  return decimal(`--${name}`, text as string);
}

/** Bytes. */
export function sizeFlag(flags: FlagValues, name: string): number | undefined {
  const text = textFlag(flags, name);
  if (text === undefined) return undefined;
  const [, number, unit = ""] = /^(\d+(?:\.\d+)?) ?([kMGT]i?B|B|)$/.exec(text) ?? [];
  const bytes = Math.round(Number(number) * (unit.includes("i") ? 1024 : 1000) ** " kMGT".indexOf(unit.replace(/i?B/, "") || " "));
  if (Number.isSafeInteger(bytes) && bytes > 0) return bytes;
  throw new UsageError(`--${name}: expected a size such as 80GB or 24GiB, found ${JSON.stringify(text)}`);
}

const milliseconds: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };

/** Timers of JavaScript take no more. */
const longestMs = 2 ** 31 - 1;

/** Milliseconds. */
export function durationFlag(flags: FlagValues, name: string): number | undefined {
  const text = textFlag(flags, name);
  if (text === undefined) return undefined;
  const parts = [...text.matchAll(/(\d+(?:\.\d+)?)(ms|s|m|h|d)/g)];
  const ms = Math.round(parts.reduce((sum, [, number, unit]) => sum + Number(number) * milliseconds[unit], 0));
  if (ms >= 1 && parts.map(([part]) => part).join("") === text && ms <= longestMs) return ms;
  throw new UsageError(`--${name}: expected a time such as 90s, 10m or 1h30m, 24 days at most, found ${JSON.stringify(text)}`);
}

export function textFlag(flags: FlagValues, name: string): string | undefined {
  return flags[name] as string | undefined;
}

/** "1,2,3" */
export function idsFlag(flags: FlagValues): number[] | undefined {
  const text = textFlag(flags, "ids");
  if (text === undefined) return undefined;
  const ids = text.split(",").map((id) => (/^ *\d+ *$/.test(id) ? Number(id) : Number.NaN));
  if (ids.every(Number.isSafeInteger)) return ids;
  throw new UsageError(`--ids: expected token ids such as 1,2,3, found ${JSON.stringify(text)}`);
}

export function generateOptions(flags: FlagValues): GenerateOptions {
  const number = (name: string) => numberFlag(flags, name);
  const [multiplier, base, allowedLength, lastN] = ["multiplier", "base", "allowed-length", "last-n"].map((name) => number(`dry-${name}`));
  const [probability, threshold] = [number("xtc-probability"), number("xtc-threshold")];
  for (const [first, ...more] of [
    ["xtc-probability", "xtc-threshold"],
    ["dry-multiplier", "dry-base", "dry-allowed-length", "dry-last-n"],
  ]) {
    const lonely = flags[first] === undefined ? more.find((name) => flags[name] !== undefined) : undefined;
    if (lonely !== undefined) throw new UsageError(`--${lonely}: expected --${first} beside it, found none`);
  }
  const group = <T>(values: T) =>
    Object.values(values as object).some((value) => value !== undefined) ? (values as Required<T>) : undefined;
  return {
    maxTokens: number("max-tokens"),
    temperature: number("temperature"),
    topK: number("top-k"),
    topP: number("top-p"),
    minP: number("min-p"),
    typicalP: number("typical-p"),
    repetitionPenalty: number("repetition-penalty"),
    frequencyPenalty: number("frequency-penalty"),
    presencePenalty: number("presence-penalty"),
    xtc: group({ probability: probability!, threshold }),
    dry: group({ multiplier: multiplier!, base, allowedLength, lastN }),
    logitBias: biases(flags["logit-bias"] as string[] | undefined),
    seed: number("seed"),
    stop: flags.stop as string[] | undefined,
    ignoreEos: flags["ignore-eos"] as boolean | undefined,
    promptLookup: flags["prompt-lookup"] ? {} : undefined,
  };
}

function biases(given: readonly string[] | undefined): Record<number, number> | undefined {
  if (!given) return undefined;
  return Object.fromEntries(
    given.map((text) => {
      const [, id, bias] = /^(\d+)=([+-]?[\d.]+)$/.exec(text) ?? [];
      if (id === undefined || Number.isNaN(Number(bias)))
        throw new UsageError(`--logit-bias: expected a token id and a number such as 12=-5, found ${JSON.stringify(text)}`);
      return [id, Number(bias)];
    }),
  );
}

/** What --json-schema, --regex or --grammar bind the answer to. */
export async function formatFlag(flags: FlagValues): Promise<Format | undefined> {
  const [schema, pattern, file] = ["json-schema", "regex", "grammar"].map((name) => textFlag(flags, name));
  const given = [schema, pattern, file].filter((text) => text !== undefined).length;
  if (given > 1) throw new UsageError("expected one of --json-schema, --regex and --grammar, found more");
  if (pattern !== undefined) return { type: "regex", pattern };
  if (file !== undefined)
    return { type: "grammar", grammar: await textOf("--grammar", file), syntax: file.endsWith(".lark") ? "lark" : "ebnf" };
  return schema === undefined ? undefined : { type: "json", schema: (await jsonOf("--json-schema", schema)) as object };
}

/** JSON as it is written, or the name of a file that has it. */
export async function jsonOf(flag: string, given: string): Promise<unknown> {
  const isJson = /^\s*([{[]|(true|false)\s*$)/.test(given);
  const text = isJson ? given : await textOf(flag, given);
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new UsageError(`${flag}: expected JSON, found ${(cause as Error).message}`);
  }
}

/** The text of the file that a flag names. */
export async function textOf(flag: string, file: string): Promise<string> {
  try {
    return await readFile(file, "utf8");
  } catch (cause) {
    throw new UsageError(`${flag}: expected a text file, found ${(cause as Error).message}`);
  }
}

/** @param terminal hears warnings, unless it is to be quiet */
export function loadOptions(flags: FlagValues, terminal?: Terminal): LoadOptions {
  const { yellow } = terminal ? coloursFor(terminal.stderr, terminal) : { yellow: String };
  const onWarning = (warning: string) => void (flags.quiet !== true && terminal?.stderr.write(`  ${yellow("note:")} ${warning}\n`));
  return {
    backend: textFlag(flags, "backend") as BackendName | undefined,
    dtype: textFlag(flags, "dtype") as LoadOptions["dtype"],
    threads: numberFlag(flags, "threads"),
    contextLength: numberFlag(flags, "context-length"),
    offline: flags.offline as boolean | undefined,
    ...(terminal && { onWarning }),
  };
}
