// The reference against answers that can be written down, independent of its loops. (Goldens hold it to the published model.)

import { expect, test } from "vitest";
import {
  type AttentionState,
  HostTensor,
  type MambaState,
  type Ops,
  openReference,
  record,
  runOnce,
  type StateSpec,
  sourceOf,
  type Tensor,
  type Weight,
} from "../index.ts";

async function run(
  L: number,
  layers: StateSpec["layers"],
  weights: Record<string, { shape: number[]; values: number[] }>,
  inputs: Record<string, number[][]>,
  build: (ops: Ops, w: Record<string, Weight>, x: Record<string, Tensor>) => Tensor,
): Promise<number[]> {
  const backend = openReference();
  const opened: Record<string, Weight> = {};
  for (const [name, { shape, values }] of Object.entries(weights))
    opened[name] = await backend.openWeight(sourceOf(name, shape, Float32Array.from(values)), "f32");
  const states = await backend.createStates({ layers, pageTokens: 2, kvDtype: "f32" });
  await states.reserve(1, 8);
  const tensors = new Map(
    Object.entries(inputs).map(([name, rows]) => [name, new HostTensor("float32", Float32Array.from(rows.flat()), [L, rows[0].length])]),
  );
  const list = record({ L, nSequences: 1, nRows: 0 }, states.spec, (ops) => {
    const x = Object.fromEntries(Object.entries(inputs).map(([name, rows]) => [name, ops.input(name, [L, rows[0].length])]));
    ops.read("y", build(ops, opened, x));
  });
  const address = { slot: 0, pages: [3, 1, 5, 0], seen: 0 };
  const values = await runOnce(backend, list, states, {
    ids: new Int32Array(L),
    starts: Int32Array.of(0, L),
    states: [address],
    rows: new Int32Array(0),
    tensors,
  });
  return Array.from(values.get("y")!.data as Float32Array);
}

const silu = (v: number) => v / (1 + Math.exp(-v));
const column = (values: number[]) => values.map((v) => [v]);

test("a scan with constant Δ is a geometric series", async () => {
  const [delta, A, D] = [0.5, -0.8, 0.25];
  const dt = Math.log(Math.expm1(delta)); // softplus of it is delta
  const L = 6;
  const y = await run(
    L,
    [{ kind: "mamba", dInner: 1, dState: 1, dConv: 1 }],
    { A: { shape: [1, 1], values: [A] }, D: { shape: [1], values: [D] }, dtBias: { shape: [1], values: [0] } },
    {
      x: column(Array(L).fill(1)),
      z: column(Array(L).fill(2)),
      dt: column(Array(L).fill(dt)),
      B: column(Array(L).fill(3)),
      C: column(Array(L).fill(0.5)),
    },
    (ops, w, x) =>
      ops.selectiveScan({ x: x.x, z: x.z, dt: x.dt, B: x.B, C: x.C, A: w.A, D: w.D, dtBias: w.dtBias }, ops.states[0] as MambaState),
  );
  const decay = Math.exp(delta * A);
  for (let t = 0; t < L; t++) {
    const h = (delta * 3 * (1 - decay ** (t + 1))) / (1 - decay);
    expect(y[t]).toBeCloseTo((0.5 * h + D) * silu(2), 5);
  }
});

test("softplus far out: Δ of 1000 forgets at once, of -1000 changes nothing, and neither is NaN", async () => {
  const y = await run(
    3,
    [{ kind: "mamba", dInner: 1, dState: 1, dConv: 1 }],
    { A: { shape: [1, 1], values: [-1] }, D: { shape: [1], values: [0] }, dtBias: { shape: [1], values: [0] } },
    { x: column([1, 1, 1]), z: column([100, 100, 100]), dt: column([1000, -1000, 1000]), B: column([1, 1, 2]), C: column([1, 1, 1]) },
    (ops, w, x) =>
      ops.selectiveScan({ x: x.x, z: x.z, dt: x.dt, B: x.B, C: x.C, A: w.A, D: w.D, dtBias: w.dtBias }, ops.states[0] as MambaState),
  );
  expect(y).toEqual([100_000, 100_000, 200_000]);
});

test("a convolution answers an impulse with its weights, last first", async () => {
  const y = await run(
    5,
    [{ kind: "mamba", dInner: 1, dState: 1, dConv: 3 }],
    { w: { shape: [1, 3], values: [1, 2, 3] } },
    { x: column([1, 0, 0, 0, 0]) },
    (ops, { w }, { x }) => ops.causalConv(x, w, undefined, ops.states[0] as MambaState),
  );
  expect(y).toEqual([3, 2, 1, 0, 0].map((v) => expect.closeTo(silu(v), 6)));
});

test("attention with equal scores is the mean of what came before, and with one great score that value", async () => {
  const L = 5;
  const v = [1, 5, 3, 7, 9];
  const layers = [{ kind: "attention", nKvHeads: 1, headDim: 1 }] as const;
  const attend = (q: number[], k: number[]) =>
    run(L, layers, {}, { q: column(q), k: column(k), v: column(v) }, (ops, _, x) =>
      ops.attention(x.q, x.k, x.v, ops.states[0] as AttentionState),
    );
  expect(await attend([0, 0, 0, 0, 0], [1, 2, 3, 4, 5])).toEqual([1, 3, 3, 4, 5].map((mean) => expect.closeTo(mean, 6)));
  expect(await attend([1, 1, 1, 1, 1], [0, 900, 0, 0, 0])).toEqual([1, 5, 5, 5, 5]);
});

test("routing keeps the softmax over all experts: the chosen weights sum to less than 1", async () => {
  const weights = await run(
    1,
    [],
    {},
    { logits: [[Math.log(1), Math.log(4), Math.log(3), Math.log(2)]] },
    (ops, _, { logits }) => ops.route(logits, 2).weights,
  );
  expect(weights).toEqual([expect.closeTo(0.4, 6), expect.closeTo(0.3, 6)]);
});
