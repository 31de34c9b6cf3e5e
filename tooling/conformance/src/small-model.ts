// A whole Jamba with random weights at awkward sizes, for what only shows in a whole: order of sums, fusion, cancel, lifetimes.

import { groupedQueryAttention } from "@jamba/attention";
import {
  type AttentionState,
  type Backend,
  type CommandList,
  type FloatDtype,
  type MambaState,
  type Ops,
  record,
  runOnce,
  type StateAddress,
  type StateStore,
  type SubmitOptions,
  sourceOf,
  type Weight,
  type WeightDtype,
} from "@jamba/core";
import { mixtureOfExperts, mlp } from "@jamba/moe";
import { mambaMixer } from "@jamba/ssm";
import { normal, seeded, seedOf, startsOf } from "./random.ts";

// No multiple of a panel, a block or a vector, and each past more than one of them.
const [dModel, dInner, dState, dConv, dtRank, dFf] = [70, 140, 16, 4, 9, 150];
const [nHeads, nKvHeads, headDim, nExperts, nActiveExperts, vocabSize] = [6, 2, 21, 5, 2, 53];
const eps = 1e-6;
const mixers = ["mamba", "attention", "mamba"] as const;
const pagesPerSequence = 256;

const matrices: Readonly<Record<string, readonly number[]>> = {
  embedding: [vocabSize, dModel],
  lmHead: [vocabSize, dModel],
  inProj: [2 * dInner, dModel],
  xProj: [dtRank + 2 * dState, dInner],
  dtProj: [dInner, dtRank],
  outProj: [dModel, dInner],
  qProj: [nHeads * headDim, dModel],
  kProj: [nKvHeads * headDim, dModel],
  vProj: [nKvHeads * headDim, dModel],
  oProj: [dModel, nHeads * headDim],
  gateProj: [nExperts, dFf, dModel],
  upProj: [nExperts, dFf, dModel],
  downProj: [nExperts, dModel, dFf],
  gate: [dFf, dModel],
  up: [dFf, dModel],
  down: [dModel, dFf],
};
const exact: Readonly<Record<string, readonly number[]>> = {
  router: [nExperts, dModel],
  convWeight: [dInner, dConv],
  convBias: [dInner],
  dtBias: [dInner],
  A: [dInner, dState],
  D: [dInner],
  dtNorm: [dtRank],
  bNorm: [dState],
  cNorm: [dState],
  norm: [dModel],
};

/** Tokens that one sequence sees in one step. */
export interface Turn {
  readonly sequence: number;
  readonly ids: readonly number[];
}

export interface SmallModel extends AsyncDisposable {
  readonly backend: Backend;
  readonly store: StateStore;
  /** Where a sequence lives and how much it has seen. */
  address(sequence: number): StateAddress;
  /** Logits of every token of every turn, in order. */
  step(turns: readonly Turn[], options?: SubmitOptions): Promise<Float32Array>;
  /** What one sequence remembers becomes another's too. */
  fork(from: number, to: number): Promise<void>;
  /** Sequences start anew. */
  reset(): void;
}

/** The same ids for the same seed. */
export function randomIds(seed: number, length: number): number[] {
  const random = seeded(seed);
  return Array.from({ length }, () => Math.floor(random() * vocabSize));
}

export async function openSmallModel(
  backend: Backend,
  { dtype = "f32", kvDtype = "f32", nSequences = 4 }: { dtype?: WeightDtype; kvDtype?: FloatDtype; nSequences?: number } = {},
): Promise<SmallModel> {
  const weights: Record<string, Weight & Disposable> = {};
  for (const [name, shape] of Object.entries({ ...matrices, ...exact }))
    weights[name] = await backend.openWeight(sourceOf(name, shape, valuesOf(name, shape)), name in exact ? "f32" : dtype);
  const store = await backend.createStates({
    pageTokens: 7,
    kvDtype,
    layers: mixers.map((kind) => (kind === "mamba" ? { kind, dInner, dState, dConv } : { kind, nKvHeads, headDim })),
  });
  await store.reserve(nSequences, nSequences * pagesPerSequence);
  const seen = new Map<number, number>();
  const lists = new Map<string, CommandList>();
  const address = (sequence: number): StateAddress => ({
    slot: sequence,
    seen: seen.get(sequence) ?? 0,
    // Apart and in no order, as after some use; 77 has no factor in common with their count.
    pages: Array.from({ length: pagesPerSequence }, (_, n) => sequence * pagesPerSequence + ((n * 77 + 3) % pagesPerSequence)),
  });
  return {
    backend,
    store,
    address,
    async step(turns, options) {
      const starts = startsOf(turns.map(({ ids }) => ids.length));
      const L = starts.at(-1)!;
      const shape = { L, nSequences: turns.length, nRows: L };
      const key = JSON.stringify(shape);
      const list = lists.get(key) ?? record(shape, store.spec, (ops) => forward(ops, weights));
      lists.set(key, list);
      const states = turns.map(({ sequence }) => address(sequence));
      for (const { sequence, ids } of turns) seen.set(sequence, (seen.get(sequence) ?? 0) + ids.length);
      const inputs = { ids: Int32Array.from(turns.flatMap(({ ids }) => ids)), starts: Int32Array.from(starts), states };
      const read = await runOnce(backend, list, store, { ...inputs, rows: Int32Array.from({ length: L }, (_, i) => i) }, options);
      return read.get("logits")!.data as Float32Array;
    },
    fork(from, to) {
      seen.set(to, seen.get(from) ?? 0);
      const pages = Array.from(address(from).pages, (page, i) => [page, address(to).pages[i]] as const);
      return backend.copyStates(store, { slots: [[from, to]], pages });
    },
    reset: () => seen.clear(),
    async [Symbol.asyncDispose]() {
      store.dispose();
      for (const weight of Object.values(weights)) weight[Symbol.dispose]();
    },
  };
}

const known = new Map<string, Float32Array>();

function valuesOf(name: string, shape: readonly number[]): Float32Array {
  const found = known.get(name);
  if (found) return found;
  const random = seeded(seedOf(name));
  const values = Float32Array.from({ length: shape.reduce((a, b) => a * b) }, () => normal(random) / Math.sqrt(shape.at(-1)!));
  if (name === "A") for (let i = 0; i < values.length; i++) values[i] = -Math.exp(values[i] * 2);
  if (/norm/i.test(name)) for (let i = 0; i < values.length; i++) values[i] += 1;
  known.set(name, values);
  return values;
}

function forward(ops: Ops, w: Readonly<Record<string, Weight>>): void {
  const x = ops.embed(w.embedding);
  for (const [layer, kind] of mixers.entries()) {
    const input = ops.rmsNorm(x, w.norm, eps);
    const state = ops.states[layer];
    if (kind === "mamba") {
      mambaMixer(ops, w as unknown as Parameters<typeof mambaMixer>[1], input, state as MambaState, { rmsNormEps: eps, addTo: x });
    } else {
      const { qProj, kProj, vProj, oProj } = w;
      groupedQueryAttention(ops, { qProj, kProj, vProj, oProj }, input, state as AttentionState, { addTo: x });
    }
    const { router, gateProj, upProj, downProj, gate, up, down } = w;
    const normed = ops.rmsNorm(x, w.norm, eps);
    if (layer === 0) mlp(ops, { gateProj: gate, upProj: up, downProj: down }, normed, { addTo: x });
    else mixtureOfExperts(ops, { router, gateProj, upProj, downProj }, normed, { nActiveExperts, addTo: x });
  }
  ops.read("logits", ops.matmul(ops.rmsNorm(ops.gatherRows(x), w.norm, eps), [w.lmHead])[0]);
}
