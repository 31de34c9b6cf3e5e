import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { type BlockDtype, blockFormats, decodeStored, isBlockDtype, packedDtypeOf, type StoredDtype, storedBytes } from "./blocks.ts";
import { runOnce } from "./device/run-once.ts";
import type { WeightSource } from "./device/weight.ts";
import { record } from "./recorder.ts";
import { openReference } from "./reference/driver.ts";

// Made by tooling/golden/make-blocks.py with the decoders of the PyPI package gguf.
const fixture: Record<BlockDtype, { blocks: string; values: string }> = JSON.parse(
  readFileSync(new URL("./blocks.fixture.json", import.meta.url), "utf8"),
);
const bytesOf = (hex: string) => new Uint8Array(Buffer.from(hex, "hex"));
const formats = Object.keys(blockFormats) as BlockDtype[];
/** Zeros have a sign where a scale is below 0; what it is means nothing. */
const unsigned = (values: Float32Array) => values.map((v) => v + 0);

describe.each(formats)("%s", (dtype) => {
  const { values, bytes } = blockFormats[dtype];
  const blocks = bytesOf(fixture[dtype].blocks);
  const expected = decodeStored(bytesOf(fixture[dtype].values), "f32");

  test("decodes to the same bits as gguf's own decoder", () => {
    expect(expected.length).toBe(2 * values);
    expect(unsigned(decodeStored(blocks, dtype))).toEqual(unsigned(expected));
  });

  test("one block at any address decodes as it does among others", () => {
    const shifted = new Uint8Array(bytes + 1);
    shifted.set(blocks.subarray(bytes), 1);
    expect(unsigned(decodeStored(shifted.subarray(1), dtype))).toEqual(unsigned(expected.subarray(values)));
    expect(decodeStored(blocks.subarray(0, 0), dtype)).toEqual(new Float32Array(0));
  });

  test("a part of a block is refused", () => {
    for (const length of [1, bytes - 1, bytes + 1])
      expect(() => decodeStored(blocks.subarray(0, length), dtype)).toThrow(expect.objectContaining({ code: "DTYPE" }));
  });

  test("a scale that is no number decodes to what is none", () => {
    const broken = blocks.map(() => 0xff);
    expect(decodeStored(broken, dtype).every((v) => !Number.isFinite(v))).toBe(true);
  });

  test("the reference opens rows of it, rounded to what was asked for", async () => {
    const reference = openReference();
    const source: WeightSource = {
      name: "table",
      dtype,
      shape: [2, values],
      read: async (from, to) => blocks.subarray(from * bytes, to * bytes),
    };
    const [exact, rounded] = [await reference.openWeight(source, "f32"), await reference.openWeight(source, "bf16")];
    const store = await reference.createStates({ layers: [], pageTokens: 1, kvDtype: "f32" });
    await store.reserve(1, 0);
    const list = record({ L: 2, nSequences: 1, nRows: 0 }, store.spec, (ops) => {
      for (const [name, table] of Object.entries({ exact, rounded })) ops.read(name, ops.embed(table));
    });
    const states = [{ slot: 0, pages: [], seen: 0 }];
    const read = await runOnce(reference, list, store, {
      ids: Int32Array.of(0, 1),
      starts: Int32Array.of(0, 2),
      states,
      rows: new Int32Array(0),
    });
    expect(read.get("exact")!.data).toEqual(decodeStored(blocks, dtype));
    const words = new Uint32Array((read.get("rounded")!.data as Float32Array).buffer);
    expect(words.every((word) => (word & 0xffff) === 0)).toBe(true);
    await expect(reference.openWeight(source, "q4_1")).rejects.toThrow(expect.objectContaining({ code: "DTYPE" }));
    await reference.dispose();
  });
});

test("sizes are those of whole blocks, a fraction where a row holds none", () => {
  expect([storedBytes("q4_k", 512), storedBytes("q8_0", 48), storedBytes("bf16", 3)]).toEqual([288, 51, 6]);
});

test("every stored dtype has a weight dtype, floats their own", () => {
  const stored: StoredDtype[] = ["f32", "bf16", "f16", ...formats];
  expect(Object.keys(packedDtypeOf).sort()).toEqual([...stored].sort());
  for (const dtype of stored) if (!isBlockDtype(dtype)) expect(packedDtypeOf[dtype]).toBe(dtype);
});
