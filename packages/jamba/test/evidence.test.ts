// Answers drawn from a few candidates and sums against answers drawn from whole rows: the same tokens, whatever was asked for.

import { setImmediate as turn } from "node:timers/promises";
import { type Backend, HostTensor } from "@jamba/core";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { candidates } from "../src/engine/evidence.ts";
import { type GenerateOptions, type JambaModel, loadModel, type Prompt } from "../src/index.ts";
import { cpuAbsent, openCpu } from "./golden.ts";

/** A device that gives no more than the `k` best of each row, whatever it is asked for. With none of them a draw knows nothing but sums. */
async function openNarrow(k: number): Promise<Backend> {
  const backend = await openCpu();
  const { submit } = backend;
  backend.submit = (...args) => {
    const step = submit.apply(backend, args);
    const read: typeof step.read = async (name, rows) => {
      const whole = await step.read(name, rows);
      if (name !== "top.ids" && name !== "top.values") return whole;
      const [nRows, columns] = whole.dims;
      const data = (whole.data as Float32Array | Int32Array).filter((_, i) => i % columns < k);
      return new HostTensor(data as Float32Array, [nRows, k]);
    };
    return { done: step.done, read };
  };
  return backend;
}

/** Candidates of each row: what a device should give, and too few for most draws. */
const widths = { full: candidates, best: 1, none: 0 } as const;
const models = {} as Record<keyof typeof widths, JambaModel>;
const backends: Backend[] = [];
beforeAll(async () => {
  if (cpuAbsent) return;
  for (const name of Object.keys(widths) as (keyof typeof widths)[]) {
    const backend = await openNarrow(widths[name]);
    backends.push(backend);
    models[name] = await loadModel("tiny", { backend, cache: { bytes: 0 } });
  }
});
afterAll(async () => {
  for (const model of Object.values(models)) await model.dispose();
  for (const backend of backends) await backend.dispose();
});
beforeEach(({ skip }) => {
  if (cpuAbsent) skip(cpuAbsent);
});

const schema = {
  type: "object",
  properties: { name: { type: "string", maxLength: 12 }, age: { type: "integer", minimum: 0, maximum: 120 } },
  required: ["name", "age"],
};
const story = "Once upon a time";
const repeats = "red fox, blue owl, green frog, red fox, blue owl, green frog, red fox, blue owl,";
const cases: readonly [name: string, prompt: Prompt, options: GenerateOptions][] = [
  ["greedy", story, {}],
  ["greedy with penalties", story, { repetitionPenalty: 1.4, frequencyPenalty: 0.5, presencePenalty: 0.5 }],
  ["temperature 1", story, { temperature: 1 }],
  ["temperature 2", story, { temperature: 2 }],
  ["topP", story, { temperature: 2, topP: 0.8 }],
  ["topK", story, { temperature: 2, topK: 40 }],
  ["minP", story, { temperature: 2, minP: 0.01 }],
  ["typicalP", story, { temperature: 2, typicalP: 0.7 }],
  ["xtc", story, { temperature: 1, xtc: { probability: 0.7, threshold: 0.05 } }],
  ["penalties", story, { temperature: 1.5, repetitionPenalty: 1.3, frequencyPenalty: 0.4, presencePenalty: 0.3 }],
  ["dry", repeats, { temperature: 1, dry: { multiplier: 2, allowedLength: 1, breakers: ["\n"] } }],
  ["logitBias", story, { temperature: 1.5, logitBias: { 290: -5, 400: 6, 401: 6.5, 2: -100 } }],
  ["greedy JSON", story, { format: { type: "json", schema } }],
  ["JSON", story, { temperature: 1.5, format: { type: "json", schema } }],
  ["guesses", repeats, { temperature: 0.3, promptLookup: { ngram: 1 }, frequencyPenalty: 0.2 }],
  ["everything", repeats, { temperature: 1.5, topK: 200, topP: 0.95, minP: 0.001, typicalP: 0.95, xtc: { probability: 0.3 }, repetitionPenalty: 1.1, dry: { multiplier: 0.8 }, logitBias: { 400: 3 } }],
]; // biome-ignore format: a list

describe.each(cases)("%s", (_, prompt, options) => {
  test.each([1, 2])("the same text from candidates, from the best alone, and from whole rows (seed %i)", async (seed) => {
    const asked: GenerateOptions = { maxTokens: 48, ignoreEos: true, seed, logprobs: true, ...options };
    const [full, best, none] = await Promise.all(Object.values(models).map((model) => model.generate(prompt, asked)));
    for (const other of [best, none]) {
      expect(other.ids).toEqual(full.ids);
      expect(other).toMatchObject({ text: full.text, finishReason: full.finishReason, speculation: full.speculation });
      expect(other.logprobs!.map(({ logprob }) => logprob)).toEqual(full.logprobs!.map(({ logprob }) => expect.closeTo(logprob, 4)));
    }
    const counts = [full, best, none].map(({ timings }) => timings.fullRowDraws);
    expect(counts[2]).toBe(none.ids.length - none.timings.forcedTokens);
    expect(counts[1]).toBeLessThanOrEqual(counts[2]);
    expect(counts[0]).toBeLessThan(counts[2]);
    expect(counts[0]).toBeLessThanOrEqual(counts[1]);
  });
});

test("the row after a guess is there for who comes to draw from it many steps of others later", async () => {
  const asked = (seed: number): GenerateOptions => ({ maxTokens: 30, ignoreEos: true, temperature: 0.2, seed, promptLookup: { ngram: 1 } });
  const expected = [];
  for (let seed = 0; seed < 6; seed++) expected.push((await models.full.generate(repeats, asked(seed))).ids);
  let accepted = 0;
  const before = models.none.steps();
  const late = async (seed: number) => {
    const stream = models.none.stream(repeats, asked(seed));
    // Readers who take their time, each another one.
    for await (const _ of stream) for (let i = 0; i < 12 * seed; i++) await turn();
    const { ids, speculation, timings } = await stream.result;
    accepted += speculation!.accepted;
    expect(timings.fullRowDraws).toBe(ids.length);
    return ids;
  };
  expect(await Promise.all(expected.map((_, seed) => late(seed)))).toEqual(expected);
  expect(accepted).toBeGreaterThan(3);
  expect(models.none.steps().sequences - before.sequences).toBeGreaterThan(models.none.steps().steps - before.steps);
  expect(models.none.inUse()).toEqual({ slots: 0, pages: 0 });
});
