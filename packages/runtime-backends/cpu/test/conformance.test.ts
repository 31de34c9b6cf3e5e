import { testOps } from "@jamba/conformance";
import { describe, test } from "vitest";
import { type CpuLevel, loadAddon } from "../src/addon.ts";
import { openCpuBackend } from "../src/index.ts";

const addon = await loadAddon().catch((error: Error) => error);

if (addon instanceof Error) {
  test("the native kernels", ({ skip }) => skip(addon.message));
} else {
  // Its dot products take bf16 on both sides: 2^-9 of an activation at most, (2^-9)² / 3 in the mean, a hundred times that where a case has two outputs and both nearly cancel.
  const wider = (level: CpuLevel) => (level.startsWith("avx512bf16") ? { bf16: 2e-4 } : {});
  // Every level that this machine runs: the same cases against the reference, on one thread and on several.
  for (const [i, level] of addon.levels.entries()) {
    for (const threads of i === 0 ? [1, 3] : [2]) {
      describe(`${level}, ${threads} threads`, () => testOps({ open: () => openCpuBackend({ level, threads }), wider: wider(level) }));
    }
  }
}
