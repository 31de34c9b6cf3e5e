// Blocks that the backend encodes: right by core's decoder, and with less error than the largest values alone leave.

import { normal, seeded } from "@jamba/conformance";
import { type Backend, type BlockDtype, blockFormats, decodeStored, fromF16, type JambaErrorCode, toF16 } from "@jamba/core";
import { afterAll, describe, expect, test } from "vitest";
import { loadAddon } from "../src/addon.ts";
import { openCpuBackend } from "../src/index.ts";

const addon = await loadAddon().catch((error: Error) => error);

/** Scales of a block by its largest values, without a search, and what its values become. */
const naive = {
  q4_0: (x: Float32Array) => stepped(x, -8, 7),
  q5_0: (x: Float32Array) => stepped(x, -16, 15),
  q8_0: (x: Float32Array) => stepped(x, -127, 127),
  q6_k(x: Float32Array) {
    const scales = parts(x, 16).map((part) => largest(part) / -32);
    const d = half(largest(Float32Array.from(scales)) / -128);
    return parts(x, 16).flatMap((part, p) => [...part].map(step(d * clamp(Math.round(scales[p] / (d || 1)), -128, 127), -32, 31)));
  },
  q4_k(x: Float32Array) {
    const minima = parts(x, 32).map((part) => Math.max(0, -Math.min(...part)));
    const scales = parts(x, 32).map((part, p) => (Math.max(...part) + minima[p]) / 15);
    const [d, m] = [half(Math.max(0, ...scales) / 63), half(Math.max(...minima) / 63)];
    return parts(x, 32).flatMap((part, p) => {
      const [scale, minimum] = [d * clamp(Math.round(scales[p] / (d || 1)), 0, 63), m * Math.round(minima[p] / (m || 1))];
      return [...part].map((v) => step(scale, 0, 15)(v + minimum) - minimum);
    });
  },
} satisfies Partial<Record<BlockDtype, (block: Float32Array) => number[]>>;
type Encoded = keyof typeof naive;
const formats = Object.keys(naive) as Encoded[];

const half = (v: number) => fromF16(toF16(v));
const clamp = (v: number, low: number, high: number) => Math.min(high, Math.max(low, v));
const largest = (x: Float32Array) => x.reduce((most, v) => (Math.abs(v) > Math.abs(most) ? v : most), 0);
const step = (d: number, low: number, high: number) => (v: number) => (d === 0 ? 0 : d * clamp(Math.round(v / d), low, high));
const parts = (x: Float32Array, n: number) => Array.from({ length: x.length / n }, (_, p) => x.subarray(n * p, n * p + n));
const stepped = (x: Float32Array, low: number, high: number) => [...x].map(step(half(largest(x) / low), low, high));

const [rows, columns] = [33, 768];
const sample = (make: (random: () => number, i: number) => number) => {
  const random = seeded(1);
  return Float32Array.from({ length: rows * columns }, (_, i) => make(random, i));
};
/** With the most that may be left of the naive error, in the order of `formats`: some above what was measured. */
const samples: [name: string, values: Float32Array, bounds: number[]][] = [
  ["normal values", sample((r) => 0.02 * normal(r)), [0.9, 0.89, 0.84, 0.77, 0.8]],
  ["heavy tails", sample((r) => (0.02 * normal(r)) / Math.sqrt(r() + 0.01)), [0.94, 0.95, 0.86, 0.85, 0.83]],
  ["values above 0", sample((r) => 0.05 * r()), [0.86, 0.85, 0.83, 0.75, 0.85]],
  ["an outlier in each part", sample((r, i) => (i % 16 === 5 ? 1 : 0.01) * normal(r)), [0.75, 0.88, 1, 1, 0.14]],
];

const errorOf = (x: Float32Array, found: ArrayLike<number>, weight: (i: number) => number = () => 1) =>
  x.reduce((sum, v, i) => sum + weight(i) * (v - found[i]) ** 2, 0);
const coded = (code: JambaErrorCode) => expect.objectContaining({ code });

if (addon instanceof Error) test("encoding blocks", ({ skip }) => skip(addon.message));
else for (const level of addon.levels) describe(level, () => encoderTests(openCpuBackend({ level, threads: 2 })));

function encoderTests(opening: Promise<Backend>): void {
  afterAll(async () => (await opening).dispose());

  describe.each(formats)("%s", (dtype) => {
    const { values: length, bytes } = blockFormats[dtype];
    const encoded = async (x: Float32Array, importance?: Float32Array) =>
      decodeStored(await (await opening).encodeBlocks!(x, importance?.length ?? columns, dtype, importance), dtype);

    test.each(samples)("a search leaves less error than the largest values alone: %s", async (_, x, bounds) => {
      const simple = parts(x, length).flatMap((block) => naive[dtype](block));
      expect(errorOf(x, await encoded(x)) / errorOf(x, simple)).toBeLessThanOrEqual(bounds[formats.indexOf(dtype)]);
    });

    test("importance moves the error to where it counts less", async () => {
      const [[, x]] = samples;
      const random = seeded(2);
      const importance = Float32Array.from({ length: columns }, () => Math.exp(2 * normal(random)));
      const weight = (i: number) => importance[i % columns];
      const [alike, weighted] = [await encoded(x), await encoded(x, importance)];
      expect(errorOf(x, weighted, weight)).toBeLessThan(0.97 * errorOf(x, alike, weight));
      expect(errorOf(x, weighted)).toBeGreaterThan(errorOf(x, alike));
      // What they are relative to changes nothing.
      expect(
        await encoded(
          x,
          importance.map((v) => v * 64),
        ),
      ).toEqual(weighted);
    });

    test("columns that all count for nothing are as important as each other", async () => {
      const [[, x]] = samples;
      expect(await encoded(x, new Float32Array(columns))).toEqual(await encoded(x));
      const half = Float32Array.from({ length: columns }, (_, i) => i % 2);
      expect(errorOf(x, await encoded(x, half))).toBeLessThan(0.2 * errorOf(x, new Float32Array(x.length)));
    });

    test("zeros stay zeros, among others too, and so do multiples of a scale of 4 bits", async () => {
      const x = new Float32Array(columns);
      expect((await encoded(x)).every((v) => v === 0)).toBe(true);
      for (let i = 0; i < columns; i++) x[i] = i % 64 < 32 || i % 3 ? 0 : ((i % 15) - 7) / 64;
      const found = await encoded(x);
      // A K block rounds the scales of its parts to few bits.
      expect(errorOf(x, found)).toBeLessThanOrEqual((dtype.endsWith("k") ? 3e-3 : 2e-7) * errorOf(x, new Float32Array(columns)));
    });

    test("the smallest values and the largest stay in range", async () => {
      for (const size of [1e-30, 1e-9, 1e-5, 1, 2 ** 18]) {
        const random = seeded(3);
        const x = Float32Array.from({ length: columns }, () => size * (2 * random() - 1));
        const found = await encoded(x);
        expect(
          found.every((v) => Math.abs(v) <= 1.2 * size + 1e-5),
          `${size}`,
        ).toBe(true);
        if (size >= 1) expect(errorOf(x, found)).toBeLessThan(0.01 * errorOf(x, new Float32Array(columns)));
      }
    });

    test("one block, no rows, and calls at once", async () => {
      const [[, x]] = samples;
      const backend = await opening;
      const one = await backend.encodeBlocks!(x.subarray(0, length), length, dtype);
      expect(one.length).toBe(bytes);
      expect(await backend.encodeBlocks!(new Float32Array(0), length, dtype)).toEqual(new Uint8Array(0));
      const all = await Promise.all(
        Array.from({ length: 5 }, (_, i) => backend.encodeBlocks!(x.subarray(0, (i + 1) * length), length, dtype)),
      );
      for (const found of all) expect(found.subarray(0, bytes)).toEqual(one);
    });

    test("values that no block holds and rows of no whole blocks are refused", async () => {
      const backend = await opening;
      for (const odd of [Number.NaN, Number.POSITIVE_INFINITY, -(2 ** 19)]) {
        const x = new Float32Array(2 * length).fill(1);
        x[length + 7] = odd;
        await expect(backend.encodeBlocks!(x, length, dtype)).rejects.toThrow(coded("DTYPE"));
      }
      const x = new Float32Array(2 * length);
      for (const bad of [0, -length, length - 1, length / 2, 4 * length, Number.NaN, 0.5, 2 ** 40])
        await expect(backend.encodeBlocks!(x, bad, dtype), `${bad}`).rejects.toThrow(coded("SHAPE"));
      await expect(backend.encodeBlocks!(new Float32Array(length + 1), length, dtype)).rejects.toThrow(coded("SHAPE"));
      for (const odd of [Number.NaN, -1, Number.POSITIVE_INFINITY])
        await expect(backend.encodeBlocks!(x, length, dtype, new Float32Array(length).fill(odd))).rejects.toThrow(coded("SHAPE"));
      await expect(backend.encodeBlocks!(x, length, dtype, new Float32Array(1))).rejects.toThrow(coded("SHAPE"));
    });
  });

  test("a format that is not written, and a disposed backend, are refused", async () => {
    const x = new Float32Array(256);
    for (const dtype of ["q4_1", "q3_k", "f16", "?"] as BlockDtype[])
      await expect((await opening).encodeBlocks!(x, 256, dtype)).rejects.toThrow(coded("DTYPE"));
    const own = await openCpuBackend({ threads: 1 });
    await own.dispose();
    await expect(own.encodeBlocks!(x, 256, "q4_0")).rejects.toThrow(coded("DISPOSED"));
  });
}
