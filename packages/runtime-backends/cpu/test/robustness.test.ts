// What goes wrong around a step leaves everything else as it was: cancel, dispose, failed loads, no memory, dying threads.

import {
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { Worker } from "node:worker_threads";
import { openSmallModel, randomIds } from "@jamba/conformance";
import {
  type Backend,
  HostTensor,
  type JambaErrorCode,
  lower,
  type MambaState,
  type PackedSource,
  type PackedWeights,
  readHostState,
  record,
  runOnce,
  type StateAddress,
  type StateStore,
  type Step,
  type StepInputs,
  sourceOf,
  type Weight,
  type WeightDtype,
  type WeightSource,
  writeHostState,
} from "@jamba/core";
import { afterAll, afterEach, beforeEach, describe, expect, test } from "vitest";
import { type Addon, loadAddon } from "../src/addon.ts";
import { openCpuBackend } from "../src/index.ts";
import { planWords } from "../src/plan-words.ts";
import { target } from "./words.ts";

const addon = await loadAddon().catch((error: Error) => error);
const dtypes = ["f32", "bf16", "f16", "q8", "q4", "q4_1", "q4_k"] as const satisfies readonly WeightDtype[];
const folder = mkdtempSync(join(tmpdir(), "jamba-cpu-"));
afterAll(() => rmSync(folder, { recursive: true }));

if (addon instanceof Error) test("robustness", ({ skip }) => skip(addon.message));
else describe("the CPU backend", () => robustness(addon));

const coded = (code: JambaErrorCode) => expect.objectContaining({ code });

function robustness(addon: Addon): void {
  let backend: Backend;
  beforeEach(async () => {
    backend = await openCpuBackend();
  });
  afterEach(() => backend.dispose());

  describe("a cancelled step", () => {
    test("ends before its last command and rejects with the signal's reason", async () => {
      const { run, mark, marked } = await longStep(backend);
      await mark();
      const [reason, controller] = [new Error("enough"), new AbortController()];
      const running = run(controller.signal);
      setTimeout(() => controller.abort(reason), 20);
      await expect(running).rejects.toBe(reason);
      expect(await marked()).toBe(true);
    });

    test("that waits in the queue never starts, and the one before it ends as usual", async () => {
      const model = await openSmallModel(backend);
      const turns = [{ sequence: 0, ids: randomIds(1, 40) }];
      const logits = await model.step(turns);
      model.reset();
      const { run } = await longStep(backend);
      const first = run();
      const controller = new AbortController();
      const second = await submitted(backend, () => model.step(turns, { signal: controller.signal }));
      controller.abort("not any more");
      await expect(second.result).rejects.toBe("not any more");
      await first;
      model.reset();
      expect(await model.step(turns)).toEqual(logits);
    });

    test("or a refused one leaves the backend usable", async () => {
      const model = await openSmallModel(backend);
      const turns = [{ sequence: 0, ids: randomIds(1, 40) }];
      const expected = await model.step(turns);
      const { run, inputs } = await longStep(backend);
      const controller = new AbortController();
      const running = run(controller.signal);
      setImmediate(() => controller.abort());
      await expect(running).rejects.toThrow();
      await expect(run(undefined, { ...inputs, tensors: new Map() })).rejects.toThrow(coded("SHAPE"));
      model.reset();
      expect(await model.step(turns)).toEqual(expected);
    });
  });

  test("calls submitted together take effect in the order they are made", async () => {
    const history = async (settle: (call: Promise<unknown>) => Promise<unknown> | undefined) => {
      const model = await openSmallModel(backend);
      const calls: Promise<unknown>[] = [];
      const call = async (result: Promise<unknown>) => {
        calls.push(result);
        await settle(result);
      };
      const step = async (sequence: number, n: number) => {
        const { result } = await submitted(backend, () => model.step([{ sequence, ids: randomIds(n, n) }]));
        await call(result);
      };
      // The first part of a state: the others are asked for as they are taken.
      const read = (address: StateAddress) => call(backend.readState(model.store, address)[Symbol.asyncIterator]().next());
      await step(0, 9);
      const early = await readHostState(backend, model.store, model.address(0));
      const at = model.address(0);
      await step(0, 5);
      await call(model.fork(0, 1));
      await step(1, 3);
      await read(model.address(0));
      // Not before the last part was written is it there whole.
      await writeHostState(backend, model.store, at, early);
      await step(1, 2);
      await read(at);
      await call(model.fork(1, 0));
      await read(model.address(0));
      await step(0, 2);
      await step(1, 4);
      await read(model.address(1));
      await read(model.address(0));
      return Promise.all(calls);
    };
    expect(await history(() => undefined)).toEqual(await history((call) => call));
  });

  test("two stores on one backend do not take each other's kept values", async () => {
    const [a, b] = [await keeping(backend), await keeping(backend)];
    const first = a.submit(1);
    const others = [2, 3, 4].map((n) => b.submit(n));
    expect(await a.values(first)).toEqual(a.expected(1));
    const second = a.submit(5);
    expect(await Promise.all([a.values(first), a.values(second), b.values(others[1]), b.values(others[2])])).toEqual(
      [1, 5, 3, 4].map(a.expected),
    );
    await expect(b.values(others[0])).rejects.toThrow(coded("BACKEND"));
    // Nor does one that ends while the other's are asked for.
    const asked = b.values(others[2]);
    a.store.dispose();
    await expect(a.values(second)).rejects.toThrow(coded("BACKEND"));
    expect(await asked).toEqual(a.expected(4));
    expect(await b.values(others[1])).toEqual(a.expected(3));
  });

  test("memory for kept values does not grow with the count of steps", async () => {
    const { submit, values } = await keeping(backend);
    for (let n = 0; n < 4; n++) await values(submit(n));
    const { arenaBytes } = backend.memory();
    for (let n = 0; n < 100; n++) if (n % 3 === 0) await values(submit(n));
    expect(backend.memory().arenaBytes).toBe(arenaBytes);
  });

  describe("dispose", () => {
    test("in the middle of a step ends it, and all that waits, with DISPOSED", async () => {
      const { run, store } = await longStep(backend);
      const calls = [run(), run(), backend.copyStates(store, { slots: [[0, 1]] }), backend.profile!()];
      const outcomes = Promise.allSettled(calls);
      await new Promise((resolve) => setTimeout(resolve, 20));
      await backend.dispose();
      for (const outcome of await outcomes) expect(outcome).toEqual({ status: "rejected", reason: coded("DISPOSED") });
      expect(backend.memory()).toEqual({ weightBytes: 0, mappedBytes: 0, stateBytes: 0, arenaBytes: 0 });
      await backend.dispose();
    });

    test("in the middle of a load ends it with DISPOSED", async () => {
      const opening = backend.openWeight(pieced("big"), "q4");
      const rejected = expect(opening).rejects.toThrow(coded("DISPOSED"));
      await new Promise((resolve) => setImmediate(resolve));
      await backend.dispose();
      await rejected;
    });

    test("makes every call fail with DISPOSED", async () => {
      const model = await openSmallModel(backend);
      const { program, inputs } = await keeping(backend);
      await backend.dispose();
      const { store } = model;
      const address = { slot: 0, pages: [], seen: 0 };
      await expect(model.step([{ sequence: 0, ids: [1] }])).rejects.toThrow(coded("DISPOSED"));
      await expect(backend.openWeight(pieced("late"), "f32")).rejects.toThrow(coded("DISPOSED"));
      await expect(backend.copyStates(store, {})).rejects.toThrow(coded("DISPOSED"));
      expect(() => backend.readState(store, address)).toThrow(coded("DISPOSED"));
      await expect(backend.writeState(store, address, [])).rejects.toThrow(coded("DISPOSED"));
      await expect(backend.createStates(store.spec)).rejects.toThrow(coded("DISPOSED"));
      await expect(store.reserve(100, 0)).rejects.toThrow(coded("DISPOSED"));
      await expect(backend.profile!()).rejects.toThrow(coded("DISPOSED"));
      expect(() => backend.submit(program, inputs(1))).toThrow(coded("DISPOSED"));
      await expect(backend.prepare(program.list, program.states)).rejects.toThrow(coded("DISPOSED"));
    });

    test("of a weight or of states while a step uses them lets the step end", async () => {
      const [model, other] = [await openSmallModel(backend), await openSmallModel(backend)];
      const turns = [{ sequence: 0, ids: randomIds(1, 300) }];
      const { result } = await submitted(backend, () => model.step(turns));
      await model[Symbol.asyncDispose]();
      expect(await result).toEqual(await other.step(turns));
      await expect(model.step(turns)).rejects.toThrow(coded("BACKEND"));
    });
  });

  test("two backends at once do not know of each other", async () => {
    const other = await openCpuBackend({ threads: 3 });
    const [a, b] = [await openSmallModel(backend), await openSmallModel(other)];
    const turns = Array.from({ length: 8 }, (_, i) => [{ sequence: i % 2, ids: randomIds(i, 30 + i) }]);
    const alone = [];
    for (const turn of turns) alone.push(await a.step(turn));
    a.reset();
    const both = await Promise.all(turns.flatMap((turn) => [a.step(turn), b.step(turn)]));
    for (const [i, logits] of both.entries()) expect(logits).toEqual(alone[i >> 1]);
    expect(() => backend.readState(b.store, b.address(0))).toThrow(coded("BACKEND"));
    await other.dispose();
    a.reset();
    expect(await a.step(turns[0])).toEqual(alone[0]);
  });

  test("a worker thread owns an executor, and may be ended in the middle of a step", async () => {
    const { words, sizes } = encodedLongStep(addon);
    for (let i = 0; i < 5; i++) {
      const file =
        process.env.JAMBA_CPU_ADDON ?? new URL(`../prebuilds/${process.platform}-${process.arch}/jamba.node`, import.meta.url).pathname;
      const worker = new Worker(ownEngine, { eval: true, workerData: { file, words, sizes } });
      await new Promise((resolve, reject) => worker.once("message", resolve).once("error", reject));
      await worker.terminate();
    }
  });

  describe("out of memory", () => {
    test("in reserve has code OUT_OF_MEMORY and changes nothing", async () => {
      const model = await openSmallModel(backend);
      const { store } = model;
      const logits = await model.step([{ sequence: 0, ids: [1, 2, 3] }]);
      const before = { slots: store.nSlots, pages: store.nPages, ...backend.memory() };
      for (const [slots, pages] of [
        [2 ** 40, 0],
        [0, 2 ** 40],
        [store.nSlots + 5, 2 ** 50],
        [Number.MAX_SAFE_INTEGER, Number.MAX_SAFE_INTEGER],
      ])
        await expect(store.reserve(slots, pages)).rejects.toThrow(coded("OUT_OF_MEMORY"));
      expect({ slots: store.nSlots, pages: store.nPages, ...backend.memory() }).toEqual(before);
      await store.reserve(store.nSlots + 1, store.nPages + 1);
      model.reset();
      expect(await model.step([{ sequence: 0, ids: [1, 2, 3] }])).toEqual(logits);
    });

    test("of a weight has code OUT_OF_MEMORY", async () => {
      const before = backend.memory();
      for (const shape of [[2 ** 30, 2 ** 20], Array(9).fill(2 ** 30)]) {
        const source: WeightSource = { name: "absurd", dtype: "f32", shape, read: () => Promise.reject(new Error("nobody reads it")) };
        await expect(backend.openWeight(source, "q8")).rejects.toThrow(coded("OUT_OF_MEMORY"));
      }
      expect(backend.memory()).toEqual(before);
    });

    test("of states whose size no number holds is refused", async () => {
      const layers = [{ kind: "attention" as const, nKvHeads: 2 ** 24, headDim: 2 ** 24 }];
      await expect(backend.createStates({ layers, pageTokens: 2 ** 16, kvDtype: "f32" })).rejects.toThrow(coded("OUT_OF_MEMORY"));
    });
  });

  test("states of no window are refused", async () => {
    const create = (layer: object) => backend.createStates({ layers: [layer as never], pageTokens: 4, kvDtype: "f32" });
    await expect(create({ kind: "mamba", dInner: 16, dState: 1, dConv: 0 })).rejects.toThrow(coded("SHAPE"));
    await expect(create({ kind: "attention", nKvHeads: 1, headDim: Number.NaN })).rejects.toThrow(coded("SHAPE"));
  });

  describe("a load that fails", () => {
    const failures: [string, (source: WeightSource, abort: (reason: unknown) => void) => WeightSource["read"], unknown][] = [
      [
        "since the source throws midway",
        ({ read }) =>
          (from, to) =>
            from > 0 ? Promise.reject(reason) : read(from, to),
        reason,
      ],
      [
        "since a piece is short",
        ({ read }) =>
          async (from, to) =>
            (await read(from, to)).subarray(from > 0 ? 4 : 0),
        coded("SHAPE"),
      ],
      ["since a piece is empty", () => async () => new Uint8Array(0), coded("SHAPE")],
      [
        "since it was aborted",
        ({ read }, abort) =>
          (from, to) => {
            if (from > 0) abort(reason);
            return read(from, to);
          },
        reason,
      ],
    ];
    test.each(failures)("%s leaves memory as it was", async (_, spoil, expected) => {
      const before = backend.memory();
      const source = pieced("w");
      const controller = new AbortController();
      const read = spoil(source, (reason) => controller.abort(reason));
      const [failing, fine] = [backend.openWeight({ ...source, read }, "q8", controller.signal), backend.openWeight(source, "q8")];
      await expect(failing).rejects.toEqual(expected);
      (await fine)[Symbol.dispose]();
      expect({ ...backend.memory(), arenaBytes: 0 }).toEqual({ ...before, arenaBytes: 0 });
    });
  });

  test("two hundred loads and unloads leave memory and threads as they were", async ({ skip }) => {
    if (process.platform !== "linux") skip("threads and resident pages are counted in Linux's /proc");
    setFlagsFromString("--expose-gc");
    const gc = runInNewContext("gc") as () => void;
    const [values, turns] = [new Float32Array(2 ** 20), [{ sequence: 0, ids: randomIds(1, 64) }]];
    const cycle = async () => {
      const own = await openCpuBackend({ threads: 2 });
      await own.openWeight(sourceOf("4 MiB", [1024, 1024], values), "f32");
      await (await openSmallModel(own)).step(turns);
      await own.dispose();
    };
    const settled = async () => {
      // Finalizers run between turns of the loop.
      for (let i = 0; i < 5; i++) await new Promise((resolve) => setImmediate(resolve, gc() as never));
      return { rss: process.memoryUsage().rss, threads: readdirSync("/proc/self/task").length };
    };
    for (let i = 0; i < 20; i++) await cycle();
    const before = await settled();
    for (let i = 0; i < 200; i++) await cycle();
    const after = await settled();
    expect(after.threads).toBe(before.threads);
    // Had the 4 MiB of each stayed, it would be 800. V8's heap moves by some, and a sanitizer keeps what was freed for a while.
    expect((after.rss - before.rss) / 2 ** 20).toBeLessThan(40);
  });

  test("garbage is collected before the first large weight", async () => {
    const own = await openCpuBackend({ threads: 1 });
    const garbage = new WeakRef(new ArrayBuffer(64));
    await new Promise(setImmediate); // until then, what a WeakRef was made of is kept
    const read = () => Promise.reject(new Error("allocates nothing"));
    await expect(own.openWeight({ name: "16 MiB", dtype: "f32", shape: [4096, 1024], read }, "f32")).rejects.toThrow("nothing");
    expect(garbage.deref()).toBeUndefined();
    await own.dispose();
  });

  test("a disposed backend holds no thread and no page, though nothing was collected", async ({ skip }) => {
    if (process.platform !== "linux") skip("threads are counted in Linux's /proc");
    const count = () => readdirSync("/proc/self/task").length;
    const before = count();
    const own = await openCpuBackend({ threads: 5 });
    expect(count()).toBe(before + 5);
    await own.dispose();
    expect(count()).toBe(before);
  });

  describe("packed weights", () => {
    let packed: PackedWeights;
    beforeEach(() => {
      packed = backend.packed!;
    });

    test.each(dtypes)("%s: what was packed and comes from a file, mapped or read in pieces, gives the same bits", async (dtype) => {
      const path = join(folder, `packed-${dtype}`);
      const shape = [131, 97];
      const values = Float32Array.from({ length: 131 * 97 }, (_, i) => Math.sin(i * i));
      const opened = await backend.openWeight(sourceOf("w", shape, values), dtype);
      const size = backend.weightBytes(shape, dtype);
      const bytes = await packed.read(opened, 0, size);
      writeFileSync(path, Buffer.concat([Buffer.alloc(64), bytes]));
      const mappedBefore = backend.memory().mappedBytes!;
      const mapped = await packed.open(fileSource(path, { dtype, shape, offset: 64 }));
      expect(backend.memory().mappedBytes).toBe(mappedBefore + size);
      const read = await packed.open({ name: "w", dtype, shape, read: async (from, to) => bytes.subarray(from, to) });
      expect(backend.memory().mappedBytes).toBe(mappedBefore + size);
      const expected = await product(backend, opened);
      for (const weight of [mapped, read]) {
        expect(await packed.read(weight, 0, size)).toEqual(bytes);
        expect(await product(backend, weight)).toEqual(expected);
        await expect(packed.read(weight, 0, size + 1)).rejects.toThrow(coded("SHAPE"));
      }
    });

    test("ranges of several MiB follow each other without gaps, and give what a mapped file gives", async () => {
      const path = join(folder, "ranges");
      const shape = [2050, 1031];
      const values = Float32Array.from({ length: 2050 * 1031 }, (_, i) => Math.sin(i * i));
      const opened = await backend.openWeight(sourceOf("w", shape, values), "f32");
      const size = backend.weightBytes(shape, "f32");
      const bytes = await packed.read(opened, 0, size);
      writeFileSync(path, bytes);
      const ranges: [number, number][] = [];
      const read = async (from: number, to: number) => {
        ranges.push([from, to]);
        return bytes.subarray(from, to);
      };
      const [ranged, mapped] = [
        await packed.open({ name: "w", dtype: "f32", shape, read }),
        await packed.open(fileSource(path, { dtype: "f32", shape })),
      ];
      expect(ranges.length).toBeGreaterThan(1);
      expect(ranges.map(([from]) => from)).toEqual([0, ...ranges.slice(0, -1).map(([, to]) => to)]);
      expect(ranges.at(-1)![1]).toBe(size);
      expect(Buffer.compare(await packed.read(ranged, 0, size), bytes)).toBe(0);
      expect(await product(backend, ranged)).toEqual(await product(backend, mapped));
    });

    test.each<[string, (bytes: Uint8Array, abort: () => void) => Promise<Uint8Array>, unknown]>([
      ["throws", () => Promise.reject(reason), reason],
      ["is short", async (bytes) => bytes.subarray(1), coded("LOAD")],
      ["is long", async (bytes) => new Uint8Array(bytes.length + 1), coded("LOAD")],
      ["is empty", async () => new Uint8Array(0), coded("LOAD")],
      [
        "is aborted",
        async (bytes, abort) => {
          abort();
          return bytes;
        },
        reason,
      ],
    ])("a read that %s midway leaves memory as it was", async (_, spoil, expected) => {
      const before = backend.memory();
      const shape = [4096, 1024];
      const controller = new AbortController();
      const read = async (from: number, to: number) =>
        from === 0 ? new Uint8Array(to) : spoil(new Uint8Array(to - from), () => controller.abort(reason));
      await expect(packed.open({ name: "w", dtype: "f32", shape, read }, controller.signal)).rejects.toEqual(expected);
      expect(backend.memory()).toEqual(before);
    });

    test("a file that is too short, missing, empty or a folder, or an offset that is none, is refused with LOAD", async () => {
      const before = backend.memory();
      const path = join(folder, "short");
      const source = fileSource(path);
      writeFileSync(path, Buffer.alloc(1024));
      await packed.open(source).then((weight) => weight[Symbol.dispose]());
      const empty = join(folder, "empty");
      writeFileSync(empty, "");
      const offsets = [64, 1, -64, 0.5, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 53, 2 ** 63 - 1024];
      const bad = [
        ...offsets.map((offset) => fileSource(path, { offset })),
        ...[join(folder, "missing"), empty, folder, ""].map((path) => fileSource(path)),
      ];
      for (const one of bad) await expect(packed.open(one), JSON.stringify(one)).rejects.toThrow(coded("LOAD"));
      truncateSync(path, 1000);
      await expect(packed.open(source)).rejects.toThrow(coded("LOAD"));
      expect(backend.memory()).toEqual(before);
    });

    test("a file that took another's name is taken as it is, not as the other was", async () => {
      const path = join(folder, "renamed");
      const source = fileSource(path, { shape: [64] });
      const write = (value: number) => writeFileSync(`${path}.new`, Buffer.from(new Float32Array(64).fill(value).buffer));
      write(1);
      renameSync(`${path}.new`, path);
      const first = await packed.open(source);
      write(2);
      renameSync(`${path}.new`, path);
      const second = await packed.open(source);
      const firstOf = async (weight: Weight) => new DataView((await packed.read(weight, 0, 4)).buffer).getFloat32(0, true);
      expect([await firstOf(first), await firstOf(second)]).toEqual([1, 2]);
    });

    test("of a 30 GB mixture of experts only routed experts become resident", async ({ skip }) => {
      if (process.platform !== "linux") skip("resident pages of a mapping are counted in Linux's /proc");
      const path = join(folder, "sparse");
      const [nExperts, dModel, dFf, chosen] = [4400, 1024, 4096, [3, 4321]];
      const shapes = { gateProj: [dFf, dModel], upProj: [dFf, dModel], downProj: [dModel, dFf] };
      const expertBytes = backend.weightBytes(shapes.gateProj, "q4");
      const small: Record<string, Weight> = {};
      const mapped: Record<string, Weight> = {};
      const file = openSync(path, "w");
      for (const [i, [name, shape]] of Object.entries(shapes).entries()) {
        const values = Float32Array.from({ length: 2 * dFf * dModel }, (_, at) => Math.sin(at * (i + 1)) / 30);
        small[name] = await backend.openWeight(sourceOf(name, [2, ...shape], values), "q4");
        for (const [j, expert] of chosen.entries()) {
          const bytes = await packed.read(small[name], j * expertBytes, (j + 1) * expertBytes);
          writeSync(file, bytes, 0, bytes.length, (i * nExperts + expert) * expertBytes);
        }
      }
      truncateSync(path, 3 * nExperts * expertBytes);
      expect(statSync(path).size).toBeGreaterThan(30e9);
      if (statSync(path).blocks * 512 > 1e9) skip(`${folder}: this file system has no sparse files`);
      for (const [i, [name, shape]] of Object.entries(shapes).entries())
        mapped[name] = await packed.open(
          fileSource(path, { name, dtype: "q4", shape: [nExperts, ...shape], offset: i * nExperts * expertBytes }),
        );
      expect(await routed(backend, mapped, chosen)).toEqual(await routed(backend, small, [0, 1]));
      // A fault brings some neighbours in: 16 pages around on Linux, or a huge page.
      const resident = residentBytes(path) / (6 * expertBytes);
      expect(resident).toBeGreaterThan(0.99);
      expect(resident).toBeLessThan(1.5);
    });
  });
}

const reason = new Error("the disk is gone");

/** What comes from a local file, by a backend that maps it. */
function fileSource(path: string, { offset = 0, ...given }: Partial<PackedSource> & { offset?: number } = {}): PackedSource {
  const read = () => Promise.reject(new Error("expected the file to be mapped"));
  return { name: "w", dtype: "f32", shape: [16, 16], read, file: { path, offset }, ...given };
}

/** Starts a call that prepares and submits a step, and waits until it has. */
async function submitted<T>(backend: Backend, start: () => Promise<T>): Promise<{ result: Promise<T> }> {
  const submit = backend.submit.bind(backend);
  const asked = new Promise<void>((resolve) => {
    backend.submit = (...args) => {
      resolve();
      return submit(...args);
    };
  });
  const result = start();
  await Promise.race([asked, result]);
  backend.submit = submit;
  return { result };
}

/** A store, and steps whose values it keeps. */
async function keeping(backend: Backend) {
  const [rows, columns] = [5, 7];
  const store = await backend.createStates({ layers: [], pageTokens: 1, kvDtype: "f32" });
  await store.reserve(1, 0);
  const program = await backend.prepare(
    record({ L: rows, nSequences: 1, nRows: 0 }, store.spec, (ops) => ops.keep("x", ops.input("x", [rows, columns]))),
    store,
  );
  const expected = (n: number) => Float32Array.from({ length: rows * columns }, (_, i) => 1000 * n + i);
  const inputs = (n: number) => ({ ...oneSequence(rows), tensors: new Map([["x", new HostTensor(expected(n), [rows, columns])]]) });
  return {
    store,
    program,
    inputs,
    expected,
    submit: (n: number) => backend.submit(program, inputs(n)),
    values: async (step: Step) => (await step.read("x")).data,
  };
}

/** Of several pieces. */
function pieced(name: string): WeightSource {
  return sourceOf(name, [3072, 1024], new Float32Array(3 * 2 ** 20).fill(0.5));
}

async function product(backend: Backend, w: Weight): Promise<unknown> {
  const store = await backend.createStates({ layers: [], pageTokens: 1, kvDtype: "f32" });
  await store.reserve(1, 0);
  const columns = w.shape[1];
  const list = record({ L: 3, nSequences: 1, nRows: 0 }, store.spec, (ops) =>
    ops.read("y", ops.matmul(ops.input("x", [3, columns]), [w])[0]),
  );
  return (await runOnce(backend, list, store, { ...oneSequence(3), tensors: new Map([["x", waves(3, columns)]]) })).get("y")!.data;
}

/** One token to each of the experts named. */
async function routed(backend: Backend, w: Record<string, Weight>, chosen: readonly number[]): Promise<unknown> {
  const store = await backend.createStates({ layers: [], pageTokens: 1, kvDtype: "f32" });
  await store.reserve(1, 0);
  const L = chosen.length;
  const dModel = w.gateProj.shape[2];
  const { gateProj, upProj, downProj } = w;
  const list = record({ L, nSequences: 1, nRows: 0 }, store.spec, (ops) => {
    const routes = { experts: ops.input("experts", [L, 1], "i32"), weights: ops.input("weights", [L, 1]) };
    ops.read("y", ops.experts(ops.input("x", [L, dModel]), routes, { gateProj, upProj, downProj }));
  });
  const tensors = new Map<string, HostTensor>([
    ["experts", new HostTensor("int32", Int32Array.from(chosen), [L, 1])],
    ["weights", waves(L, 1)],
    ["x", waves(L, dModel)],
  ]);
  return (await runOnce(backend, list, store, { ...oneSequence(L), tensors })).get("y")!.data;
}

function waves(rows: number, columns: number): HostTensor {
  const values = Float32Array.from({ length: rows * columns }, (_, i) => Math.cos(i));
  return new HostTensor(values, [rows, columns]);
}

function oneSequence(L: number): StepInputs {
  return { ids: new Int32Array(L), starts: Int32Array.of(0, L), states: [{ slot: 0, pages: [], seen: 0 }], rows: new Int32Array(0) };
}

function residentBytes(path: string): number {
  let [inside, sum] = [false, 0];
  for (const line of readFileSync("/proc/self/smaps", "utf8").split("\n")) {
    if (/^[0-9a-f]+-/.test(line)) inside = line.endsWith(path);
    if (inside && line.startsWith("Rss:")) sum += 1024 * Number(/\d+/.exec(line)![0]);
  }
  return sum;
}

const [longTokens, longWidth, longMatmuls] = [256, 2048, 200];
const marker = { kind: "mamba", dInner: 16, dState: 2, dConv: 1 } as const;

/** Seconds of matmuls, then a scan that would move the state on. */
function recordLong(states: StateStore["spec"], weights: Record<"w" | "A" | "D" | "dtBias", Weight>) {
  return record({ L: longTokens, nSequences: 1, nRows: 0 }, states, (ops) => {
    let x = ops.input("x", [longTokens, longWidth]);
    for (let i = 0; i < longMatmuls; i++) [x] = ops.matmul(x, [weights.w]);
    const [u, b] = [ops.slice(x, 0, 16), ops.slice(x, 16, 18)];
    const { A, D, dtBias } = weights;
    ops.selectiveScan({ x: u, z: u, dt: u, B: b, C: b, A, D, dtBias }, ops.states[0] as MambaState);
  });
}

async function longStep(backend: Backend) {
  const open = (name: string, shape: number[]) =>
    backend.openWeight(sourceOf(name, shape, new Float32Array(shape.reduce((a, b) => a * b)).fill(0.01)), "f32");
  const weights = {
    w: await open("w", [longWidth, longWidth]),
    A: await open("A", [16, 2]),
    D: await open("D", [16]),
    dtBias: await open("dtBias", [16]),
  };
  const store = await backend.createStates({ layers: [marker], pageTokens: 1, kvDtype: "f32" });
  await store.reserve(2, 0);
  const x = new HostTensor(new Float32Array(longTokens * longWidth).fill(1), [longTokens, longWidth]);
  const address = { slot: 0, pages: [], seen: 3 };
  const inputs: StepInputs = { ...oneSequence(longTokens), states: [address], tensors: new Map([["x", x]]) };
  const state = {
    seen: 3,
    layers: [
      {
        kind: "mamba" as const,
        conv: new HostTensor(new Float32Array(0), [16, 0]),
        h: new HostTensor(new Float32Array(32).fill(7), [16, 2]),
      },
    ],
  };
  const program = await backend.prepare(recordLong(store.spec, weights), store);
  return {
    store,
    inputs,
    run: async (signal?: AbortSignal, given = inputs) => backend.submit(program, given, { signal }).done,
    mark: () => writeHostState(backend, store, address, state),
    marked: async () => Object.is(JSON.stringify(await readHostState(backend, store, address)), JSON.stringify(state)),
  };
}

function encodedLongStep({ ops }: Addon) {
  const weight = (name: string, shape: number[]): Weight => ({ name, dtype: "f32", shape });
  const spec = { layers: [marker], pageTokens: 1, kvDtype: "f32" as const };
  const weights = { w: weight("w", [longWidth, longWidth]), A: weight("A", [16, 2]), D: weight("D", [16]), dtBias: weight("dtBias", [16]) };
  const { words, weights: order } = planWords(lower(recordLong(spec, weights), target), ops);
  return { words, sizes: { shapes: order.map(({ shape }) => shape), tokens: longTokens, width: longWidth } };
}

/** What driver.ts does, without TypeScript, which a worker of Node 20 does not read. */
const ownEngine = `
const { parentPort, workerData: { file, words, sizes } } = require("node:worker_threads");
const { Executor, levels } = require(file);
const executor = new Executor(levels[0], 2);
const weights = sizes.shapes.map((s) => executor.createWeight("w", 0, s.length === 1, 1, s.length === 1 ? 1 : s[0], s.at(-1)));
const states = executor.createStates(Int32Array.of(1, 0, 1, 16, 2, 1));
executor.reserveStates(states, 1, 0);
const program = executor.createProgram(words, weights, states);
const x = new Float32Array(sizes.tokens * sizes.width);
const none = new Int32Array(0);
for (let token = 1; token <= 3; token++)
  executor.run(program, states, new Int32Array(sizes.tokens), none, Int32Array.of(0, sizes.tokens), Int32Array.of(0, 0, 0), new Float32Array(0), none, none, none, none, [x], [], token);
setTimeout(() => parentPort.postMessage("running"), 10);
`;
