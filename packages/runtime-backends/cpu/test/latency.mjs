// Prints how soon a step ends once it is cancelled, and how long the event loop waits meanwhile. Nothing is asserted.
//   node test/latency.mjs [tokens] [trials]        layers of Jamba Reasoning 3B's shape, q4, then of Jamba Mini's mixture of experts
import { tmpdir } from "node:os";
import { join } from "node:path";
import { bundle, folder } from "./bundle.mjs";

const program = `
import { monitorEventLoopDelay } from "node:perf_hooks";
import { readHostState, record, writeHostState } from "@jamba/core";
import { openCpuBackend } from "./src/open.ts";

const [tokens = 4096, trials = 20] = process.argv.slice(2).map(Number);
const backend = await openCpuBackend();
console.log(backend.device.name, backend.device.features.join("; "));
const delay = monitorEventLoopDelay({ resolution: 1 });
let longest = [0, ""];
/** The time that a call keeps the event loop to itself, whatever it then awaits. */
function held(name, call) {
  const start = performance.now();
  const result = call();
  const ms = performance.now() - start;
  if (ms > longest[0]) longest = [ms, name];
  return result;
}
const report = (phase) => {
  // What monitorEventLoopDelay counts beyond its own interval of 1 ms.
  const ms = (ns) => (ns / 1e6 - 1).toFixed(1);
  console.log(phase.padEnd(28), "event loop late by: median", ms(delay.percentile(50)), "p99", ms(delay.percentile(99)), "max", ms(delay.max), "ms; longest call", longest[0].toFixed(1), "ms", longest[1]);
  delay.reset();
  longest = [0, ""];
};

async function measure(name, { dModel, dFf, nHeads, nKvHeads, dtRank, nExperts, nActive, nLayers, attentionAt }) {
  const [dInner, dState, dConv, headDim] = [2 * dModel, 16, 4, dModel / nHeads];
  const kv = nKvHeads * headDim;
  const shapes = {
    inProj: [2 * dInner, dModel], xProj: [dtRank + 2 * dState, dInner], dtProj: [dInner, dtRank], outProj: [dModel, dInner],
    q: [dModel, dModel], k: [kv, dModel], v: [kv, dModel], o: [dModel, dModel],
    ...(nExperts ? { gate: [nExperts, dFf, dModel], up: [nExperts, dFf, dModel], down: [nExperts, dModel, dFf], router: [nExperts, dModel] }
                 : { gate: [dFf, dModel], up: [dFf, dModel], down: [dModel, dFf] }),
    conv: [dInner, dConv], A: [dInner, dState], D: [dInner], dtBias: [dInner], table: [1024, dModel], norm: [dModel], dtNorm: [dtRank], stateNorm: [dState],
  };
  const exact = ["conv", "A", "D", "dtBias", "norm", "dtNorm", "stateNorm", "router"];
  const noise = Float32Array.from({ length: 2 ** 21 + 7 }, () => Math.random() - 0.5);
  delay.enable();
  const w = {};
  for (const [key, shape] of Object.entries(shapes)) {
    // Views of one buffer: what reading costs is the file system's.
    const read = async (from, to) => new Uint8Array(noise.buffer, 0, (to - from) * shape.at(-1) * 4);
    w[key] = await backend.openWeight({ name: key, dtype: "f32", shape, read }, exact.includes(key) ? "f32" : "q4");
  }
  report(name + ": load");
  const layers = Array.from({ length: nLayers }, (_, i) => i % attentionAt === attentionAt - 1 ? { kind: "attention", nKvHeads, headDim } : { kind: "mamba", dInner, dState, dConv });
  const store = await backend.createStates({ layers, pageTokens: 64, kvDtype: "f16" });
  await held("reserve", () => store.reserve(2, 2 * Math.ceil((tokens + 64) / 64)));
  const listOf = (L) => record({ L, nSequences: 1, nRows: 1 }, store.spec, (ops) => {
    const x = ops.embed(w.table);
    for (const [i, layer] of layers.entries()) {
      const input = ops.rmsNorm(x, w.norm, 1e-6);
      if (layer.kind === "mamba") {
        const [xz] = ops.matmul(input, [w.inProj]);
        const u = ops.causalConv(ops.slice(xz, 0, dInner), w.conv, undefined, ops.states[i]);
        const [dtBC] = ops.matmul(u, [w.xProj]);
        const part = (from, to, norm) => ops.rmsNorm(ops.slice(dtBC, from, to), norm, 1e-6);
        const [B, C] = [part(dtRank, dtRank + dState, w.stateNorm), part(dtRank + dState, dtRank + 2 * dState, w.stateNorm)];
        const [dt] = ops.matmul(part(0, dtRank, w.dtNorm), [w.dtProj]);
        const y = ops.selectiveScan({ x: u, z: ops.slice(xz, dInner, 2 * dInner), dt, B, C, A: w.A, D: w.D, dtBias: w.dtBias }, ops.states[i]);
        ops.matmul(y, [w.outProj], { addTo: x });
      } else {
        const [q, k, v] = ops.matmul(input, [w.q, w.k, w.v]);
        ops.matmul(ops.attention(q, k, v, ops.states[i]), [w.o], { addTo: x });
      }
      const normed = ops.rmsNorm(x, w.norm, 1e-6);
      if (nExperts) ops.experts(normed, ops.route(ops.matmul(normed, [w.router])[0], nActive), { gateProj: w.gate, upProj: w.up, downProj: w.down }, { addTo: x });
      else {
        const [g, u] = ops.matmul(normed, [w.gate, w.up]);
        ops.matmul(ops.swiglu(g, u), [w.down], { addTo: x });
      }
    }
    ops.read("y", ops.gatherRows(x));
  });
  const pages = Array.from({ length: Math.ceil((tokens + 64) / 64) }, (_, i) => i);
  const prefill = await held("prepare of a prefill", () => backend.prepare(listOf(tokens), store));
  const ids = Int32Array.from({ length: tokens }, (_, i) => (i * 77) % 1024);
  const inputs = (L, seen) => ({ ids: ids.subarray(0, L), starts: Int32Array.of(0, L), rows: Int32Array.of(L - 1), states: [{ slot: 0, pages, seen }] });
  await new Promise((resolve) => setTimeout(resolve, 20));
  delay.reset();
  const start = performance.now();
  await held("submit of a prefill", () => backend.submit(prefill, inputs(tokens, 0)).done);
  const whole = performance.now() - start;
  report(name + ": prefill of " + tokens);
  await backend.profile();
  const found = [];
  for (let i = 0; i < trials; i++) {
    const controller = new AbortController();
    const { done } = held("submit of a prefill", () => backend.submit(prefill, inputs(tokens, 0), { signal: controller.signal }));
    const settled = done.then(() => undefined, () => performance.now());
    await new Promise((resolve) => setTimeout(resolve, 2 + (whole * 0.95 * (i + Math.random())) / trials));
    const asked = performance.now();
    held("abort", () => controller.abort());
    const ended = await settled;
    if (ended !== undefined) found.push(ended - asked);
  }
  found.sort((a, b) => a - b);
  report(name + ": cancelled prefills");
  console.log(name + ": a step of", (whole / 1000).toFixed(1), "s ends after a cancel in: median", found[found.length >> 1].toFixed(1), "max", found.at(-1).toFixed(1), "ms of", found.length);
  const one = await held("prepare of a token", () => backend.prepare(listOf(1), store));
  for (let i = 0; i < 50; i++) await held("submit of a token", () => backend.submit(one, inputs(1, tokens + i)).done);
  report(name + ": decode of 50 tokens");
  const address = { slot: 0, pages, seen: tokens };
  const state = await held("readHostState", () => readHostState(backend, store, address));
  await held("writeHostState", () => writeHostState(backend, store, { ...address, slot: 1 }, state));
  report(name + ": state of " + tokens);
  for (const program of [prefill, one]) program[Symbol.dispose]();
  for (const [key, weight] of Object.entries(w)) held("dispose of " + key, () => weight[Symbol.dispose]());
  held("dispose of states", () => store.dispose());
  await new Promise((resolve) => setTimeout(resolve, 20));
  report(name + ": weights disposed");
}

await measure("3B", { dModel: 2560, dFf: 8192, nHeads: 20, nKvHeads: 1, dtRank: 160, nLayers: 8, attentionAt: 4 });
await measure("Mini", { dModel: 4096, dFf: 14336, nHeads: 32, nKvHeads: 8, dtRank: 256, nExperts: 8, nActive: 2, nLayers: 2, attentionAt: 2 });
await held("dispose", () => backend.dispose());
await new Promise((resolve) => setTimeout(resolve, 20));
report("backend disposed");
`;

process.env.JAMBA_CPU_ADDON ??= join(folder, `prebuilds/${process.platform}-${process.arch}/jamba.node`);
const file = join(tmpdir(), `jamba-latency-${process.pid}.mjs`);
await bundle(program, file);
await import(file);
