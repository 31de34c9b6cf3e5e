// Which of the modules this engine runs, and their bytes: each is a part of the code that is imported only when it is the one.

import { BackendError } from "@jamba/core";

/** Best first. */
export const moduleNames = ["relaxed-dot", "relaxed", "simd128"] as const;
export type WasmLevel = (typeof moduleNames)[number];

export const moduleWords: Readonly<Record<WasmLevel, string>> = {
  "relaxed-dot": "relaxed SIMD with dot products of four",
  relaxed: "relaxed SIMD",
  simd128: "SIMD of 128 bits",
};

const header = [0, 97, 115, 109, 1, 0, 0, 0];
/** A function that makes a vector; one that uses an instruction of relaxed SIMD (i8x16.relaxed_swizzle). */
const probes = {
  simd: [1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 10, 1, 8, 0, 65, 0, 253, 15, 253, 98, 11],
  relaxed: [1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 15, 1, 13, 0, 65, 1, 253, 15, 65, 2, 253, 15, 253, 128, 2, 11],
};
const validates = (probe: readonly number[]) => WebAssembly.validate(Uint8Array.from([...header, ...probe]));

/** Those that this engine accepts, best first. @throws BackendError where it has no SIMD at all */
export function usableModules(): readonly WasmLevel[] {
  if (typeof WebAssembly !== "object" || !validates(probes.simd))
    throw new BackendError("wasm backend: expected WebAssembly with SIMD, as every browser since 2023 has it; found none");
  return validates(probes.relaxed) ? moduleNames : ["simd128"];
}

const packed: Readonly<Record<WasmLevel, () => Promise<{ default: Uint8Array<ArrayBuffer> }>>> = {
  "relaxed-dot": () => import("../../module/relaxed-dot.wasm.gz"),
  relaxed: () => import("../../module/relaxed.wasm.gz"),
  simd128: () => import("../../module/simd128.wasm.gz"),
};

/** @param shared whether its memory may be: an engine without shared memory refuses a module that imports one */
export async function compileModule(level: WasmLevel, shared: boolean): Promise<WebAssembly.Module> {
  const { default: bytes } = await packed[level]();
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  const module = new Uint8Array(await new Response(stream).arrayBuffer());
  if (!shared) ownMemory(module);
  return WebAssembly.compile(module);
}

/** Makes a module import a memory that is its own: a flag of the import says which. */
function ownMemory(module: Uint8Array): void {
  const entry = new TextEncoder().encode("\x03env\x06memory\x02\x03");
  const at = module.findIndex((_, i) => entry.every((byte, j) => module[i + j] === byte));
  module[at + entry.length - 1] = 1;
}
