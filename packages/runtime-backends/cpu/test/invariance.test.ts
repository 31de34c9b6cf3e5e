// One answer, bit for bit, however the work is cut: by chunks, by batch, over threads, fused or not. Only levels differ from each other,
// since their vectors are of different lengths and only some have fused dot products of bf16.

import { normal, openSmallModel, randomChunks, randomIds, type SmallModel, seeded, startsOf, type Turn } from "@jamba/conformance";
import { type Backend, HostTensor, readHostState, record, runOnce, sourceOf, traced, type Weight } from "@jamba/core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type CpuLevel, loadAddon } from "../src/addon.ts";
import { openCpuBackend } from "../src/index.ts";

const addon = await loadAddon().catch((error: Error) => error);
const dtypes = ["f32", "bf16", "f16", "q8", "q4", "q4_1", "q4_k"] as const;
const kvDtypes = ["f32", "f16", "bf16"] as const;
const threadCounts = [1, 2, 3];

if (addon instanceof Error) test("invariance", ({ skip }) => skip(addon.message));
else for (const [i, level] of addon.levels.entries()) describe(level, () => invariants(level, i));

function invariants(level: CpuLevel, shift: number): void {
  let backends: Backend[];
  beforeAll(async () => {
    backends = await Promise.all(threadCounts.map((threads) => openCpuBackend({ level, threads })));
  });
  afterAll(() => Promise.all(backends.map((backend) => backend.dispose())));

  // Over the levels every pair of formats comes up.
  for (const [i, dtype] of dtypes.entries()) {
    const kvDtype = kvDtypes[(i + shift) % kvDtypes.length];
    test(`${dtype} weights, ${kvDtype} keys and values: any split of 67 tokens, batch and count of threads gives one answer`, async () => {
      const models = await openModels(backends, { dtype, kvDtype });
      const prompts = [67, 23, 1].map((length, seed) => randomIds(seed, length));
      const alone: Bits[] = [];
      for (const [sequence, ids] of prompts.entries()) alone.push(await advance(models[0], sequence, [[{ sequence, ids }]]));
      for (const [threads, model] of models.entries()) {
        for (const seed of [1, 2, 3]) {
          const mixed = await advanceTogether(model, prompts, seed + 10 * threads);
          for (const [sequence, bits] of mixed.entries()) expectSame(bits, alone[sequence]);
        }
      }
      const [[ids]] = [prompts];
      const single = ids.map((id) => [{ sequence: 0, ids: [id] }]);
      expectSame(await advance(models[1], 0, single), alone[0]);
      const unfused = await openModels(backends.map(tracing), { dtype, kvDtype });
      for (const model of unfused) expectSame(await advance(model, 0, [[{ sequence: 0, ids }]]), alone[0]);
      for (const model of [...models, ...unfused]) await model[Symbol.asyncDispose]();
    });
  }

  test.each([1, 2, 5, 29])("weights of different dtypes, %i tokens: together, fused or as one expert gives one answer", async (L) => {
    for (const backend of backends) await expectMixedAlike(backend, L);
  });

  test("a prompt past the borders of attention's segments and of a matmul's chunks of tokens gives one answer", async () => {
    const models = await openModels(backends, { dtype: "q4", kvDtype: "f16" });
    const ids = randomIds(7, 1300);
    const whole = await advance(models[0], 0, [[{ sequence: 0, ids }]]);
    // Last tokens one by one: few queries over a long context are split over threads.
    const chunkings = [[512, 512, 273, 1, 1, 1], [1031, 256, ...Array(13).fill(1)], randomChunks(seeded(5), 1300)];
    for (const [i, chunks] of chunkings.entries())
      expectSame(await advance(models[(i + 1) % models.length], 0, cut(0, ids, chunks)), whole);
    for (const model of models) await model[Symbol.asyncDispose]();
  });
}

/** Products of weights that each have a dtype of their own, fused or not, as experts or not, together or alone. */
async function expectMixedAlike(backend: Backend, L: number): Promise<void> {
  const [dModel, dFf] = [70, 150];
  const random = seeded(L);
  const values = (n: number) => Float32Array.from({ length: n }, () => normal(random) / 8);
  const x = new HostTensor("float32", values(L * dModel), [L, dModel]);
  const ones = new HostTensor("float32", new Float32Array(L).fill(1), [L, 1]);
  const first = new HostTensor("int32", new Int32Array(L), [L, 1]);
  const up = values(dFf * dModel);
  const down = values(dFf * dModel);
  const open = (name: string, shape: number[], from: Float32Array, i: number): Promise<Weight & Disposable> =>
    backend.openWeight(sourceOf(name, shape, from), dtypes[i % dtypes.length]);
  const ups = await Promise.all(dtypes.map((_, i) => open("up", [dFf, dModel], up, i)));
  const downs = await Promise.all(dtypes.map((_, i) => open("down", [dModel, dFf], down, i)));
  const stacks = await Promise.all(dtypes.map((_, i) => open("ups", [1, dFf, dModel], up, i)));
  const downStacks = await Promise.all(dtypes.map((_, i) => open("downs", [1, dModel, dFf], down, i)));
  const store = await backend.createStates({ layers: [], pageTokens: 1, kvDtype: "f32" });
  await store.reserve(1, 0);
  const list = record({ L, nSequences: 1, nRows: 0 }, store.spec, (ops) => {
    const input = ops.input("x", [L, dModel]);
    const routes = { experts: ops.input("first", [L, 1], "i32"), weights: ops.input("ones", [L, 1]) };
    for (const [i, y] of ops.matmul(input, ups).entries()) ops.read(`together ${i}`, y);
    for (const [i, gate] of ups.entries()) {
      const [j, k] = [(i + 1) % dtypes.length, (i + 3) % dtypes.length];
      ops.read(`alone ${i}`, ops.matmul(input, [gate])[0]);
      const [g, u] = ops.matmul(input, [gate, ups[j]]);
      ops.read(`dense ${i}`, ops.matmul(ops.swiglu(g, u), [downs[k]])[0]);
      const experts = { gateProj: stacks[i], upProj: stacks[j], downProj: downStacks[k] };
      ops.read(`experts ${i}`, ops.experts(input, routes, experts));
    }
  });
  const inputs = {
    ids: new Int32Array(L),
    starts: Int32Array.of(0, L),
    states: [{ slot: 0, pages: [], seen: 0 }],
    rows: new Int32Array(0),
    tensors: new Map<string, HostTensor>([
      ["x", x],
      ["ones", ones],
      ["first", first],
    ]),
  };
  const hasFused = async () => (await backend.profile!()).some(({ op }) => op === "gateUp");
  await backend.profile!();
  const fused = await runOnce(backend, list, store, inputs);
  expect(await hasFused()).toBe(true);
  const unfused = await runOnce(backend, traced(list).list, store, inputs);
  expect(await hasFused()).toBe(false);
  for (const i of dtypes.keys()) {
    expect(fused.get(`together ${i}`)!.data).toEqual(fused.get(`alone ${i}`)!.data);
    expect(fused.get(`dense ${i}`)!.data).toEqual(unfused.get(`dense ${i}`)!.data);
    expect(fused.get(`experts ${i}`)!.data).toEqual(fused.get(`dense ${i}`)!.data);
  }
  for (const weight of [...ups, ...downs, ...stacks, ...downStacks]) weight[Symbol.dispose]();
  store.dispose();
}

/** The backend, but what a command writes is also read, so that nothing is fused. */
function tracing(backend: Backend): Backend {
  const prepare: Backend["prepare"] = (list, states) => backend.prepare(traced(list).list, states);
  return new Proxy(backend, {
    get(_, key: keyof Backend) {
      const value = key === "prepare" ? prepare : backend[key];
      return typeof value === "function" ? value.bind(backend) : value;
    },
  });
}

/** Logits of every token, then the state. */
type Bits = Uint32Array;

async function openModels(backends: readonly Backend[], options: Parameters<typeof openSmallModel>[1]): Promise<SmallModel[]> {
  const models: SmallModel[] = [];
  for (const backend of backends) models.push(await openSmallModel(backend, options));
  return models;
}

function cut(sequence: number, ids: readonly number[], chunks: readonly number[]): Turn[][] {
  const starts = startsOf(chunks);
  return chunks.map((_, i) => [{ sequence, ids: ids.slice(starts[i], starts[i + 1]) }]);
}

/** The named sequence, anew, alone or among others. */
async function advance(model: SmallModel, sequence: number, steps: readonly (readonly Turn[])[]): Promise<Bits> {
  model.reset();
  const rows: number[] = [];
  for (const turns of steps) {
    const logits = await model.step(turns);
    collect(rows, logits, turns, sequence);
  }
  return bitsOf(rows, await stateOf(model, sequence));
}

/** Each prompt in chunks of its own, any of them in a step. */
async function advanceTogether(model: SmallModel, prompts: readonly (readonly number[])[], seed: number): Promise<Bits[]> {
  model.reset();
  const random = seeded(seed);
  const waiting = prompts.map((ids, sequence) => cut(sequence, ids, randomChunks(random, ids.length)).flat());
  const rows = prompts.map((): number[] => []);
  while (waiting.some((chunks) => chunks.length > 0)) {
    const turns = waiting.flatMap((chunks) => (chunks.length > 0 && random() < 0.6 ? [chunks.shift()!] : []));
    if (random() < 0.5) turns.reverse();
    const logits = await model.step(turns);
    for (const [sequence, values] of rows.entries()) collect(values, logits, turns, sequence);
  }
  const all: Bits[] = [];
  for (const [sequence, values] of rows.entries()) all.push(bitsOf(values, await stateOf(model, sequence)));
  return all;
}

function collect(rows: number[], logits: Float32Array, turns: readonly Turn[], wanted: number): void {
  const width = logits.length / turns.reduce((n, { ids }) => n + ids.length, 0);
  let at = 0;
  for (const { sequence, ids } of turns) {
    const end = at + ids.length * width;
    if (sequence === wanted) for (const value of logits.subarray(at, end)) rows.push(value);
    at = end;
  }
}

async function stateOf(model: SmallModel, sequence: number): Promise<number[]> {
  const { layers } = await readHostState(model.backend, model.store, model.address(sequence));
  return layers.flatMap((layer) =>
    (layer.kind === "mamba" ? [layer.conv, layer.h] : [layer.k, layer.v]).flatMap(({ data }) => Array.from(data as Float32Array)),
  );
}

function bitsOf(...parts: readonly number[][]): Bits {
  return new Uint32Array(Float32Array.from(parts.flat()).buffer);
}

function expectSame(found: Bits, expected: Bits): void {
  const first = found.length === expected.length ? found.findIndex((bits, i) => bits !== expected[i]) : 0;
  expect({ first, bits: found[first], of: found.length }).toEqual({ first: -1, bits: undefined, of: expected.length });
}
