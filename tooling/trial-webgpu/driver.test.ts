// The trial on whatever adapter there is: the suite, what only a device that answers later can do wrong, the goldens, a model's text.

import { createRequire } from "node:module";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { normal, seeded, testOps } from "@jamba/conformance";
import { type Backend, decodeFloats, HostTensor, openDevice, record, type StateStore, sourceOf } from "@jamba/core";
import { openCheckpoint } from "@jamba/loader";
import { loadModel } from "jamba";
import { afterAll, describe, expect, test } from "vitest";
import { openDriver, openTrial } from "./driver.ts";
import { kernels } from "./kernels.ts";
import type { Gpu } from "./webgpu.ts";

/** Its adapter, or why there is none. */
async function findGpu(): Promise<Gpu | string> {
  const folder = process.env.JAMBA_WEBGPU;
  if (!folder) return "JAMBA_WEBGPU names no folder with the npm package webgpu";
  try {
    const { create, globals } = createRequire(join(folder, "package.json"))("webgpu");
    Object.assign(globalThis, globals);
    // Dawn crashes once nobody holds what `create` gives.
    const held = globalThis as { trialGpu?: Gpu };
    held.trialGpu ??= create([]) as Gpu;
    return (await held.trialGpu.requestAdapter()) ? held.trialGpu : "webgpu finds no adapter; VK_ICD_FILENAMES names one";
  } catch (error) {
    return `webgpu can't be loaded: ${(error as Error).message}`;
  }
}

const found = await findGpu();
if (typeof found === "string") test("webgpu", ({ skip }) => skip(found));
else testOn(found);

function testOn(gpu: Gpu): void {
  // Small parts: every splitting of weights is met.
  testOps({ open: () => openTrial(gpu, { partBytes: 4096 }), dtypes: ["f32", "bf16", "f16"] });
  describe("a device that answers later", () => testDevice(gpu));
  describe("models", () => testModels(gpu));
}

const [dInner, dModel] = [6, 5];

/** A list whose values depend on slots, pages and order. */
async function openList(backend: Backend, L = 3) {
  const [pageTokens, nKvHeads, headDim] = [3, 1, 4];
  const layers = [
    { kind: "mamba", dInner, dState: 4, dConv: 3 },
    { kind: "attention", nKvHeads, headDim },
  ] as const;
  const random = seeded(5);
  const weight = (name: string, shape: number[]) =>
    backend.openWeight(
      sourceOf(
        name,
        shape,
        Float32Array.from({ length: shape[0] * shape[1] }, () => normal(random)),
      ),
      "f32",
    );
  const weights = await Promise.all([weight("in", [dInner, dModel]), weight("conv", [dInner, 3]), weight("q", [12, dInner])]);
  const states = await backend.createStates({ layers, pageTokens, kvDtype: "f32" });
  await states.reserve(1, 2);
  const list = record({ L, nSequences: 1, nRows: 0 }, states.spec, (ops) => {
    const [x] = ops.matmul(ops.input("x", [L, dModel]), [weights[0]]);
    const [qkv] = ops.matmul(ops.causalConv(x, weights[1], undefined, ops.states[0] as never), [weights[2]]);
    const [q, k, v] = [0, 4, 8].map((at) => ops.slice(qkv, at, at + 4));
    const y = ops.attention(q, k, v, ops.states[1] as never);
    ops.read("y", y);
    ops.keep("kept", y);
  });
  const program = await backend.prepare(list, states);
  const submit = (seen: number, { slot = 0, pages = [0, 1, 2, 3] as readonly number[], with: as = program, copies = {} } = {}) => {
    const values = seeded(seen + 1);
    return backend.submit(as, {
      ids: new Int32Array(L),
      starts: Int32Array.of(0, L),
      rows: new Int32Array(0),
      states: [{ slot, pages: pages.slice(0, Math.ceil((seen + L) / pageTokens)), seen }],
      copies,
      tensors: new Map([
        [
          "x",
          new HostTensor(
            Float32Array.from({ length: L * dModel }, () => normal(values)),
            [L, dModel],
          ),
        ],
      ]),
    });
  };
  return { list, states, program, submit };
}

function testDevice(gpu: Gpu): void {
  const open = async () => {
    const driver = await openDriver(gpu);
    return { driver, backend: openDevice(driver) };
  };
  const codeOf = (work: Promise<unknown>) =>
    work.then(
      () => "no error",
      (error) => error.code,
    );

  test("a list that needs a larger arena changes nothing for those prepared before", async () => {
    const { driver, backend } = await open();
    const small = await openList(backend);
    const before = (await small.submit(0).read("y")).data;
    const step = small.submit(0);
    const large = await openList(backend, 6);
    await large.submit(0).done;
    expect((await step.read("kept")).data).toEqual(before);
    expect((await small.submit(0).read("y")).data).toEqual(before);
    await backend.dispose();
    expect(driver.faults).toEqual([]);
  });

  test("a step is one submit and one map, and what is kept stays on the device", async () => {
    const { driver, backend } = await open();
    const { submit } = await openList(backend);
    // The places of results grow in the first two.
    await Promise.all([submit(0).done, submit(0).done]);
    const { queue } = driver.gpu;
    const counts = { submits: 0, bytes: 0 };
    const [send, create] = [queue.submit, driver.gpu.createBuffer];
    queue.submit = (commands) => {
      counts.submits++;
      send.call(queue, commands);
    };
    driver.gpu.createBuffer = (options) => {
      counts.bytes += options.size;
      return create.call(driver.gpu, options);
    };
    const step = submit(0, { copies: { slots: [[0, 0]], pages: [[0, 0]] } });
    await step.read("y");
    expect(counts).toEqual({ submits: 1, bytes: 4 * 3 * 4 });
    await step.read("kept", [1, 2]);
    expect(counts).toEqual({ submits: 2, bytes: 4 * 3 * 4 + 16 });
    await backend.dispose();
  });

  test("a kernel that does not compile is refused by prepare, not by the first step", async () => {
    const { backend, driver } = await open();
    const { attention } = kernels;
    Object.assign(kernels, { attention: { ...attention, code: `${attention.code} fn from() {}` } });
    await expect(openList(backend)).rejects.toThrow(/attention: expected a kernel that compiles, found: .*reserved/s);
    Object.assign(kernels, { attention });
    await backend.dispose();
    expect(driver.faults).toEqual([]);
  });

  test("memory that there is not is refused with OUT_OF_MEMORY, and nothing has changed", async () => {
    const { backend, driver } = await open();
    const { states, submit } = await openList(backend);
    const expected = (await submit(0).read("y")).data;
    const { createBuffer } = driver.gpu;
    // What a device without room does: the buffer is there and invalid, and the scope tells later.
    driver.gpu.createBuffer = (options) => createBuffer.call(driver.gpu, options.size > 1e5 ? { ...options, size: 2 ** 45 } : options);
    const memory = backend.memory();
    expect(await codeOf(states.reserve(10_000, 2))).toBe("OUT_OF_MEMORY");
    expect(await codeOf(states.reserve(1, 10_000))).toBe("OUT_OF_MEMORY");
    expect(await codeOf(states.reserve(2 ** 30, 2))).toBe("OUT_OF_MEMORY");
    expect(await codeOf(backend.openWeight(sourceOf("w", [300, 300], new Float32Array(90_000)), "f32"))).toBe("OUT_OF_MEMORY");
    expect(await codeOf(openList(backend, 3000))).toBe("OUT_OF_MEMORY");
    const { stateBytes, arenaBytes } = backend.memory();
    expect([states.nSlots, states.nPages, arenaBytes]).toEqual([1, 2, memory.arenaBytes]);
    expect(stateBytes).toBe(2 * memory.stateBytes); // the list that was refused had states of its own
    expect((await submit(0).read("y")).data).toEqual(expected);
    await backend.dispose();
    expect(driver.faults).toEqual([]);
  });

  test("a device that is lost in the middle of steps ends everything with DEVICE_LOST, and a second one opens", async () => {
    const { driver, backend } = await open();
    const { list, states, program, submit } = await openList(backend);
    const expected = (await submit(0).read("y")).data;
    const steps = [submit(0), submit(3)];
    const weight = sourceOf("w", [1, 4], new Float32Array(4));
    const waiting = [
      ...steps.flatMap((step) => [step.done, step.read("y"), step.read("kept")]),
      states.reserve(50, 50),
      backend.prepare(list, states),
      backend.copyStates(states, { slots: [[0, 0]] }),
      readAll(backend, states),
      backend.createStates(states.spec),
      backend.openWeight(weight, "f32"),
    ].map(codeOf);
    driver.gpu.destroy();
    expect(new Set(await Promise.all(waiting))).toEqual(new Set(["DEVICE_LOST"]));
    expect((await backend.lost).code).toBe("DEVICE_LOST");
    expect(() => submit(0)).toThrow(expect.objectContaining({ code: "DEVICE_LOST" }));
    const after = [steps[1].read("kept"), backend.prepare(list, states), states.reserve(60, 60), backend.openWeight(weight, "f32")];
    expect(new Set(await Promise.all(after.map(codeOf)))).toEqual(new Set(["DEVICE_LOST"]));
    program[Symbol.dispose]();
    await backend.dispose();
    expect(() => submit(0)).toThrow(expect.objectContaining({ code: "DISPOSED" }));
    const second = await open();
    expect((await (await openList(second.backend)).submit(0).read("y")).data).toEqual(expected);
    await second.backend.dispose();
    expect(driver.faults).toEqual([]);
  });

  test("a backend that is disposed in the middle of steps ends them with DISPOSED", async () => {
    const { driver, backend } = await open();
    const { list, states, submit } = await openList(backend);
    const steps = [submit(0), submit(3)];
    const waiting = [...steps.flatMap((step) => [step.done, step.read("y"), step.read("kept")]), readAll(backend, states)].map(codeOf);
    const starting = [backend.prepare(list, states), states.reserve(50, 50), backend.createStates(states.spec)].map(codeOf);
    await backend.dispose();
    expect(new Set(await Promise.all(waiting))).toEqual(new Set(["DISPOSED"]));
    await Promise.all(starting);
    expect(driver.faults).toEqual([]);
  });

  test("two stores take turns, and each keeps its own", async () => {
    const { driver, backend } = await open();
    const [a, b] = [await openList(backend), await openList(backend)];
    for (const { states } of [a, b]) await states.reserve(1, 4);
    const [first, second] = [a.submit(0), a.submit(3)];
    const others = [0, 3, 6, 9].map((seen) => b.submit(seen));
    for (const step of [first, second, others[2], others[3]]) expect((await step.read("kept")).data).toEqual((await step.read("y")).data);
    b.program[Symbol.dispose]();
    expect((await others[3].read("kept")).data).toEqual((await others[3].read("y")).data);
    await backend.dispose();
    expect(driver.faults).toEqual([]);
  });
}

async function readAll(backend: Backend, states: StateStore): Promise<void> {
  for await (const _ of backend.readState(states, { slot: 0, pages: [0, 1], seen: 6 }));
}

function testModels(gpu: Gpu): void {
  const opened: Backend[] = [];
  afterAll(() => Promise.all(opened.map((backend) => backend.dispose())));
  const open = async () => {
    const backend = await openTrial(gpu);
    opened.push(backend);
    return backend;
  };

  test.each(["base", "odd", "dense-tied", "long", "bf16-loud", "one-token"])("golden %s", async (name) => {
    const folder = fileURLToPath(new URL(`../golden/fixtures/${name}`, import.meta.url));
    const file = await openCheckpoint(`${folder}/golden.safetensors`);
    const floats = async (tensor: string) => decodeFloats(await file.read(tensor), "f32");
    const integers = async (tensor: string) => Array.from(new BigInt64Array((await file.read(tensor)).slice().buffer), Number);
    const [ids, greedy] = await Promise.all([integers("ids"), integers("greedy")]);
    const rows = file.tensors.has("logit_rows") ? await integers("logit_rows") : [...ids.keys()];
    await using model = await loadModel(folder, { backend: await open() });
    const { logits, hidden, routes, state } = await model.forward(ids, { logits: "all", hidden: true, routes: true });
    // The bounds of the goldens' own README and test.
    expect(farthest(logits, await floats("logits"), rows).error).toBeLessThanOrEqual(1e-4);
    for (const [i, found] of hidden!.entries()) {
      const { error, magnitude } = farthest(found, await floats(`hidden.${i}`), rows);
      expect(error / magnitude, `hidden.${i}`).toBeLessThanOrEqual(2e-5);
      if (!file.tensors.has(`route.${i}`)) continue;
      const { data, dims } = routes![i]!.experts;
      const chosen = rows.flatMap((row) => [...(data as Int32Array).subarray(row * dims[1], (row + 1) * dims[1])]);
      expect(chosen, `route.${i}`).toEqual(await integers(`route.${i}`));
    }
    for (const [i, layer] of (await state.export()).layers.entries()) {
      for (const part of layer.kind === "mamba" ? (["h"] as const) : (["k", "v"] as const)) {
        if (!file.tensors.has(`state.${i}.${part}`)) continue;
        const { error, magnitude } = farthest((layer as never)[part], await floats(`state.${i}.${part}`));
        expect(error / magnitude, `state.${i}.${part}`).toBeLessThanOrEqual(2e-5);
      }
    }
    state.dispose();
    expect((await model.generate(ids, { maxTokens: greedy.length, ignoreEos: true })).ids).toEqual(greedy);
    await file.close();
  });

  test("a model whose device is lost ends its calls with DEVICE_LOST, and loads again", async () => {
    const driver = await openDriver(gpu);
    const backend = openDevice(driver);
    const model = await loadModel("tiny", { backend, dtype: "f32" });
    const session = model.session();
    const expected = (await session.send("Who are you?", { maxTokens: 4 })).ids;
    const calls = [
      model.generate("Once", { maxTokens: 1000, ignoreEos: true }),
      session.send("Why?", { maxTokens: 1000, ignoreEos: true }),
      model.forward([1, 2, 3]),
      model.score("Once", " upon"),
    ].map((call) =>
      call.then(
        () => "no error",
        (error) => error.code,
      ),
    );
    setTimeout(() => driver.gpu.destroy(), 30);
    const codes = await Promise.all(calls);
    expect(codes.slice(0, 2)).toEqual(["DEVICE_LOST", "DEVICE_LOST"]);
    await expect(model.generate("Once")).rejects.toMatchObject({ code: "DEVICE_LOST" });
    await model.dispose();
    await backend.dispose();
    await using again = await loadModel("tiny", { backend: await open(), dtype: "f32" });
    expect((await again.session().send("Who are you?", { maxTokens: 4 })).ids).toEqual(expected);
    expect(driver.faults).toEqual([]);
  });

  test("the small model writes the reference's text", async () => {
    const texts = async (backend: Backend | "reference") => {
      await using model = await loadModel("tiny", { backend, dtype: "f32" });
      const prompts = ["Once upon a time", "The fox", "Who are you?"];
      return await Promise.all(prompts.map(async (prompt) => (await model.generate(prompt, { maxTokens: 24 })).text));
    };
    expect(await texts(await open())).toEqual(await texts("reference"));
  });
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
