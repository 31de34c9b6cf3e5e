// The reference is the oracle of the op cases (goldens hold it to the published model), so they are turned round here:
// a fault planted in any kernel must be found by some case of its op.

import { type Fusion, fusions, type Op, openReference, type ReferenceKernels, referenceKernels, tensorsOf } from "@jamba/core";
import { describe, expect, test } from "vitest";
import { cases, findMismatch, firstFault, testOps } from "./index.ts";

// Not against itself, but with everything fused, which is against what each op says alone.
testOps({ open: () => openReference({ fuses: Object.keys(fusions) as Fusion[] }), dtypes: ["f32", "bf16", "f16"] });

const ops = [...new Set(cases.map((one) => one.op))].filter((op): op is Op => op !== "layer");

/** The kernel, then one wrong number in a thousandth, or a wrong expert. */
function faulty<O extends Op>(op: O): Partial<ReferenceKernels> {
  const kernel = referenceKernels[op] as (...args: unknown[]) => void;
  return {
    [op]: (...[command, step]: Parameters<ReferenceKernels[O]>) => {
      kernel(command, step);
      for (const { tensor } of tensorsOf(command).filter((t) => t.writes)) {
        if (tensor.dtype === "f32") step.f32(tensor)[0] *= 1.001;
        else step.i32(tensor)[0] ^= 1;
      }
    },
  };
}

describe("a planted fault is found", () => {
  test("every op has cases, and only ops do", () => {
    expect(ops.sort()).toEqual(
      Object.keys(referenceKernels)
        .filter((op) => !["input", "read", "keep", "gateUp"].includes(op))
        .sort(),
    );
  });

  test.each(ops)("in %s", async (op) => {
    const backend = openReference({ kernels: faulty(op) });
    const found: string[] = [];
    for (const one of cases.filter((c) => c.op === op)) if (await findMismatch(one, "f32", backend)) found.push(one.name);
    expect(found.length).toBeGreaterThan(0);
  });

  test("and the first command at fault is named", async () => {
    const backend = openReference({ kernels: faulty("selectiveScan") });
    const layer = cases.find((one) => one.name.startsWith("Mamba layer"))!;
    expect(await firstFault(layer, "f32", backend)).toMatch(/selectiveScan/);
  });
});
