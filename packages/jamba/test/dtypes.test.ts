// What it costs to hold weights in fewer bits, and that each weight is held as was asked.

import { openCpuBackend } from "@jamba/backend-cpu";
import { type Backend, openReference, type WeightDtype, type WeightSource } from "@jamba/core";
import { openCheckpoint, parseConfig } from "@jamba/loader";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type LoadDtype, loadModel } from "../src/index.ts";
import { checkpointOpener, loadWeights } from "../src/load/open-weights.ts";
import { cpuAbsent, cpuLevels, type GoldenCase, goldenFolder, openGolden } from "./golden.ts";

const dtypes = ["f16", "bf16", "q8", "q4", "experts-int8"] as const satisfies LoadDtype[];

/**
 * Largest error of logits against those of f32 weights, root mean square over root mean square: about one and a half times
 * what the worst level of an AVX-512 machine gave, and 1e-5 where only the order of sums differs. In the order of `dtypes`:
 *
 * f16           11 bits of each weight, and keys and values in f16. A bf16 file loses nothing else, so `tiny` shows the keys and values.
 * bf16          8 bits of each weight, which a bf16 file has lost before; at avx512bf16 also 8 bits of activations, as `bf16-loud` and `tiny` show.
 * q8            weights and activations in steps of 1/127 of the largest of 32.
 * q4            weights in steps of 1/8 of the largest of 32, activations as with q8. Errors add up over the 28 layers of `dense-tied`;
 *               in `bf16-loud` what a feed-forward gives outgrows the stream that it is added to, so nothing exact dilutes its error.
 * experts-int8  q8 in experts alone, keys and values as f16 where the file is bf16. `dense-tied` has no experts.
 */
const bounds: Readonly<Record<GoldenCase | "tiny", readonly number[]>> = {
  base: [7e-4, 7e-3, 3.3e-2, 0.17, 8e-3],
  odd: [5e-4, 5.5e-3, 1.8e-2, 0.12, 2.4e-3],
  "dense-tied": [1.2e-3, 1.4e-2, 4.6e-2, 0.33, 0],
  long: [6.5e-4, 7e-3, 2.4e-2, 0.14, 6.6e-3],
  "bf16-loud": [1e-5, 1.1e-2, 5.5e-2, 0.46, 2.6e-2],
  "one-token": [6.5e-4, 6.5e-3, 2e-2, 0.14, 3.2e-3],
  tiny: [5.1e-5, 3.1e-3, 1.6e-2, 0.1, 5.3e-3],
};

if (cpuAbsent) test("dtypes on cpu", ({ skip }) => skip(cpuAbsent));

describe.each(cpuLevels)("logits at %s", (level) => {
  let backend: Backend;
  beforeAll(async () => {
    backend = await openCpuBackend({ level });
  });
  afterAll(() => backend.dispose());

  const text = "Once upon a time, a little girl named Ines lived near the farm. She had a friend, and her friend was called Alice.";

  async function logitsOf(source: GoldenCase | "tiny", dtype: LoadDtype): Promise<Float32Array> {
    await using model = await loadModel(source === "tiny" ? source : goldenFolder(source), { backend, dtype });
    const ids = source === "tiny" ? model.tokenizer.encode(text, { addBos: true }) : (await openGolden(source)).ids;
    return (await model.forward(ids, { logits: "all" })).logits.data as Float32Array;
  }

  test.each(Object.entries(bounds) as [GoldenCase | "tiny", number[]][])("of %s stay within the table", async (source, row) => {
    const exact = await logitsOf(source, "f32");
    for (const [i, dtype] of dtypes.entries()) {
      const found = await logitsOf(source, dtype);
      const error = Math.sqrt(squares(found, (v, j) => v - exact[j]) / squares(exact, (v) => v));
      expect(error, dtype).toBeLessThanOrEqual(row[i]);
    }
  });
});

function squares(values: Float32Array, f: (v: number, i: number) => number): number {
  let sum = 0;
  for (const [i, v] of values.entries()) sum += f(v, i) ** 2;
  return sum;
}

describe("each weight is held as was asked", () => {
  /** By name: what is exact always, what q4 holds as q8, experts, and all other matrices. */
  const kinds: readonly [kind: string, RegExp][] = [
    ["exact", /norm|bias|conv1d|\.A$|\.D$|router/],
    ["fine", /embed_tokens|lm_head|x_proj|dt_proj/],
    ["experts", /experts/],
    ["matrix", /in_proj|out_proj|[qkvo]_proj|gate_proj|up_proj|down_proj/],
  ];

  async function heldAs(source: GoldenCase, dtype: LoadDtype): Promise<Record<string, WeightDtype>> {
    const held: Record<string, WeightDtype> = {};
    const reference = openReference();
    const opener = {
      device: { ...reference.device, weightDtypes: ["f32", "bf16", "f16", "q8", "q4"] as const },
      async openWeight({ name, shape }: WeightSource, dtype: WeightDtype) {
        const kind = kinds.find(([, pattern]) => pattern.test(name))![0];
        expect(held[kind] ?? dtype, name).toBe(dtype);
        held[kind] = dtype;
        return { name, shape, dtype, [Symbol.dispose]: () => undefined };
      },
    };
    await using checkpoint = await openCheckpoint(goldenFolder(source));
    const config = parseConfig(checkpoint.config);
    await loadWeights(config, checkpointOpener(checkpoint, config, opener, dtype));
    return held;
  }

  const exact = "f32";
  test.each<[GoldenCase, LoadDtype, Record<string, WeightDtype>]>([
    ["odd", "auto", { exact, fine: "f32", experts: "f32", matrix: "f32" }],
    ["bf16-loud", "auto", { exact, fine: "bf16", experts: "bf16", matrix: "bf16" }],
    ["bf16-loud", "f32", { exact, fine: "f32", experts: "f32", matrix: "f32" }],
    ["bf16-loud", "f16", { exact, fine: "f16", experts: "f16", matrix: "f16" }],
    ["odd", "bf16", { exact, fine: "bf16", experts: "bf16", matrix: "bf16" }],
    ["odd", "q8", { exact, fine: "q8", experts: "q8", matrix: "q8" }],
    ["odd", "q4", { exact, fine: "q8", experts: "q4", matrix: "q4" }],
    ["dense-tied", "q4", { exact, fine: "q8", matrix: "q4" }],
    ["odd", "experts-int8", { exact, fine: "f32", experts: "q8", matrix: "f32" }],
    ["bf16-loud", "experts-int8", { exact, fine: "bf16", experts: "q8", matrix: "bf16" }],
  ])("%s as %s", async (source, dtype, expected) => {
    expect(await heldAs(source, dtype)).toEqual(expected);
  });

  test.for<[LoadDtype, WeightDtype[]]>([
    ["auto", ["bf16", "f32"]],
    ["q8", ["q8", "f32"]],
    ["q4", ["q4", "q8", "f32"]],
    ["experts-int8", ["q8", "bf16", "f32"]],
  ])("and the model says so: %s", async ([dtype, expected], { skip }) => {
    if (cpuAbsent) skip(cpuAbsent);
    await using model = await loadModel("tiny", { backend: "cpu", dtype });
    expect(model.dtypes).toEqual(expected);
  });
});
