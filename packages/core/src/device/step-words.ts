// A step as devices take it that index by token, row or pair: one array of words.

import type { PackedInputs } from "./driver.ts";

/** The tokens [from, to) of the step that belong to one sequence, and what its state held before them. */
export interface SequenceTokens {
  readonly from: number;
  readonly to: number;
  readonly seen: number;
  readonly slot: number;
  readonly pages: Int32Array;
}

export function sequencesOf({ addresses, starts }: Pick<PackedInputs, "addresses" | "starts">): SequenceTokens[] {
  let at = 0;
  return Array.from({ length: starts.length - 1 }, (_, i) => {
    const [slot, seen, nPages] = addresses.subarray(at, at + 3);
    at += 3 + nPages;
    return { from: starts[i], to: starts[i + 1], seen, slot, pages: addresses.subarray(at - nPages, at) };
  });
}

/** In the order in which `stepWords` has them. */
export const stepParts = [
  "ids", // [L]
  "rows", // [nRows]
  "temperatures", // [nRows] f32
  "sequenceOf", // [L]
  "sequences", // [nSequences, 5]: from, to, seen, slot, and which of all pages is its first
  "pages", // of the first sequence, the second, …
  "slotCopies", // [n, 2]: from, to
  "pageCopies", // [n, 2]
  "asked", // [n, 2]: row, id
  "outputs", // [nOutputs + 1]: where each starts if they lie one after another, and where the last one ends
  "tensors", // in the order of `Plan.inputs`: each is a part of its own
] as const;

type StepPart = Int32Array | Float32Array | readonly number[];

/** The parts, behind where each of them starts and where the last one ends: part i is `words.subarray(words[i], words[i + 1])`. */
export function stepWords(inputs: PackedInputs): Int32Array {
  const { ids, rows, temperatures, addresses, copies, askedStarts, askedIds, tensors } = inputs;
  const all = sequencesOf(inputs);
  const sequences = new Int32Array(5 * all.length);
  const pages = new Int32Array(addresses.length - 3 * all.length);
  const sequenceOf = new Int32Array(ids.length);
  let nPages = 0;
  for (const [i, { from, to, seen, slot, pages: own }] of all.entries()) {
    sequences.set([from, to, seen, slot, nPages], 5 * i);
    sequenceOf.fill(i, from, to);
    pages.set(own, nPages);
    nPages += own.length;
  }
  const asked: number[] = [];
  for (let row = 0; row + 1 < askedStarts.length; row++)
    for (let i = askedStarts[row]; i < askedStarts[row + 1]; i++) asked.push(row, askedIds[i]);
  const outputs = startsOf(inputs.outputs, 0);
  const named = {
    ids,
    rows,
    temperatures,
    sequenceOf,
    sequences,
    pages,
    slotCopies: copies.slots,
    pageCopies: copies.pages,
    asked,
    outputs,
  };
  const parts = stepParts.flatMap((name): readonly StepPart[] => (name === "tensors" ? tensors : [named[name]]));
  const starts = startsOf(parts, parts.length + 1);
  const words = new Int32Array(starts.at(-1)!);
  words.set(starts);
  for (const [i, part] of parts.entries()) {
    if (part.length === 0) continue; // it may lie in a buffer that was given away
    words.set(part instanceof Float32Array ? new Int32Array(part.buffer, part.byteOffset, part.length) : part, starts[i]);
  }
  return words;
}

/** One after another from word `first` on, and where the last one ends. */
function startsOf(parts: readonly StepPart[], first: number): number[] {
  const starts = [first];
  for (const { length } of parts) starts.push(starts.at(-1)! + length);
  return starts;
}

const none = new Int32Array(0);

/** Of what runs outside of any step, such as copies of states. */
export const noInputs: PackedInputs = {
  ids: none,
  rows: none,
  starts: Int32Array.of(0),
  addresses: none,
  copies: { slots: none, pages: none },
  temperatures: new Float32Array(0),
  askedStarts: Int32Array.of(0),
  askedIds: none,
  tensors: [],
  outputs: [],
};
