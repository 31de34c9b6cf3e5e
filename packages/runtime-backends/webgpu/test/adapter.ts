// What tests of this package run on: see tooling/software-gpu.

import { describe, test } from "vitest";
import { type FoundAdapter, findAdapter } from "../../../../tooling/software-gpu/src/adapter.ts";

export const adapter: FoundAdapter | string = await findAdapter();

/** Registers tests, or one that is skipped and says why. */
export function onAdapter(register: (adapter: FoundAdapter) => void): void {
  if (typeof adapter === "string") test("webgpu", ({ skip }) => skip(adapter));
  else describe(adapter.name, () => register(adapter));
}
