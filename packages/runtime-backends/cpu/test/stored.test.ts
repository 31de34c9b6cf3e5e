// Weights from every stored format in every dtype: what stays exact, and what the rest costs.

import { floatsAt, heldValues, lossOf, mostLost, randomBlocks, storedSource } from "@jamba/conformance";
import {
  type Backend,
  type BlockDtype,
  blockFormats,
  decodeStored,
  HostTensor,
  type JambaErrorCode,
  record,
  runOnce,
  type StoredDtype,
  type WeightDtype,
  type WeightSource,
} from "@jamba/core";
import { afterAll, describe, expect, test } from "vitest";
import { loadAddon } from "../src/addon.ts";
import { openCpuBackend } from "../src/index.ts";

const addon = await loadAddon().catch((error: Error) => error);
const formats = Object.keys(blockFormats) as BlockDtype[];
const dtypes = ["f32", "bf16", "f16", "q8", "q4", "q4_1", "q4_k"] as const satisfies readonly WeightDtype[];
const coded = (code: JambaErrorCode) => expect.objectContaining({ code });

if (addon instanceof Error) test("stored formats", ({ skip }) => skip(addon.message));
else for (const level of addon.levels) describe(level, () => formatTests(openCpuBackend({ level, threads: 2 })));

function formatTests(opening: Promise<Backend>): void {
  afterAll(async () => (await opening).dispose());

  describe.each(formats)("%s", (from) => {
    const { values, bytes: blockBytes } = blockFormats[from];

    test.each(dtypes)("as %s loses no more than the table says", async (to) => {
      // Rows around panels and groups of panels; one block, an odd number of them, many.
      for (const [rows, blocks] of [
        [1, 1],
        [17, 3],
        [40, 7],
        [70, 2],
      ]) {
        const bytes = randomBlocks(from, rows * blocks, rows);
        const found = await heldValues(storedSource(from, [rows, blocks * values], bytes), to, await opening);
        const bound = rows < 40 ? 2 * mostLost(from, to) : mostLost(from, to); // few blocks differ more
        expect(lossOf(found, decodeStored(bytes, from)), `${rows} rows of ${blocks} blocks`).toBeLessThanOrEqual(bound);
      }
    });

    test("a stack holds what its matrices hold alone", async () => {
      const backend = await opening;
      const [stack, rows, columns] = [3, 5, 3 * values];
      const bytes = randomBlocks(from, stack * rows * 3, 2);
      for (const to of dtypes) {
        const together = await backend.openWeight(storedSource(from, [stack, rows, columns], bytes), to);
        const size = backend.weightBytes([rows, columns], to);
        for (let i = 0; i < stack; i++) {
          const part = bytes.subarray((i * bytes.length) / stack, ((i + 1) * bytes.length) / stack);
          const alone = await backend.openWeight(storedSource(from, [rows, columns], part), to);
          const found = await backend.packed!.read(together, i * size, (i + 1) * size);
          expect(Buffer.compare(found, await backend.packed!.read(alone, 0, size)), `${to}, matrix ${i}`).toBe(0);
          alone[Symbol.dispose]();
        }
        together[Symbol.dispose]();
      }
    });

    test("a matmul multiplies by the values that embed shows", async () => {
      const backend = await opening;
      const source = storedSource(from, [19, values], randomBlocks(from, 19, 3));
      for (const to of dtypes) {
        const expected = await heldValues(source, to, backend);
        // A row of zeros and a 1 is exact in every form of activations: what is left are f32's own roundings.
        expect(lossOf(await unitProducts(source, to, backend), expected), to).toBeLessThanOrEqual(1e-6);
      }
    });

    test("a vector of it is f32", async () => {
      const backend = await opening;
      const bytes = randomBlocks(from, 2, 4);
      const vector = await backend.openWeight(storedSource(from, [2 * values], bytes), "f32");
      const read = await backend.packed!.read(vector, 0, 2 * values * 4);
      expect(lossOf(new Float32Array(read.buffer), decodeStored(bytes, from))).toBe(0);
      vector[Symbol.dispose]();
    });

    test("blocks without a scale are zeros, or their minimum, in every dtype", async () => {
      const bytes = randomBlocks(from, 8, 5);
      const view = new DataView(bytes.buffer);
      for (let at = 0; at < bytes.length; at += blockBytes) view.setUint16(at + floatsAt[from][0], at % 4 ? 0x8000 : 0, true);
      const expected = decodeStored(bytes, from);
      for (const to of dtypes) {
        const found = await heldValues(storedSource(from, [4, 2 * values], bytes), to, await opening);
        // Only a minimum is left, of which q2_k has two in 32 values.
        expect(lossOf(found, expected), to).toBeLessThanOrEqual(floatsAt[from].length === 1 ? 0 : mostLost(from, to) + 5e-3);
      }
    });

    test("blocks of hostile scales end in numbers or in none, not in a crash", async () => {
      for (const bits of [0x7c00, 0xfc00, 0x7e00, 0x7bff, 0xfbff, 0x0001, 0x8001]) {
        const source = storedSource(from, [2, 2 * values], randomBlocks(from, 4, bits, bits));
        for (const to of dtypes) {
          expect(await heldValues(source, to, await opening)).toHaveLength(4 * values);
          expect(await unitProducts(source, to, await opening)).toHaveLength(4 * values);
        }
      }
    });

    test("rows of no whole blocks, too few bytes and too many are refused", async () => {
      const backend = await opening;
      const before = backend.memory();
      const source = storedSource(from, [4, values], randomBlocks(from, 4, 6));
      for (const columns of [values - 1, values + 16, 1])
        await expect(backend.openWeight({ ...source, shape: [4, columns] }, "q8")).rejects.toThrow(coded("DTYPE"));
      for (const off of [-1, 1, -blockBytes, blockBytes]) {
        const read = async () => new Uint8Array(4 * blockBytes + off);
        await expect(backend.openWeight({ ...source, read }, "q8")).rejects.toThrow(coded("SHAPE"));
      }
      expect({ ...backend.memory(), arenaBytes: 0 }).toEqual({ ...before, arenaBytes: 0 });
    });
  });

  test("every number of q8_0 stays, -128 too", async () => {
    const bytes = new Uint8Array(9 * 34);
    for (let i = 0; i < bytes.length; i++) bytes[i] = i % 34 === 0 ? 0 : i % 34 === 1 ? 0x2c : i - 128; // a scale of 1/16
    const found = await heldValues(storedSource("q8_0", [9, 32], bytes), "q8", await opening);
    expect(found.includes(-128 / 16)).toBe(true);
    expect(found).toEqual(decodeStored(bytes, "q8_0"));
  });

  test("the largest sums that q4_k knows, and powers of two between its blocks, overflow nothing", async () => {
    const columns = 512;
    const bytes = new Uint8Array(17 * 2 * 144).fill(0xff);
    for (let at = 0; at < bytes.length; at += 144) bytes.set([0, 0x3c, 0, 0x3c], at); // 63 · 15 - 63 everywhere
    const source = storedSource("q4_k", [17, columns], bytes);
    const rows = [() => 1, () => -1, (k: number) => 2 ** -((k >> 5) % 7), (k: number) => -(2 ** -(6 - ((k >> 5) % 7)))];
    const x = Float32Array.from({ length: rows.length * columns }, (_, i) => rows[Math.floor(i / columns)](i % columns));
    const found = await products(source, "q4_k", await opening, x);
    const sums = rows.map((of) => Array.from({ length: columns }, (_, k) => 882 * of(k)).reduce((a, b) => a + b));
    expect(
      lossOf(
        found,
        Float32Array.from({ length: found.length }, (_, i) => sums[Math.floor(i / 17)]),
      ),
    ).toBeLessThanOrEqual(1e-6);
  });

  test("a stored dtype that nobody knows is refused", async () => {
    const source = { ...storedSource("q8_0", [1, 32], new Uint8Array(34)), dtype: "q9_9" as StoredDtype };
    await expect((await opening).openWeight(source, "q8")).rejects.toThrow(coded("DTYPE"));
  });
}

/** The weight's values by products with unit vectors. */
async function unitProducts(source: WeightSource, dtype: WeightDtype, backend: Backend): Promise<Float32Array> {
  const [rows, columns] = source.shape;
  const unit = Float32Array.from({ length: columns * columns }, (_, i) => (i % (columns + 1) === 0 ? 1 : 0));
  const product = await products(source, dtype, backend, unit); // [columns, rows]
  return Float32Array.from(product, (_, i) => product[(i % columns) * rows + Math.floor(i / columns)]);
}

/** x [L, columns] times the weight: [L, rows]. */
async function products(source: WeightSource, dtype: WeightDtype, backend: Backend, x: Float32Array): Promise<Float32Array> {
  const columns = source.shape[1];
  const L = x.length / columns;
  const weight = await backend.openWeight(source, dtype);
  const store = await backend.createStates({ layers: [], pageTokens: 1, kvDtype: "f32" });
  await store.reserve(1, 0);
  const list = record({ L, nSequences: 1, nRows: 0 }, store.spec, (ops) =>
    ops.read("y", ops.matmul(ops.input("x", [L, columns]), [weight])[0]),
  );
  const read = await runOnce(backend, list, store, {
    ids: new Int32Array(L),
    starts: Int32Array.of(0, L),
    states: [{ slot: 0, pages: [], seen: 0 }],
    rows: new Int32Array(0),
    tensors: new Map([["x", new HostTensor("float32", x, [L, columns])]]),
  });
  store.dispose();
  weight[Symbol.dispose]();
  return read.get("y")!.data as Float32Array;
}
