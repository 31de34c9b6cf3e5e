// A long step goes to the queue in pieces, two at most under way, and can be given up in between.

import { type Backend, HostTensor, type Program, record, type StateStore, type Tensor } from "@jamba/core";
import { afterEach, expect, test } from "vitest";
import { openWebGpuBackend } from "../src/index.ts";
import { Pace } from "../src/pace.ts";
import { Turns } from "../src/turns.ts";
import { onAdapter } from "./adapter.ts";
import { type Spied, spiedDevice } from "./spied-device.ts";

/** Tokens, of which a first step is cut since nothing is known of it; and commands that follow each other. */
const [L, columns, nCommands] = [16, 8, 100];

const inputs = (value: number) => ({
  ids: new Int32Array(L),
  starts: Int32Array.of(0, L),
  rows: new Int32Array(0),
  states: [{ slot: 0, pages: [], seen: 0 }],
  tensors: new Map([["x", new HostTensor(new Float32Array(L * columns).fill(value), [L, columns])]]),
});

async function longProgram(backend: Backend): Promise<{ program: Program; store: StateStore }> {
  const store = await backend.createStates({ layers: [], pageTokens: 4, kvDtype: "f32" });
  await store.reserve(1, 0);
  const list = record({ L, nSequences: 1, nRows: 0 }, store.spec, (ops) => {
    const x = ops.input("x", [L, columns]);
    let y: Tensor = x;
    for (let i = 0; i < nCommands; i++) y = ops.swiglu(y, x);
    ops.read("y", y);
    ops.keep("kept", y);
  });
  return { program: await backend.prepare(list, store), store };
}

/** silu(y) · x over and over. */
function expected(x: number): number {
  let y = x;
  for (let i = 0; i < nCommands; i++) y = (y / (1 + Math.exp(-y))) * x;
  return y;
}

onAdapter((adapter) => {
  let spied: Spied;
  let backend: Backend;
  const open = async () => {
    spied = await spiedDevice(adapter);
    spied.slowMs = 15;
    backend = await openWebGpuBackend({ device: spied.device });
    return longProgram(backend);
  };
  afterEach(async () => {
    await backend.dispose();
    spied.device.destroy();
  });

  test("what is asked for behind a long step comes after it, and right", async () => {
    const { program } = await open();
    const before = spied.counts.submits;
    const steps = [1.5, 1.25, 1.125].map((value) => backend.submit(program, inputs(value)));
    const kept = steps[2].read("kept");
    program[Symbol.dispose]();
    for (const [i, value] of [1.5, 1.25, 1.125].entries()) {
      const { data } = await steps[i].read("y");
      expect((data[0] as number) / expected(value)).toBeCloseTo(1, 4);
      if (i === 0) expect(spied.counts.submits - before).toBeGreaterThan(5);
    }
    expect((await kept).data).toEqual((await steps[2].read("y")).data);
  });

  test("an abort takes effect within two submits, and what waits behind it goes on", async () => {
    const { program } = await open();
    const stop = new AbortController();
    const reason = new Error("enough");
    const before = spied.counts.submits;
    let atAbort = 0;
    spied.onSubmit = () => {
      if (spied.counts.submits - before !== 5) return;
      atAbort = spied.counts.submits;
      stop.abort(reason);
    };
    const step = backend.submit(program, inputs(1.5), { signal: stop.signal });
    await expect(step.done).rejects.toBe(reason);
    expect(atAbort).toBeGreaterThan(0);
    expect(spied.counts.submits - atAbort).toBeLessThanOrEqual(2);
    const { data } = await backend.submit(program, inputs(1.25)).read("y");
    expect((data[0] as number) / expected(1.25)).toBeCloseTo(1, 4);
  });

  test("a step that is given up while it waits for another never begins", async () => {
    const { program } = await open();
    const first = backend.submit(program, inputs(1.5));
    const stop = new AbortController();
    const second = backend.submit(program, inputs(1.25), { signal: stop.signal });
    stop.abort(new Error("no more"));
    await expect(second.done).rejects.toThrow("no more");
    expect(((await first.read("y")).data[0] as number) / expected(1.5)).toBeCloseTo(1, 4);
  });
});

test("pieces have as much work as takes some 20 ms, and of a step that nothing is known of a small part", () => {
  const pace = new Pace();
  const works = Array<number>(100).fill(10);
  expect(pace.isShort(1000, {})).toBe(false);
  expect(pace.isShort(1000, { ms: 0.04 })).toBe(true);
  expect(pace.isShort(1000, { ms: 0.05 })).toBe(false);
  expect(pace.endOf(works, 0, {})).toBe(3);
  expect(pace.endOf(works, 0, { ms: 0.1 })).toBe(20);
  expect(pace.endOf(works, 95, { ms: 0.1 })).toBe(100);
  expect(pace.endOf(works, 7, { ms: 1000 })).toBe(8);
});

test("two pieces are under way at most, and each tells how long its work takes", async () => {
  const pace = new Pace();
  const rate = {};
  const ends: (() => void)[] = [];
  for (let i = 0; i < 2; i++) pace.add(new Promise<void>((resolve) => ends.push(resolve)), 10, [rate]);
  let hasRoom = false;
  const room = pace.room().then(() => {
    hasRoom = true;
  });
  await Promise.resolve();
  expect(hasRoom).toBe(false);
  ends[0]();
  await room;
  expect(rate).toMatchObject({ ms: expect.any(Number) });
});

test("turns are taken in the order in which they were asked for, also after one that failed", async () => {
  const turns = new Turns();
  const order: number[] = [];
  const work = (n: number) => async () => {
    for (let i = 0; i < 5 - n; i++) await Promise.resolve();
    order.push(n);
    if (n === 1) throw new Error("failed");
  };
  const taken = [0, 1, 2].map((n) => turns.take(work(n)));
  expect((await Promise.allSettled(taken)).map(({ status }) => status)).toEqual(["fulfilled", "rejected", "fulfilled"]);
  await turns.take(work(3));
  expect(order).toEqual([0, 1, 2, 3]);
});
