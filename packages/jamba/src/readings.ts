// What the model finds in texts that it only reads: how probable they are, and a vector for each.

import { HostTensor, inSlices, JambaError } from "@jamba/core";
import type { GenerateContext } from "./answer/generate.ts";
import type { GenerateOptions } from "./answer/options.ts";
import { promptIds } from "./answer/prompt.ts";
import { beside } from "./answer/reading.ts";
import { type IdLogprob, logprobsOf, notFinite } from "./answer/sampler.ts";
import { type TokenLogprob, withText } from "./answer/token-text.ts";
import type { Sequence } from "./engine/advance.ts";
import { evidenceOfStep } from "./engine/evidence.ts";
import type { Tenant } from "./state/tenant.ts";

export interface Score {
  /** The sum over `tokens`. */
  readonly logprob: number;
  readonly tokens: readonly ScoredToken[];
}

export interface ScoredToken extends TokenLogprob {
  /** With `topLogprobs`: the most probable ones there, best first. */
  readonly top?: readonly TokenLogprob[];
}

/** Of what is only read. */
export interface ReadingOptions extends Pick<GenerateOptions, "tenant" | "request"> {
  readonly signal?: AbortSignal;
}

export interface ScoreOptions extends ReadingOptions {
  /** Report this many alternatives per token. */
  readonly topLogprobs?: number;
  /** Keep what was read, for prompts that begin with it: all but the last token of an only continuation, else the prompt. */
  readonly keep?: boolean;
}

/** Checked ones. */
interface Manner {
  readonly tenant?: Tenant;
  readonly request?: unknown;
  readonly signal?: AbortSignal;
}

type ReadContext = Pick<GenerateContext, "engine" | "tokenizer">;

/** One row for each text. [texts, dModel] */
export async function embedTexts(
  { engine, tokenizer }: ReadContext,
  { dModel, nLayers }: { readonly dModel: number; readonly nLayers: number },
  texts: readonly string[],
  { tenant, request = {}, signal }: Manner,
): Promise<HostTensor> {
  const out = new Float32Array(texts.length * dModel);
  const embedOne = async (text: string, i: number) => {
    const ids = await beside(promptIds(tokenizer, text), signal);
    const sum = new Float64Array(dModel);
    const sequence = await engine.readThrough(ids, {
      reads: { hidden: "final" },
      take: async ({ step, tokens }) => {
        const hidden = (await step.read(`hidden.${nLayers}`, tokens)).data as Float32Array;
        for (let at = 0; at < hidden.length; at++) sum[at % dModel] += hidden[at];
        return undefined;
      },
      tenant,
      request,
      signal: ownSignal(signal),
    });
    engine.drop(sequence);
    out.set(unitVector(sum), i * dModel);
  };
  await forAll(texts, embedOne);
  return new HostTensor("float32", out, [texts.length, dModel]);
}

/** A vector of zeros has no direction and stays what it is. @throws BackendError when some of it is no finite number */
function unitVector(vector: Float64Array): Float64Array {
  const norm = Math.sqrt(vector.reduce((sum, value) => sum + value * value, 0));
  if (!Number.isFinite(norm)) throw notFinite("hidden state: expected finite numbers, found others");
  return norm === 0 ? vector : vector.map((value) => value / norm);
}

/**
 * Each of `continuations` after `prompt`, which is read once; of each continuation all but the last token is read, for the row after a
 * token tells of the next one.
 * @throws as `JambaModel.score`; all that was read is dropped then
 */
export async function scoreAll(
  { engine, tokenizer }: ReadContext,
  prompt: readonly number[],
  continuations: readonly (readonly number[])[],
  { topLogprobs, keep = false, tenant, request = {}, signal }: Omit<ScoreOptions, "tenant" | "request"> & Manner,
): Promise<Score[]> {
  const keys = continuations.map((ids) => ids.join());
  const different = new Map(continuations.map((ids, i) => [keys[i], ids]));
  different.delete("");
  if (different.size > 0 && prompt.length === 0)
    throw new JambaError("OPTION", "score: expected a prompt of at least one token before the continuation, found none");
  for (const ids of different.values()) engine.expectReadable(prompt, ids);
  const found = new Map<string, Row[]>();
  const end = (sequence: Sequence, ids: readonly number[]) => {
    if (keep) engine.release(engine.keep(ids, sequence, { tenant }));
    else engine.drop(sequence);
  };
  const top = topLogprobs ?? 0;
  const party = { tenant, request };
  if (different.size === 1) {
    const [[key, asked]] = different;
    const ids = [...prompt, ...asked.slice(0, -1)];
    const { sequence, rows } = await readRows(
      engine,
      ids,
      asked.map((id) => [id]),
      { top, ...party, signal },
    );
    end(sequence, ids);
    found.set(key, rows.flat());
  } else if (different.size > 1) {
    const firsts = [...new Set([...different.values()].map(([first]) => first))];
    const { sequence, rows } = await readRows(engine, prompt, [firsts], { top, ...party, signal });
    const readRest = async ([key, [first, ...asked]]: readonly [string, readonly number[]]) => {
      found.set(key, [rows[0][firsts.indexOf(first)]]);
      if (asked.length === 0) return;
      const ids = [first, ...asked.slice(0, -1)];
      const rest = await readRows(
        engine,
        ids,
        asked.map((id) => [id]),
        { top, ...party, copyOf: sequence, signal: ownSignal(signal) },
      );
      engine.drop(rest.sequence);
      found.get(key)!.push(...rest.rows.flat());
    };
    await forAll([...different], readRest).finally(() => end(sequence, prompt));
  }
  return inSlices(
    scoresOf(
      tokenizer,
      continuations.map((ids, i) => [ids, found.get(keys[i]) ?? []] as const),
      topLogprobs !== undefined,
    ),
  );
}

/** Yields after each token: with alternatives, thousands of them take a while. */
function* scoresOf(
  tokenizer: ReadContext["tokenizer"],
  read: readonly (readonly [ids: readonly number[], rows: readonly Row[]])[],
  hasTop: boolean,
): Generator<undefined, Score[]> {
  const scores: Score[] = [];
  for (const [ids, rows] of read) {
    const tokens: ScoredToken[] = [];
    let sum = 0;
    for (const { top, ...row } of rows.slice(0, ids.length)) {
      const alternatives = hasTop && { top: top.map((one) => withText(tokenizer, one)) };
      tokens.push({ ...withText(tokenizer, row), ...alternatives });
      sum += row.logprob;
      yield;
    }
    scores.push({ logprob: sum, tokens });
  }
  return scores;
}

/** A token in a row of logits. */
type Row = IdLogprob & { readonly top: readonly IdLogprob[] };

/** @returns `asked` in the rows after the last of `ids`, with the `top` best of each row; the sequence is the caller's to drop */
async function readRows(
  engine: ReadContext["engine"],
  ids: readonly number[],
  asked: readonly (readonly number[])[],
  { top, ...from }: Manner & { readonly top: number; readonly copyOf?: Sequence },
): Promise<{ sequence: Sequence; rows: Row[][] }> {
  const rows: Row[][] = [];
  const sequence = await engine.readThrough(ids, {
    ...from,
    reads: { top: Math.min(Math.max(1, top), engine.stateShape.vocabSize) },
    rows: asked.length,
    questions: asked.map((one) => ({ temperature: 1, asked: one })),
    take: async (slice) => {
      for (const row of await evidenceOfStep(slice)) rows.push(asked[rows.length].map((id) => logprobsOf(row, id, top)!));
      return undefined;
    },
  });
  return { sequence, rows };
}

/** For one call of many: node warns of a leak where a signal has many listeners. */
function ownSignal(signal: AbortSignal | undefined): AbortSignal | undefined {
  return signal && AbortSignal.any([signal]);
}

/** Works that are begun before the first of them end: more than run at a time would only make the line longer for everybody. */
const mostBegun = 64;

/** Waits for all that were begun, so that none goes on behind its caller's back, and then throws the first that failed. */
async function forAll<T>(items: readonly T[], work: (item: T, i: number) => Promise<void>): Promise<void> {
  const left = items.entries();
  let hasFailed = false;
  const goOn = async () => {
    for (const [i, item] of left) {
      if (hasFailed) return;
      await work(item, i).catch((error) => {
        hasFailed = true;
        throw error;
      });
    }
  };
  const all = Array.from({ length: Math.min(mostBegun, items.length) }, goOn);
  for (const one of await Promise.allSettled(all)) if (one.status === "rejected") throw one.reason;
}

/** @throws BackendError as `JambaModel.forward` */
export function expectFinite(name: string, { data, dims: [rows, columns] }: HostTensor): void {
  const values = data as Float32Array;
  if (name.startsWith("hidden.") && !values.every(Number.isFinite)) throw notFinite("hidden state: expected finite numbers, found others");
  if (name !== "logits") return;
  for (let row = 0; row < rows; row++) {
    if (!values.subarray(row * columns, (row + 1) * columns).some(Number.isFinite))
      throw notFinite("logits: expected at least one finite number, found none");
  }
}

export function concatRows(tensors: readonly HostTensor[]): HostTensor {
  const filled = tensors.filter((t) => t.dims[0] > 0);
  if (filled.length === 1) return filled[0];
  const columns = filled[0].dims[1];
  const rows = filled.reduce((n, t) => n + t.dims[0], 0);
  const out = filled[0].type === "int32" ? new Int32Array(rows * columns) : new Float32Array(rows * columns);
  let at = 0;
  for (const t of filled) {
    out.set(t.data as Float32Array, at);
    at += t.data.length;
  }
  return new HostTensor(out as Float32Array, [rows, columns]);
}
