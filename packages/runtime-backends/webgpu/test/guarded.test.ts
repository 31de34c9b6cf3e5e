// Layers between guards and on poison, and faults planted in kernels; guarded.slow.ts has every op.

import { type Case, cases, findMismatch } from "@jamba/conformance";
import type { Backend, WeightDtype } from "@jamba/core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { GpuDevice } from "../src/gpu.ts";
import { onAdapter } from "./adapter.ts";
import { openGuarded } from "./guarded.ts";
import { over } from "./spied-device.ts";

/** What a kernel's text says, and what it says instead. */
interface Fault {
  readonly does: string;
  readonly kernel: string;
  readonly text: string;
  readonly faulty: string;
  readonly dtype?: WeightDtype;
  readonly found: RegExp;
}

const faults: readonly Fault[] = [
  {
    does: "writes one value too many",
    kernel: "swiglu",
    text: "at >= p.rows * p.columns",
    faulty: "at > p.rows * p.columns",
    found: /between values: .* word \d+ written/,
  },
  {
    does: "writes before its value",
    kernel: "swiglu",
    text: "arena[p.out + at] =",
    faulty: "arena[p.out + at - 1u] =",
    found: /between values/,
  },
  {
    does: "gives one result too many",
    kernel: "read",
    text: "at >= p.rows * p.columns",
    faulty: "at > p.rows * p.columns",
    found: /behind the results/,
  },
  {
    does: "writes before its buffer",
    kernel: "read",
    text: "var to = p.first;",
    faulty: "if (at == 0u) { results[at - 1u] = 0.0; } var to = p.first;",
    found: /behind a buffer of \d+ bytes/,
  },
  {
    does: "packs a row too many",
    kernel: "pack-q8",
    text: "let to = 8u * ((p.firstRow + row) * p.blocks + block);",
    faulty: "let to = 8u * ((p.firstRow + row) * p.blocks + block); scales[arrayLength(&scales) - 64u] = 0u;",
    dtype: "q8",
    found: /behind a buffer of \d+ bytes/,
  },
  {
    does: "leaves a value out",
    kernel: "swiglu",
    text: "at >= p.rows * p.columns",
    faulty: "at + 1u >= p.rows * p.columns",
    found: /NaN/,
  },
  {
    does: "reads on behind its row",
    kernel: "matvec",
    text: "if (column >= p.columns) { return vec4<u32>(); }",
    faulty: "",
    found: /NaN/,
  },
];

/** Products, and what lies between them. */
const one: Case = {
  op: "layer",
  name: "one token through gate and up, and back",
  steps: [[1]],
  weights: { gate: [21, 12], up: [21, 12], down: [12, 21] },
  inputs: { x: 12 },
  build: (ops, { gate, up, down }, { x }) => {
    const [g] = ops.matmul(x, [gate]);
    const [u] = ops.matmul(x, [up]);
    ops.read("g", g);
    ops.read("y", ops.matmul(ops.swiglu(g, u), [down])[0]);
  },
};

onAdapter((adapter) => {
  // SwiftShader takes long to compile.
  describe.each(adapter.name === "swiftshader" ? (["f32"] as const) : (["f32", "q8", "q4"] as const))("%s", (dtype) => {
    let backend: Backend;
    beforeAll(async () => {
      backend = await openGuarded(adapter);
    });
    afterAll(() => backend.dispose());
    const layers = cases.filter(({ op }) => op === "layer");
    test.each(layers)("$name", async (one) => expect(await findMismatch(one, dtype, backend)).toBeUndefined());
  });

  const planted =
    ({ kernel, text, faulty }: Pick<Fault, "kernel" | "text" | "faulty">) =>
    (device: GpuDevice) =>
      over(device, {
        createShaderModule: ({ label, code }) => {
          if (label === kernel) expect(code).toContain(text);
          return device.createShaderModule({ label, code: label === kernel ? code.replaceAll(text, faulty) : code });
        },
      });

  describe("a planted fault is found", () => {
    const mismatchOf = async (dtype: WeightDtype, deviceOf?: (device: GpuDevice) => GpuDevice): Promise<string> => {
      const backend = await openGuarded(adapter, {}, deviceOf);
      const mismatch = await findMismatch(one, dtype, backend).catch((error: Error) => error);
      await backend.dispose().catch(() => undefined); // it tells the same again
      return mismatch instanceof Error ? mismatch.message : mismatch ? `found ${mismatch.found}` : "no fault";
    };

    test.each(["f32", "q8"] as const)("where there is one, with %s", async (dtype) => expect(await mismatchOf(dtype)).toBe("no fault"));

    test.for(faults)("$kernel $does", async ({ does, dtype = "f32", found, ...fault }, { skip }) => {
      if (does === "writes before its buffer" && adapter.name !== "swiftshader")
        skip(`${adapter.name} may drop what lies outside of a binding`);
      expect(await mismatchOf(dtype, planted(fault))).toMatch(found);
    });
  });
});
