// Where WebGPU is: a browser's own, or Dawn through the npm package `webgpu` in Node.

import { BackendError, fromNode, hasNode } from "@jamba/core";
import type { Gpu } from "./gpu.ts";

/** @throws BackendError that says what is missing and what to do */
export async function findGpu(): Promise<Gpu> {
  const own = (globalThis.navigator as { gpu?: Gpu } | undefined)?.gpu;
  if (own) return own;
  if (!hasNode())
    throw new BackendError("webgpu: expected navigator.gpu, found none: this browser has no WebGPU, or the page is not served over HTTPS");
  const held = globalThis as { jambaGpu?: Gpu };
  held.jambaGpu ??= await openDawn();
  return held.jambaGpu;
}

/** Dawn crashes once nobody holds what `create` gives, so whoever asks must keep it. */
async function openDawn(): Promise<Gpu> {
  // Not an import, which bundlers would look for.
  const { createRequire } = await fromNode<typeof import("node:module")>("node:module");
  const { join } = await fromNode<typeof import("node:path")>("node:path");
  for (const from of [import.meta.url, join(process.cwd(), "package.json")]) {
    try {
      const { create, globals } = createRequire(from)("webgpu") as { create(flags: string[]): Gpu; globals: object };
      Object.assign(globalThis, globals);
      return create([]);
    } catch (error) {
      if ((error as { code?: string }).code !== "MODULE_NOT_FOUND")
        throw new BackendError(`webgpu: expected the npm package webgpu to load, found: ${(error as Error).message}`, { cause: error });
    }
  }
  throw new BackendError("webgpu: expected the npm package webgpu beside jamba, found none: npm install webgpu");
}
