// Calls of every kind at the same time: they share steps, and each gives what it gives alone.

import type { HostTensor } from "@jamba/core";
import { describe, expect, test } from "vitest";
import { type JambaModel, loadModel } from "../src/index.ts";
import { backends } from "./golden.ts";

const idsOf = (count: number, seed: number) => Array.from({ length: count }, (_, i) => 300 + ((i * i * 31 + i * 7 + seed * 101) % 1700));
const numbers = (tensor?: HostTensor) => tensor && { dims: tensor.dims, data: tensor.data };

type Call = (model: JambaModel) => Promise<unknown>;

/** By what they are; each reads tokens of its own. */
const callsOf = (scale: number): Record<string, Call> => ({
  greedy: async (model) => essence(await model.generate("Once upon a time", { maxTokens: 4 * scale, logprobs: true })),
  sampled: async (model) =>
    essence(await model.generate("The fox", { maxTokens: 4 * scale, temperature: 1, seed: 3, repetitionPenalty: 1.2 })),
  "forward, all of it": async (model) => {
    const { logits, hidden, routes, state } = await model.forward(idsOf(12 * scale, 1), { logits: "all", hidden: true, routes: true });
    const { seen, layers } = await state.export();
    state.dispose();
    const after = layers.map((layer) => (layer.kind === "mamba" ? [layer.conv, layer.h] : [layer.k, layer.v]).map(numbers));
    const experts = routes!.map((one) => one && [numbers(one.experts), numbers(one.weights)]);
    return { logits: numbers(logits), hidden: hidden!.map(numbers), experts, seen, after };
  },
  "forward, from a state": async (model) => {
    const before = await model.forward(idsOf(3 * scale, 2));
    const { logits, state } = await model.forward(idsOf(3 * scale, 3), { state: before.state });
    before.state.dispose();
    state.dispose();
    return [numbers(before.logits), numbers(logits)];
  },
  embed: async (model) => numbers(await model.embed(["A red fox.", "An owl that sings at night, far away.", "Bells."])),
  score: (model) => model.score("Once upon a time, a little girl", " named Ines lived near the farm."),
  "score of ids": (model) => model.score(idsOf(10 * scale, 4), idsOf(4 * scale, 5)),
});

const essence = ({ text, ids, finishReason, logprobs }: Awaited<ReturnType<JambaModel["generate"]>>) => ({
  text,
  ids,
  finishReason,
  logprobs,
});

describe.each(backends)("on $name", ({ name: backend, absent }) => {
  test("forward, embed, score and generate share steps, and each gives what it gives alone", async ({ skip }) => {
    if (absent) skip(absent);
    const calls = Object.entries(callsOf(backend === "reference" ? 1 : 5));
    await using model = await loadModel("tiny", { backend, cache: { bytes: 0 } });
    const alone: Record<string, unknown> = {};
    for (const [name, call] of calls) alone[name] = await call(model);
    const first = model.steps();
    const together = await Promise.all(calls.map(async ([name, call]) => [name, await call(model)] as const));
    for (const [name, found] of together) expect(found, name).toEqual(alone[name]);
    const all = model.steps();
    const second = { steps: all.steps - first.steps, sequences: all.sequences - first.sequences, tokens: all.tokens - first.tokens };
    expect(second.tokens).toBe(first.tokens);
    expect(second.sequences).toBeGreaterThan(second.steps);
    expect(second.steps).toBeLessThan(0.75 * first.steps);
    expect(model.inUse()).toEqual({ slots: 0, pages: 0 });
    expect(model.calls()).toEqual({ running: 0, waiting: 0 });
  });

  test("a draw that takes all logits has its own, also in a step of which another call reads all", async ({ skip }) => {
    if (absent) skip(absent);
    await using model = await loadModel("tiny", { backend, cache: { bytes: 0 } });
    const draw = () => model.generate("The fox", { maxTokens: 6, temperature: 100, seed: 3, logprobs: true });
    const alone = await draw();
    expect(alone.timings.fullRowDraws).toBeGreaterThan(0);
    const forward = async () => {
      for (let i = 0; i < 8; i++) (await model.forward(idsOf(5, i), { logits: "all" })).state.dispose();
    };
    const [found] = await Promise.all([draw(), forward(), forward()]);
    expect([found.ids, found.logprobs]).toEqual([alone.ids, alone.logprobs]);
  });

  test("calls that wait for their turn hold no state", async ({ skip }) => {
    if (absent) skip(absent);
    await using model = await loadModel("tiny", { backend, cache: { bytes: 0 }, limits: { sequences: 2 } });
    const texts = Array.from({ length: 12 }, (_, i) => `A fox and ${i} owls.`);
    const alone = await Promise.all(texts.slice(-2).map((text) => model.embed(text)));
    const calls = [model.embed(texts), model.forward([1, 2, 3]), model.score([1, 2], [3, 4])] as const;
    let [isOver, most] = [false, 0];
    const all = Promise.all(calls).finally(() => {
      isOver = true;
    });
    while (!isOver) {
      most = Math.max(most, model.inUse().slots);
      await new Promise((resolve) => setImmediate(resolve));
    }
    const [rows, { state }] = await all;
    state.dispose();
    // Two that run, each with a copy while its step may be stopped, and the state that `forward` gave away.
    expect(most).toBeGreaterThanOrEqual(2);
    expect(most).toBeLessThanOrEqual(5);
    expect(rows.data.slice(-2 * model.config.dModel)).toEqual(Float32Array.from(alone.flatMap(({ data }) => [...(data as Float32Array)])));
    expect(model.inUse()).toEqual({ slots: 0, pages: 0 });
  });

  /** What ends otherwise than `greedy` and `embed`, which run beside it. */
  async function besideOthers(model: JambaModel, other: () => Promise<unknown>): Promise<PromiseSettledResult<unknown>> {
    const { greedy, embed } = callsOf(1);
    const expected = [await greedy(model), await embed(model)];
    const [found, ...rest] = await Promise.allSettled([other(), greedy(model), embed(model)]);
    expect(rest).toEqual(expected.map((value) => ({ status: "fulfilled", value })));
    expect(model.inUse()).toEqual({ slots: 0, pages: 0 });
    expect(model.calls()).toEqual({ running: 0, waiting: 0 });
    return found;
  }

  test("one that is cancelled ends alone", async ({ skip }) => {
    if (absent) skip(absent);
    await using model = await loadModel("tiny", { backend, cache: { bytes: 0 } });
    const [stop, reason] = [new AbortController(), new Error("enough")];
    const found = await besideOthers(model, () => {
      setTimeout(() => stop.abort(reason), 20);
      return model.forward(idsOf(backend === "reference" ? 100 : 12_000, 6), { hidden: true, signal: stop.signal });
    });
    expect(found).toEqual({ status: "rejected", reason });
  });

  test.for<[string, Call]>([
    ["a score of an id that is none, at the end", (model) => model.score([1, 2], [3, model.config.vocabSize])],
    ["a score of an id that is none, before it", (model) => model.score([1, 2], [-1, 3])],
    ["a forward of an id that is none", (model) => model.forward([1, 0.5])],
    ["a bias of an id that is none", (model) => model.generate([1], { maxTokens: 2, logitBias: { [-1]: 1 } })],
  ])("%s ends alone", async ([, call], { skip }) => {
    if (absent) skip(absent);
    await using model = await loadModel("tiny", { backend, cache: { bytes: 0 } });
    const found = await besideOthers(model, () => call(model));
    expect(found).toMatchObject({ status: "rejected", reason: { code: expect.stringMatching(/SHAPE|OPTION/) } });
  });
});
