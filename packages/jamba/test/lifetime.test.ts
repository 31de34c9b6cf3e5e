// Who owns a model and when it goes: models side by side, in a worker, and disposed of in the middle of a step.

import { createRequire } from "node:module";
import { fileURLToPath, pathToFileURL } from "node:url";
import { Worker } from "node:worker_threads";
import { beforeEach, describe, expect, test } from "vitest";
import { loadModel } from "../src/index.ts";
import { backends, goldenFolder, openGolden } from "./golden.ts";

describe.each(backends)("on $name", ({ name: backend, absent, open }) => {
  beforeEach(({ skip }) => {
    if (absent) skip(absent);
  });
  const prompt = Array.from({ length: 700 }, (_, i) => 300 + (i % 1500));

  test("two models loaded together, on one backend or their own, each write what they write alone", async () => {
    await using alone = await loadModel("tiny", { backend });
    const { ids } = await alone.generate("Once upon a time", { maxTokens: 12 });
    const shared = await open();
    const golden = await openGolden("odd");
    const models = await Promise.all([
      loadModel("tiny", { backend }),
      loadModel("tiny", { backend: shared }),
      loadModel(goldenFolder("odd"), { backend: shared, dtype: "f32" }),
    ]);
    const [own, beside, odd] = await Promise.all([
      models[0].generate("Once upon a time", { maxTokens: 12 }),
      models[1].generate("Once upon a time", { maxTokens: 12 }),
      models[2].generate(golden.ids, { maxTokens: 12, ignoreEos: true }),
    ]);
    expect([own.ids, beside.ids, odd.ids]).toEqual([ids, ids, golden.greedy.slice(0, 12)]);
    for (const model of models) await model.dispose();
    expect(shared.memory()).toMatchObject({ weightBytes: 0, stateBytes: 0 });
    await shared.dispose();
  });

  test.each([0, 1, 5, 20, 60])("dispose %i ms into a prefill, a decode, a session and a fork ends them with code DISPOSED", async (ms) => {
    const model = await loadModel("tiny", { backend });
    const session = model.session();
    const { state } = await model.forward([1, 2, 3]);
    const calls = [
      model.generate(prompt, { maxTokens: 100_000, ignoreEos: true }),
      model.generate("Once", { maxTokens: 100_000, ignoreEos: true }),
      session.send("Who are you?", { maxTokens: 100_000, ignoreEos: true }),
      model.forward(Array.from({ length: 40 }, () => prompt).flat(), { state }),
      (async () => {
        for (; ; await new Promise((resolve) => setImmediate(resolve))) (await state.fork()).dispose();
      })(),
    ].map((call) => call.catch((error) => error.code));
    await new Promise((resolve) => setTimeout(resolve, ms));
    await Promise.all([model.dispose(), model.dispose()]);
    expect(await Promise.all(calls)).toEqual(calls.map(() => "DISPOSED"));
    await expect(session.send("x")).rejects.toMatchObject({ code: "DISPOSED" });
    await expect(state.export()).rejects.toMatchObject({ code: "DISPOSED" });
    expect(() => model.stream("x")).toThrow(expect.objectContaining({ code: "DISPOSED" }));
  });

  test("disposing one model of a backend leaves the other at work", async () => {
    const shared = await open();
    const [first, second] = [await loadModel("tiny", { backend: shared }), await loadModel("tiny", { backend: shared })];
    const expected = await second.generate("Once upon a time", { maxTokens: 8 });
    const cut = first.generate(prompt, { maxTokens: 5 }).catch((error) => error.code);
    const beside = second.generate("Once upon a time", { maxTokens: 8 });
    await first.dispose();
    expect(await cut).toBe("DISPOSED");
    expect((await beside).ids).toEqual(expected.ids);
    await second.dispose();
    await shared.dispose();
  });

  test("a worker thread owns a model, and may be ended in the middle of it", async () => {
    await using here = await loadModel("tiny", { backend });
    const { ids } = await here.generate("Once upon a time", { maxTokens: 8 });
    const worker = modelWorker({ backend, prompt });
    expect(await new Promise((resolve, reject) => worker.on("message", resolve).on("error", reject))).toEqual(ids);
    await new Promise((resolve) => setTimeout(resolve, 20));
    await worker.terminate();
    expect((await here.generate("Once upon a time", { maxTokens: 8 })).ids).toEqual(ids);
  });
});

/** A thread that runs model-worker.ts, which vite turns into JavaScript there too. */
function modelWorker(workerData: object): Worker {
  const vite = pathToFileURL(createRequire(import.meta.url).resolve("vite")).href;
  const file = fileURLToPath(new URL("model-worker.ts", import.meta.url));
  const resolve = { conditions: ["source", "import", "module", "default"], noExternal: true };
  const options = { environments: { inline: { resolve } } };
  const plugins = new URL("../../../tooling/tsup/embedded.mjs", import.meta.url).href;
  const [from, to] = [
    [vite, plugins],
    [file, options],
  ].map((both) => both.map((one) => JSON.stringify(one)));
  const program = `Promise.all([import(${from[0]}), import(${from[1]})]).then(([vite, { embedded }]) =>
    vite.runnerImport(${to[0]}, { ...${to[1]}, plugins: [embedded] }))`;
  return new Worker(program, { eval: true, workerData });
}
