// Devices that lose steps and have no room: only the calls that were hit end, and what is kept stays right.

import { JambaError } from "@jamba/core";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { type GenerateOptions, type JambaModel, loadModel } from "../src/index.ts";
import { cpuAbsent, openCpu } from "./golden.ts";

let plain: JambaModel;
beforeAll(async () => {
  if (!cpuAbsent) plain = await loadModel("tiny", { backend: "cpu", cache: { bytes: 0 } });
});
afterAll(() => plain?.dispose());
beforeEach(({ skip }) => {
  if (cpuAbsent) skip(cpuAbsent);
});

/** Some prompt that no other call has. */
const idsOf = (count: number, seed: number) => Array.from({ length: count }, (_, i) => 300 + ((i * i * 31 + i * 7 + seed * 101) % 1700));
const calls: readonly [number[], GenerateOptions][] = [
  [idsOf(20, 1), { maxTokens: 12 }],
  [idsOf(20, 1), { maxTokens: 9, temperature: 1, seed: 3 }],
  [idsOf(90, 2), { maxTokens: 6, promptLookup: { ngram: 1 } }],
  [[...idsOf(90, 2), 400, 401], { maxTokens: 3 }],
  [idsOf(530, 3), { maxTokens: 4 }],
];
const idle = (model: JambaModel) => {
  expect(model.inUse()).toEqual({ slots: 0, pages: 0 });
  expect(model.calls()).toEqual({ running: 0, waiting: 0 });
};

test("a step that fails rejects the calls in it; the model goes on, and nothing is kept of what half moved", async () => {
  const backend = await openCpu();
  const { submit } = backend;
  let failAt = Number.POSITIVE_INFINITY;
  let steps = 0;
  backend.submit = (...args) => {
    const step = submit.apply(backend, args);
    const isLost = ++steps === failAt;
    const done = step.done.then(() => {
      if (isLost) throw new JambaError("BACKEND", "lost");
    });
    return { done, read: (...value) => done.then(() => step.read(...value)) };
  };
  await using broken = await loadModel("tiny", { backend });
  for (const at of [1, 3, 9]) {
    [steps, failAt] = [0, at];
    const found = await Promise.all(calls.map(([prompt, options]) => broken.generate(prompt, options).catch((error) => error.code)));
    expect(found.filter((one) => typeof one === "string").every((code) => code === "BACKEND")).toBe(true);
    for (const [i, one] of found.entries()) {
      if (typeof one !== "string") expect(one.ids).toEqual((await plain.generate(...calls[i])).ids);
    }
    idle(broken);
    failAt = Number.POSITIVE_INFINITY;
    const again = await Promise.all(calls.map(([prompt, options]) => broken.generate(prompt, options)));
    for (const [i, { ids }] of again.entries()) expect(ids).toEqual((await plain.generate(...calls[i])).ids);
    idle(broken);
    if (at > 1) broken.clearCache();
  }
  await broken.dispose();
  await backend.dispose();
});

test("where memory is full, kept states make room; who needs more than there is ends with OUT_OF_MEMORY, the others don't", async () => {
  const backend = await openCpu();
  const { createStates } = backend;
  backend.createStates = async (spec) => {
    const store = await createStates.call(backend, spec);
    const { reserve } = store;
    store.reserve = async (nSlots, nPages) => {
      if (nSlots > 8 || nPages > 16) throw new JambaError("OUT_OF_MEMORY", "no room");
      await reserve.call(store, nSlots, nPages);
    };
    return store;
  };
  await using full = await loadModel("tiny", { backend });
  for (let round = 0; round < 2; round++) {
    const prompts = [1, 2, 3].map((i) => idsOf(100 * i + round, 80 + 3 * round + i));
    const large = full.generate(idsOf(1100, 80 + round), { maxTokens: 2 }).catch((error) => error.code);
    const found = await Promise.all(prompts.map((ids) => full.generate(ids, { maxTokens: 3 }).catch((error) => error.code)));
    expect(await large).toBe("OUT_OF_MEMORY");
    for (const [i, one] of found.entries())
      if (typeof one !== "string") expect(one.ids).toEqual((await plain.generate(prompts[i], { maxTokens: 3 })).ids);
    idle(full);
    // Nearly all there is.
    const alone = idsOf(950, 90 + round);
    expect((await full.generate(alone, { maxTokens: 2 })).ids).toEqual((await plain.generate(alone, { maxTokens: 2 })).ids);
    idle(full);
  }
  await full.dispose();
  await backend.dispose();
});
