// Asks a model all that tasks have, several documents at a time, and sums up what came of it.

import type { JambaModel } from "jamba";
import { UsageError } from "../flags.ts";
import { nearest } from "../nearest.ts";
import { documentsOf } from "./documents.ts";
import { KeptAnswers, type Said } from "./kept-answers.ts";
import { essaysData, type MadeTask, madeAsk, madeDocs, madeGroups, madeTasks, sentencesOf } from "./ruler.ts";
import { type Ask, asksOf, cutPair, dataGroups, dataTasks, type Measures, shotsOf, type Task } from "./tasks.ts";

export const groups: Readonly<Record<string, readonly string[]>> = { ...dataGroups, ...madeGroups };
const tasks = new Map<string, Task | MadeTask>([...dataTasks, ...madeTasks].map((task) => [task.name, task]));

export const isTask = (word: string) => Object.hasOwn(groups, word) || tasks.has(word);

export interface Settings {
  /** Where data sets are. */
  readonly data?: string;
  /** Documents of each task, and of each length. */
  readonly limit?: number;
  readonly fewshot?: number;
  readonly seed: number;
  /** Tokens of made contexts. */
  readonly lengths: readonly number[];
  /** Begin each text with the token that begins texts. */
  readonly bos: boolean;
}

/** A task that is ready to be asked. */
export interface Prepared {
  readonly name: string;
  readonly shots: number;
  readonly count: number;
  /** The harness gives none for made tasks. */
  readonly hasStderr: boolean;
  /** @throws UsageError for lengths that do not fit, and for documents without answers */
  asks(model: Pick<JambaModel, "tokenizer" | "contextLength">): Iterable<Ask>;
}

/** Before a model is loaded, which may take long. @throws UsageError for what is no task, and for data that are missing or of another form */
export async function prepare(names: readonly string[], settings: Settings): Promise<Prepared[]> {
  const all = [...new Set(names.flatMap((name) => groups[name] ?? [name]))];
  const { data, limit, seed, lengths, bos } = settings;
  const folder = (name: string) => {
    if (data !== undefined) return data;
    throw new UsageError(`--data: expected the folder that has the data of ${name}, found none; see jamba eval --help`);
  };
  const prepared: Prepared[] = [];
  let essays: readonly string[] = [];
  for (const name of all) {
    const task = tasks.get(name);
    if (!task) {
      const near = nearest(name, [...tasks.keys(), ...Object.keys(groups)]);
      throw new UsageError(`eval: expected a task or a .jsonl file, found ${name}${near ? `; did you mean ${near}?` : ""}`);
    }
    if ("maker" in task) {
      if (task.essays && essays.length === 0) essays = sentencesOf(await documentsOf(folder(name), essaysData, "train"));
      const count = limit ?? task.count;
      const docsFrom = essays;
      const asks: Prepared["asks"] = function* ({ tokenizer, contextLength }) {
        const tokens = (text: string) => tokenizer.encode(text, { addBos: bos }).length;
        for (const length of lengths) {
          if (length > contextLength)
            throw new UsageError(`--lengths: expected at most ${contextLength} tokens, which the context holds, found ${length}`);
          const of = { length, tokens, essays: docsFrom };
          for (const made of madeDocs(task, count, seed, of)) yield madeAsk(task, made, of);
        }
      };
      prepared.push({ name, shots: 0, count: count * lengths.length, hasStderr: false, asks });
      continue;
    }
    const shots = shotsOf(task, settings.fewshot);
    const [asked, examples] = task.splits;
    const docs = (await documentsOf(folder(name), task.data, asked)).slice(0, limit);
    const pool = shots === 0 ? [] : await documentsOf(folder(name), task.data, examples);
    prepared.push({ name, shots, count: docs.length, hasStderr: true, asks: () => asksOf(task, docs, pool, shots, seed) });
  }
  return prepared;
}

/** Documents that are asked at the same time: they share steps. */
const together = 16;

export interface Progress {
  readonly done: number;
  readonly all: number;
  /** Until the end, as it went so far. */
  readonly leftMs?: number;
}

/** What came of each task, in the order of its documents. */
export type Outcomes = ReadonlyMap<string, readonly Measures[]>;

/** @param identity of the model, for answers that were kept */
export async function ask(
  model: JambaModel,
  prepared: readonly Prepared[],
  { bos, kept, identity, signal }: { bos: boolean; kept: KeptAnswers; identity: unknown; signal: AbortSignal },
  onProgress: (progress: Progress) => void,
): Promise<Outcomes> {
  const outcomes = new Map(prepared.map(({ name }) => [name, [] as Measures[]]));
  const all = prepared.reduce((sum, { count }) => sum + count, 0);
  const started = performance.now();
  let [done, asked, hasFailed] = [0, 0, false];
  const questions = (function* () {
    for (const { name, asks } of prepared) {
      let index = 0;
      for (const one of asks(model)) yield { name, index: index++, one };
    }
  })();
  const goOn = async () => {
    for (const { name, index, one } of questions) {
      if (hasFailed) return;
      signal.throwIfAborted();
      const { kind, judge, ...question } = one;
      const key = KeptAnswers.keyOf(identity, bos, question);
      let said = kept.get(key);
      if (said === undefined) {
        said = await answerOf(model, one, bos, signal);
        asked++;
      }
      // What was kept has the form that the question asks for, for its key has the question in it.
      const measures = (judge as (said: Said) => Measures)(said);
      outcomes.get(name)![index] = measures;
      if (kept.get(key) === undefined) await kept.add(key, said, { task: name, index, measures });
      done++;
      onProgress({ done, all, leftMs: asked === 0 ? undefined : ((performance.now() - started) / asked) * (all - done) });
    }
  };
  const note = (error: unknown) => {
    hasFailed = true;
    throw error;
  };
  // All that were begun end before the model goes.
  for (const one of await Promise.allSettled(Array.from({ length: together }, () => goOn().catch(note))))
    if (one.status === "rejected") throw one.reason;
  return outcomes;
}

/** As the harness asks: ids without a token before them unless `bos`, and of what is too long the end. */
async function answerOf(model: JambaModel, one: Ask, bos: boolean, signal: AbortSignal): Promise<Said> {
  const { tokenizer, contextLength } = model;
  const encode = (text: string) => tokenizer.encodeAsync(text, { addBos: bos, signal });
  if (one.kind === "text") {
    const { context, maxTokens, stop } = one;
    const ids = (await encode(context)).slice(-Math.max(1, contextLength - maxTokens));
    const own = AbortSignal.any([signal]); // node warns of many listeners on one
    const { text } = await model.generate(ids, { maxTokens, temperature: 0, ...(stop.length > 0 && { stop }), signal: own });
    signal.throwIfAborted();
    return text;
  }
  const byContext = new Map<string, { context: number[]; asked: { at: number; ids: number[] }[] }>();
  for (const [at, pair] of one.pairs.entries()) {
    const [text, continuation] = cutPair(pair);
    const before = text === "" ? [(tokenizer.bosId ?? tokenizer.eosId)!] : await encode(text);
    const ids =
      text === "" ? await tokenizer.encodeAsync(continuation, { signal }) : (await encode(text + continuation)).slice(before.length);
    const context = before.slice(Math.max(0, before.length + ids.length - contextLength));
    const key = context.join();
    const same = byContext.get(key) ?? { context, asked: [] };
    byContext.set(key, same);
    same.asked.push({ at, ids });
  }
  const logprobs: number[] = [];
  const score = async ({ context, asked }: { context: number[]; asked: { at: number; ids: number[] }[] }) => {
    const own = AbortSignal.any([signal]);
    const ids = asked.map((each) => each.ids);
    for (const [i, { logprob }] of (await model.score(context, ids, { signal: own })).entries()) logprobs[asked[i].at] = logprob;
  };
  await Promise.all([...byContext.values()].map(score));
  return logprobs;
}

export interface Row {
  readonly task: string;
  readonly shots: number;
  readonly documents: number;
  readonly metric: string;
  /** 0 to 1 */
  readonly value: number;
  readonly stderr?: number;
}

/** Groups that were asked for stand before the tasks. */
export function rowsOf(names: readonly string[], prepared: readonly Prepared[], outcomes: Outcomes): Row[] {
  const rows = prepared.flatMap(({ name, shots, hasStderr }) => {
    const all = outcomes.get(name)!;
    const metrics = [...new Set(all.flatMap((one) => Object.keys(one)))];
    return metrics.map((metric): Row => {
      const values = all.flatMap((one) => one[metric] ?? []);
      return { task: name, shots, documents: values.length, metric, ...meanOf(values, hasStderr) };
    });
  });
  const members = (group: string) => rows.filter(({ task }) => groups[group].includes(task));
  const inside = (name: string) => (name === "mmlu" ? Object.keys(groups).filter((one) => one.startsWith("mmlu")) : [name]);
  const sums = names.filter((name) => name in madeGroups || name.startsWith("mmlu")).filter((name) => Object.hasOwn(groups, name));
  return [...new Set(sums.flatMap(inside))].flatMap((group) => groupRows(group, members(group))).concat(rows);
}

/** As the harness has them: the deviation of a sample. */
function meanOf(values: readonly number[], hasStderr: boolean): Pick<Row, "value" | "stderr"> {
  const count = values.length;
  const value = values.reduce((sum, one) => sum + one, 0) / count;
  if (!hasStderr || count < 2) return { value };
  const variance = values.reduce((sum, one) => sum + (one - value) ** 2, 0) / (count - 1);
  return { value, stderr: Math.sqrt(variance / count) };
}

/** MMLU weighs its subjects by their documents, and pools their variances; RULER's tasks count alike. */
function groupRows(group: string, members: readonly Row[]): Row[] {
  const isMade = group in madeGroups;
  return [...new Set(members.map(({ metric }) => metric))].map((metric) => {
    const some = members.filter((row) => row.metric === metric);
    const documents = some.reduce((sum, row) => sum + row.documents, 0);
    const weight = (row: Row) => (isMade ? 1 / some.length : row.documents / documents);
    const value = some.reduce((sum, row) => sum + row.value * weight(row), 0);
    const pooled = some.reduce((sum, { documents: n, stderr = Number.NaN }) => sum + (n - 1) * n * stderr ** 2, 0);
    const stderr = Math.sqrt(pooled / (documents - some.length) / documents);
    return { task: group, shots: some[0].shots, documents, metric, value, ...(Number.isFinite(stderr) && { stderr }) };
  });
}
