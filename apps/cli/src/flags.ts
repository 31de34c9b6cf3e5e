// Command lines to options. Everything wrong with one is a UsageError: exit code 2.

import { existsSync } from "node:fs";
import { type ParseArgsConfig, parseArgs } from "node:util";
import type { BackendName, GenerateOptions, LoadOptions } from "jamba";

export class UsageError extends Error {}

export type FlagValues = Readonly<Record<string, string | boolean | string[] | undefined>>;

type FlagSpec = NonNullable<ParseArgsConfig["options"]>;

export const commonFlags = {
  json: { type: "boolean" },
  quiet: { type: "boolean", short: "q" },
  backend: { type: "string" },
  dtype: { type: "string" },
  threads: { type: "string" },
  offline: { type: "boolean" },
  "context-length": { type: "string" },
  help: { type: "boolean", short: "h" },
} as const satisfies FlagSpec;

export const generateFlags = {
  "max-tokens": { type: "string", short: "n" },
  temperature: { type: "string", short: "t" },
  "top-k": { type: "string" },
  "top-p": { type: "string" },
  "min-p": { type: "string" },
  "repetition-penalty": { type: "string" },
  seed: { type: "string", short: "s" },
  stop: { type: "string", multiple: true },
  "ignore-eos": { type: "boolean" },
} as const satisfies FlagSpec;

export interface Parsed {
  readonly flags: FlagValues;
  readonly words: readonly string[];
}

/** @throws UsageError for a flag that `spec` does not have, with the nearest one it has */
export function parseFlags(args: readonly string[], spec: FlagSpec): Parsed {
  try {
    const { values, positionals } = parseArgs({ args: joinNegatives(args), options: spec, allowPositionals: true, strict: true });
    return { flags: values as FlagValues, words: positionals };
  } catch (error) {
    const { code, message } = error as { code?: string; message: string };
    if (code !== "ERR_PARSE_ARGS_UNKNOWN_OPTION") throw new UsageError(message.split("\n")[0]);
    const name = /'--?([^']+)'/.exec(message)?.[1] ?? "";
    const start = name.replaceAll(/[-_]/g, "").slice(0, 4);
    const near = Object.keys(spec).find((flag) => flag.replaceAll("-", "").startsWith(start));
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

export function numberFlag(flags: FlagValues, name: string): number | undefined {
  const text = flags[name];
  if (text === undefined) return undefined;
  const number = Number(text);
  if (text === "" || Number.isNaN(number)) throw new UsageError(`--${name}: expected a number, found ${JSON.stringify(text)}`);
  return number;
}

export function textFlag(flags: FlagValues, name: string): string | undefined {
  return flags[name] as string | undefined;
}

/** "1,2,3" */
export function idsFlag(flags: FlagValues): number[] | undefined {
  const text = textFlag(flags, "ids");
  if (text === undefined) return undefined;
  const ids = text.split(",").map((id) => Number(id.trim() || Number.NaN));
  if (ids.every((id) => Number.isSafeInteger(id) && id >= 0)) return ids;
  throw new UsageError(`--ids: expected token ids such as 1,2,3, found ${JSON.stringify(text)}`);
}

export function generateOptions(flags: FlagValues): GenerateOptions {
  return {
    maxTokens: numberFlag(flags, "max-tokens"),
    temperature: numberFlag(flags, "temperature"),
    topK: numberFlag(flags, "top-k"),
    topP: numberFlag(flags, "top-p"),
    minP: numberFlag(flags, "min-p"),
    repetitionPenalty: numberFlag(flags, "repetition-penalty"),
    seed: numberFlag(flags, "seed"),
    stop: flags.stop as string[] | undefined,
    ignoreEos: flags["ignore-eos"] as boolean | undefined,
  };
}

export function loadOptions(flags: FlagValues): LoadOptions {
  return {
    backend: textFlag(flags, "backend") as BackendName | undefined,
    dtype: textFlag(flags, "dtype") as LoadOptions["dtype"],
    threads: numberFlag(flags, "threads"),
    contextLength: numberFlag(flags, "context-length"),
    offline: flags.offline as boolean | undefined,
  };
}

/** The first word is a model if it looks like one; otherwise all words are text for the small model. */
export function splitModel(words: readonly string[]): { model: string; rest: readonly string[] } {
  const [first, ...rest] = words;
  const looks = /^(tiny|https?:\/\/.*|\.{0,2}\/.*|.*\.(gguf|safetensors)|[\w.-]+\/[\w.-]+(:[\w.-]+)?)$/;
  return first !== undefined && (looks.test(first) || existsSync(first)) ? { model: first, rest } : { model: "tiny", rest: words };
}
