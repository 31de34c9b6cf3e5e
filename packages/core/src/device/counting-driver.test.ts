// "Add a backend" of CONTRIBUTING.md, followed to the letter by a driver that computes nothing: it counts what the frame asks of it.

import { describe, expect, test } from "vitest";
import {
  type DeviceInfo,
  type Driver,
  type DriverStates,
  type DriverWeight,
  HostTensor,
  hostRoom,
  JambaError,
  lower,
  openDevice,
  type PackedInputs,
  type Plan,
  partBytes,
  readHostState,
  record,
  type StateSpec,
  sourceOf,
  stateBytes,
  type Ticket,
  writeHostState,
} from "../index.ts";

class CountingDriver implements Driver {
  readonly counts: Record<string, number> = {};
  readonly device: DeviceInfo = {
    kind: "reference",
    name: "a counter",
    numerics: "counter-1",
    features: ["computes nothing"],
    threads: 1,
    weightDtypes: ["f32"],
    kvDtypes: ["f32"],
    chunkTokens: 8,
    stateStep: { slots: 1, pages: 1 },
    interrupts: "steps",
  };
  readonly lowering = { fuses: new Set(["norm into matmul"] as const), alignBytes: 256, mostArenaBytes: 2 ** 20 };
  readonly lost: Promise<JambaError>;
  lose!: (reason: JambaError) => void;
  inputs?: PackedInputs;
  hangs = false;

  constructor() {
    this.lost = new Promise((resolve) => {
      this.lose = resolve;
    });
  }

  count(what: string): void {
    this.counts[what] = (this.counts[what] ?? 0) + 1;
  }

  weightBytes = ({ shape }: { shape: readonly number[] }) => 4 * shape.reduce((a, b) => a * b, 1);
  createWeight(weight: Parameters<Driver["createWeight"]>[0]): DriverWeight {
    this.count("createWeight");
    return { sizeBytes: this.weightBytes(weight), pack: async () => this.count("pack"), release: () => this.count("releaseWeight") };
  }

  stateBytes = (spec: StateSpec) => stateBytes(spec);
  createStates(spec: StateSpec): DriverStates {
    const { slot, page } = this.stateBytes(spec);
    const states = {
      nSlots: 0,
      nPages: 0,
      get sizeBytes() {
        return states.nSlots * slot + states.nPages * page;
      },
      reserve: async (nSlots: number, nPages: number) => {
        this.count("reserve");
        [states.nSlots, states.nPages] = [Math.max(nSlots, states.nSlots), Math.max(nPages, states.nPages)];
      },
      shrink: () => this.count("shrink"),
      readPart: async (_: unknown, part: Parameters<DriverStates["readPart"]>[1]) => {
        this.count("readPart");
        return new Uint8Array(partBytes(part));
      },
      writePart: async () => this.count("writePart"),
      release: () => this.count("releaseStates"),
    };
    return states;
  }
  copyStates = async () => this.count("copyStates");

  compile(plan: Plan, _: DriverStates, weightOf: Parameters<Driver["compile"]>[2]) {
    for (const command of plan.commands) if (command.op === "matmul") for (const weight of command.weights) weightOf(weight);
    this.count("compile");
    return { release: () => this.count("releaseProgram") };
  }
  submit(_: unknown, __: DriverStates, inputs: PackedInputs): Ticket {
    this.count("submit");
    this.inputs = inputs;
    for (const output of inputs.outputs) output.fill(7);
    return {
      done: this.hangs ? new Promise(() => undefined) : Promise.resolve(),
      readKept: async (_, __, ___, values) => {
        this.count("readKept");
        values.fill(8);
      },
      dropKept: () => this.count("dropKept"),
      cancel: () => this.count("cancel"),
    };
  }

  arenaBytes = () => 0;
  workspaceBytes = (steps: readonly { plan: Plan }[]) => Math.max(...steps.map(({ plan }) => plan.arenaBytes));
  room = () => hostRoom();
  interrupt = async () => this.count("interrupt");
  dispose = async () => this.count("dispose");
}

const N = 4;
const spec: StateSpec = { pageTokens: 2, kvDtype: "f32", layers: [{ kind: "attention", nKvHeads: 1, headDim: 2 }] };

async function open() {
  const driver = new CountingDriver();
  const backend = openDevice(driver);
  const [norm, w] = [
    await backend.openWeight(sourceOf("norm", [N], new Float32Array(N)), "f32"),
    await backend.openWeight(sourceOf("w", [N, N], new Float32Array(N * N)), "f32"),
  ];
  const states = await backend.createStates(spec);
  await states.reserve(2, 4);
  const list = record({ L: 2, nSequences: 1, nRows: 1 }, spec, (ops) => {
    const x = ops.input("x", [2, N]);
    const [y] = ops.matmul(ops.rmsNorm(x, norm, 1e-6), [w]);
    ops.read("y", y);
    ops.keep("kept", y);
    ops.top("top", ops.gatherRows(y), 2);
  });
  const inputs = {
    ids: new Int32Array(2),
    starts: Int32Array.of(0, 2),
    rows: Int32Array.of(1),
    states: [{ slot: 1, pages: [3, 0], seen: 1 }],
    tensors: new Map([["x", new HostTensor(new Float32Array(2 * N), [2, N])]]),
    asked: { starts: Int32Array.of(0, 3), ids: Int32Array.of(1, 1, 2) },
    copies: { slots: [[0, 1]] as const },
  };
  return { driver, backend, states, list, inputs, weights: [norm, w] };
}

test("a whole life: the frame asks for each thing once, and for all of it back", async () => {
  const { driver, backend, states, list, inputs } = await open();
  const address = inputs.states[0];
  await writeHostState(backend, states, address, await readHostState(backend, states, address));
  await backend.copyStates(states, { pages: [[0, 1]] });
  const program = await backend.prepare(list, states);
  for (let i = 0; i < 4; i++) {
    const step = backend.submit(program, inputs);
    expect((await step.read("y")).data).toEqual(new Float32Array(2 * N).fill(7));
    expect((await step.read("kept", [1, 2])).data).toEqual(new Float32Array(N).fill(8));
    expect((await step.read("top.asked")).dims).toEqual([3]);
  }
  expect({ ...driver.inputs, tensors: undefined, outputs: driver.inputs!.outputs.length }).toEqual({
    ids: Int32Array.of(0, 0),
    rows: Int32Array.of(1),
    starts: Int32Array.of(0, 2),
    addresses: Int32Array.of(1, 1, 2, 3, 0),
    copies: { slots: Int32Array.of(0, 1), pages: new Int32Array(0) },
    temperatures: Float32Array.of(1),
    askedStarts: Int32Array.of(0, 3),
    askedIds: Int32Array.of(1, 1, 2),
    tensors: undefined,
    outputs: 5, // y, ids, values and sums of top, and what was asked for
  });
  expect(backend.memory()).toEqual({ weightBytes: 4 * (N + N * N), mappedBytes: 0, stateBytes: 4 * 32, arenaBytes: 0 });
  await backend.dispose();
  await backend.dispose();
  expect(driver.counts).toEqual({
    createWeight: 2,
    pack: 2,
    reserve: 1,
    readPart: 2,
    writePart: 2,
    copyStates: 1,
    compile: 1,
    submit: 4,
    readKept: 4,
    dropKept: 4,
    interrupt: 1,
    releaseProgram: 1,
    releaseStates: 1,
    releaseWeight: 2,
    dispose: 1,
  });
});

test("nothing that is wrong comes to the driver", async () => {
  const { driver, backend, states, list, inputs, weights } = await open();
  const program = await backend.prepare(list, states);
  const before = { ...driver.counts };
  const wrong: [object, string][] = [
    [{ ids: Int32Array.of(0) }, "SHAPE"],
    [{ ids: new Float32Array(2) }, "DTYPE"],
    [{ temperatures: Float32Array.of(0) }, "SHAPE"],
    [{ temperatures: Float32Array.of(Number.NaN) }, "SHAPE"],
    [{ asked: { starts: Int32Array.of(0, 1), ids: Int32Array.of(N) } }, "SHAPE"],
    [{ asked: { starts: Int32Array.of(0, 2), ids: Int32Array.of(1) } }, "SHAPE"],
    [{ copies: { slots: [[0, 2]] } }, "SHAPE"],
    [{ tensors: new Map() }, "SHAPE"],
    [{ states: [{ slot: 1, pages: [3], seen: 1 }] }, "SHAPE"],
  ];
  for (const [change, code] of wrong)
    expect(() => backend.submit(program, { ...inputs, ...change }), JSON.stringify(change)).toThrow(expect.objectContaining({ code }));
  const reason = new Error("enough");
  expect(() => backend.submit(program, inputs, { signal: AbortSignal.abort(reason) })).toThrow(reason);
  await expect(backend.openWeight(sourceOf("w", [1], new Float32Array(1)), "q8")).rejects.toMatchObject({ code: "DTYPE" });
  await expect(backend.createStates({ ...spec, kvDtype: "f16" })).rejects.toMatchObject({ code: "DTYPE" });
  await expect(backend.prepare(list, await openDevice(new CountingDriver()).createStates(spec))).rejects.toMatchObject({ code: "BACKEND" });
  const long = record({ L: 8192, nSequences: 1, nRows: 0 }, spec, (ops) => ops.read("x", ops.input("x", [8192, 64])));
  await expect(backend.prepare(long, states)).rejects.toMatchObject({ code: "OUT_OF_MEMORY" });
  weights[1][Symbol.dispose]();
  expect(() => backend.submit(program, inputs)).toThrow(expect.objectContaining({ code: "BACKEND" }));
  expect(driver.counts).toEqual({ ...before, releaseWeight: 1 });
});

test("a cancelled step asks the driver once, and only while it runs", async () => {
  const { driver, backend, states, list, inputs } = await open();
  const program = await backend.prepare(list, states);
  const stop = new AbortController();
  await backend.submit(program, inputs, { signal: stop.signal }).done;
  stop.abort();
  expect(driver.counts.cancel).toBeUndefined();
  driver.hangs = true;
  const later = new AbortController();
  backend.submit(program, inputs, { signal: later.signal });
  later.abort();
  expect(driver.counts.cancel).toBe(1);
});

describe("a device that is lost", () => {
  const reason = new JambaError("DEVICE_LOST", "a counter: expected a device, found it gone");

  test("ends whoever waits for it, although it never answers, and refuses whatever comes after", async () => {
    const { driver, backend, states, list, inputs } = await open();
    const program = await backend.prepare(list, states);
    driver.hangs = true;
    const step = backend.submit(program, inputs);
    const kept = step.read("kept");
    driver.lose(reason);
    await expect(step.done).rejects.toBe(reason);
    await expect(kept).rejects.toBe(reason);
    await expect(step.read("y")).rejects.toBe(reason);
    expect(await backend.lost).toBe(reason);
    expect(() => backend.submit(program, inputs)).toThrow(reason);
    await expect(states.reserve(9, 9)).rejects.toBe(reason);
    await expect(backend.openWeight(sourceOf("w", [1], new Float32Array(1)), "f32")).rejects.toBe(reason);
    await backend.dispose();
  });
});

test("what is made while the backend is disposed, or lost, goes back", async () => {
  for (const end of ["dispose", "lose"] as const) {
    const { driver, backend, states, list } = await open();
    const { compile, createStates, createWeight } = driver;
    const slowly =
      <A extends unknown[], T>(make: (...args: A) => T) =>
      async (...args: A) => {
        const made = make.apply(driver, args);
        await new Promise((resolve) => setTimeout(resolve, 5));
        return made;
      };
    Object.assign(driver, { compile: slowly(compile), createStates: slowly(createStates), createWeight: slowly(createWeight) });
    const before = { ...driver.counts };
    const making = [
      backend.prepare(list, states),
      backend.createStates(spec),
      backend.openWeight(sourceOf("late", [1], new Float32Array(1)), "f32"),
    ];
    const settled = Promise.allSettled(making);
    if (end === "lose") driver.lose(new JambaError("DEVICE_LOST", "gone"));
    else await backend.dispose();
    for (const one of await settled)
      expect(one).toMatchObject({ status: "rejected", reason: { code: end === "lose" ? "DEVICE_LOST" : "DISPOSED" } });
    if (end === "lose") continue;
    const { releaseProgram = 0, releaseStates = 0, releaseWeight = 0 } = before;
    expect(driver.counts).toMatchObject({
      releaseProgram: releaseProgram + 1,
      releaseStates: releaseStates + 2,
      releaseWeight: releaseWeight + 3,
    });
  }
});

test("a device that is lost may say so after what failed because of it, or call it done", async () => {
  const reason = new JambaError("DEVICE_LOST", "gone");
  const { driver, backend, states } = await open();
  driver.copyStates = async () => {
    setTimeout(() => driver.lose(reason));
    throw new Error("a validation error");
  };
  await expect(backend.copyStates(states, {})).rejects.toBe(reason);
});

test("states that are disposed while they grow go when that is done, and grow no more", async () => {
  const { driver, backend, states } = await open();
  const growing = states.reserve(5, 5);
  states.dispose();
  expect(driver.counts.releaseStates).toBeUndefined();
  await growing;
  await Promise.resolve();
  expect(driver.counts.releaseStates).toBe(1);
  await expect(states.reserve(6, 6)).rejects.toMatchObject({ code: "DISPOSED" });
  await backend.dispose();
  expect(driver.counts.releaseStates).toBe(1);
});

test("the picture of a plan is what the driver gets: fused as it asked, in its alignment", async () => {
  const { driver, list } = await open();
  const plan = lower(list, driver.lowering);
  expect(plan.commands.map(({ op }) => op)).toEqual(["input", "matmul", "read", "keep", "gatherRows", "top", "read", "read", "read"]);
  expect(plan.outputs.map(({ name }) => name)).toEqual(["y", "top.asked", "top.ids", "top.values", "top.sums"]);
});
