// What a model on a GPU's backend must give: the goldens' numbers, and the reference's texts.

import { type Backend, decodeFloats, type HostTensor } from "@jamba/core";
import { openCheckpoint } from "@jamba/loader";
import { expect } from "vitest";
import { loadModel } from "../src/index.ts";
import { type GoldenCase, goldenFolder, logitTolerance, relativeTolerance } from "./golden.ts";

/** Of adapters in software, and of what has not run on hardware. */
const onWarning = () => undefined;

export async function expectGolden(name: GoldenCase, backend: Backend): Promise<void> {
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
}

/** The same for all who ask. */
let expected: Promise<string[]> | undefined;

export function referenceTexts(): Promise<string[]> {
  expected ??= textsOf("reference");
  return expected;
}

export async function textsOf(backend: Backend | "reference"): Promise<string[]> {
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
