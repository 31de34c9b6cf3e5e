// What tests of this package run on: see tooling/software-gpu.

import { describe, test } from "vitest";
import { findStandIn } from "../../../../tooling/software-gpu/src/stand-in.ts";

/** Registers tests, or one that is skipped and says why. */
export function onStandIn(register: (driver: string) => void): void {
  const found = findStandIn();
  if (typeof found === "string") test("cuda", ({ skip }) => skip(found));
  else describe("stand-in for CUDA", () => register(found.driver));
}
