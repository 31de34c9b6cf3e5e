// Steps of lists, stores and sizes that come and go: nobody changes what another one has, and what can't be had is refused.

import { normal, seeded } from "@jamba/conformance";
import { type Backend, HostTensor, record, sourceOf } from "@jamba/core";
import { expect, test } from "vitest";
import type { GpuDevice } from "../src/gpu.ts";
import { openWebGpuBackend } from "../src/index.ts";
import { onAdapter } from "./adapter.ts";
import { over, spiedDevice } from "./spied-device.ts";

const [dInner, dModel, pageTokens] = [6, 5, 3];

/** A list whose values depend on slots, pages and order. */
async function openList(backend: Backend, L = 3) {
  const layers = [
    { kind: "mamba", dInner, dState: 4, dConv: 3 },
    { kind: "attention", nKvHeads: 1, headDim: 4 },
  ] as const;
  const random = seeded(5);
  const valuesOf = (n: number, next: () => number) => Float32Array.from({ length: n }, () => normal(next));
  const weight = (name: string, shape: number[]) => backend.openWeight(sourceOf(name, shape, valuesOf(shape[0] * shape[1], random)), "f32");
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
  const submit = (seen: number) =>
    backend.submit(program, {
      ids: new Int32Array(L),
      starts: Int32Array.of(0, L),
      rows: new Int32Array(0),
      states: [{ slot: 0, pages: [0, 1, 2, 3].slice(0, Math.ceil((seen + L) / pageTokens)), seen }],
      tensors: new Map([["x", new HostTensor(valuesOf(L * dModel, seeded(seen + 1)), [L, dModel])]]),
    });
  return { list, states, program, submit };
}

const codeOf = (work: Promise<unknown>) =>
  work.then(
    () => "no error",
    (error) => error.code,
  );

onAdapter((adapter) => {
  /** A device with some of its methods and limits replaced. */
  const open = async (replaced: (device: GpuDevice) => Partial<GpuDevice> = () => ({})) => {
    const { device } = await spiedDevice(adapter);
    return openWebGpuBackend({ gpu: adapter.gpu, device: over(device, replaced(device)) });
  };

  test("a list that needs a larger arena changes nothing for those prepared before", async () => {
    const backend = await open();
    const small = await openList(backend);
    const before = (await small.submit(0).read("y")).data;
    const step = small.submit(0);
    const large = await openList(backend, 6);
    await large.submit(0).done;
    expect((await step.read("kept")).data).toEqual(before);
    expect((await small.submit(0).read("y")).data).toEqual(before);
    await backend.dispose();
  });

  test("two stores take turns, and each keeps its own", async () => {
    const backend = await open();
    const [a, b] = [await openList(backend), await openList(backend)];
    for (const { states } of [a, b]) await states.reserve(1, 4);
    const [first, second] = [a.submit(0), a.submit(3)];
    const others = [0, 3, 6, 9].map((seen) => b.submit(seen));
    for (const step of [first, second, others[2], others[3]]) expect((await step.read("kept")).data).toEqual((await step.read("y")).data);
    b.program[Symbol.dispose]();
    expect((await others[3].read("kept")).data).toEqual((await others[3].read("y")).data);
    await backend.dispose();
  });

  test("a kernel that does not compile is refused by prepare, not by the first step", async () => {
    const backend = await open((device) => ({
      createShaderModule: ({ label, code }) =>
        device.createShaderModule({ label, code: label === "attention" ? `${code} fn from() {}` : code }),
    }));
    await expect(openList(backend)).rejects.toThrow(/attention: expected a kernel that compiles, found: .*reserved/s);
    await backend.dispose();
  });

  test("memory that there is not is refused with OUT_OF_MEMORY, and nothing has changed", async () => {
    // What a device without room does: the buffer is there and invalid, and the scope tells later.
    const backend = await open((device) => ({
      createBuffer: (options) => device.createBuffer(options.size > 1e5 ? { ...options, size: 2 ** 45 } : options),
    }));
    const { states, submit } = await openList(backend);
    const expected = (await submit(0).read("y")).data;
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
  });

  test("a step that keeps more than a binding holds is refused with OUT_OF_MEMORY, and its store goes on", async () => {
    const backend = await open(({ limits }) => ({ limits: over(limits, { maxStorageBufferBindingSize: 2 ** 14 }) }));
    const { states, submit } = await openList(backend);
    const expected = (await submit(0).read("y")).data;
    const list = record({ L: 30, nSequences: 1, nRows: 0 }, states.spec, (ops) => {
      const x = ops.input("x", [30, 60]);
      for (const name of ["a", "b", "c"]) ops.keep(name, x);
    });
    const program = await backend.prepare(list, states);
    const step = backend.submit(program, {
      ids: new Int32Array(30),
      starts: Int32Array.of(0, 30),
      rows: new Int32Array(0),
      states: [{ slot: 0, pages: Array.from({ length: 10 }, () => 0), seen: 0 }],
      tensors: new Map([["x", new HostTensor(new Float32Array(1800), [30, 60])]]),
    });
    expect(await codeOf(step.done)).toBe("OUT_OF_MEMORY");
    expect((await submit(0).read("y")).data).toEqual(expected);
    await backend.dispose();
  });
});
