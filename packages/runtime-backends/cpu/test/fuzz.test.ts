// Random calls with hostile shapes, numbers and arguments end in a typed error or in the reference's answer, never in a crash.
// JAMBA_FUZZ_CALLS says how many (the full count is 100000), JAMBA_FUZZ_SEED which.

import { normal, seeded, startsOf } from "@jamba/conformance";
import {
  type AttentionState,
  type Backend,
  type CommandList,
  HostTensor,
  JambaError,
  lower,
  type MambaState,
  type Ops,
  openReference,
  type Program,
  readHostState,
  record,
  type StateAddress,
  type StateCopies,
  type StateSpec,
  type StateStore,
  type Step,
  type StepInputs,
  sourceOf,
  type Tensor,
  traced,
  type Weight,
  type WeightDtype,
  writeHostState,
} from "@jamba/core";
import { afterAll, describe, expect, test } from "vitest";
import { loadAddon } from "../src/addon.ts";
import { openCpuBackend } from "../src/index.ts";
import { planWords } from "../src/plan-words.ts";
import { target } from "./words.ts";

const calls = Number(process.env.JAMBA_FUZZ_CALLS ?? 6000);
const seed = Number(process.env.JAMBA_FUZZ_SEED ?? 1);
/** Two tokens that a caller puts at one place race for it: harmless, but ThreadSanitizer would stop at it. */
const mayShare = !process.env.JAMBA_CPU_ADDON?.includes("-thread");

const addon = await loadAddon().catch((error: Error) => error);
const dtypes = ["f32", "bf16", "f16", "q8", "q4", "q4_1", "q4_k"] as const satisfies readonly WeightDtype[];

type Random = () => number;
const pick = <T>(random: Random, from: readonly T[]): T => from[Math.floor(random() * from.length)];
const chance = (random: Random, p: number) => random() < p;

/** Around vectors, panels and blocks, and nothing at all. */
const sizes = [0, 1, 2, 3, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 47, 63, 64, 65, 97, 130];
const oddIntegers = [-1, -(2 ** 31), 2 ** 31 - 1, 2 ** 31, 2 ** 32, 2 ** 40, 2 ** 53, 0.5, Number.NaN, Number.POSITIVE_INFINITY, 1e300];
const oddNumbers = [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 3e38, -3e38, 1e-45, -1e-40, -0, 65520, 1e30];

/** One call: what to open, what to record, what to give. */
interface Plan {
  readonly tokens: number[];
  readonly layers: StateSpec["layers"];
  readonly weights: Record<string, number[]>;
  /** Must be f32 to be taken. */
  readonly exact: readonly string[];
  readonly inputs: Record<string, number>;
  readonly vocabSize: number;
  build(ops: Ops, weights: Record<string, Weight>, inputs: Record<string, Tensor>): void;
}

const builders: Record<string, (random: Random) => Partial<Plan> & Pick<Plan, "build">> = {
  matmul(random) {
    const [K, n] = [pick(random, sizes), 1 + Math.floor(random() * 6)];
    const weights = Object.fromEntries(Array.from({ length: n }, (_, i) => [`w${i}`, [pick(random, sizes), K]]));
    const N = weights.w0[0];
    const [normed, more] = [chance(random, 0.4), n === 1 && chance(random, 0.7)];
    return {
      weights: { ...weights, norm: [K], bias: [N] },
      exact: ["norm", "bias"],
      inputs: { x: K + 3, residual: N },
      build(ops, { norm, bias, ...w }, { x, residual }) {
        const view = ops.slice(x, 3, K + 3);
        const options = more ? { bias, addTo: residual } : {};
        const given = normed ? ops.rmsNorm(view, norm, 1e-6) : view;
        for (const [i, y] of ops.matmul(given, Object.values(w), options).entries()) ops.read(`y${i}`, y);
      },
    };
  },
  mlp(random) {
    const [K, N] = [pick(random, sizes), pick(random, sizes)];
    return {
      weights: { gate: [N, K], up: [N, K], down: [K, N], norm: [K] },
      exact: ["norm"],
      inputs: { x: K, residual: K },
      build(ops, { gate, up, down, norm }, { x, residual }) {
        const [g, u] = ops.matmul(ops.rmsNorm(x, norm, 1e-5), [gate, up]);
        ops.read("y", ops.matmul(ops.swiglu(g, u), [down], { addTo: residual })[0]);
      },
    };
  },
  embed(random) {
    const vocabSize = pick(random, sizes);
    return {
      vocabSize,
      weights: { table: [vocabSize, pick(random, sizes)] },
      build: (ops, { table }) => ops.read("y", ops.gatherRows(ops.embed(table))),
    };
  },
  mamba(random) {
    const [dInner, dState, dConv] = [pick(random, sizes), pick(random, [0, 1, 2, 7, 16, 17]), pick(random, [1, 2, 3, 4, 5])];
    const biased = chance(random, 0.5);
    return {
      layers: [{ kind: "mamba", dInner, dState, dConv }],
      weights: { conv: [dInner, dConv], bias: [dInner], A: [dInner, dState], D: [dInner], dtBias: [dInner] },
      exact: ["conv", "bias", "A", "D", "dtBias"],
      inputs: { xz: 2 * dInner, dt: dInner, BC: 2 * dState },
      build(ops, { conv, bias, A, D, dtBias }, { xz, dt, BC }) {
        const state = ops.states[0] as MambaState;
        const x = ops.causalConv(ops.slice(xz, 0, dInner), conv, biased ? bias : undefined, state);
        const [z, B, C] = [ops.slice(xz, dInner, 2 * dInner), ops.slice(BC, 0, dState), ops.slice(BC, dState, 2 * dState)];
        ops.read("y", ops.selectiveScan({ x, z, dt, B, C, A, D, dtBias }, state));
      },
    };
  },
  attention(random) {
    const [nKvHeads, group, headDim] = [pick(random, [1, 2, 3]), pick(random, [1, 2, 5, 9]), pick(random, [1, 7, 8, 16, 33])];
    const kv = nKvHeads * headDim;
    return {
      layers: [{ kind: "attention", nKvHeads, headDim }],
      inputs: { q: kv * group, k: kv, v: kv },
      build: (ops, _, { q, k, v }) => ops.read("y", ops.attention(q, k, v, ops.states[0] as AttentionState)),
    };
  },
  experts(random) {
    const [nExperts, dModel, dFf] = [1 + pick(random, [0, 1, 4, 15]), pick(random, sizes), pick(random, sizes)];
    const nActive = 1 + Math.floor(random() * Math.min(4, nExperts));
    const [given, added] = [chance(random, 0.3), chance(random, 0.5)];
    return {
      weights: { gateProj: [nExperts, dFf, dModel], upProj: [nExperts, dFf, dModel], downProj: [nExperts, dModel, dFf] },
      inputs: { x: dModel, logits: nExperts, residual: dModel, weights: nActive },
      build(ops, { gateProj, upProj, downProj }, { x, logits, residual, weights }) {
        const chosen = ops.route(logits, nActive);
        const routes = given ? { experts: ops.input("i32", [ops.step.L, nActive], "i32"), weights } : chosen;
        ops.read("y", ops.experts(x, routes, { gateProj, upProj, downProj }, added ? { addTo: residual } : {}));
      },
    };
  },
};

/** What a program can hold once. */
const sampled: typeof builders = {
  top(random) {
    const [width, k] = [pick(random, sizes) + 1, 1 + Math.floor(random() * 40)];
    return {
      vocabSize: width,
      inputs: { logits: width },
      build(ops, _, { logits }) {
        const rows = ops.gatherRows(logits);
        ops.top("top", rows, k);
        ops.keep("rows", rows);
        ops.keep("logits", logits);
      },
    };
  },
};

function planOf(random: Random, builders: typeof sampled): Plan {
  const tokens = Array.from({ length: Math.floor(random() * 4) }, () => pick(random, [0, 1, 1, 2, 3, 5, 12, 13, 25, 40]));
  const plan = { tokens, layers: [], weights: {}, exact: [], inputs: {}, vocabSize: 1 };
  return { ...plan, ...builders[pick(random, Object.keys(builders))](random) };
}

function numbers(random: Random, length: number, hostile: boolean): Float32Array {
  return Float32Array.from({ length }, () => (hostile && chance(random, 0.2) ? pick(random, oddNumbers) : normal(random)));
}

/** An array over memory that its owner can take back. */
function resizable<T extends Float32Array | Int32Array>(values: T): T {
  const buffer = new (ArrayBuffer as unknown as new (n: number, o: object) => ArrayBuffer)(values.byteLength, {
    maxByteLength: values.byteLength + 64,
  });
  const copy = new (values.constructor as new (b: ArrayBuffer) => T)(buffer);
  copy.set(values);
  return copy;
}

const takeBack = [
  (buffer: ArrayBuffer) => (buffer as unknown as { resize?(n: number): void }).resize?.(0),
  (buffer: ArrayBuffer) => void structuredClone(buffer, { transfer: [buffer] }),
];

function spoilAddress(random: Random, address: StateAddress): StateAddress {
  const bad = pick(random, oddIntegers);
  const pages = Array.from(address.pages);
  return pick(random, [
    { ...address, slot: bad },
    { ...address, seen: bad },
    { ...address, pages: [bad, ...pages.slice(1)] },
    { ...address, pages: pages.slice(0, 1) },
    { ...address, pages: mayShare ? pages.map(() => 0) : [] },
  ]);
}

function spoilInputs(random: Random, inputs: StepInputs): StepInputs {
  const which = pick(random, ["ids", "rows", "starts"] as const);
  const integers = Array.from(inputs[which]);
  const changed = integers.map((v) => (chance(random, 0.5) ? pick(random, oddIntegers) : v));
  const address = spoilAddress(random, inputs.states[0] ?? { slot: 0, pages: [], seen: 0 });
  return pick(random, [
    () => ({ ...inputs, [which]: Int32Array.from(changed) }),
    () => ({ ...inputs, [which]: inputs[which].slice(1) }),
    () =>
      ({ ...inputs, [which]: pick(random, [Float64Array.from(integers), Uint8Array.from(integers), integers]) }) as unknown as StepInputs,
    () => ({ ...inputs, states: [address, ...inputs.states.slice(1)] }),
    () => ({ ...inputs, states: inputs.states.slice(1) }),
    () => ({ ...inputs, tensors: undefined }),
    () => ({ ...inputs, tensors: new Map([...inputs.tensors!].map(([name]) => [name, new HostTensor("float32", [1], [1])])) }),
  ])();
}

function spoilShape(random: Random, shape: readonly number[]): number[] {
  const at = Math.floor(random() * shape.length);
  return pick(random, [
    () => [],
    () => shape.map((n, i) => (i === at ? n + 1 : n)),
    () => shape.map((n, i) => (i === at ? pick(random, oddIntegers) : n)),
    () => [2, ...shape],
    () => [...shape, 2],
    () => Array(3 + Math.floor(random() * 20)).fill(2 ** 30),
  ])();
}

/** Opens, records and runs; `spoil` says where, if anywhere, something is wrong. */
async function perform(
  plan: Plan,
  backend: Backend,
  random: Random,
  spoil: string,
  hostile: boolean,
  dtypeOf: (name: string) => WeightDtype,
) {
  const opened: (Weight & Disposable)[] = [];
  let store: StateStore | undefined;
  let program: Program | undefined;
  try {
    const weights: Record<string, Weight> = {};
    const spoiled = spoil === "shape" ? pick(random, Object.keys(plan.weights)) : undefined;
    for (const [name, wanted] of Object.entries(plan.weights)) {
      const shape = name === spoiled ? spoilShape(random, wanted) : wanted;
      const length = shape.reduce((a, b) => a * b, 1);
      const values = numbers(random, length < 1e6 ? length : 0, hostile);
      if (name === "A" && !hostile) for (let i = 0; i < values.length; i++) values[i] = -Math.abs(values[i]); // else h grows without end
      const source =
        values.length === length
          ? sourceOf(name, shape, values)
          : { ...sourceOf(name, shape, values), read: async () => new Uint8Array(0) };
      const weight = await backend.openWeight(source, spoil === "dtype" ? pick(random, dtypes) : dtypeOf(name));
      opened.push(weight);
      weights[name] = weight;
    }
    const kvDtype = hostile ? pick(random, ["f32", "f16", "bf16"] as const) : "f32";
    const odd = spoil === "states" ? pick(random, [...oddIntegers, 0]) : undefined;
    const layers =
      odd !== undefined && chance(random, 0.5) ? plan.layers.map((layer) => ({ ...layer, dConv: odd, headDim: odd })) : plan.layers;
    store = await backend.createStates({ layers, pageTokens: odd ?? pick(random, [1, 3, 16, 64]), kvDtype });
    const nPages = plan.tokens.map((n) => Math.ceil((n + 9) / store!.spec.pageTokens));
    const first = nPages.map((_, i) => nPages.slice(0, i).reduce((a, b) => a + b, 0));
    await store.reserve(
      odd ?? plan.tokens.length + 1,
      nPages.reduce((a, b) => a + b, 1),
    );
    const L = plan.tokens.reduce((a, b) => a + b, 0);
    const inputTensors = new Map<string, HostTensor>();
    const nRows = Math.floor(random() * (L + 1));
    const list = record({ L, nSequences: plan.tokens.length, nRows }, store.spec, (ops) => {
      const given = Object.entries(plan.inputs).map(([name, columns]) => {
        inputTensors.set(name, new HostTensor(numbers(random, L * columns, hostile), [L, columns]));
        return [name, ops.input(name, [L, columns])] as const;
      });
      plan.build(ops, weights, Object.fromEntries(given));
    });
    for (const command of list.commands) {
      if (command.op !== "input" || command.out.dtype !== "i32") continue;
      const [nExperts] = plan.weights.gateProj;
      const expert = () => (hostile ? pick(random, oddIntegers) : Math.floor(random() * nExperts));
      const values = Int32Array.from({ length: command.out.shape[0] * command.out.shape[1] }, expert);
      inputTensors.set(command.name, new HostTensor("int32", values, command.out.shape));
    }
    const seen = pick(random, [0, 1, 8]);
    const starts = startsOf(plan.tokens);
    let inputs: StepInputs = {
      ids: Int32Array.from({ length: L }, () => Math.floor(random() * plan.vocabSize)),
      starts: Int32Array.from(starts),
      rows: Int32Array.from({ length: nRows }, () => Math.floor(random() * L)),
      ...(list.commands.some(({ op }) => op === "top") && askedOf(random, nRows, plan.vocabSize, spoil === "asked" ? 0.1 : 0)),
      ...(chance(random, 0.2) && { copies: copiesOf(random, spoil === "step copies", plan.tokens.length, store!.nPages - 1) }),
      states: plan.tokens.map((_, i) => ({ slot: i, seen, pages: Array.from({ length: nPages[i] }, (_, page) => first[i] + page) })),
      tensors: inputTensors,
    };
    return await submit(backend, list, store, inputs);

    async function submit(backend: Backend, list: CommandList, store: StateStore, given: StepInputs) {
      inputs = spoil === "inputs" ? spoilInputs(random, given) : given;
      const address = inputs.states[0] && (spoil === "address" ? spoilAddress(random, inputs.states[0]) : inputs.states[0]);
      const pair = [pick(random, [0, ...oddIntegers]), pick(random, [0, ...oddIntegers])] as const;
      // What a state holds before its first step is not said.
      for (const at of given.states.filter(({ seen }) => seen > 0)) {
        const state = stateOf(store, at.seen, random, hostile);
        const early = chance(random, 0.5);
        const takeParts = () => {
          if (spoil === "taken state") for (const part of partsOf(state)) pick(random, takeBack)(part.buffer as ArrayBuffer);
        };
        if (early) takeParts();
        const writing = writeHostState(backend, store, at, state);
        if (!early) takeParts();
        await writing;
      }
      const around: Promise<unknown>[] = [];
      const controller = new AbortController();
      if (spoil === "taken early" || spoil === "taken late")
        for (const [name, { data, dims, type }] of inputTensors)
          inputTensors.set(name, new HostTensor(type as "float32", resizable(data as Float32Array), dims));
      const take = pick(random, takeBack);
      const takeAll = () => {
        for (const { data } of inputTensors.values()) take((data as Float32Array).buffer as ArrayBuffer);
      };
      const disposeEarly = () => {
        if (spoil === "disposed weight") opened[0]?.[Symbol.dispose]();
        if (spoil === "disposed states") store.dispose();
      };
      const beforePrepare = chance(random, 0.5);
      if (beforePrepare) disposeEarly();
      program = await prepared();
      if (!beforePrepare) disposeEarly();
      if (spoil === "disposed program") program[Symbol.dispose]();
      if (spoil === "taken early") takeAll();
      const step = backend.submit(program, inputs, { signal: controller.signal });
      const running = valuesOf(list, step);
      if (spoil === "taken late") takeAll();
      if (spoil === "abort") controller.abort(new JambaError("DISPOSED", "an abort's reason"));
      if (spoil === "disposed late") for (const one of [...opened, { [Symbol.dispose]: () => store.dispose() }]) one[Symbol.dispose]();
      if (spoil === "copies") around.push(backend.copyStates(store, chance(random, 0.5) ? { slots: [pair] } : { pages: [pair] }));
      if (spoil === "address" && address) around.push(readHostState(backend, store, address));
      for (const outcome of await Promise.allSettled([running, ...around])) if (outcome.status === "rejected") throw outcome.reason;
      return running;

      async function prepared(): Promise<Program> {
        if (spoil === "trace") return backend.prepare(traced(list).list, store);
        if (spoil !== "others") return backend.prepare(list, store);
        const others = openReference();
        const theirs = await others.createStates(store.spec);
        const nothing = record(list.step, store.spec, () => undefined);
        return chance(random, 0.5) ? backend.prepare(list, theirs) : others.prepare(nothing, theirs);
      }
    }
  } finally {
    program?.[Symbol.dispose]();
    for (const weight of opened) weight[Symbol.dispose]();
    store?.dispose();
  }
}

/** Everything that a step reads and keeps, by name, asked for at once. */
async function valuesOf({ commands }: CommandList, step: Step): Promise<Map<string, HostTensor>> {
  const names = commands.flatMap((c) => (c.op === "read" || c.op === "keep" ? [c.name] : c.op === "top" ? [`${c.name}.asked`] : []));
  const values = names.map(async (name) => [name, await step.read(name)] as const);
  await Promise.allSettled(values);
  await step.done;
  return new Map(await Promise.all(values));
}

function stateOf({ spec }: StateStore, seen: number, random: Random, hostile: boolean) {
  const tensor = (...dims: number[]) =>
    new HostTensor(
      resizable(
        numbers(
          random,
          dims.reduce((a, b) => a * b, 1),
          hostile,
        ),
      ),
      dims,
    );
  const layers = spec.layers.map((layer) =>
    layer.kind === "mamba"
      ? { kind: layer.kind, conv: tensor(layer.dInner, layer.dConv - 1), h: tensor(layer.dInner, layer.dState) }
      : { kind: layer.kind, k: tensor(layer.nKvHeads, seen, layer.headDim), v: tensor(layer.nKvHeads, seen, layer.headDim) },
  );
  return { seen, layers };
}

function partsOf({ layers }: ReturnType<typeof stateOf>): Float32Array[] {
  return layers.flatMap((layer) =>
    (layer.kind === "mamba" ? [layer.conv, layer.h] : [layer.k, layer.v]).map(({ data }) => data as Float32Array),
  );
}

const spoils = [
  ...["taken state", "shape", "dtype", "states", "inputs", "inputs", "inputs", "address", "copies", "trace", "abort"],
  ...["taken early", "taken late", "disposed weight", "disposed states", "disposed late", "disposed program"],
  ...["others", "asked", "step copies"],
];

if (addon instanceof Error) test("random calls", ({ skip }) => skip(addon.message));
else {
  describe.each(addon.levels.map((level, i) => ({ level, i })))("$level", ({ level, i: nth }) => {
    const opening = openCpuBackend({ level, threads: 2 });
    afterAll(async () => (await opening).dispose());
    const share = Math.ceil(calls / addon.levels.length);

    test(`${share} random calls end in a typed error or in the reference's answer`, async () => {
      const [backend, reference] = [await opening, openReference()];
      for (let i = 0; i < share; i++) {
        const own = seeded(seed * 2 ** 20 + nth * share + i);
        const plan = planOf(own, { ...builders, ...sampled });
        const spoil = chance(own, 0.6) ? pick(own, spoils) : "";
        const hostile = chance(own, 0.5);
        const dtype = pick(own, dtypes);
        const dtypeOf = (name: string) => (plan.exact.includes(name) ? "f32" : dtype);
        const again = own() * 2 ** 31;
        const attempt = (on: Backend) => perform(plan, on, seeded(again), spoil, hostile, dtypeOf);
        const found = await attempt(backend).catch((error: unknown) => {
          if (error instanceof JambaError) return error;
          throw new Error(`call ${i} of seed ${seed}, spoiled by "${spoil}": expected a JambaError`, { cause: error });
        });
        if (spoil !== "" || hostile) continue;
        if (found instanceof JambaError && plan.vocabSize > 0)
          expect.fail(`call ${i} of seed ${seed}: expected an answer, found ${found.code}: ${found.message}`);
        if (found instanceof JambaError || dtype.startsWith("q") || chance(own, 0.8)) continue;
        const expected = await attempt(reference);
        for (const [name, { data }] of expected)
          expectNear(found.get(name)!.data as Float32Array, data as Float32Array, dtype, `call ${i}: ${name}`);
      }
    });
  });

  test("words of a program changed at random are refused with a code, or run", async () => {
    const random = seeded(seed);
    // Operands that overlap are a race, too.
    const executor = new addon.Executor(addon.levels[0], mayShare ? 2 : 1);
    let ran = 0;
    for (let i = 0; i < calls; i++) {
      const plan = planOf(random, builders);
      const L = plan.tokens.reduce((a, b) => a + b, 0);
      const nRows = L === 0 ? 0 : Math.floor(random() * 4);
      const spec: StateSpec = { layers: plan.layers, pageTokens: 16, kvDtype: "f32" };
      // Ids are the backend's to check, so tables have the row that they name.
      const weights = Object.fromEntries(
        Object.entries(plan.weights).map(([name, shape]) => [
          name,
          { name, dtype: "f32" as const, shape: shape.map((n) => Math.max(n, 1)) },
        ]),
      );
      let list: CommandList;
      try {
        list = record({ L, nSequences: plan.tokens.length, nRows }, spec, (ops) => {
          plan.build(ops, weights, Object.fromEntries(Object.entries(plan.inputs).map(([n, c]) => [n, ops.input(n, [L, c])])));
        });
      } catch {
        continue; // a size of 0, which is 1 here
      }
      const lowered = lower(list, target);
      const { words: encoded, weights: order } = planWords(lowered, addon.ops);
      const width = pick(random, sizes);
      const words = withTop(encoded, addon.ops, nRows, width, 1 + Math.floor(random() * 5));
      const changes = 1 + Math.floor(random() * 3);
      for (let n = 0; n < changes; n++) {
        const at = Math.floor(random() * words.length);
        words[at] = pick(random, [
          0,
          1,
          -1,
          2,
          16,
          33,
          64,
          2 ** 31 - 1,
          -(2 ** 31),
          words[at] + 1,
          words[at] - 1,
          pick(random, [...words]),
        ]);
      }
      const cut = chance(random, 0.1) ? words.slice(0, Math.floor(random() * words.length)) : words;
      const handles = order.map(({ name, shape }) => {
        const [columns, rows] = [shape.at(-1)!, shape.length === 1 ? 1 : shape.at(-2)!];
        return executor.createWeight(
          name,
          Math.floor(random() * (shape.length === 1 ? 1 : dtypes.length)),
          shape.length === 1,
          shape.slice(0, -2).reduce((a, b) => a * b, 1),
          rows,
          columns,
        );
      });
      const layers = plan.layers.flatMap((l) => (l.kind === "mamba" ? [1, l.dInner, l.dState, l.dConv] : [0, l.nKvHeads, l.headDim, 0]));
      const states = executor.createStates(Int32Array.of(16, 0, ...layers));
      executor.reserveStates(states, 4, 20);
      try {
        const program = executor.createProgram(cut, handles, states);
        // Gigabytes are not refused, only slow to touch.
        if (cut[3] <= 2 ** 20) {
          const starts = startsOf(plan.tokens);
          const addresses = plan.tokens.flatMap((_, s) => [s, 0, 5, ...Array.from({ length: 5 }, (_, page) => 5 * s + page)]);
          const data = (views: readonly Tensor[]) => views.map(({ shape: [rows, columns] }) => numbers(random, rows * columns, true));
          const given = data(lowered.inputs.map(({ out }) => out));
          const { temperatures, asked } = askedOf(random, nRows, width, 0.02);
          const taken = [...data(lowered.outputs.map(({ x }) => x!)), new Float32Array(asked.ids.length)];
          const args = [
            new Int32Array(L),
            Int32Array.from({ length: nRows }, () => Math.floor(random() * L)),
            Int32Array.from(starts),
            Int32Array.from(addresses),
            ...([temperatures, asked.starts, asked.ids] as const),
            ...copied(random),
            given,
            taken,
            i + 1,
          ] as const;
          await executor.run(program, states, ...args);
          ran++;
          if (chance(random, 0.1)) executor.dropKept(pick(random, [i, i + 1, ...oddIntegers]));
          await executor.readKept(i + 1, pick(random, [0, 0, 0, 1, -1]), 0, nRows, new Float32Array(nRows * width));
        }
      } catch (error) {
        expect(["SHAPE", "DTYPE", "BACKEND", "OUT_OF_MEMORY"], `change ${i} of seed ${seed}: ${error}`).toContain(
          (error as { code?: string }).code,
        );
      }
      executor.dropKept(i + 1);
      for (const handle of [...handles, states]) executor.release(handle);
    }
    executor.stop();
    expect(ran).toBeGreaterThan(calls / 20);
  });
}

/** The words of a program with `top` and `keep` of rows of their own at its end. */
function withTop(words: Int32Array, ops: readonly string[], nRows: number, width: number, k: number): Int32Array {
  let arena = words[3];
  const place = (columns: number) => {
    const at = [arena, columns, nRows, columns];
    arena += nRows * columns;
    return at;
  };
  const logits = place(width);
  const more = [ops.indexOf("top"), ...logits, k, ...place(k), ...place(k), ...place(5), ops.indexOf("keep"), ...logits];
  const all = Int32Array.from([...words, ...more]);
  all[3] = arena;
  all[5] += 2;
  return all;
}

/** Temperatures and ids of `nRows` rows, each number odd with a chance of `p`. */
function askedOf(random: Random, nRows: number, width: number, p: number) {
  const often = (odd: number, right: number) => (chance(random, p) ? odd : right);
  const counts = Array.from({ length: nRows }, () => (width > 0 ? Math.floor(random() * 3) : 0));
  const starts = [0, ...counts].map((_, i) => counts.slice(0, i).reduce((a, b) => a + b, 0));
  return {
    temperatures: Float32Array.from(counts, () => often(pick(random, oddNumbers), random() + 0.01)),
    asked: {
      starts: Int32Array.from(starts, (start) => often(pick(random, [...oddIntegers, 1]), start)),
      ids: Int32Array.from({ length: starts[nRows] }, () => often(pick(random, [...oddIntegers, width]), Math.floor(random() * width))),
    },
  };
}

/** From anywhere to the last slot and the last page, which no sequence uses, or spoiled. */
function copiesOf(random: Random, spoiled: boolean, lastSlot: number, lastPage: number): StateCopies {
  const pair = (last: number) => {
    const from = Math.floor(random() * (last + 1));
    return (spoiled ? [pick(random, [from, ...oddIntegers]), pick(random, [last, ...oddIntegers])] : [from, last]) as [number, number];
  };
  const pairs = (last: number) => Array.from({ length: spoiled ? 1 + Math.floor(random() * 2) : 1 }, () => pair(last));
  return pick(random, [{ slots: pairs(lastSlot) }, { pages: pairs(lastPage) }, { slots: pairs(lastSlot), pages: pairs(lastPage) }]);
}

/** As words, of slots and of pages that the step does not use. */
function copied(random: Random): [Int32Array, Int32Array] {
  const pair = (from: number, to: number) =>
    Int32Array.from(chance(random, 0.5) ? [] : [from, chance(random, 0.9) ? to : pick(random, oddIntegers)]);
  return [pair(0, 3), pair(1, 19)];
}

/**
 * Looks for wrong numbers, not for last digits: an error counts beside its own value and the others' (products of normal numbers
 * reach far beyond their mean square), and 0.1 is where sums of few terms cancel. bf16: dot products round activations to 2^-9, three matmuls deep.
 */
function expectNear(found: Float32Array, expected: Float32Array, dtype: WeightDtype, what: string): void {
  expect(found.length, what).toBe(expected.length);
  const rms = Math.sqrt(expected.reduce((sum, v) => sum + (Number.isFinite(v) ? v * v : 0), 0) / Math.max(1, expected.length));
  const errorAt = (v: number, i: number) => (v === expected[i] ? 0 : Math.abs(v - expected[i]) / (Math.abs(expected[i]) + rms + 0.1));
  const worst = found.reduce((most, v, i) => Math.max(most, errorAt(v, i)), 0);
  expect(worst, what).toBeLessThanOrEqual(dtype === "bf16" ? 0.03 : 1e-4);
}
