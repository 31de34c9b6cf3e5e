// Whole models on WebGPU: goldens, the small model's texts, and what happens where the device goes.

import { openWebGpuBackend, type WebGpuOptions } from "@jamba/backend-webgpu";
import { type Backend, decodeFloats, type HostTensor } from "@jamba/core";
import { openCheckpoint } from "@jamba/loader";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type FoundAdapter, findAdapter } from "../../../tooling/software-gpu/src/adapter.ts";
import { loadModel } from "../src/index.ts";
import { type GoldenCase, goldenCases, goldenFolder, logitTolerance, relativeTolerance } from "./golden.ts";

const ways: readonly (readonly [name: string, options: WebGpuOptions])[] = [
  ["as it is", {}],
  ["in bindings of 512 bytes", { mostBindingBytes: 512 }],
  ["in bindings of 128 MiB, without dot products of bytes", { mostBindingBytes: 2 ** 27, without: ["packed_4x8_integer_dot_product"] }],
];

/** Of adapters in software. */
const onWarning = () => undefined;

const found = await findAdapter();
if (typeof found === "string") test("models on WebGPU", ({ skip }) => skip(found));
else describe.each(ways)(`${found.name}, %s`, (_, options) => testModels(found, options));

function testModels({ gpu }: FoundAdapter, options: WebGpuOptions): void {
  // One for all, since each compiles its own kernels. 512 bytes would cut the small model's weights into more buffers than a process may map.
  let backend: Backend;
  let roomy: Backend;
  beforeAll(async () => {
    backend = await openWebGpuBackend({ gpu, ...options });
    const { mostBindingBytes = 2 ** 18 } = options;
    roomy = mostBindingBytes < 2 ** 18 ? await openWebGpuBackend({ gpu, ...options, mostBindingBytes: 2 ** 18 }) : backend;
  });
  afterAll(() => Promise.all([backend.dispose(), roomy.dispose()]));

  // All of them as it is; otherwise the odd ones, and all for engines.mjs.
  const isWhole = Object.keys(options).length === 0 || process.env.JAMBA_WEBGPU_ALL;
  const names: readonly GoldenCase[] = isWhole ? goldenCases : ["base", "odd", "one-token"];
  test.each(names)("golden %s", async (name) => {
    const folder = goldenFolder(name);
    const file = await openCheckpoint(`${folder}/golden.safetensors`);
    const floats = async (tensor: string) => decodeFloats(await file.read(tensor), "f32");
    const integers = async (tensor: string) => Array.from(new BigInt64Array((await file.read(tensor)).slice().buffer), Number);
    const [ids, greedy] = await Promise.all([integers("ids"), integers("greedy")]);
    const rows = file.tensors.has("logit_rows") ? await integers("logit_rows") : [...ids.keys()];
    await using model = await loadModel(folder, { backend, dtype: "f32", kvDtype: "f32", onWarning });
    const { logits, hidden, routes, state } = await model.forward(ids, { logits: "all", hidden: true, routes: true });
    expect(farthest(logits, await floats("logits"), rows).error).toBeLessThanOrEqual(logitTolerance);
    for (const [i, found] of hidden!.entries()) {
      const { error, magnitude } = farthest(found, await floats(`hidden.${i}`), rows);
      expect(error / magnitude, `hidden.${i}`).toBeLessThanOrEqual(relativeTolerance);
      if (!file.tensors.has(`route.${i}`)) continue;
      const { data, dims } = routes![i]!.experts;
      const chosen = rows.flatMap((row) => [...(data as Int32Array).subarray(row * dims[1], (row + 1) * dims[1])]);
      expect(chosen, `route.${i}`).toEqual(await integers(`route.${i}`));
    }
    for (const [i, layer] of (await state.export()).layers.entries()) {
      for (const part of layer.kind === "mamba" ? (["h"] as const) : (["k", "v"] as const)) {
        if (!file.tensors.has(`state.${i}.${part}`)) continue;
        const { error, magnitude } = farthest((layer as never)[part], await floats(`state.${i}.${part}`));
        expect(error / magnitude, `state.${i}.${part}`).toBeLessThanOrEqual(relativeTolerance);
      }
    }
    state.dispose();
    expect((await model.generate(ids, { maxTokens: greedy.length, ignoreEos: true })).ids).toEqual(greedy);
    await file.close();
  });

  test("the small model writes the reference's text", async () => {
    expected ??= textsOf("reference");
    expect(await textsOf(roomy)).toEqual(await expected);
  });

  if (options.mostBindingBytes === 512)
    test("the small model, which would take too many buffers, is refused and leaves none", async () => {
      const { weightBytes } = backend.memory();
      const refused = { code: "OUT_OF_MEMORY", message: expect.stringMatching(/at most 16384 buffers/) };
      await expect(loadModel("tiny", { backend, dtype: "f32", onWarning })).rejects.toMatchObject(refused);
      expect(backend.memory().weightBytes).toBe(weightBytes);
    });
}

/** The same for all ways. */
let expected: Promise<string[]> | undefined;

async function textsOf(backend: Backend | "reference"): Promise<string[]> {
  await using model = await loadModel("tiny", { backend, dtype: "f32", onWarning });
  const prompts = ["Once upon a time", "The fox", "Who are you?"];
  return await Promise.all(prompts.map(async (prompt) => (await model.generate(prompt, { maxTokens: 24 })).text));
}

/** Largest difference of some rows, or of all values; NaN counts as infinite. */
function farthest({ data }: HostTensor, expected: Float32Array, rows = [0]) {
  const columns = expected.length / rows.length;
  let [error, magnitude] = [0, 0];
  for (const [i, v] of expected.entries()) {
    const difference = Math.abs((data as Float32Array)[rows[Math.floor(i / columns)] * columns + (i % columns)] - v);
    error = Number.isNaN(difference) ? Number.POSITIVE_INFINITY : Math.max(error, difference);
    magnitude = Math.max(magnitude, Math.abs(v));
  }
  return { error, magnitude };
}
