// What conformance's short sequences don't reach: scans that are cut in time, convolutions over many threads, and contexts in shares.

import { type Case, compare, findMismatch, normal, seeded, seedOf, startsOf } from "@jamba/conformance";
import {
  type AttentionState,
  type Backend,
  HostTensor,
  type MambaState,
  openReference,
  record,
  runOnce,
  writeHostState,
} from "@jamba/core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { openWebGpuBackend, type WebGpuOptions } from "../src/index.ts";
import { onAdapter } from "./adapter.ts";

const steps = [
  [150, 0, 1],
  [9, 1, 300],
  [1, 257, 2],
];

const scans = [1, 7, 16, 33, 64].map((dState): Case => {
  const dInner = 37;
  return {
    op: "selectiveScan",
    name: `selectiveScan over long steps, dState = ${dState}`,
    steps,
    layers: [{ kind: "mamba", dInner, dState, dConv: 4 }],
    weights: { A: [dInner, dState], D: [dInner], dtBias: [dInner] },
    exact: ["A", "D", "dtBias"],
    inputs: { xz: 2 * dInner, dt: dInner, BC: 2 * dState },
    build: (ops, w, { xz, dt, BC }) => {
      const [x, z] = [ops.slice(xz, 0, dInner), ops.slice(xz, dInner, 2 * dInner)];
      const [B, C] = [ops.slice(BC, 0, dState), ops.slice(BC, dState, 2 * dState)];
      ops.read("y", ops.selectiveScan({ x, z, dt, B, C, A: w.A, D: w.D, dtBias: w.dtBias }, ops.states[0] as MambaState));
    },
  };
});

const convolutions = [1, 4, 8].map((dConv): Case => {
  const dInner = 70;
  return {
    op: "causalConv",
    name: `causalConv over long steps, dConv = ${dConv}`,
    steps,
    layers: [{ kind: "mamba", dInner, dState: 2, dConv }],
    weights: { w: [dInner, dConv], bias: [dInner] },
    exact: ["w", "bias"],
    inputs: { x: dInner },
    build: (ops, { w, bias }, { x }) => ops.read("y", ops.causalConv(x, w, bias, ops.states[0] as MambaState)),
  };
});

/** Contexts of each sequence before a step of so many tokens, by widths that are odd, wide, narrow. */
const attentions = (
  [
    [20, 1, 128, [700], [1]],
    [20, 1, 128, [0, 333], [70, 2]],
    [8, 2, 96, [2100, 0, 65], [1, 1, 1]],
    [8, 2, 33, [130], [130]],
    [3, 3, 256, [129, 300], [1, 4]],
    [40, 1, 64, [515], [3]],
  ] as const
).flatMap(([nHeads, nKvHeads, headDim, seen, tokens]) =>
  (["f16", "bf16", "f32"] as const).map((kvDtype) => ({ nHeads, nKvHeads, headDim, seen, tokens, kvDtype })),
);

type AttentionCase = (typeof attentions)[number];

/** What a step gives on contexts that were written, in pages that lie apart, of a store that grew in many steps. */
async function attend(backend: Backend, { nHeads, nKvHeads, headDim, kvDtype, seen, tokens }: AttentionCase): Promise<Float32Array> {
  const [pageTokens, nSequences] = [16, seen.length];
  const store = await backend.createStates({ layers: [{ kind: "attention", nKvHeads, headDim }], pageTokens, kvDtype });
  const perSequence = Math.ceil((Math.max(...seen) + Math.max(...tokens)) / pageTokens);
  for (let n = 1; n < perSequence * nSequences; n += 7) await store.reserve(nSequences, n);
  await store.reserve(nSequences, perSequence * nSequences);
  const random = seeded(seedOf(`${nHeads} ${headDim}`));
  const values = (...shape: number[]) =>
    new HostTensor(
      Float32Array.from({ length: shape.reduce((a, b) => a * b) }, () => 2 * normal(random)),
      shape,
    );
  const states = seen.map((seen, slot) => ({
    slot,
    seen,
    pages: Array.from({ length: perSequence }, (_, n) => slot + nSequences * (perSequence - 1 - n)),
  }));
  for (const address of states) {
    const [k, v] = [values(nKvHeads, address.seen, headDim), values(nKvHeads, address.seen, headDim)];
    await writeHostState(backend, store, address, { seen: address.seen, layers: [{ kind: "attention", k, v }] });
  }
  const starts = startsOf(tokens);
  const L = starts.at(-1)!;
  const [q, kv] = [nHeads * headDim, nKvHeads * headDim];
  const list = record({ L, nSequences, nRows: 0 }, store.spec, (ops) => {
    const x = ops.input("qkv", [L, q + 2 * kv]);
    const views = [ops.slice(x, 0, q), ops.slice(x, q, q + kv), ops.slice(x, q + kv, q + 2 * kv)] as const;
    ops.read("y", ops.attention(...views, ops.states[0] as AttentionState));
  });
  const tensors = new Map([["qkv", values(L, q + 2 * kv)]]);
  const inputs = { ids: new Int32Array(L), starts: Int32Array.from(starts), rows: new Int32Array(0), states, tensors };
  const y = (await runOnce(backend, list, store, inputs)).get("y")!.data as Float32Array;
  store.dispose();
  return y;
}

/** With the formats of keys and values that are tried in every run; engines.mjs tries all. */
const ways: readonly (readonly [name: string, options: WebGpuOptions, kvDtypes: readonly string[]])[] = [
  ["as it is", {}, ["f16"]],
  ["in small bindings", { mostBindingBytes: 2 ** 14 }, ["f32"]],
];

onAdapter(({ gpu }) =>
  describe.each(ways)("%s", (_, options, kvDtypes) => {
    let backend: Backend;
    beforeAll(async () => {
      backend = await openWebGpuBackend({ gpu, ...options });
    });
    afterAll(() => backend.dispose());

    test.each([...scans, ...convolutions])("$name", async (one) => {
      expect(await findMismatch(one, "f32", backend)).toBeUndefined();
    });

    const tried = attentions.filter(({ kvDtype }) => process.env.JAMBA_WEBGPU_ALL || kvDtypes.includes(kvDtype));
    test.each(tried)("attention of $nHeads heads on $nKvHeads, $headDim columns in $kvDtype, $tokens after $seen", async (one) => {
      const { nmse } = compare(await attend(backend, one), await attend(openReference(), one));
      expect(nmse).toBeLessThan(one.kvDtype === "f32" ? 1e-10 : 1e-9);
    });
  }),
);
