// Weights from every stored format in every dtype: what stays exact, and what the rest costs.

import { heldValues, lossOf, mostLost, normal, randomBlocks, seeded, storedSource } from "@jamba/conformance";
import {
  type Backend,
  type BlockDtype,
  blockFormats,
  decodeFloats,
  decodeStored,
  encodeFloats,
  packedDtypeOf,
  type WeightDtype,
} from "@jamba/core";
import { afterAll, describe, expect, test } from "vitest";
import { openWebGpuBackend } from "../src/index.ts";
import { onAdapter } from "./adapter.ts";

const dtypes = ["f32", "bf16", "f16", "q8", "q4", "q4_1", "q4_k"] as const satisfies readonly WeightDtype[];
/** q4_k is written without a search over scales here, and nibbles of other formats become q4_1 by way of floats. */
const wider: Partial<Record<WeightDtype, number>> = { q4_k: 0.06, q4_1: 0.012 };

onAdapter(({ gpu }) => {
  let opening: Promise<Backend>;
  // Small parts: rows of one weight lie in several, and come in pieces.
  const open = () => (opening ??= openWebGpuBackend({ gpu, mostBindingBytes: 2048 }));
  afterAll(async () => (await open()).dispose());

  describe.each(Object.keys(blockFormats) as BlockDtype[])("%s", (from) => {
    const { values } = blockFormats[from];
    // A kernel is compiled for each pair: all of them for two formats, what "auto" takes and two more for the others.
    const own = [packedDtypeOf[from], "q8", "bf16"] as const;
    test.each(from === "q4_0" || from === "q6_k" ? dtypes : dtypes.filter((to) => own.includes(to)))(
      "as %s loses no more than the table says",
      async (to) => {
        for (const [rows, blocks] of [
          [1, 1],
          [17, 3],
          [40, 7],
        ]) {
          const bytes = randomBlocks(from, rows * blocks, rows);
          const found = await heldValues(storedSource(from, [rows, blocks * values], bytes), to, await open());
          // A product and a sum may be rounded once here and twice there.
          const rounding = from === "q4_k" ? 1e-6 : 0;
          const bound = mostLost(from, to) * (rows < 40 ? 2 : 1) + (mostLost(from, to) > 0 ? (wider[to] ?? 0) : rounding);
          expect(lossOf(found, decodeStored(bytes, from)), `${rows} rows of ${blocks} blocks`).toBeLessThanOrEqual(bound);
        }
      },
    );
  });

  test.each(["f32", "bf16", "f16"] as const)("rows of %s of any width are rounded once, or cost what the dtype costs", async (from) => {
    const cost: Record<WeightDtype, number> = { f32: 0, bf16: 2e-3, f16: 2.4e-4, q8: 0.01, q4: 0.12, q4_1: 0.1, q4_k: 0.12 };
    for (const columns of [1, 31, 32, 33, 257]) {
      const random = seeded(columns);
      const bytes = encodeFloats(
        Float32Array.from({ length: 9 * columns }, () => normal(random)),
        from,
      );
      const expected = decodeFloats(bytes, from);
      for (const to of dtypes) {
        const found = await heldValues(storedSource(from, [9, columns], bytes), to, await open());
        expect(lossOf(found, expected), `${columns} columns as ${to}`).toBeLessThanOrEqual(from === to ? 0 : cost[to]);
      }
    }
  });

  test("numbers that f16 has no normal one for are kept by their scales", async () => {
    const tiny = Float32Array.from({ length: 64 }, (_, i) => (i - 32) * 2 ** -22);
    const bytes = encodeFloats(tiny, "f32");
    for (const [to, cost] of [
      ["f16", 0.02],
      ["q8", 0.02],
      ["q4", 0.15],
    ] as const)
      expect(lossOf(await heldValues(storedSource("f32", [1, 64], bytes), to, await open()), tiny), to).toBeLessThanOrEqual(cost);
  });
});
