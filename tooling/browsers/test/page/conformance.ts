// The cases that every backend must pass, in a page: each op and layer beside the reference.

import { openWasmBackend, type WasmLevel } from "@jamba/backend-cpu";
import { openWebGpuBackend, type WebGpuOptions } from "@jamba/backend-webgpu";
import { cases, findMismatch, openSmallModel, randomIds } from "@jamba/conformance";
import type { Backend, WeightDtype } from "@jamba/core";

export interface Conformance {
  readonly cases: number;
  /** What left the reference, in words. */
  readonly faults: readonly string[];
  readonly numerics: string;
  readonly features: readonly string[];
}

async function conformance(level: WasmLevel | undefined, threads: number, dtypes: readonly WeightDtype[]): Promise<Conformance> {
  const backend = await openWasmBackend({ level, threads });
  const faults: string[] = [];
  const n = await runCases(backend, dtypes, faults);
  for (const dtype of dtypes) {
    // Chunks change no bit.
    const model = await openSmallModel(backend, { dtype, kvDtype: "f16" });
    const ids = randomIds(1, 40);
    const whole = await model.step([{ sequence: 0, ids }]);
    const parts = [];
    for (const [from, to] of [
      [0, 13],
      [13, 14],
      [14, 40],
    ])
      parts.push(...(await model.step([{ sequence: 1, ids: ids.slice(from, to) }])));
    if (String(whole) !== String(parts)) faults.push(`${dtype}: one step and chunks disagree`);
  }
  return close(backend, n, faults);
}

/** Of every dtype that the device has. */
async function webgpuConformance(options: WebGpuOptions): Promise<Conformance> {
  const backend = await openWebGpuBackend(options);
  const faults: string[] = [];
  const n = await runCases(backend, backend.device.weightDtypes, faults);
  return close(backend, n, faults);
}

/** @returns how many ran */
async function runCases(backend: Backend, dtypes: readonly WeightDtype[], faults: string[]): Promise<number> {
  let n = 0;
  for (const dtype of dtypes) {
    for (const one of cases.filter(({ weights }) => dtype === "f32" || weights)) {
      n++;
      const mismatch = await findMismatch(one, dtype, backend);
      if (mismatch) faults.push(`${dtype}, ${one.name}: ${JSON.stringify(mismatch)}`);
    }
  }
  return n;
}

async function close(backend: Backend, cases: number, faults: readonly string[]): Promise<Conformance> {
  const { numerics, features } = backend.device;
  await backend.dispose();
  return { cases, faults, numerics, features };
}

Object.assign(globalThis, { conformance, webgpuConformance });
