import { setFlagsFromString } from "node:v8";
import { testOps } from "@jamba/conformance";
import { JambaError } from "@jamba/core";
import { describe, test } from "vitest";
import { type CpuLevel, loadAddon } from "../src/addon.ts";
import { openCpuBackend, openWasmBackend, type WasmLevel } from "../src/index.ts";
import { moduleNames, usableModules } from "../src/wasm/modules.ts";

const addon = await loadAddon().catch((error: Error) => error);

/** All counts are engines.mjs's to try, on modules alone. */
const threads = process.env.JAMBA_WASM_THREADS?.split(",").map(Number);

if (threads) {
  // Nothing of it is native.
} else if (addon instanceof Error) {
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

// Before anything is validated.
if (process.version.startsWith("v20.")) setFlagsFromString("--experimental-wasm-relaxed-simd");
const usable = usableModules();
for (const level of moduleNames) {
  const refusal = usable.includes(level) ? await refusalOf(level) : `Node ${process.versions.node} has no relaxed SIMD`;
  if (refusal !== undefined) {
    test(`the module ${level}`, ({ skip }) => skip(refusal));
    continue;
  }
  for (const count of threads ?? (level === "simd128" ? [1, 3] : [2])) {
    describe(`the module ${level}, ${count} threads`, () => testOps({ open: () => openWasmBackend({ level, threads: count }) }));
  }
}

/** Why this engine does not compute it rightly, if it does not. */
async function refusalOf(level: WasmLevel): Promise<string | undefined> {
  try {
    await (await openWasmBackend({ level, threads: 1 })).dispose();
    return undefined;
  } catch (error) {
    if (error instanceof JambaError && error.code === "OPTION") return `Node ${process.versions.node}: ${error.message}`;
    throw error;
  }
}
