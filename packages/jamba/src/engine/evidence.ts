// What a step gives of a row of logits to who draws from it: what a draw mostly needs, and the row itself on demand.

import { type HostTensor, type Step, type TopRow, topOf } from "@jamba/core";

/** Candidates of each row. A device hands these over instead of all logits. */
export const candidates = 256;

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

export function evidenceOfKept({ row, sums: { sumExp, sumGaps } }: KeptRow, questions: Questions): RowEvidence {
  const evidence = { ...evidenceOf(row, candidates, questions), sumExp, sumGaps, sumError: undefined };
  return { ...evidence, row: async () => row, drawn: () => undefined };
}

/** Row `row` of a step, with the values that `top` read. */
class StepRow implements RowEvidence {
  readonly #fetch: () => Promise<HostTensor>;
  #fetched: Promise<Float32Array> | undefined;
  isDrawn = false;

  constructor(
    readonly top: TopRow,
    readonly asked: ReadonlyMap<number, number>,
    fetch: () => Promise<HostTensor>,
  ) {
    this.#fetch = fetch;
  }

  get ids() {
    return this.top.ids;
  }
  get values() {
    return this.top.values;
  }
  get max() {
    return this.top.max;
  }
  get sumExp() {
    return this.top.sumExp;
  }
  get sumGaps() {
    return this.top.sumGaps;
  }
  get sumTempered() {
    return this.top.sumTempered;
  }
  get count() {
    return this.top.count;
  }

  row(): Promise<Float32Array> {
    this.#fetched ??= this.#fetch().then(({ data }) => data as Float32Array);
    this.#fetched.catch(() => undefined); // whoever asks hears of it
    return this.#fetched;
  }

  drawn(): void {
    this.isDrawn = true;
  }
}

export type { StepRow };

/** Evidence of rows [from, to) of a step, each of which asked for the same ids or for its own. */
export async function evidenceOfStep(
  step: Step,
  [from, to]: readonly [number, number],
  askedOf: (row: number) => readonly number[],
  askedAt: number,
): Promise<StepRow[]> {
  const [ids, values, sums, asked] = await Promise.all(["ids", "values", "sums", "asked"].map((part) => step.read(`top.${part}`)));
  const k = ids.dims[1];
  const rows: StepRow[] = [];
  let at = askedAt;
  for (let row = from; row < to; row++) {
    const [max, sumExp, sumGaps, sumTempered, count] = (sums.data as Float32Array).subarray(5 * row, 5 * row + 5);
    const listed = Math.min(k, count);
    const wanted = askedOf(row - from);
    const known = new Map<number, number>();
    for (const id of wanted) known.set(id, (asked.data as Float32Array)[at++]);
    const top = {
      ids: (ids.data as Int32Array).subarray(k * row, k * row + listed),
      values: (values.data as Float32Array).subarray(k * row, k * row + listed),
      max,
      sumExp,
      sumGaps,
      sumTempered,
      count,
    };
    rows.push(new StepRow(top, known, () => step.read("logits", [row, row + 1])));
  }
  return rows;
}
