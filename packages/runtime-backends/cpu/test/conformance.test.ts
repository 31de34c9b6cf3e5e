import { testOps } from "@jamba/conformance";
import { describe, test } from "vitest";
import { type CpuLevel, loadAddon } from "../src/addon.ts";
import { openCpuBackend, openWasmBackend } from "../src/index.ts";
import { moduleNames, usableModules } from "../src/wasm/modules.ts";

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

const usable = usableModules();
for (const level of moduleNames) {
  if (!usable.includes(level)) {
    test(`the module ${level}`, ({ skip }) => skip(`Node ${process.versions.node} has no relaxed SIMD by itself`));
    continue;
  }
  for (const threads of [1, 2, 3]) {
    describe(`the module ${level}, ${threads} threads`, () => testOps({ open: () => openWasmBackend({ level, threads }) }));
  }
}
