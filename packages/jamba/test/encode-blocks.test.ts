// A quantised file is the same whoever encoded it: the loader, in TypeScript, or the CPU backend at any instruction set.

import { openCpuBackend } from "@jamba/backend-cpu";
import { normal, seeded } from "@jamba/conformance";
import type { BlockDtype } from "@jamba/core";
import { encodeBlocks } from "@jamba/loader";
import fc from "fast-check";
import { afterAll, describe, expect, test } from "vitest";
import { cpuLevels } from "./golden.ts";

const formats: readonly BlockDtype[] = ["q4_0", "q5_0", "q8_0", "q4_k", "q6_k"];
const columns = 256;
type Make = (random: () => number, column: number) => number;
const row = (make: Make, seed = 1) => {
  const random = seeded(seed);
  return Float32Array.from({ length: columns }, (_, column) => make(random, column));
};

/** Of either sign, over the exponents of all values that blocks hold and down to the smallest f32. */
const anySize: Make = (r) => (2 * r() - 1) * 2 ** (18 - 167 * r());
const rows: Readonly<Record<string, Make>> = {
  zeros: () => 0,
  "negative zeros": () => -0,
  ones: () => 1,
  "a constant below 0": () => -0.0371,
  "the largest values": (r) => (r() < 0.5 ? -1 : 1) * 2 ** 18,
  "one spike": (_, column) => (column === 77 ? -3.7 : 0),
  "a spike in each part": (r, column) => (column % 16 === 5 ? 1 : 0.01) * normal(r),
  "weights of a layer": (r) => 0.02 * normal(r),
  "heavy tails": (r) => (0.02 * normal(r)) / Math.sqrt(r() + 0.01),
  "above 0": (r) => 0.05 * r(),
  "below 0": (r) => -3 - r(),
  "nearly alike": (r) => 1000 + 2 ** -13 * Math.floor(2 * r()),
  "halves of steps": (r) => Math.round(30 * r() - 15) / 2,
  denormals: (r) => 1e-40 * normal(r),
  "one value among denormals": (r, column) => (column % 64 === 3 ? 0.5 : 1e-42 * normal(r)),
  "around the smallest scale": (r) => 2 ** -24 * normal(r),
  "below the smallest scale": (r) => 2 ** -26 * normal(r),
  "any size": anySize,
  "each part of its own size": (r, column) => 2 ** (10 - 4 * Math.floor(column / 32)) * normal(r),
};
const importances: Readonly<Record<string, Make | undefined>> = {
  none: undefined,
  "zeros only": () => 0,
  "zeros among others": (r) => (r() < 0.5 ? 0 : Math.exp(3 * normal(r))),
  "one column only": (_, column) => (column === 40 ? 1e30 : 0),
  "any size": (r) => Math.abs(anySize(r, 0)),
};

describe.skipIf(cpuLevels.length === 0).each(cpuLevels)("blocks of the loader and of the backend at %s are the same", (level) => {
  const opening = openCpuBackend({ level, threads: 1 });
  afterAll(async () => (await opening).dispose());

  async function expectSame(x: Float32Array, dtype: BlockDtype, importance: Float32Array | undefined, name: string): Promise<void> {
    const found = await (await opening).encodeBlocks!(x, columns, dtype, importance);
    expect(Buffer.compare(found, encodeBlocks(x, columns, dtype, importance)), `${dtype}: ${name}`).toBe(0);
  }

  test.each(Object.entries(importances))("importance: %s", async (_, make) => {
    const importance = make && row(make, 2);
    for (const dtype of formats) for (const [name, values] of Object.entries(rows)) await expectSame(row(values), dtype, importance, name);
  });

  test("any values", async () => {
    const bits = fc.uint32Array({ minLength: columns, maxLength: columns });
    /** Of all f32 that blocks hold. */
    const valuesOf = (words: Uint32Array) => new Float32Array(words.map((word) => (word & 0x80000000) | (word % 0x48800001)).buffer);
    await fc.assert(
      fc.asyncProperty(bits, fc.option(bits), fc.constantFrom(...formats), (values, weights, dtype) =>
        expectSame(valuesOf(values), dtype, weights ? valuesOf(weights).map(Math.abs) : undefined, "any values"),
      ),
      { numRuns: 60, seed: 5 },
    );
  });
});
