// One table of recordings: each op at the sizes that hurt, then each layer.

import { groupedQueryAttention } from "@jamba/attention";
import type { AttentionState, MambaState, Op, Ops, StateSpec, Tensor, Weight } from "@jamba/core";
import { mixtureOfExperts, mlp } from "@jamba/moe";
import { mambaMixer } from "@jamba/ssm";

export interface Case {
  readonly op: Op | "layer";
  readonly name: string;
  /** Tokens of each sequence, one array per step. */
  readonly steps: readonly (readonly number[])[];
  readonly layers?: StateSpec["layers"];
  /** Shapes of weights; those in `exact` are f32 whatever the case's dtype is. */
  readonly weights?: Readonly<Record<string, readonly number[]>>;
  readonly exact?: readonly string[];
  /** Columns of the inputs; all have L rows. */
  readonly inputs?: Readonly<Record<string, number>>;
  /** Standard deviation of the inputs; 1 if not given. */
  readonly spread?: number;
  readonly vocabSize?: number;
  build(ops: Ops, weights: Readonly<Record<string, Weight>>, inputs: Readonly<Record<string, Tensor>>): void;
}

/** Every length from 0 past two vectors of 16 lanes: the loop, its tail, and neither. */
const lengths = Array.from({ length: 34 }, (_, n) => n);
/** No token, one, some, more than a tile. */
const rows = [0, 1, 2, 5, 17];
/** Three sequences: one long, one empty, one of a single token; then all go on. */
const ragged = [
  [5, 0, 1],
  [1, 3, 1],
  [2, 1, 7],
];
const eps = 1e-6;

const elementwise: Case[] = lengths.flatMap((n): Case[] => [
  {
    op: "rmsNorm",
    name: `rmsNorm of ${n} columns`,
    steps: [[3]],
    weights: { weight: [n] },
    exact: ["weight"],
    inputs: { x: n },
    build: (ops, { weight }, { x }) => ops.read("y", ops.rmsNorm(x, weight, eps)),
  },
  {
    op: "rmsNorm",
    name: `rmsNorm of a view of ${n} columns`,
    steps: [[4]],
    weights: { weight: [n] },
    exact: ["weight"],
    inputs: { x: n + 8 },
    build: (ops, { weight }, { x }) => ops.read("y", ops.rmsNorm(ops.slice(x, 3, n + 3), weight, eps)),
  },
  {
    op: "swiglu",
    name: `swiglu of ${n} columns, and of values where e^-x overflows`,
    steps: [[3]],
    inputs: { gate: n, up: n },
    spread: 60,
    build: (ops, _, { gate, up }) => ops.read("y", ops.swiglu(gate, up)),
  },
  {
    op: "matmul",
    name: `matmul of K = ${n}`,
    steps: [[3]],
    weights: { w: [5, n] },
    inputs: { x: n },
    build: (ops, { w }, { x }) => ops.read("y", ops.matmul(x, [w])[0]),
  },
  {
    op: "matmul",
    name: `matmul of N = ${n} with bias, added to the residual stream`,
    steps: [[3]],
    weights: { w: [n, 19], bias: [n] },
    exact: ["bias"],
    inputs: { x: 19, residual: n },
    build: (ops, { w, bias }, { x, residual }) => ops.read("y", ops.matmul(x, [w], { bias, addTo: residual })[0]),
  },
  {
    op: "embed",
    name: `embed of ${n} columns`,
    steps: [[7]],
    weights: { table: [11, n] },
    vocabSize: 11,
    build: (ops, { table }) => ops.read("y", ops.embed(table)),
  },
]);

const matmuls: Case[] = rows.flatMap((L): Case[] => [
  {
    op: "matmul",
    name: `matmul of ${L} tokens with three weights and a view`,
    steps: [[L]],
    weights: { a: [48, 33], b: [1, 33], c: [17, 33] },
    inputs: { x: 40 },
    build: (ops, { a, b, c }, { x }) => {
      for (const [i, y] of ops.matmul(ops.slice(x, 7, 40), [a, b, c]).entries()) ops.read(`y${i}`, y);
    },
  },
  {
    op: "gatherRows",
    name: `gatherRows of the last of ${L} tokens`,
    steps: [[L, L]],
    inputs: { x: 21 },
    build: (ops, _, { x }) => ops.read("y", ops.gatherRows(ops.slice(x, 2, 21))),
  },
]);

const convolutions: Case[] = [1, 2, 3, 4, 6].flatMap((dConv) =>
  [1, 15, 16, 33].map((dInner) => ({
    op: "causalConv" as const,
    name: `causalConv of dConv = ${dConv}, dInner = ${dInner}`,
    steps: ragged,
    layers: [{ kind: "mamba" as const, dInner, dState: 2, dConv }],
    weights: { w: [dInner, dConv], bias: [dInner] },
    exact: ["w", "bias"],
    inputs: { x: 2 * dInner },
    build: (ops, { w, bias }, { x }) => {
      const view = ops.slice(x, dInner, 2 * dInner);
      ops.read("y", ops.causalConv(view, w, dInner % 2 ? bias : undefined, ops.states[0] as MambaState));
    },
  })),
);

const scans: Case[] = [1, 7, 16, 24].flatMap((dState) =>
  [1, 15, 16, 33].flatMap((dInner) =>
    [1, 40].map((spread) => ({
      op: "selectiveScan" as const,
      name: `selectiveScan of dState = ${dState}, dInner = ${dInner}${spread > 1 ? ", softplus and exp far out" : ""}`,
      steps: ragged,
      layers: [{ kind: "mamba" as const, dInner, dState, dConv: 4 }],
      weights: { A: [dInner, dState], D: [dInner], dtBias: [dInner] },
      exact: ["A", "D", "dtBias"],
      inputs: { xz: 2 * dInner, dt: dInner, BC: 2 * dState },
      spread,
      build: (ops, w, { xz, dt, BC }) => {
        const [x, z] = [ops.slice(xz, 0, dInner), ops.slice(xz, dInner, 2 * dInner)];
        const [B, C] = [ops.slice(BC, 0, dState), ops.slice(BC, dState, 2 * dState)];
        ops.read("y", ops.selectiveScan({ x, z, dt, B, C, A: w.A, D: w.D, dtBias: w.dtBias }, ops.states[0] as MambaState));
      },
    })),
  ),
);

/** Query heads, key-value heads, width: one of each, as many, one for all, odd groups, odd widths. */
const heads = [
  [1, 1, 1],
  [4, 4, 8],
  [5, 1, 7],
  [6, 2, 32],
  [12, 4, 17],
] as const;

const attentions: Case[] = heads.flatMap(([nHeads, nKvHeads, headDim]) =>
  [1, 30].map((spread) => ({
    op: "attention" as const,
    name: `attention of ${nHeads} heads on ${nKvHeads}, headDim = ${headDim}${spread > 1 ? ", scores far apart" : ""}`,
    steps: [...ragged, [9, 0, 20]],
    layers: [{ kind: "attention" as const, nKvHeads, headDim }],
    inputs: { qkv: (nHeads + 2 * nKvHeads) * headDim },
    spread,
    build: (ops, _, { qkv }) => {
      const [q, kv] = [nHeads * headDim, nKvHeads * headDim];
      const views = [ops.slice(qkv, 0, q), ops.slice(qkv, q, q + kv), ops.slice(qkv, q + kv, q + 2 * kv)] as const;
      ops.read("y", ops.attention(...views, ops.states[0] as AttentionState));
    },
  })),
);

/** Experts, active ones, dModel, dFf. */
const mixtures = [
  [1, 1, 16, 16],
  [7, 1, 15, 33],
  [5, 3, 35, 53],
  [16, 2, 48, 64],
  [4, 4, 8, 1],
] as const;

const routings: Case[] = mixtures.flatMap(([nExperts, nActive, dModel, dFf]) =>
  rows.flatMap((L): Case[] => [
    {
      op: "route",
      name: `route of ${L} tokens to ${nActive} of ${nExperts}`,
      steps: [[L]],
      inputs: { logits: nExperts + 1 },
      spread: 4,
      build: (ops, _, { logits }) => {
        const { experts, weights } = ops.route(ops.slice(logits, 0, nExperts), nActive);
        ops.read("experts", experts);
        ops.read("weights", weights);
      },
    },
    {
      op: "route",
      name: `route of ${L} tokens with all of ${nExperts} logits equal takes the lowest indices`,
      steps: [[L]],
      inputs: { logits: nExperts },
      spread: 0,
      build: (ops, _, { logits }) => ops.read("experts", ops.route(logits, nActive).experts),
    },
    {
      op: "experts",
      name: `experts: ${L} tokens, ${nActive} of ${nExperts}, dModel = ${dModel}, dFf = ${dFf}`,
      steps: [[L]],
      weights: { gateProj: [nExperts, dFf, dModel], upProj: [nExperts, dFf, dModel], downProj: [nExperts, dModel, dFf] },
      inputs: { x: dModel, logits: nExperts, residual: dModel },
      build: (ops, { gateProj, upProj, downProj }, { x, logits, residual }) => {
        const routes = ops.route(logits, nActive);
        ops.read("fresh", ops.experts(x, routes, { gateProj, upProj, downProj }));
        ops.read("added", ops.experts(x, routes, { gateProj, upProj, downProj }, { addTo: residual }));
      },
    },
  ]),
);

const [dModel, dInner, dState, dConv, dtRank] = [35, 70, 7, 3, 9];
const layers: Case[] = [
  {
    op: "layer",
    name: "Mamba layer in ragged steps",
    steps: ragged,
    layers: [{ kind: "mamba", dInner, dState, dConv }],
    weights: {
      inProj: [2 * dInner, dModel],
      inProjBias: [2 * dInner],
      convWeight: [dInner, dConv],
      convBias: [dInner],
      xProj: [dtRank + 2 * dState, dInner],
      dtProj: [dInner, dtRank],
      dtBias: [dInner],
      A: [dInner, dState],
      D: [dInner],
      dtNorm: [dtRank],
      bNorm: [dState],
      cNorm: [dState],
      outProj: [dModel, dInner],
      outProjBias: [dModel],
    },
    exact: ["inProjBias", "convWeight", "convBias", "dtBias", "A", "D", "dtNorm", "bNorm", "cNorm", "outProjBias"],
    inputs: { x: dModel, residual: dModel },
    build: (ops, w, { x, residual }) => {
      const weights = w as unknown as Parameters<typeof mambaMixer>[1];
      ops.read("y", mambaMixer(ops, weights, x, ops.states[0] as MambaState, { rmsNormEps: eps, addTo: residual }));
    },
  },
  {
    op: "layer",
    name: "attention layer in ragged steps",
    steps: [...ragged, [9, 0, 20]],
    layers: [{ kind: "attention", nKvHeads: 1, headDim: 7 }],
    weights: { qProj: [35, dModel], kProj: [7, dModel], vProj: [7, dModel], oProj: [dModel, 35] },
    inputs: { x: dModel, residual: dModel },
    build: (ops, w, { x, residual }) => {
      const weights = w as unknown as Parameters<typeof groupedQueryAttention>[1];
      ops.read("y", groupedQueryAttention(ops, weights, x, ops.states[0] as AttentionState, { addTo: residual }));
    },
  },
  {
    op: "layer",
    name: "mixture of experts beside a dense MLP",
    steps: [[4, 1]],
    weights: {
      router: [5, dModel],
      gateProj: [5, 53, dModel],
      upProj: [5, 53, dModel],
      downProj: [5, dModel, 53],
      gate: [53, dModel],
      up: [53, dModel],
      down: [dModel, 53],
    },
    exact: ["router"],
    inputs: { x: dModel, residual: dModel },
    build: (ops, w, { x, residual }) => {
      const { router, gateProj, upProj, downProj, gate, up, down } = w;
      ops.read("moe", mixtureOfExperts(ops, { router, gateProj, upProj, downProj }, x, { nActiveExperts: 3, addTo: residual }).result);
      ops.read("mlp", mlp(ops, { gateProj: gate, upProj: up, downProj: down }, x));
    },
  },
];

/** Of logits as they come: few and many, fewer than are asked for, rows that lie apart. */
const tops: Case[] = [
  ...[...lengths.slice(1), 300].map((n) => [n, 4] as const),
  ...[1, 31, 32, 33, 256, 400].map((k) => [300, k] as const),
].map(
  ([n, k]): Case => ({
    op: "top",
    name: `top ${k} of ${n} logits, of which some are no numbers`,
    steps: [[2, 1, 3]],
    inputs: { x: n },
    vocabSize: n,
    build: (ops, _, { x }) => ops.top("top", ops.gatherRows(x), k),
  }),
);

export const cases: readonly Case[] = [
  ...elementwise,
  ...matmuls,
  ...convolutions,
  ...scans,
  ...attentions,
  ...routings,
  ...tops,
  ...layers,
] as readonly Case[];
