// The calls that are planned for steps of real shapes: no device is needed to count them.

import { lower, type Ops, partsOf, record, type StateSpec, stateLayout, type Tensor, type Weight } from "@jamba/core";
import { callsOf, scratchWords } from "../src/calls.ts";
import type { PlannedCall } from "../src/dispatch.ts";
import type { GpuBuffer } from "../src/gpu.ts";
import type { GpuStates } from "../src/states.ts";
import { defaultSweep } from "../src/sweep.ts";
import type { GpuWeight } from "../src/weights.ts";

export interface Shape {
  readonly name: string;
  readonly dModel: number;
  readonly dFf: number;
  readonly dtRank: number;
  readonly nHeads: number;
  readonly nKvHeads: number;
  readonly nExperts: number;
  readonly nLayers: number;
  readonly attentionPeriod: number;
  readonly attentionOffset: number;
  /** Of a decode step: in a layer without attention, and of all layers in the mean. */
  readonly mostDispatches: { readonly layer: number; readonly mean: number };
}

export const shapes: Shape[] = [
  {
    name: "Jamba 3B",
    ...{ dModel: 2560, dFf: 8192, dtRank: 160, nHeads: 20, nKvHeads: 1, nExperts: 1 },
    ...{ nLayers: 28, attentionPeriod: 14, attentionOffset: 7 },
    mostDispatches: { layer: 9, mean: 9 },
  },
  {
    name: "Jamba Mini",
    ...{ dModel: 4096, dFf: 14336, dtRank: 256, nHeads: 32, nKvHeads: 8, nExperts: 16 },
    ...{ nLayers: 32, attentionPeriod: 8, attentionOffset: 4 },
    mostDispatches: { layer: 12, mean: 10.4 },
  },
];
const [dState, dConv, vocabSize, eps] = [16, 4, 65536, 1e-6];

const q4 = (name: string, ...shape: number[]): Weight => ({ name, shape, dtype: "q4" });
const f32 = (name: string, ...shape: number[]): Weight => ({ name, shape, dtype: "f32" });
const isAttention = ({ attentionPeriod, attentionOffset }: Shape, layer: number) => layer % attentionPeriod === attentionOffset;
const isMoe = ({ nExperts }: Shape, layer: number) => nExperts > 1 && layer % 2 === 1;

/** As jamba's `forward` records it, whose names it has. */
function forward(ops: Ops, shape: Shape): void {
  const { dModel, dFf, dtRank, nHeads, nKvHeads, nExperts, nLayers } = shape;
  const [dInner, headDim] = [2 * dModel, dModel / nHeads];
  const x = ops.embed(q4("embedding", vocabSize, dModel));
  const norm = (x: Tensor, columns = dModel) => ops.rmsNorm(x, f32("norm", columns), eps);
  for (let layer = 0; layer < nLayers; layer++) {
    const [input, state] = [norm(x), ops.states[layer]];
    if (state.kind === "attention") {
      const rows = [nHeads, nKvHeads, nKvHeads].map((n) => q4("qkv", n * headDim, dModel));
      const [q, k, v] = ops.matmul(input, rows);
      ops.matmul(ops.attention(q, k, v, state), [q4("oProj", dModel, dModel)], { addTo: x });
    } else {
      const [xz] = ops.matmul(input, [q4("inProj", 2 * dInner, dModel)]);
      const u = ops.causalConv(ops.slice(xz, 0, dInner), f32("conv", dInner, dConv), f32("convBias", dInner), state);
      const [dtBC] = ops.matmul(u, [q4("xProj", dtRank + 2 * dState, dInner)]);
      const dtLow = norm(ops.slice(dtBC, 0, dtRank), dtRank);
      const B = norm(ops.slice(dtBC, dtRank, dtRank + dState), dState);
      const C = norm(ops.slice(dtBC, dtRank + dState, dtRank + 2 * dState), dState);
      const [dt] = ops.matmul(dtLow, [q4("dtProj", dInner, dtRank)]);
      const weights = { A: f32("A", dInner, dState), D: f32("D", dInner), dtBias: f32("dtBias", dInner) };
      const y = ops.selectiveScan({ x: u, z: ops.slice(xz, dInner, 2 * dInner), dt, B, C, ...weights }, state);
      ops.matmul(y, [q4("outProj", dModel, dInner)], { addTo: x });
    }
    const ffnInput = norm(x);
    if (isMoe(shape, layer)) {
      const [logits] = ops.matmul(ffnInput, [f32("router", nExperts, dModel)]);
      const stack = (name: string, rows: number, columns: number) => q4(name, nExperts, rows, columns);
      const experts = { gateProj: stack("gate", dFf, dModel), upProj: stack("up", dFf, dModel), downProj: stack("down", dModel, dFf) };
      ops.experts(ffnInput, ops.route(logits, 2), experts, { addTo: x });
    } else {
      const [gate, up] = ops.matmul(ffnInput, [q4("gate", dFf, dModel), q4("up", dFf, dModel)]);
      ops.matmul(ops.swiglu(gate, up), [q4("down", dModel, dFf)], { addTo: x });
    }
  }
  const [logits] = ops.matmul(norm(ops.gatherRows(x)), [q4("head", vocabSize, dModel)]);
  ops.top("top", logits, 256);
}

/** Of a step of L tokens, with weights in q4, keys and values in f16, and one result for each sequence. */
export function plannedCalls(shape: Shape, L: number, nSequences: number): PlannedCall[] {
  const headDim = shape.dModel / shape.nHeads;
  const spec: StateSpec = {
    pageTokens: 64,
    kvDtype: "f16",
    layers: Array.from({ length: shape.nLayers }, (_, layer) =>
      isAttention(shape, layer)
        ? { kind: "attention", nKvHeads: shape.nKvHeads, headDim }
        : { kind: "mamba", dInner: 2 * shape.dModel, dState, dConv },
    ),
  };
  const list = record({ L, nSequences, nRows: nSequences }, spec, (ops) => forward(ops, shape));
  const products = { hasDots: true, keepsHalves: true, sweep: defaultSweep };
  const fuses = new Set(["norm into matmul", "swiglu of two matmuls"] as const);
  const plan = lower(list, {
    fuses,
    alignBytes: 16,
    mostArenaBytes: 2 ** 30,
    scratchWords: (command, states) => scratchWords(command, states, products),
  });
  const none = {} as GpuBuffer;
  const weightOf = (weight: Weight) => {
    const { row, parts } = partsOf(weight, 2 ** 31);
    return { row, parts: parts.map((part) => ({ ...part, buffer: none })) } as unknown as GpuWeight;
  };
  return callsOf(plan, { states: { spec, layout: stateLayout(spec) } as GpuStates, weightOf, products, none });
}
