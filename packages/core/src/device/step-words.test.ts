import { expect, test } from "vitest";
import { type PackedInputs, stepParts, stepWords } from "../index.ts";

const inputs: PackedInputs = {
  ids: Int32Array.of(10, 11, 12, 13),
  rows: Int32Array.of(2, 3),
  starts: Int32Array.of(0, 3, 4),
  addresses: Int32Array.of(7, 0, 1, 40, 5, 9, 3, 41, 42, 43),
  copies: { slots: Int32Array.of(1, 5), pages: new Int32Array(0) },
  temperatures: Float32Array.of(1, 0.5),
  askedStarts: Int32Array.of(0, 0, 2),
  askedIds: Int32Array.of(30, 31),
  tensors: [Float32Array.of(0.25), Int32Array.of(-1, 8)],
  outputs: [new Float32Array(6), new Float32Array(2)],
};

/** Each part by its name, and tensors one by one. */
function partsOf(inputs: PackedInputs) {
  const words = stepWords(inputs);
  const part = (i: number) => words.slice(words[i], words[i + 1]);
  const nNamed = stepParts.indexOf("tensors");
  const named = Object.fromEntries(stepParts.slice(0, nNamed).map((name, i) => [name, [...part(i)]]));
  const last = nNamed + inputs.tensors.length;
  expect(words[0]).toBe(last + 1);
  expect(words[last]).toBe(words.length);
  return { ...named, temperatures: [...new Float32Array(part(2).buffer)], tensors: inputs.tensors.map((_, i) => part(nNamed + i)) };
}

test("a step's words tell of each token whose it is, of each sequence where its pages are, and of asked ids their row", () => {
  expect(partsOf(inputs)).toEqual({
    ids: [10, 11, 12, 13],
    rows: [2, 3],
    temperatures: [1, 0.5],
    sequenceOf: [0, 0, 0, 1],
    sequences: [0, 3, 0, 7, 0, 3, 4, 9, 5, 1],
    pages: [40, 41, 42, 43],
    slotCopies: [1, 5],
    pageCopies: [],
    asked: [1, 30, 1, 31],
    outputs: [0, 6, 8],
    tensors: [new Int32Array(Float32Array.of(0.25).buffer), Int32Array.of(-1, 8)],
  });
});

test("a step without pages, rows or tensors has empty parts, also where the caller gave their buffer away", () => {
  const none = new Int32Array(4);
  const noFloats = new Float32Array(none.buffer);
  structuredClone(none, { transfer: [none.buffer] });
  const few = {
    ...inputs,
    rows: none,
    addresses: Int32Array.of(7, 0, 0, 5, 1, 0),
    temperatures: noFloats,
    tensors: [],
    outputs: [],
  };
  const found = partsOf({ ...few, askedStarts: Int32Array.of(0, 0), askedIds: none });
  expect(found).toMatchObject({ sequences: [0, 3, 0, 7, 0, 3, 4, 1, 5, 0], pages: [], asked: [], outputs: [0], tensors: [] });
});
