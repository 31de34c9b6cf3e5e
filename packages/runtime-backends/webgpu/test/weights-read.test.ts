// What a decoded token reads of weights, counted over the calls that are planned for it, by the addresses that the kernels make of their
// parameters: no device is needed.

import { lower, type Ops, partsOf, record, type Weight } from "@jamba/core";
import { expect, test } from "vitest";
import { callsOf, scratchWords } from "../src/calls.ts";
import type { PlannedCall } from "../src/dispatch.ts";
import type { GpuBuffer } from "../src/gpu.ts";
import type { GpuStates } from "../src/states.ts";
import { defaultSweep } from "../src/sweep.ts";
import { sweeps } from "../src/tune.ts";
import type { GpuWeight } from "../src/weights.ts";

const eps = 1e-6;
/** Jamba 3B: 26 Mamba layers and two with attention, an MLP behind each. */
const [dModel, dInner, dState, dtRank, dFf, vocabSize, headDim, nHeads] = [2560, 5120, 16, 160, 8192, 65536, 128, 20];
const layers = Array.from({ length: 28 }, (_, i) => (i % 14 === 7 ? "attention" : "mamba"));

const weight = (name: string, shape: readonly number[], dtype: Weight["dtype"] = "q4"): Weight => ({ name, shape, dtype });
const table = weight("table", [vocabSize, dModel]);
const norm = weight("norm", [dModel], "f32");

/** The products of one token; what lies between them is left out. */
function forward(ops: Ops): void {
  const x = ops.embed(table);
  for (const kind of layers) {
    const input = ops.rmsNorm(x, norm, eps);
    if (kind === "attention") {
      const [q] = ops.matmul(input, [
        weight("q", [nHeads * headDim, dModel]),
        weight("k", [headDim, dModel]),
        weight("v", [headDim, dModel]),
      ]);
      ops.matmul(q, [weight("o", [dModel, nHeads * headDim])], { addTo: x });
    } else {
      const [xz] = ops.matmul(input, [weight("inProj", [2 * dInner, dModel])]);
      const [dtBC] = ops.matmul(ops.slice(xz, 0, dInner), [weight("xProj", [dtRank + 2 * dState, dInner])]);
      const dtLow = ops.rmsNorm(ops.slice(dtBC, 0, dtRank), weight("dtNorm", [dtRank], "f32"), eps);
      const [dt] = ops.matmul(dtLow, [weight("dtProj", [dInner, dtRank])]);
      ops.matmul(dt, [weight("outProj", [dModel, dInner])], { addTo: x });
    }
    const [gate, up] = ops.matmul(ops.rmsNorm(x, norm, eps), [weight("gate", [dFf, dModel]), weight("up", [dFf, dModel])]);
    ops.matmul(ops.swiglu(gate, up), [weight("down", [dModel, dFf])], { addTo: x });
  }
  ops.read("logits", ops.matmul(ops.rmsNorm(x, norm, eps), [table])[0]);
}

const buffer = { size: 0 } as GpuBuffer;
const mostBindingBytes = 2 ** 27;

function planned(products: Parameters<typeof scratchWords>[2]): PlannedCall[] {
  const states = { layers: [], pageTokens: 64, kvDtype: "f16" } as const;
  const list = record({ L: 1, nSequences: 1, nRows: 1 }, states, forward);
  const fuses = new Set(["norm into matmul", "swiglu of two matmuls"] as const);
  const plan = lower(list, {
    fuses,
    alignBytes: 16,
    mostArenaBytes: 2 ** 27,
    scratchWords: (command, spec) => scratchWords(command, spec, products),
  });
  const weightOf = (one: Weight) => {
    const { row, parts } = partsOf(one, mostBindingBytes);
    return { row, parts: parts.map((part) => ({ ...part, buffer })) } as unknown as GpuWeight;
  };
  const layout = { slotWords: 0, pageWords: 0, layers: [] };
  return callsOf(plan, { states: { layout, spec: states } as unknown as GpuStates, weightOf, products, none: buffer });
}

/** Bytes of weights that a call reads: each group, whose lanes share the blocks of a row out among them, each of its rows once. */
function readBytes({ key, params, groups }: PlannedCall): number {
  const { blocks, rows } = params;
  const rowBytes = (16 + 2) * blocks; // q4
  if (key.name === "embed") return (18 / 32) * params.columns;
  if (key.name !== "matvec" && key.name !== "matvec-three" && key.name !== "gate-up") return 0;
  const { threads, lanes, rows: ofThread } = key.constants as Record<"threads" | "lanes" | "rows", number>;
  for (let lane = 0, seen = new Set<number>(); lane < lanes; lane++)
    for (let block = lane; block < blocks; block += lanes) {
      expect(seen.has(block)).toBe(false);
      seen.add(block);
    }
  const nMatrices = key.name === "gate-up" ? 2 : 1;
  const teamRows = (ofThread / nMatrices) * (threads / lanes);
  const [x, y] = groups as readonly [number, number];
  /** Of the weights that one dispatch has, one after another: a group has rows of one of them. */
  const pieces = key.name === "matvec-three" ? [rows, params.secondRows, params.thirdRows] : [rows];
  const groupsOf = (pieceRows: number) => Math.ceil(pieceRows / teamRows);
  expect(x * y).toBeGreaterThanOrEqual(sum(pieces.map(groupsOf)));
  let bytes = 0;
  for (const pieceRows of pieces)
    for (let group = 0; group < groupsOf(pieceRows); group++) {
      const found = new Set(Array.from({ length: teamRows }, (_, i) => Math.min(group * teamRows + i, pieceRows - 1)));
      bytes += nMatrices * found.size * rowBytes;
    }
  return bytes;
}

const sum = (values: readonly number[]) => values.reduce((a, b) => a + b, 0);
const onPaper =
  (18 / 32) *
  (dModel +
    26 * (2 * dInner * dModel + (dtRank + 2 * dState) * dInner + dInner * dtRank + dModel * dInner) +
    2 * (2 * nHeads * headDim * dModel + 2 * headDim * dModel) +
    28 * 3 * dFf * dModel +
    vocabSize * dModel);

test.each([defaultSweep, sweeps[4], sweeps[5]])("a token of 3B in q4 reads each weight once, with %o", (sweep) => {
  const calls = planned({ sweep, hasDots: true, keepsHalves: true });
  const bytes = sum(calls.map(readBytes));
  expect(bytes).toBeGreaterThanOrEqual(onPaper);
  expect(bytes / onPaper).toBeLessThanOrEqual(1.03);
});

test("a token of 3B takes few products a layer", () => {
  const calls = planned({ sweep: defaultSweep, hasDots: true, keepsHalves: true });
  const count = (name: string) => calls.filter(({ key }) => key.name === name).length;
  // Queries, keys and values go together; norms go along.
  const head = partsOf(table, mostBindingBytes).parts.length;
  expect(["matvec", "matvec-three", "gate-up", "rms-norm"].map(count)).toEqual([26 * 4 + 2 + 28 + head, 2, 28, 0]);
});
