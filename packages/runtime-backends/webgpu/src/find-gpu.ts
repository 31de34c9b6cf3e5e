// Where WebGPU is: a browser's own, or Dawn through the npm package `webgpu` in Node.

import { BackendError, fromNode, hasNode } from "@jamba/core";
import type { Gpu, GpuAdapterInfo } from "./gpu.ts";

/** @throws BackendError that says what is missing and what to do */
export async function findGpu(): Promise<Gpu> {
  const own = (globalThis.navigator as { gpu?: Gpu } | undefined)?.gpu;
  if (own) return own;
  if (!hasNode())
    throw new BackendError("webgpu: expected navigator.gpu, found none: this browser has no WebGPU, or the page is not served over HTTPS");
  // Dawn crashes once nobody holds what `create` gives.
  const held = globalThis as { jambaGpu?: Promise<Gpu | undefined> };
  held.jambaGpu ??= openDawn();
  const dawn = await held.jambaGpu;
  if (dawn) return dawn;
  throw new BackendError("webgpu: expected the npm package webgpu beside jamba, found none: npm install webgpu");
}

/**
 * Why not to count on WebGPU where nobody asked for it: no GPU answers, or it is a processor that plays one. Nothing where Dawn was
 * installed and does not load, either, which opening tells of.
 */
export async function whyNoRealGpu(): Promise<string | undefined> {
  const gpu = await findGpu().catch((error: Error) => error);
  if (gpu instanceof Error) return gpu.cause === undefined ? gpu.message.replace(/^webgpu: /, "") : undefined;
  const adapter = await gpu.requestAdapter({ powerPreference: "high-performance" }).catch(() => null);
  if (!adapter) return "expected an adapter, found none: no GPU that WebGPU can use, or its driver is missing";
  return isSoftware(adapter.info)
    ? `${nameOf(adapter.info)} is an adapter in software, many times slower than the processor alone`
    : undefined;
}

export function nameOf(info: GpuAdapterInfo | undefined): string {
  return info?.description || [info?.vendor, info?.architecture, info?.device].filter(Boolean).join(" ") || "a GPU that has no name";
}

/** SwiftShader and lavapipe, and what a browser calls a fallback. */
export function isSoftware(info: GpuAdapterInfo | undefined): boolean {
  if (!info) return false;
  return (
    !!info.isFallbackAdapter ||
    /swiftshader|llvmpipe|lavapipe|basic render/i.test(`${info.description} ${info.device} ${info.architecture}`)
  );
}

const broken = (cause: unknown) => `webgpu: expected the npm package webgpu to load, found: ${(cause as Error).message}`;

async function openDawn(): Promise<Gpu | undefined> {
  const found = await dawnUrl();
  if (!found) return undefined;
  try {
    const { create, globals } = await fromNode<{ create(flags: string[]): Gpu; globals: object }>(found);
    Object.assign(globalThis, globals);
    return create([]);
  } catch (cause) {
    throw new BackendError(broken(cause), { cause });
  }
}

/** Not an import, which bundlers would look for. */
async function dawnUrl(): Promise<string | undefined> {
  const { createRequire } = await fromNode<typeof import("node:module")>("node:module");
  const { join } = await fromNode<typeof import("node:path")>("node:path");
  const { pathToFileURL } = await fromNode<typeof import("node:url")>("node:url");
  // Beside this package, or else beside the program that uses it: a bundle in CommonJS has no URL, and no package manager puts it here,
  // since it is no dependency: who has no GPU would fetch it for nothing.
  for (const from of [import.meta.url, process.argv[1], join(process.cwd(), "package.json")]) {
    if (!from) continue;
    try {
      return pathToFileURL(createRequire(from).resolve("webgpu")).href;
    } catch (cause) {
      if ((cause as { code?: string }).code !== "MODULE_NOT_FOUND") throw new BackendError(broken(cause), { cause });
    }
  }
  return undefined;
}
