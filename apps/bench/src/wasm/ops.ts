// Single ops through the public backend: lists long enough that what a step costs beside them hardly counts.

import {
  type Backend,
  fromHostState,
  HostTensor,
  hasNode,
  type Ops,
  record,
  type StateSpec,
  sourceOf,
  toBf16,
  type Weight,
  type WeightSource,
} from "@jamba/core";
import { normals, randomFrom } from "../random.ts";
import { quantile } from "../structured/figures.ts";
import type { OpCase } from "./sides.ts";

const side = 2048;
/** Of Jamba Reasoning 3B, as is `dState`. */
const [nHeads, headDim, channels, dState] = [20, 128, 4096, 16];
const dConv = 4;
/** Layers in one list. */
const [mambas, attentions] = [8, 2];
const pageTokens = 64;

/** An engine compiles what is hot again, and better, while it runs. Of processors, so that a busy machine warms up as well. */
const warmUpMs = { matmul: 400, other: 200 };
const measuredMs = 150;
const leastRuns = 4;

/** @returns in the unit of each case */
export async function measureOps(backend: Backend, cases: readonly OpCase[]): Promise<number[]> {
  const values: number[] = [];
  for (const one of cases) values.push(await measureOp(backend, one));
  return values;
}

async function measureOp(backend: Backend, one: OpCase): Promise<number> {
  if (one.op === "matmul") return matmul(backend, one);
  const random = randomFrom(7);
  const tokens = one.op === "step" ? 1 : one.tokens;
  const spec = { ...emptySpec, layers: layersOf(one) };
  const table = (name: string, shape: readonly number[]) =>
    backend.openWeight(sourceOf(name, shape, normals(random, 2 * Math.ceil(shape.reduce((a, b) => a * b, 0.5)), 1)), "f32");
  if (one.op === "step") {
    const small = await table("small", [16, 16]);
    const ms = await timeOf(backend, spec, 1, 0, (ops) => ops.embed(small));
    small[Symbol.dispose]();
    return 1000 * ms;
  }
  const x = await table("x", [16, channels]);
  if (one.op === "attention") {
    const ms = await timeOf(backend, spec, tokens, one.seen, (ops) => {
      const all = ops.embed(x);
      const [q, k] = [ops.slice(all, 0, nHeads * headDim), ops.slice(all, 0, headDim)];
      return ops.states.map((state) => ops.attention(q, k, k, state as never)).at(-1)!;
    });
    x[Symbol.dispose]();
    // Two products of a multiply and an add for each pair of a query and a key that it sees.
    return (attentions * 4 * nHeads * headDim * tokens * (one.seen + (tokens + 1) / 2)) / ms / 1e6;
  }
  if (one.op === "causalConv") {
    const conv = await table("conv", [channels, dConv]);
    const ms = await timeOf(backend, spec, tokens, 0, (ops) => {
      const u = ops.embed(x);
      return ops.states.map((state) => ops.causalConv(u, conv, undefined, state as never)).at(-1)!;
    });
    for (const weight of [x, conv]) weight[Symbol.dispose]();
    return (mambas * 2 * channels * dConv * tokens) / ms / 1e6;
  }
  const [D, dtBias] = [await table("D", [channels]), await table("dtBias", [channels])];
  const A = await backend.openWeight(
    sourceOf(
      "A",
      [channels, dState],
      Float32Array.from({ length: channels * dState }, (_, i) => -1 - (i % dState)),
    ),
    "f32",
  );
  const ms = await timeOf(backend, spec, tokens, 0, (ops) => {
    const u = ops.embed(x);
    const [B, C] = [ops.slice(u, 0, dState), ops.slice(u, dState, 2 * dState)];
    return ops.states.map((state) => ops.selectiveScan({ x: u, z: u, dt: u, B, C, A, D, dtBias }, state as never)).at(-1)!;
  });
  for (const weight of [x, D, dtBias, A]) weight[Symbol.dispose]();
  return (mambas * channels * dState * tokens) / ms / 1e6;
}

async function matmul(backend: Backend, { dtype, tokens, matrices, times }: OpCase & { op: "matmul" }): Promise<number> {
  const source = dtype === "q4_k" ? sourceOf("w", [side, side], normals(randomFrom(5), side * side, 0.022)) : sourceOfBlocks(dtype);
  const weights: (Weight & Disposable)[] = [];
  for (let i = 0; i < matrices; i++) weights.push(await backend.openWeight({ ...source, name: `w${i}` }, dtype));
  const x = await backend.openWeight(sourceOf("x", [16, side], normals(randomFrom(3), 16 * side, 1)), "f32");
  const ms = await timeOf(backend, emptySpec, tokens, 0, (ops) => {
    let y = ops.embed(x);
    for (let i = 0; i < matrices * times; i++) [y] = ops.matmul(y, [weights[i % matrices]]); // each waits for the one before it
    return y;
  });
  for (const weight of [...weights, x]) weight[Symbol.dispose]();
  const bytes = backend.weightBytes([side, side], dtype);
  return (matrices * times * (tokens === 1 ? bytes : 2 * side * side * tokens)) / ms / 1e6;
}

function sourceOfBlocks(dtype: "q4" | "q8" | "bf16"): WeightSource {
  const blocks = randomBlocks(dtype);
  const rowBytes = blocks.length / side;
  const stored = ({ q4: "q4_0", q8: "q8_0", bf16: "bf16" } as const)[dtype];
  const read = async (from: number, to: number) => blocks.slice(from * rowBytes, to * rowBytes);
  return { name: "w", dtype: stored, shape: [side, side], read };
}

/** A matrix whose products keep the size of what they multiply, more or less, in the file's format. */
function randomBlocks(dtype: "q4" | "q8" | "bf16"): Uint8Array<ArrayBuffer> {
  if (dtype === "bf16") return new Uint8Array(Uint16Array.from(normals(randomFrom(5), side * side, 0.022), toBf16).buffer);
  const [blockBytes, scale] = dtype === "q4" ? [18, 0x1cf0] : [34, 0x0cf0]; // f16: 0.0048, 0.0003
  const bytes = new Uint8Array(((side * side) / 32) * blockBytes);
  const random = randomFrom(5);
  for (let at = 0; at < bytes.length; at += 4) new DataView(bytes.buffer).setUint32(at, random() * 2 ** 32);
  const view = new DataView(bytes.buffer);
  for (let at = 0; at < bytes.length; at += blockBytes) view.setUint16(at, scale, true);
  return bytes;
}

const emptySpec: StateSpec = { layers: [], pageTokens, kvDtype: "f16" };

function layersOf(one: OpCase): StateSpec["layers"] {
  if (one.op === "attention") return Array.from({ length: attentions }, () => ({ kind: "attention", nKvHeads: 1, headDim }));
  if (one.op === "matmul" || one.op === "step") return [];
  return Array.from({ length: mambas }, () => ({ kind: "mamba", dInner: channels, dState, dConv }));
}

/**
 * @returns milliseconds of a step: of many, the lower quartile, for what others do only adds; or what a step takes of processors,
 * where that is less: a busy machine lets the one thread wait
 */
async function timeOf(
  backend: Backend,
  spec: StateSpec,
  L: number,
  seen: number,
  build: (ops: Ops) => ReturnType<Ops["embed"]>,
): Promise<number> {
  const states = await backend.createStates(spec);
  const pages = Array.from({ length: Math.ceil((seen + L) / pageTokens) }, (_, page) => page);
  await states.reserve(1, pages.length);
  const address = { slot: 0, pages, seen };
  if (seen > 0) await backend.writeState(states, address, fromHostState({ seen, layers: spec.layers.map(() => keysAndValues(seen)) }));
  const list = record({ L, nSequences: 1, nRows: 1 }, spec, (ops) => ops.read("y", ops.gatherRows(build(ops))));
  const program = await backend.prepare(list, states);
  const ids = Int32Array.from({ length: L }, (_, i) => i % 16);
  const inputs = { ids, starts: Int32Array.of(0, L), rows: Int32Array.of(L - 1), states: [address] };
  const run = async () => {
    const start = performance.now();
    await backend.submit(program, inputs).done;
    return performance.now() - start;
  };
  const warmMs = list.commands.some(({ op }) => op === "matmul") ? warmUpMs.matmul : warmUpMs.other;
  for (const start = usedMs(); usedMs() - start < warmMs; ) await run();
  const times: number[] = [];
  const used = usedMs();
  for (let left = measuredMs; left > 0 || times.length < leastRuns; left -= times.at(-1)!) times.push(await run());
  const ownMs = backend.device.threads === 1 ? (usedMs() - used) / times.length : Number.POSITIVE_INFINITY;
  program[Symbol.dispose]();
  states.dispose();
  return Math.min(ownMs, quantile(times, 0.25));
}

/** Of this process, all its threads; unknown in a page, and more with each call. */
function usedMs(): number {
  if (!hasNode()) return performance.now();
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}

function keysAndValues(seen: number) {
  const values = normals(randomFrom(11), seen * headDim, 1);
  const tensor = new HostTensor("float32", values, [1, seen, headDim]);
  return { kind: "attention", k: tensor, v: tensor } as const;
}
