// How many dispatches a step takes, over planned calls of real shapes.

import type { PackedInputs } from "@jamba/core";
import { describe, expect, test } from "vitest";
import type { PlannedCall } from "../src/dispatch.ts";
import { plannedCalls, type Shape, shapes } from "./planned.ts";

const decodeCalls = (shape: Shape, nSequences: number) => plannedCalls(shape, nSequences, nSequences);

/** Of a step whose sequences have all seen as much. */
function dispatched(calls: readonly PlannedCall[], nSequences: number, seen: number): PlannedCall[] {
  const nPages = Math.ceil((seen + 1) / 64);
  const addresses = Array.from({ length: nSequences }, (_, i) => [i, seen, nPages, ...Array(nPages).keys()]).flat();
  const starts = Int32Array.from({ length: nSequences + 1 }, (_, i) => i);
  const inputs = { starts, addresses: Int32Array.from(addresses), askedIds: new Int32Array(0) } as unknown as PackedInputs;
  return calls.filter(({ groups }) => (typeof groups === "function" ? groups(inputs) : groups).every((n) => n !== 0));
}

describe.each(shapes)("a decode step of $name", (shape) => {
  // Sixteen, since more take tiles.
  test.each([1, 3, 8, 9, 16])("takes few dispatches a layer for %i sequences", (nSequences) => {
    const calls = dispatched(decodeCalls(shape, nSequences), nSequences, 4095);
    // What comes before and after the layers: embed, gatherRows, the head with its norm, top in two.
    expect(calls.length - 5).toBeLessThanOrEqual(shape.mostDispatches.mean * shape.nLayers);
    const scans = calls.flatMap(({ op }, i) => (op === "selectiveScan" ? [i] : []));
    for (const [i, at] of scans.slice(1).entries())
      if (!calls.slice(scans[i], at).some(({ op }) => op === "attention"))
        expect(at - scans[i]).toBeLessThanOrEqual(shape.mostDispatches.layer);
  });

  test("norms B and C at once, and merges no shares where the context is short", () => {
    const calls = decodeCalls(shape, 1);
    const names = (seen: number) => dispatched(calls, 1, seen).map(({ key }) => key.name);
    const nMamba = calls.filter(({ op }) => op === "selectiveScan").length;
    expect(calls.filter(({ key, groups }) => key.name === "rms-norm" && typeof groups !== "function" && groups[1] === 2).length).toBe(
      nMamba,
    );
    expect(names(50)).not.toContain("attention-merge");
    expect(names(4095)).toContain("attention-merge");
  });
});

// x in bytes, with its norm, and its product: of xz, dt B C, dt, what comes out and down; and of gate and up, which share it. Beside them the
// convolution, the norms of B and C, the scan, and silu.
describe("a prompt of Jamba 3B", () => {
  test.each([17, 64, 512])("takes 17 dispatches a layer for %i tokens", (L) => {
    const calls = plannedCalls(shapes[0], L, 1);
    const scans = calls.flatMap(({ op }, i) => (op === "selectiveScan" ? [i] : []));
    for (const [i, at] of scans.slice(1).entries())
      if (!calls.slice(scans[i], at).some(({ op }) => op === "attention")) expect(at - scans[i]).toBe(17);
  });
});
