// What a decode step moves and makes, counted at WebGPU's interface; and what a profile costs.

import { type Backend, record, type StepInputs, sourceOf, type Weight } from "@jamba/core";
import { expect, test } from "vitest";
import { openWebGpuBackend } from "../src/index.ts";
import { onAdapter } from "./adapter.ts";
import { spiedDevice } from "./spied-device.ts";

const [dModel, vocabSize, nHeads, pageTokens, context] = [64, 512, 4, 16, 4096];

/** A narrow model's step of one token after `context` others, with all that a draw reads. */
async function decoder(backend: Backend) {
  const open = (name: string, ...shape: number[]): Promise<Weight> => {
    const values = Float32Array.from({ length: shape.reduce((a, b) => a * b) }, (_, i) => ((i * 7) % 11) / 50 - 0.1);
    return backend.openWeight(sourceOf(name, shape, values), "f32");
  };
  const [table, qkv, out] = await Promise.all([open("table", vocabSize, dModel), open("qkv", dModel, dModel), open("out", dModel, dModel)]);
  const [w, A, vector] = await Promise.all([open("conv", dModel, 4), open("A", dModel, 16), open("vector", dModel)]);
  const store = await backend.createStates({
    layers: [
      { kind: "attention", nKvHeads: nHeads, headDim: dModel / nHeads },
      { kind: "mamba", dInner: dModel, dState: 16, dConv: 4 },
    ],
    pageTokens,
    kvDtype: "f16",
  });
  const nPages = context / pageTokens + 8;
  for (let n = 16; n < nPages; n += 16) await store.reserve(1, n);
  await store.reserve(4, nPages);
  const list = record({ L: 1, nSequences: 1, nRows: 1 }, store.spec, (ops) => {
    const x = ops.embed(table);
    const [attention, mamba] = ops.states;
    if (attention.kind !== "attention" || mamba.kind !== "mamba") throw new Error("other states");
    const [q] = ops.matmul(x, [qkv]);
    ops.matmul(ops.attention(q, q, q, attention), [out], { addTo: x });
    const u = ops.causalConv(x, w, undefined, mamba);
    const BC = ops.slice(u, 0, 16);
    ops.selectiveScan({ x: u, z: u, dt: u, B: BC, C: BC, A, D: vector, dtBias: vector }, mamba);
    const [logits] = ops.matmul(ops.gatherRows(x), [table]);
    ops.top("top", logits, 256);
  });
  const program = await backend.prepare(list, store);
  const step = async (seen: number) => {
    const inputs: StepInputs = {
      ids: Int32Array.of(seen % vocabSize),
      starts: Int32Array.of(0, 1),
      rows: Int32Array.of(0),
      states: [{ slot: 0, pages: Array.from({ length: nPages }, (_, i) => i), seen }],
      asked: { starts: Int32Array.of(0, 2), ids: Int32Array.of(3, 5) },
    };
    const one = backend.submit(program, inputs);
    for (const name of ["top.ids", "top.values", "top.sums", "top.asked"]) await one.read(name);
  };
  return { step, list };
}

onAdapter((adapter) => {
  test("a decode step at 4K context sends 8 KiB, gets 4, and makes no buffer once both results are there", async () => {
    const spied = await spiedDevice(adapter);
    const backend = await openWebGpuBackend({ device: spied.device });
    const { step } = await decoder(backend);
    for (let i = 0; i < 2; i++) await step(context + i);
    const before = { ...spied.counts };
    const nSteps = 5;
    for (let i = 0; i < nSteps; i++) await step(context + 2 + i);
    const { created, writtenBytes, mappedBytes } = spied.counts;
    expect(created - before.created).toBe(0);
    expect((writtenBytes - before.writtenBytes) / nSteps).toBeLessThanOrEqual(8192);
    expect((mappedBytes - before.mappedBytes) / nSteps).toBeLessThanOrEqual(4096);
    await backend.dispose();
    expect(spied.live.size).toBe(0);
    spied.device.destroy();
  });

  test("a profile names the ops of steps since it was first asked for, and costs nothing before", async (context) => {
    const [found, plain] = await Promise.all([adapter.gpu.requestAdapter(), spiedDevice(adapter)]);
    const without = await openWebGpuBackend({ device: plain.device });
    expect(without.profile).toBeUndefined();
    await without.dispose();
    plain.device.destroy();
    if (!found.features.has("timestamp-query")) context.skip(`${adapter.name} has no timestamp-query`);
    const spied = await spiedDevice(adapter, ["timestamp-query"]);
    const backend = await openWebGpuBackend({ device: spied.device });
    const { step } = await decoder(backend);
    for (let i = 0; i < 2; i++) await step(i);
    const { created } = spied.counts;
    await step(2);
    expect(spied.counts.created).toBe(created);
    expect(await backend.profile!()).toEqual([]);
    for (let i = 3; i < 5; i++) await step(i);
    const ops = await backend.profile!();
    expect(ops.map(({ op }) => op).sort()).toEqual([
      "attention",
      "causalConv",
      "embed",
      "gatherRows",
      "matmul",
      "read",
      "selectiveScan",
      "top",
    ]);
    for (const { op, ms, calls } of ops) {
      expect(ms, op).toBeGreaterThanOrEqual(0);
      expect(calls, op).toBeGreaterThanOrEqual(2);
    }
    await backend.dispose();
    expect(spied.live.size).toBe(0);
    spied.device.destroy();
  });
});
