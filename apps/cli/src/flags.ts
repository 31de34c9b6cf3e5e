// Flags: their names, what their values are, and what to say about one that is wrong.

import { parseArgs } from "node:util";
import { UsageError } from "./errors.ts";
import { nearest } from "./nearest.ts";

const kinds = {
  json: "boolean",
  quiet: "boolean",
  backend: "text",
  dtype: "text",
  threads: "number",
  offline: "boolean",
  help: "boolean",
  version: "boolean",
  "max-tokens": "number",
  temperature: "number",
  "top-k": "number",
  "top-p": "number",
  "min-p": "number",
  seed: "number",
  stop: "texts",
  "repetition-penalty": "number",
  ids: "ids",
  system: "text",
  "context-length": "number",
  "ignore-eos": "boolean",
  logprobs: "boolean",
  tensors: "boolean",
  chat: "boolean",
  prompt: "text",
  continuation: "text",
  "continuation-ids": "ids",
} as const;

interface Values {
  boolean: boolean;
  text: string;
  texts: readonly string[];
  number: number;
  ids: readonly number[];
}
type Camel<S extends string> = S extends `${infer Head}-${infer Tail}` ? `${Head}${Capitalize<Camel<Tail>>}` : S;

export type FlagName = keyof typeof kinds;
export type Flags = { readonly [N in FlagName as Camel<N>]?: Values[(typeof kinds)[N]] };

const allFlags = Object.keys(kinds) as FlagName[];

export interface Arguments {
  readonly command: string | undefined;
  readonly help: boolean;
  readonly version: boolean;
  readonly json: boolean;
  /** All but the command. */
  readonly rest: readonly string[];
}

/** Finds the command among flags of any command; mistakes are left for `parseFlags` to find. */
export function findCommand(argv: readonly string[]): Arguments {
  const { values, tokens } = parseArgs({
    args: [...argv],
    options: optionsOf(allFlags),
    strict: false,
    allowPositionals: true,
    tokens: true,
  });
  const first = tokens.find((token) => token.kind === "positional");
  return {
    command: first?.value,
    help: values.help === true,
    version: values.version === true,
    json: values.json === true,
    rest: argv.filter((_, i) => i !== first?.index),
  };
}

/** @throws UsageError */
export function parseFlags(args: readonly string[], known: readonly FlagName[], owner: string): { flags: Flags; positionals: string[] } {
  try {
    const { values, positionals } = parseArgs({ args: [...args], options: optionsOf(known), strict: true, allowPositionals: true });
    const flags = Object.entries(values).map(([name, value]) => [camel(name), valueOf(name as FlagName, value)]);
    return { flags: Object.fromEntries(flags), positionals };
  } catch (error) {
    if (error instanceof UsageError) throw error;
    throw new UsageError(unknownFlag(args, known, owner) ?? (error as Error).message.replaceAll("\n", " "));
  }
}

function optionsOf(names: readonly FlagName[]) {
  return Object.fromEntries(
    names.map((name) => {
      const type = kinds[name] === "boolean" ? ("boolean" as const) : ("string" as const);
      return [name, { type, multiple: kinds[name] === "texts", ...(name === "help" && { short: "h" }) }];
    }),
  );
}

function unknownFlag(args: readonly string[], known: readonly FlagName[], owner: string): string | undefined {
  const { tokens } = parseArgs({ args: [...args], options: optionsOf(known), strict: false, allowPositionals: true, tokens: true });
  const unknown = tokens.find((token) => token.kind === "option" && !known.includes(token.name as FlagName));
  if (unknown?.kind !== "option") return undefined;
  const near = nearest(unknown.name, known);
  const hint = near ? `did you mean --${near}?` : `\`${owner} --help\` lists the flags`;
  return `${owner}: unknown flag ${unknown.rawName}; ${hint}`;
}

function valueOf(name: FlagName, value: unknown): unknown {
  if (kinds[name] === "number") {
    const number = Number(value);
    if (String(value).trim() === "" || !Number.isFinite(number))
      throw new UsageError(`--${name}: expected a number, found ${JSON.stringify(value)}`);
    return number;
  }
  if (kinds[name] === "ids") {
    if (!/^\d+(\s*[\s,]\s*\d+)*$/.test(String(value).trim())) {
      throw new UsageError(`--${name}: expected token ids as in 1,2,3, found ${JSON.stringify(value)}`);
    }
    return String(value).match(/\d+/g)!.map(Number);
  }
  return value;
}

function camel(name: string): string {
  return name.replace(/-([a-z])/g, (_, letter: string) => letter.toUpperCase());
}
