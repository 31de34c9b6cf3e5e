// What only the WebAssembly door has: bits of its modules, workers that die, memory that ends at 4 GiB, pages that are not isolated, and calls
// that nobody should make.

import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { Worker } from "node:worker_threads";
import { openSmallModel, randomChunks, randomIds, type SmallModel, seeded } from "@jamba/conformance";
import {
  type Backend,
  HostTensor,
  type JambaErrorCode,
  type MambaState,
  readHostState,
  record,
  type StepInputs,
  sourceOf,
  type WeightDtype,
  type WeightSource,
  writeHostState,
} from "@jamba/core";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { loadAddon } from "../src/addon.ts";
import { openCpuBackend, openWasmBackend, type WasmOptions } from "../src/index.ts";
import { usableModules } from "../src/wasm/modules.ts";
import { dotsRatio } from "../src/wasm/probe-dots.ts";
import { bundle } from "./bundle.mjs";

/** What an engine's probe would find, in place of what this one's does. */
const probed = vi.hoisted(() => ({ ratio: undefined as number | undefined }));
vi.mock("../src/wasm/probe-dots.ts", async (original) => {
  const { dotsRatio } = await original<typeof import("../src/wasm/probe-dots.ts")>();
  return { dotsRatio: async () => probed.ratio ?? dotsRatio() };
});

// Before anything is validated.
if (process.version.startsWith("v20.")) setFlagsFromString("--experimental-wasm-relaxed-simd");
setFlagsFromString("--expose-gc");
const gc = runInNewContext("gc") as () => void;

const addon = await loadAddon().catch((error: Error) => error);
const dtypes = ["f32", "bf16", "f16", "q8", "q4", "q4_1", "q4_k"] as const satisfies readonly WeightDtype[];
const kvDtypes = ["f16", "bf16", "f32"] as const;
const coded = (code: JambaErrorCode) => expect.objectContaining({ code });
const open = (options: WasmOptions = {}) => openWasmBackend({ level: "simd128", ...options });

afterEach(() => {
  vi.restoreAllMocks();
  vi.unstubAllGlobals();
});

/** As bytes: a zero's sign and a NaN's payload count. */
const bitsOf = (values: Float32Array) => Buffer.from(values.buffer, values.byteOffset, values.byteLength).toString("base64");

/** Logits of three sequences that are read in such pieces, beside each other and alone. */
async function logitsOf(model: SmallModel, pieces: (length: number) => readonly number[]): Promise<string> {
  model.reset();
  const all: string[] = [];
  const ids = randomIds(3, 150);
  const rows: number[] = [];
  let from = 0;
  for (const size of pieces(ids.length)) {
    const strangers = [1, 2].map((sequence) => ({ sequence, ids: randomIds(sequence, sequence * 3) }));
    const logits = await model.step([{ sequence: 0, ids: ids.slice(from, from + size) }, ...(from === 0 ? strangers : [])]);
    rows.push(...logits.subarray(0, (logits.length / (size + (from === 0 ? 9 : 0))) * size));
    from += size;
  }
  all.push(bitsOf(Float32Array.from(rows)));
  for (let i = 0; i < 3; i++) all.push(bitsOf(await model.step([{ sequence: 2, ids: [7 * i] }])));
  return all.join();
}

describe("bits", () => {
  describe("of simd128 are those of the portable native level", () => {
    beforeEach(({ skip }) => {
      if (addon instanceof Error) skip(addon.message);
    });

    test.each(dtypes)("%s weights, whatever keys and values are kept as", async (dtype) => {
      const [native, wasm] = [await openCpuBackend({ level: "portable", threads: 2 }), await open({ threads: 2 })];
      for (const kvDtype of kvDtypes) {
        const options = { dtype, kvDtype };
        const expected = await logitsOf(await openSmallModel(native, options), (length) => [length]);
        expect(await logitsOf(await openSmallModel(wasm, options), (length) => [length]), kvDtype).toBe(expected);
      }
      expect(wasm.device.numerics).toBe(native.device.numerics);
      await Promise.all([native.dispose(), wasm.dispose()]);
    });
  });

  test.each(dtypes)("%s weights: threads and chunks change none, on any module", async (dtype) => {
    for (const [level, counts] of [["simd128", [1, 2, 3]] as const, ["relaxed", [1, 3]] as const]) {
      const found = new Set<string>();
      for (const threads of counts) {
        const backend = await open({ threads, level });
        const model = await openSmallModel(backend, { dtype, kvDtype: "f16" });
        found.add(await logitsOf(model, (length) => randomChunks(seeded(threads), length)));
        found.add(await logitsOf(model, (length) => [length]));
        await backend.dispose();
      }
      expect(found.size, level).toBe(1);
    }
  });
});

describe("lifetimes", () => {
  test("a hundred loads and disposals leave memory, workers and handles as they were", async () => {
    const turns = [{ sequence: 0, ids: randomIds(1, 30) }];
    const ended: Promise<unknown>[] = [];
    const { terminate } = Worker.prototype;
    vi.spyOn(Worker.prototype, "terminate").mockImplementation(function (this: Worker) {
      const end = terminate.call(this);
      ended.push(end);
      return end;
    });
    const cycle = async () => {
      const backend = await open({ threads: 2 });
      await (await openSmallModel(backend)).step(turns);
      await backend.dispose();
    };
    const settled = async () => {
      await Promise.all(ended.splice(0));
      for (let i = 0; i < 5; i++) await new Promise((resolve) => setImmediate(resolve, gc() as never));
      return { mb: process.memoryUsage().rss / 2 ** 20, handles: process.getActiveResourcesInfo().sort() };
    };
    for (let i = 0; i < 5; i++) await cycle();
    const before = await settled();
    for (let i = 0; i < 100; i++) await cycle();
    const after = await settled();
    expect(after.handles).toEqual(before.handles);
    // A module with its weights and states takes more than 6: had each stayed, it would be 600. Heaps of V8 move by some.
    expect(after.mb - before.mb).toBeLessThan(60);
  });

  test("dispose in the middle of a step ends it, and all that waits, with DISPOSED", async () => {
    for (const threads of [1, 3]) {
      const backend = await open({ threads });
      const { run, store } = await longStep(backend);
      const outcomes = Promise.allSettled([run(), run(), backend.copyStates(store, { slots: [[0, 1]] }), backend.profile!()]);
      await new Promise((resolve) => setTimeout(resolve, 20));
      await backend.dispose();
      for (const outcome of await outcomes) expect(outcome).toEqual({ status: "rejected", reason: coded("DISPOSED") });
      expect(backend.memory()).toEqual({ weightBytes: 0, mappedBytes: 0, stateBytes: 0, arenaBytes: 0 });
      await backend.dispose();
    }
  });

  test("a call that is under way keeps the process from ending, a backend that rests does not", async () => {
    const folder = mkdtempSync(join(tmpdir(), "jamba-wasm-"));
    const file = join(folder, "program.mjs");
    await bundle(
      `import { openWasmBackend } from "./src/index.ts";
      const backend = await openWasmBackend({ level: "simd128", threads: 2 });
      await backend.profile();
      console.log("answered");`,
      file,
    );
    expect(execFileSync(process.execPath, [file], { encoding: "utf8", timeout: 60_000 })).toBe("answered\n");
    rmSync(folder, { recursive: true });
  });
});

describe("memory that is full", () => {
  /** Of 256 MiB, none of which is touched before it is read. */
  const absent: Omit<WeightSource, "read"> = { name: "256 MiB", dtype: "f32", shape: [65536, 1024] };

  test.each([["shared", true] as const, ["not shared", false] as const])(
    "and %s has code OUT_OF_MEMORY; what was there goes on, and the next load works",
    async (_, isolated) => {
      if (!isolated) vi.stubGlobal("crossOriginIsolated", false);
      const backend = await open({ threads: 1 });
      const model = await openSmallModel(backend);
      const turns = [{ sequence: 0, ids: randomIds(1, 9) }];
      const expected = await model.step(turns);
      const stop = new AbortController();
      const never = new Promise<Uint8Array>((_, reject) => stop.signal.addEventListener("abort", () => reject(stop.signal.reason)));
      const loads = Array.from({ length: 16 }, () => backend.openWeight({ ...absent, read: () => never }, "f32", stop.signal));
      await expect(Promise.race(loads)).rejects.toMatchObject({
        code: "OUT_OF_MEMORY",
        message: expect.stringMatching(/WebAssembly's 4 GiB/),
      });
      await expect(model.store.reserve(2 ** 20, 0)).rejects.toThrow(coded("OUT_OF_MEMORY"));
      model.reset();
      expect(await model.step(turns)).toEqual(expected);
      stop.abort("enough");
      const outcomes = await Promise.allSettled(loads);
      expect(outcomes.filter((one) => one.status === "rejected" && one.reason === "enough").length).toBe(15);
      expect(await (await openSmallModel(backend)).step(turns)).toEqual(expected);
      await backend.dispose();
    },
  );
});

describe("a worker that ends", () => {
  const threads = 3;

  test.each([0, 1, 2].flatMap((nth) => [[nth, "in the middle of a step"] as const, [nth, "while nothing runs"] as const]))(
    "(number %i of them, %s) is a typed error for all that waits and all that comes",
    async (nth, when) => {
      const posted = vi.spyOn(Worker.prototype, "postMessage");
      const backend = await open({ threads });
      const workers = [...new Set(posted.mock.contexts)] as Worker[];
      expect(workers.length).toBe(threads);
      const { run, store } = await longStep(backend);
      const outcomes =
        when === "while nothing runs" ? [] : [run(), run(), backend.profile!(), backend.copyStates(store, { slots: [[0, 1]] })];
      const settled = Promise.allSettled(outcomes);
      await new Promise((resolve) => setTimeout(resolve, 20));
      await workers[nth].terminate();
      for (const outcome of await settled) expect(outcome).toEqual({ status: "rejected", reason: coded("DEVICE_LOST") });
      expect(await backend.lost).toMatchObject({ code: "DEVICE_LOST", message: expect.stringMatching(/load the model again/) });
      await expect(run()).rejects.toThrow(coded("DEVICE_LOST"));
      await expect(openSmallModel(backend)).rejects.toThrow(coded("DEVICE_LOST"));
      await expect(store.reserve(9, 0)).rejects.toThrow(coded("DEVICE_LOST"));
      await backend.dispose();
    },
  );

  test.each([0, 1, 2])("(number %i of them) while it opens is a typed error, and leaves no other", async (nth) => {
    const { postMessage } = Worker.prototype;
    const posted = vi.spyOn(Worker.prototype, "postMessage");
    const workers = new Set<Worker>();
    posted.mockImplementation(function (this: Worker, ...args) {
      workers.add(this);
      if (workers.size === nth + 1) void this.terminate();
      else postMessage.apply(this, args);
    });
    await expect(open({ threads })).rejects.toThrow(coded("BACKEND"));
    for (const worker of workers) expect(worker.threadId).toBe(-1);
  });

  test("and a throw in it are told apart from a failed call", async () => {
    const posted = vi.spyOn(Worker.prototype, "postMessage");
    const backend = await open({ threads: 1 });
    const model = await openSmallModel(backend);
    (posted.mock.contexts[0] as Worker).postMessage({ nonsense: true });
    await expect(model.step([{ sequence: 0, ids: [1] }])).rejects.toThrow(coded("DEVICE_LOST"));
    await backend.dispose();
  });
});

describe.each([
  ["with shared memory", (): void => undefined, 2, undefined],
  [
    "on a page that is not isolated",
    () => vi.stubGlobal("crossOriginIsolated", false),
    1,
    /not isolated.*2 threads would run.*Cross-Origin-Opener-Policy/,
  ],
  ["in an engine without shared memory", withoutSharedMemory, 1, /shares no memory.*2 threads would run/],
] as const)("%s", (_, prepare, threads, why) => {
  let backend: Backend;
  beforeEach(async () => {
    prepare();
    backend = await open({ threads: 2 });
  });
  afterEach(() => backend.dispose());

  test("it has as many threads as it can, says why, and computes the same", async () => {
    const { device } = backend;
    expect([device.threads, device.warnings]).toEqual([threads, why && [expect.stringMatching(why)]]);
    const found = await logitsOf(await openSmallModel(backend, { dtype: "q8" }), (length) => [length]);
    vi.unstubAllGlobals();
    const other = await open({ threads: 3 });
    expect(found).toBe(await logitsOf(await openSmallModel(other, { dtype: "q8" }), (length) => [length]));
    await other.dispose();
  });

  test("a cancelled step ends long before its last command and rejects with the signal's reason", async () => {
    const { run, mark, moved } = await longStep(backend);
    await mark();
    const [reason, controller] = [new Error("enough"), new AbortController()];
    const running = run(controller.signal);
    setTimeout(() => controller.abort(reason), 20);
    await expect(running).rejects.toBe(reason);
    expect(await moved()).toBeLessThan(longParts / 2);
  });

  test("one that waits in the queue never starts, and others go on as usual", async () => {
    const model = await openSmallModel(backend);
    const turns = [{ sequence: 0, ids: randomIds(1, 40) }];
    const expected = await model.step(turns);
    const { run, mark, moved } = await longStep(backend);
    await mark();
    const [first, second] = [new AbortController(), new AbortController()];
    const running = [run(first.signal), run(second.signal)];
    second.abort("not any more");
    setTimeout(() => first.abort("enough"), 20);
    expect(await Promise.allSettled(running)).toEqual(["enough", "not any more"].map((reason) => ({ status: "rejected", reason })));
    expect(await moved()).toBeLessThan(longParts / 2);
    model.reset();
    expect(await model.step(turns)).toEqual(expected);
  });
});

describe("dot products of four", () => {
  afterEach(() => {
    probed.ratio = undefined;
  });

  /** As an engine would whose check gives this. */
  function withDots(areRight: boolean): void {
    const { on } = Worker.prototype;
    vi.spyOn(Worker.prototype, "on").mockImplementation(function (
      this: Worker,
      event: string | symbol,
      listener: (...args: never[]) => void,
    ) {
      const heard = (reply: { opened?: { areDotsRight?: boolean } }) => {
        if (reply.opened?.areDotsRight !== undefined) reply.opened.areDotsRight = areRight;
        listener(reply as never);
      };
      return on.call(this, event as string, (event === "message" ? heard : listener) as () => void) as Worker;
    });
  }

  test("that are slow are passed over before their module is fetched, with the reason; by name they are taken", async () => {
    probed.ratio = 3.14;
    withDots(true);
    const opened: string[] = [];
    for (const level of [undefined, "relaxed-dot"] as const) {
      const backend = await openWasmBackend({ threads: 1, level });
      opened.push(backend.device.features.join("; "));
      await backend.dispose();
    }
    expect(opened[0]).toMatch(/^relaxed: .*not relaxed-dot: this engine's dot products of four take 3\.1 times as long/);
    expect(opened[1]).toMatch(/^relaxed-dot: /);
  });

  test("that are right and fast are taken", async () => {
    probed.ratio = 1;
    withDots(true);
    const backend = await openWasmBackend({ threads: 1 });
    expect(backend.device.features[0]).toMatch(/^relaxed-dot: /);
    await backend.dispose();
  });

  test("that are wrong are not taken, nor by name", async () => {
    probed.ratio = 1;
    withDots(false);
    const backend = await openWasmBackend({ threads: 1 });
    expect(backend.device.features[0]).toMatch(/^relaxed: /);
    expect(backend.device.features).toContainEqual(expect.stringMatching(/computes its dot products of four wrongly/));
    await backend.dispose();
    await expect(openWasmBackend({ threads: 1, level: "relaxed-dot" })).rejects.toMatchObject({
      code: "OPTION",
      message: expect.stringMatching(/level: expected one that this engine runs \(relaxed, simd128\), found "relaxed-dot".*wrongly/),
    });
  });

  test("are probed by a module that the engine runs, which gives a ratio", async ({ skip }) => {
    if (!usableModules().includes("relaxed-dot")) skip("this engine lacks relaxed SIMD");
    const ratio = await dotsRatio();
    expect(ratio).toBeGreaterThan(0);
    expect(ratio).toBeLessThan(100);
  });
});

test.each([
  ["a level that there isn't", { level: "avx2" as never }, /level: expected one that this engine runs/],
  ["no threads", { threads: 0 }, /threads: expected an integer/],
  ["threads that are none", { threads: Number.NaN }, /threads: expected an integer/],
])("%s is refused", async (_, options, message) => {
  await expect(openWasmBackend(options)).rejects.toMatchObject({ code: "OPTION", message: expect.stringMatching(message) });
});

function withoutSharedMemory(): void {
  const { Memory } = WebAssembly;
  class Unshared extends Memory {
    constructor(descriptor: WebAssembly.MemoryDescriptor) {
      if (descriptor.shared) throw new TypeError("shared memory is not enabled");
      super(descriptor);
    }
  }
  vi.stubGlobal("WebAssembly", Object.create(WebAssembly, { Memory: { value: Unshared } }));
}

const [longTokens, longWidth, longParts, partMatmuls] = [256, 2048, 10, 20];
const marker = { kind: "mamba", dInner: 16, dState: 2, dConv: 1 } as const;

/** Parts of seconds of matmuls, each of which moves the state of its layer on at its end. */
async function longStep(backend: Backend) {
  const openOne = (name: string, shape: number[]) =>
    backend.openWeight(sourceOf(name, shape, new Float32Array(shape.reduce((a, b) => a * b)).fill(0.01)), "f32");
  const w = await openOne("w", [longWidth, longWidth]);
  const [A, D, dtBias] = [await openOne("A", [16, 2]), await openOne("D", [16]), await openOne("dtBias", [16])];
  const store = await backend.createStates({ layers: Array(longParts).fill(marker), pageTokens: 1, kvDtype: "f32" });
  await store.reserve(2, 0);
  const list = record({ L: longTokens, nSequences: 1, nRows: 0 }, store.spec, (ops) => {
    let x = ops.input("x", [longTokens, longWidth]);
    for (let part = 0; part < longParts; part++) {
      for (let i = 0; i < partMatmuls; i++) [x] = ops.matmul(x, [w]);
      const [u, b] = [ops.slice(x, 0, 16), ops.slice(x, 16, 18)];
      ops.selectiveScan({ x: u, z: u, dt: u, B: b, C: b, A, D, dtBias }, ops.states[part] as MambaState);
    }
  });
  const address = { slot: 0, pages: [], seen: 3 };
  const x = new HostTensor(new Float32Array(longTokens * longWidth).fill(1), [longTokens, longWidth]);
  const inputs: StepInputs = {
    ids: new Int32Array(longTokens),
    starts: Int32Array.of(0, longTokens),
    states: [address],
    rows: new Int32Array(0),
    tensors: new Map([["x", x]]),
  };
  const conv = new HostTensor(new Float32Array(0), [16, 0]);
  const h = new HostTensor(new Float32Array(32).fill(7), [16, 2]);
  const program = await backend.prepare(list, store);
  return {
    store,
    run: async (signal?: AbortSignal) => backend.submit(program, inputs, { signal }).done,
    mark: () => writeHostState(backend, store, address, { seen: 3, layers: Array(longParts).fill({ kind: "mamba", conv, h }) }),
    /** How many parts ended since. */
    moved: async () => {
      const { layers } = await readHostState(backend, store, address);
      return layers.filter((layer) => layer.kind === "mamba" && (layer.h.data as Float32Array).some((value) => value !== 7)).length;
    },
  };
}
