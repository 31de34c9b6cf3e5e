// What a step is made of: sequences that go on, each with tokens of its own. Deals in ids, knows no text.

import type { AskedIds, StateAddress, StepInputs, StepShape } from "@jamba/core";
import type { Made } from "../state/tenant.ts";

/** The paged state of one conversation. Only the runner changes it. */
export interface Sequence extends StateAddress {
  slot: number;
  pages: number[];
  seen: number;
  released: boolean;
  /** Of a state that came from elsewhere, and all that went on from it. */
  readonly made?: Made;
}

/** One sequence's part of a step. */
export interface Advance {
  readonly sequence: Sequence;
  readonly ids: readonly number[];
  /** How many of the last of `ids` want logits. */
  readonly rows: number;
  /** Of the draws from these rows; 1 if not given. */
  readonly temperature?: number;
  /** Ids whose logits each of these rows asks for. */
  readonly asked?: readonly (readonly number[])[];
  /** Asked when everything is ready: whether somebody still wants this part. */
  readonly isWanted?: () => boolean;
}

/** A part with all that its step writes to. */
export interface Placed {
  readonly part: Advance;
  /** The sequence itself or its copy. */
  readonly moving: Sequence;
  readonly slots: readonly (readonly [from: number, to: number])[];
  readonly pages: readonly (readonly [from: number, to: number])[];
  /** Pages at the end of `moving` that it did not have. */
  readonly nAdded: number;
}

/** Tokens of all parts one after another, and the rows, questions and copies that come with them. */
export function inputsOf(placed: readonly Placed[]): { shape: StepShape; inputs: StepInputs } {
  const starts = new Int32Array(placed.length + 1);
  const [rows, temperatures, askedStarts, askedIds]: number[][] = [[], [], [0], []];
  for (const [i, { part }] of placed.entries()) {
    const { ids, temperature = 1, asked } = part;
    starts[i + 1] = starts[i] + ids.length;
    const nRows = Math.min(part.rows, ids.length);
    for (let row = 0; row < nRows; row++) {
      rows.push(starts[i + 1] - nRows + row);
      temperatures.push(temperature);
      for (const id of asked?.[row] ?? []) askedIds.push(id);
      askedStarts.push(askedIds.length);
    }
  }
  const asked: AskedIds = { starts: Int32Array.from(askedStarts), ids: Int32Array.from(askedIds) };
  const ids = Int32Array.from(placed.flatMap(({ part }) => part.ids));
  return {
    shape: { L: ids.length, nSequences: placed.length, nRows: rows.length },
    inputs: {
      ids,
      starts,
      states: placed.map(({ moving: { slot, pages, seen } }) => ({ slot, pages, seen })),
      rows: Int32Array.from(rows),
      temperatures: Float32Array.from(temperatures),
      asked: askedIds.length > 0 ? asked : undefined,
      copies: { slots: placed.flatMap(({ slots }) => slots), pages: placed.flatMap(({ pages }) => pages) },
    },
  };
}
