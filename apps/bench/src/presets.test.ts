import { describe, expect, test } from "vitest";
import { blockOf, bytesPerValue } from "./blocks.ts";
import { configOf, costsOf, logitSpread, type PresetName, presets, tensorsOf, weightStd } from "./presets.ts";
import { normals, randomFrom } from "./random.ts";
import { median } from "./statistics.ts";
import { syntheticCheckpoint } from "./synthetic.ts";
import { allWorks, plansOf } from "./works.ts";

const costs = (preset: PresetName) => costsOf(configOf(preset), (spec) => bytesPerValue(blockOf(spec, "q4")));

// Parameters, file and bytes per token as counted by hand and by llama.cpp when the peer was first measured.
test.each([
  ["3b", 3.029, 1.758, 1.779],
  ["tiny-dev", 0.315, 0.196, 0.124],
  ["mini-slice", 13.3, 7.553, 1.862],
] as const)("%s has %f billion parameters", (preset, parameters, file, perToken) => {
  const { parameters: n, weightBytes, decodeBytes } = costs(preset);
  expect(n / 1e9).toBeCloseTo(parameters, parameters > 10 ? 2 : 3);
  expect(weightBytes / 1e9).toBeCloseTo(file, 3);
  expect(decodeBytes(16) / 1e9).toBeCloseTo(perToken, 3);
});

test("a token costs two operations per weight that it meets, the head only once per prompt", () => {
  const { prefillOps } = costs("3b");
  const head = 2 * 65536 * 2560;
  expect((prefillOps(512) - head) / 512).toBe(prefillOps(2) - prefillOps(1));
  expect((prefillOps(2) - prefillOps(1)) / 1e9).toBeCloseTo(5.717, 2);
});

describe("the random checkpoint", () => {
  const checkpoint = syntheticCheckpoint("nano", presets.nano);

  test("has a tensor for each expert, and no other than the shapes ask for", () => {
    const stacks = tensorsOf(configOf("nano")).filter(({ name }) => name.includes("*")).length;
    expect(checkpoint.tensors.size).toBe(tensorsOf(configOf("nano")).length + stacks * (presets.nano.num_experts - 1));
  });

  test("gives the same row alone and among others", async () => {
    const weight = checkpoint.weight("model.layers.1.feed_forward.experts.3.up_proj.weight");
    const all = await weight.read(0, 512);
    expect(all.length).toBe(512 * 256 * 2);
    expect(await weight.read(100, 101)).toEqual(all.slice(100 * 512, 101 * 512));
  });

  test("has logits of an entropy of a few nats", async () => {
    const { buffer, byteOffset } = await checkpoint.weight("model.final_layernorm.weight").read(0, 1);
    const [norm] = new Float32Array(buffer.slice(byteOffset, byteOffset + 4));
    expect(norm * weightStd * Math.sqrt(presets.nano.hidden_size)).toBeCloseTo(logitSpread);
    const random = randomFrom(7);
    const entropies = Array.from({ length: 15 }, () => {
      const weights = normals(random, 65536, logitSpread).map(Math.exp);
      const total = weights.reduce((sum, weight) => sum + weight);
      return weights.reduce((sum, weight) => sum - (weight / total) * Math.log(weight / total), 0);
    });
    expect(median(entropies)).toBeGreaterThan(2);
    expect(median(entropies)).toBeLessThan(4);
  });

  test("has A_log = log(1 … 16)", async () => {
    const { buffer, byteOffset } = await checkpoint.weight("model.layers.0.mamba.A_log").read(3, 4);
    const row = new Float32Array(buffer.slice(byteOffset, byteOffset + 64));
    for (const [i, value] of row.entries()) expect(value).toBeCloseTo(Math.log(1 + i), 6);
  });
});

test("filters name cells from the left, and one that names none is an error", () => {
  expect(plansOf(["3b/q4/prefill-512", "3b/q4/load"])).toEqual([{ model: "3b", format: "q4", works: ["load", "prefill-512"] }]);
  expect(plansOf(["*"]).map(({ model, format }) => `${model}/${format}`)).toEqual([
    "3b/q4",
    "3b/q8",
    "3b/bf16",
    "tiny-dev/q4",
    "tiny-dev/q8",
    "mini-slice/q4",
  ]);
  expect(plansOf(["nano/q8"])).toEqual([
    { model: "nano", format: "q8", works: allWorks.filter((work) => !/^(rollback|fork|next-turn|edit|regenerate)/.test(work)) },
  ]);
  expect(plansOf(["nano/q8/rollback"])).toEqual([{ model: "nano", format: "q8", works: ["rollback"] }]);
  expect(plansOf(["*/*/memory"]).every(({ works }) => works.join() === "memory")).toBe(true);
  expect(() => plansOf(["3b", "3b/q5"])).toThrow(/3b\/q5/);
});
