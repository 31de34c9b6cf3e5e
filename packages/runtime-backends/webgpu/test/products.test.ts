// Products larger than a tile, a stage and a workgroup, and longer rows of logits than the suite's cases have; and the float path where WGSL has no dot products.

import { type Case, findMismatch } from "@jamba/conformance";
import type { Backend, WeightDtype } from "@jamba/core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { openWebGpuBackend, type WebGpuOptions } from "../src/index.ts";
import { onAdapter } from "./adapter.ts";

function matmul(L: number, N: number, K: number): Case {
  return {
    op: "matmul",
    name: `${L} tokens through [${N}, ${K}] with a bias, added to the residual stream, and a view through [9, ${K - 3}]`,
    steps: [[L]],
    weights: { w: [N, K], view: [9, K - 3], bias: [N] },
    exact: ["bias"],
    inputs: { x: K, residual: N },
    build: (ops, { w, view, bias }, { x, residual }) => {
      ops.read("view", ops.matmul(ops.slice(x, 3, K), [view])[0]);
      ops.read("y", ops.matmul(x, [w], { bias, addTo: residual })[0]);
    },
  };
}

function normed(L: number, N: number, K: number): Case {
  return {
    op: "layer",
    name: `norm, and ${L} tokens through [${N}, ${K}] and [7, ${K}]`,
    steps: [[L]],
    weights: { norm: [K], a: [N, K], b: [7, K] },
    exact: ["norm"],
    inputs: { x: K },
    build: (ops, { norm, a, b }, { x }) => {
      for (const [i, y] of ops.matmul(ops.rmsNorm(x, norm, 1e-6), [a, b]).entries()) ops.read(`y${i}`, y);
    },
  };
}

function several(L: number, rows: readonly number[], K: number): Case {
  return {
    op: "matmul",
    name: `${L} tokens through ${rows.length} weights of ${rows.join(", ")} rows, K = ${K}`,
    steps: [[L]],
    weights: Object.fromEntries(rows.map((n, i) => [`w${i}`, [n, K]])),
    inputs: { x: K },
    build: (ops, weights, { x }) => {
      for (const [i, y] of ops.matmul(x, Object.values(weights)).entries()) ops.read(`y${i}`, y);
    },
  };
}

function gateUp(L: number, dFf: number, dModel: number): Case {
  return {
    op: "layer",
    name: `norm, gate and up of ${L} tokens, dModel = ${dModel}, dFf = ${dFf}`,
    steps: [[L]],
    weights: { gate: [dFf, dModel], up: [dFf, dModel], norm: [dModel] },
    exact: ["norm"],
    inputs: { x: dModel },
    build: (ops, { gate, up, norm }, { x }) => {
      const [g, u] = ops.matmul(ops.rmsNorm(x, norm, 1e-6), [gate, up]);
      ops.read("y", ops.swiglu(g, u));
    },
  };
}

/** Of which many are equal, and some no numbers. */
function top(n: number, k: number): Case {
  return {
    op: "top",
    name: `top ${k} of ${n} logits`,
    steps: [[2, 1, 3]],
    inputs: { x: n },
    vocabSize: n,
    build: (ops, _, { x }) => ops.top("top", ops.gatherRows(x), k),
  };
}

function experts(L: number, nExperts: number, nActive: number, dModel: number, dFf: number): Case {
  return {
    op: "experts",
    name: `${L} tokens through ${nActive} of ${nExperts} experts, dModel = ${dModel}, dFf = ${dFf}`,
    steps: [[L]],
    weights: { gateProj: [nExperts, dFf, dModel], upProj: [nExperts, dFf, dModel], downProj: [nExperts, dModel, dFf] },
    inputs: { x: dModel, logits: nExperts, residual: dModel },
    build: (ops, { gateProj, upProj, downProj }, { x, logits, residual }) => {
      const routes = ops.route(logits, nActive);
      ops.read("fresh", ops.experts(x, routes, { gateProj, upProj, downProj }));
      ops.read("added", ops.experts(x, routes, { gateProj, upProj, downProj }, { addTo: residual }));
    },
  };
}

/** One token in two stages, two to sixteen by four and eight, tiles with a rest; experts in turns, and with one tile full and more. */
const few = [
  matmul(1, 130, 2500),
  matmul(3, 70, 2100),
  matmul(11, 70, 700),
  gateUp(1, 90, 600),
  gateUp(3, 70, 1100),
  gateUp(6, 33, 90),
  gateUp(16, 50, 300),
  normed(2, 40, 1030),
  normed(13, 70, 270),
  several(1, [130, 1, 70], 300),
  several(3, [1, 64, 65, 5], 300),
  several(9, [70, 33, 40, 1, 64], 90),
  experts(3, 6, 2, 96, 70),
  experts(2, 9, 2, 40, 90),
  experts(9, 6, 2, 96, 70),
  experts(16, 3, 2, 200, 150),
];
const many = [matmul(17, 100, 96), matmul(65, 130, 300), gateUp(20, 70, 100), experts(17, 6, 2, 96, 70), experts(150, 5, 2, 40, 90)];
/** Of one group of threads, of several whose last has fewer, and whose candidates are all equal, or not; of more than a group has threads. */
const tops = [top(8191, 40), top(20_001, 1), top(20_001, 256), top(20_001, 1000), top(65_536, 256), top(20_001, 9000)];
const ways: readonly { name: string; options: WebGpuOptions; dtypes: readonly WeightDtype[]; cases: readonly Case[] }[] = [
  { name: "as it is", options: {}, dtypes: ["f32", "f16", "q8", "q4", "q4_k"], cases: [...few, ...many] },
  { name: "rows of logits", options: {}, dtypes: ["f32"], cases: tops },
  { name: "without dot products of bytes", options: { without: ["packed_4x8_integer_dot_product"] }, dtypes: ["q4"], cases: many },
  { name: "in bindings of 16 KiB", options: { mostBindingBytes: 2 ** 14 }, dtypes: ["f32", "q4"], cases: [...few, ...many] },
];

onAdapter(({ gpu }) => {
  describe.each(ways)("$name", ({ options, dtypes, cases }) => {
    let backend: Backend;
    beforeAll(async () => {
      backend = await openWebGpuBackend({ gpu, ...options });
    });
    afterAll(() => backend.dispose());

    describe.each(dtypes)("%s", (dtype) => {
      test.each(cases)("$name", async (one) => expect(await findMismatch(one, dtype, backend)).toBeUndefined());
    });
  });
});
