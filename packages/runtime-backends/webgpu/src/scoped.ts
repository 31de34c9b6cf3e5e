// What WebGPU finds wrong, which it tells later or nobody.

import { BackendError, JambaError } from "@jamba/core";
import type { GpuDevice } from "./gpu.ts";

/** Does `work`; `found` is the first of its errors. */
export function scoped<T>(gpu: GpuDevice, work: () => T): { readonly value: T; readonly found: Promise<Error | null> } {
  for (const filter of ["validation", "out-of-memory"] as const) gpu.pushErrorScope(filter);
  let errors: Promise<(Error | null)[]> | undefined;
  try {
    const value = work();
    errors = Promise.all([gpu.popErrorScope(), gpu.popErrorScope()]);
    const found = errors.then((found) => found.find((error) => error) ?? null);
    found.catch(() => undefined); // a device that is gone may have none to tell
    return { value, found };
  } finally {
    // Scopes are a stack: one that is left open would take the errors of others.
    if (!errors) for (let i = 0; i < 2; i++) gpu.popErrorScope().catch(() => undefined);
  }
}

/** With the code OUT_OF_MEMORY where that is what was found. */
export function failure(cause: unknown): JambaError {
  const { message } = cause as Error;
  if ((cause as Error).constructor.name === "GPUOutOfMemoryError")
    return new JambaError("OUT_OF_MEMORY", `webgpu: expected room on the device, found: ${message}`, { cause });
  return new BackendError(`webgpu: the device failed: ${message}`, { cause });
}

/** @throws JambaError BACKEND or OUT_OF_MEMORY */
export function expectNone(error: Error | null): void {
  if (error) throw failure(error);
}
