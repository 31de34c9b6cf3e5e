// What a step gives of a row of logits to who draws from it: what a draw mostly needs, and the row itself on demand.

import { type HostTensor, type Step, type TopRow, topOf } from "@jamba/core";
import type { ForwardReads } from "../model/forward.ts";

/** Candidates of each row. A device hands these over instead of all logits. */
export const candidates = 256;

/** What steps give for answers. */
export const answerReads = (vocabSize: number): ForwardReads => ({ top: Math.min(candidates, vocabSize), logits: "keep" });

/** What is known of a row of logits, in place of the row. Where `ids.length === count` nothing is left out. */
export interface Evidence extends TopRow {
  /** Raw logits by id, finite or not. These ids may be among `ids` too. */
  readonly asked: ReadonlyMap<number, number>;
  /** How far the sums may be off, as a share of them; as far as those of op `top` on a device if not given. */
  readonly sumError?: number;
}

/** Of sums in f64 on the host, whatever order they are added in. */
export const hostSumError = 1e-9;

/** Evidence of the row after a token, with a way to the row itself. */
export interface RowEvidence extends Evidence {
  /** All logits of the row. [vocabSize] The first time this is asked for they are fetched, which `drawn` makes impossible. */
  row(): Promise<Float32Array>;
  /** Nobody wants the row any more. */
  drawn(): void;
}

/** What a draw will want to know of each row, beside its best. */
export interface Questions {
  /** Of the draw; 1 where there is none. */
  readonly temperature: number;
  /** Ids whose logits are wanted whatever they are. */
  readonly asked: readonly number[];
}

export const noQuestions: Questions = { temperature: 1, asked: [] };

/** What op `top` gives of a row that is here as a whole, with so many candidates. */
export function evidenceOf(row: Float32Array, k: number, { temperature, asked }: Questions): Evidence {
  return { ...topOf(row, k, temperature), asked: new Map(asked.map((id) => [id, row[id]])), sumError: hostSumError };
}

/** A row that is kept, and the sums that its device gave: the host's own differ in the last bits, and with them log probabilities. */
export interface KeptRow {
  readonly row: Float32Array;
  readonly sums: Pick<TopRow, "sumExp" | "sumGaps">;
}

/** Holds nothing of the step that the row came from. */
export async function keptRowOf(evidence: RowEvidence): Promise<KeptRow> {
  const { sumExp, sumGaps } = evidence;
  return { row: await evidence.row(), sums: { sumExp, sumGaps } };
}

export function evidenceOfKept({ row, sums: { sumExp, sumGaps } }: KeptRow, questions: Questions): RowEvidence {
  const evidence = { ...evidenceOf(row, candidates, questions), sumExp, sumGaps, sumError: undefined };
  return { ...evidence, row: async () => row, drawn: () => undefined };
}

/** What a step has for one call. */
export interface StepSlice {
  readonly step: Step;
  /** Of the step's tokens, those of the call. */
  readonly tokens: readonly [from: number, to: number];
  /** Of the step's rows. */
  readonly rows: readonly [from: number, to: number];
  /** What each of these rows asked for. */
  readonly asked: readonly (readonly number[])[];
  /** Where the logits of these begin among all that the step was asked for. */
  readonly askedAt: number;
}

/** Evidence of a row of a step. */
export interface StepRow extends RowEvidence {
  readonly isDrawn: boolean;
}

/** Of each of the call's rows, in a step that has a `top`; it must keep its logits for who asks for the rows themselves. */
export async function evidenceOfStep({ step, rows: [first], asked, askedAt }: StepSlice): Promise<StepRow[]> {
  const [ids, values, sums, logits] = await Promise.all(["ids", "values", "sums", "asked"].map((part) => step.read(`top.${part}`)));
  const k = ids.dims[1];
  let next = askedAt;
  return asked.map((own, i) => {
    const row = first + i;
    const [max, sumExp, sumGaps, sumTempered, count] = (sums.data as Float32Array).subarray(5 * row, 5 * row + 5);
    const listed = Math.min(k, count);
    const evidence: Evidence = {
      ids: (ids.data as Int32Array).subarray(k * row, k * row + listed),
      values: (values.data as Float32Array).subarray(k * row, k * row + listed),
      max,
      sumExp,
      sumGaps,
      sumTempered,
      count,
      asked: new Map(own.map((id) => [id, (logits.data as Float32Array)[next++]])),
    };
    return rowOf(evidence, () => step.read("logits", [row, row + 1]));
  });
}

function rowOf(evidence: Evidence, fetch: () => Promise<HostTensor>): StepRow {
  let fetched: Promise<Float32Array> | undefined;
  let isDrawn = false;
  return {
    ...evidence,
    get isDrawn() {
      return isDrawn;
    },
    row() {
      fetched ??= fetch().then(({ data }) => data as Float32Array);
      fetched.catch(() => undefined); // whoever asks hears of it
      return fetched;
    },
    drawn() {
      isDrawn = true;
    },
  };
}
