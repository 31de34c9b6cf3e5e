// Real schemas with instances: how many are enforced, what is admitted, and what each takes, as an engine asks for it.

import { existsSync, readFileSync } from "node:fs";
import { gunzipSync } from "node:zlib";
import { type Grammar, prepareSchema, rustRegexes, type Vocabulary } from "@jamba/grammar";
import type { Tokenizer } from "@jamba/tokenizer";
import { quantilesOf } from "./figures.ts";
import { openTokenizer, openVocabulary } from "./model.ts";
import type { PartJob, Told } from "./part.ts";

interface Sample {
  readonly name: string;
  readonly schema: unknown;
  readonly tests: readonly { readonly valid: boolean; readonly data: unknown }[];
}

/** Milliseconds of each call, in a list for each kind. */
const kinds = ["prepare", "compile", "prepare and compile", "start", "mask", "forced", "accept"] as const;
type Times = Record<(typeof kinds)[number], [ms: number, what: string][]>;

export async function schemas({ schemas: path, tokenizer: tokenizerPath, count, rounds }: PartJob, told: Told): Promise<void> {
  if (!existsSync(path)) return told.note(`skipped, for there are no real schemas: ${path} (--schemas FILE)`);
  const lines = gunzipSync(readFileSync(path)).toString("utf8").trim().split("\n");
  const samples = lines.slice(0, count).map((line): Sample => JSON.parse(line));
  const tokenizer = openTokenizer(tokenizerPath);
  const { verdict, times, bytes } = await pass(samples, tokenizer);
  tellVerdict(samples.length, verdict, told);
  for (let round = 1; round < rounds; round++) {
    const again = (await pass(samples, tokenizer)).times;
    for (const kind of kinds) times[kind] = leastOf(times[kind], again[kind]);
  }
  for (const [kind, list] of [...Object.entries(times), ["a pattern", patternTimes(samples, rounds)] as const]) {
    if (list.length === 0) continue;
    const ms = list.map(([one]) => one);
    for (const figure of quantilesOf(kind, ms, targets[kind])) told.figure(figure);
    const longest = [...list].sort((a, b) => b[0] - a[0]).slice(0, 5);
    told.note(`${kind}: longest ${longest.map(([one, what]) => `${one.toFixed(1)} ms ${what}`).join(", ")}`);
  }
  told.figure({ what: "memory after them", value: bytes / 2 ** 20, unit: "MiB" });
}

/** What others did meanwhile is in some pass, but hardly in all: of each call the shortest counts. The calls of all passes are the same. */
function leastOf(a: Times["mask"], b: Times["mask"]): Times["mask"] {
  if (a.length !== b.length) throw new Error(`expected as many calls in each pass, found ${a.length} and ${b.length}`);
  return a.map((one, i) => (one[0] <= b[i][0] ? one : b[i]));
}

const targets: Readonly<Record<string, Parameters<typeof quantilesOf>[2]>> = {
  "prepare and compile": { p99: ["<=", 50], max: ["<=", 500] },
  mask: { p50: ["<=", 0.02], p99: ["<=", 0.5] },
};

interface Verdict {
  loose: number;
  strict: number;
  passing: number;
  /** Instances of schemas that compile strictly. */
  readonly valid: { all: number; wrong: number };
  readonly invalid: { all: number; wrong: number };
  readonly notes: string[];
}

async function pass(samples: readonly Sample[], tokenizer: Tokenizer): Promise<{ verdict: Verdict; times: Times; bytes: number }> {
  const vocabulary = openVocabulary(tokenizer);
  await vocabulary.compile("start: /warm/");
  const times = Object.fromEntries(kinds.map((kind) => [kind, []])) as unknown as Times;
  const verdict: Verdict = { loose: 0, strict: 0, passing: 0, valid: { all: 0, wrong: 0 }, invalid: { all: 0, wrong: 0 }, notes: [] };
  for (const { name, schema, tests } of samples) {
    const grammar = await compiled(vocabulary, schema, true, name, times).catch((error: Error) => {
      verdict.notes.push(`refused where strict: ${name}: ${error.message.slice(0, 160)}`);
    });
    // Afterwards: where both are the same grammar it is compiled once.
    await compiled(vocabulary, schema, false, name).then(
      () => verdict.loose++,
      (error: Error) => verdict.notes.push(`refused though not strict: ${name}: ${error.message.slice(0, 160)}`),
    );
    if (!grammar) continue;
    verdict.strict++;
    let passes = true;
    for (const { valid, data } of tests) {
      const text = line(data);
      const fits = await fittingPart(grammar, tokenizer, text, name, times);
      const of = valid ? verdict.valid : verdict.invalid;
      of.all++;
      if ((fits === undefined) === valid) continue;
      passes = false;
      of.wrong++;
      if (fits === undefined) verdict.notes.push(`wrongly admitted: ${name}: ${text.slice(0, 200)}`);
      else verdict.notes.push(`wrongly refused: ${name}: behind ${fits.slice(-100)} not ${text.slice(fits.length, fits.length + 30)}`);
    }
    if (passes) verdict.passing++;
  }
  const bytes = await vocabulary.memoryBytes();
  await vocabulary.dispose();
  return { verdict, times, bytes };
}

function tellVerdict(count: number, { loose, strict, passing, valid, invalid, notes }: Verdict, { figure, note }: Told): void {
  const share = (part: number, whole: number) => (whole === 0 ? 0 : (100 * part) / whole);
  figure({ what: `${count} real schemas, strict: pass all their instances`, value: share(passing, count), unit: "%", target: [">=", 92] });
  figure({ what: "strict: compiled", value: share(strict, count), unit: "%" });
  figure({ what: `strict: of ${invalid.all} invalid instances admitted`, value: invalid.wrong, unit: "", target: ["<=", 0] });
  const refused = share(valid.wrong, valid.all);
  figure({ what: `strict: of ${valid.all} valid instances refused`, value: refused, unit: "%", target: ["<=", 0.5] });
  figure({ what: "not strict: compiled", value: share(loose, count), unit: "%", target: [">=", 98] });
  for (const one of notes) note(one);
}

/** What patterns take to be written for the module. */
function patternTimes(samples: readonly Sample[], rounds: number): Times["mask"] {
  const patterns = [...new Set(samples.flatMap(({ schema }) => [...patternsOf(schema)]))];
  const pass = () =>
    patterns.map((pattern): [number, string] => {
      const begun = performance.now();
      try {
        rustRegexes(pattern, { name: "pattern", whole: false });
      } catch {
        // Refused, which takes time as well.
      }
      return [performance.now() - begun, pattern.slice(0, 100)];
    });
  return Array.from({ length: rounds }, pass).reduce(leastOf);
}

function* patternsOf(schema: unknown): Generator<string> {
  if (typeof schema !== "object" || schema === null) return;
  for (const [key, value] of Object.entries(schema)) {
    if (key === "pattern" && typeof value === "string") yield value;
    if (key === "patternProperties" && typeof value === "object" && value !== null) yield* Object.keys(value);
    yield* patternsOf(value);
  }
}

async function compiled(vocabulary: Vocabulary, schema: unknown, strict: boolean, name: string, times?: Times): Promise<Grammar> {
  const begun = performance.now();
  let prepared = begun;
  try {
    const { schema: narrowed } = prepareSchema(schema, { strict, name: "schema" });
    const grammar = `start: %json ${JSON.stringify(narrowed)}`;
    prepared = performance.now();
    return await vocabulary.compile(grammar);
  } finally {
    const end = performance.now();
    if (prepared === begun) prepared = end;
    times?.prepare.push([prepared - begun, name]);
    if (prepared < end) times?.compile.push([end - prepared, name]);
    times?.["prepare and compile"].push([end - begun, name]);
  }
}

/**
 * Token by token, as an answer that is drawn: what is forced, what may come, and on.
 * @returns undefined where the whole text is an answer, else what of it may be its beginning
 */
async function fittingPart(grammar: Grammar, tokenizer: Tokenizer, text: string, name: string, times: Times): Promise<string | undefined> {
  const timed = async <T>(kind: keyof Times, run: () => Promise<T>): Promise<T> => {
    const begun = performance.now();
    try {
      return await run();
    } finally {
      times[kind].push([performance.now() - begun, name]);
    }
  };
  const matcher = await timed("start", () => grammar.start());
  const ids = tokenizer.encode(text);
  let taken = 0;
  try {
    for (const id of ids) {
      await timed("forced", () => matcher.forced());
      await timed("mask", () => matcher.allowed());
      await timed("accept", () => matcher.accept(id));
      taken++;
    }
    return (await matcher.mayEnd()) ? undefined : text;
  } catch {
    return tokenizer.decode(ids.slice(0, taken));
  } finally {
    matcher.dispose();
  }
}

/** json.dumps of Python, on one line: what answers look like. */
export function line(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(line).join(", ")}]`;
  if (typeof value !== "object" || value === null) return JSON.stringify(value) ?? "null";
  const members = Object.entries(value).map(([key, inner]) => `${JSON.stringify(key)}: ${line(inner)}`);
  return `{${members.join(", ")}}`;
}
