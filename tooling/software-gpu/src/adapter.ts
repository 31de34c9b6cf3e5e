// An adapter of WebGPU for tests in Node, on a Vulkan driver in software, so that they need no GPU and run anywhere alike.
// JAMBA_VULKAN names another one: "swiftshader", "lavapipe", "system" for what the system would take, or the path of a driver's JSON file.

import { existsSync, readdirSync } from "node:fs";
import { constants, tmpdir } from "node:os";
import { join } from "node:path";
import { isMainThread } from "node:worker_threads";
import { unpackVulkan } from "./unpack-vulkan.ts";

export interface FoundAdapter {
  /** What `navigator.gpu` is in a page. */
  // biome-ignore lint/suspicious/noExplicitAny: TypeScript's DOM library has nothing of WebGPU, and each user needs another part of it
  readonly gpu: any;
  readonly name: string;
}

interface Driver {
  readonly name: string;
  /** Nothing where the system chooses. */
  readonly file?: string;
}

/** The adapter, or why there is none: what a test prints when it skips. The same for the whole process. */
export function findAdapter(): Promise<FoundAdapter | string> {
  const held = globalThis as { jambaTestAdapter?: Promise<FoundAdapter | string> };
  held.jambaTestAdapter ??= find().catch((error: Error) => `webgpu: ${error.message}`);
  return held.jambaTestAdapter;
}

async function find(): Promise<FoundAdapter | string> {
  // The environment of a worker is a copy, which no driver sees.
  if (!isMainThread) return "webgpu: expected the main thread of a process, found a worker; run vitest with --pool=forks";
  const { name, file } = driverFor(process.env.JAMBA_VULKAN);
  const found = name === "swiftshader" ? await tryDriver(await swiftshader(), swiftshaderFlags) : await tryDriver(file);
  return typeof found === "string" ? `${name}: ${found}` : { gpu: found, name };
}

/** SwiftShader is the same everywhere, and takes a fifth of lavapipe's time for kernels that no cache has. */
function driverFor(asked: string | undefined): Driver {
  if (asked?.includes("/")) return { name: asked, file: asked };
  if (asked === "lavapipe") return { name: "lavapipe", file: lavapipeFile() ?? "/usr/share/vulkan/icd.d/lvp_icd.json" };
  return { name: asked === "system" || process.platform !== "linux" ? "system" : "swiftshader" };
}

function lavapipeFile(): string | undefined {
  const folder = "/usr/share/vulkan/icd.d";
  if (!existsSync(folder)) return undefined;
  const name = readdirSync(folder).find((name) => name.startsWith("lvp_icd."));
  return name && join(folder, name);
}

async function swiftshader(): Promise<string> {
  return join(await unpackVulkan(), "vk_swiftshader_icd.json");
}

/**
 * Workgroup memory is zeroed by a loop in each kernel. Dawn would leave that to Vulkan, for which SwiftShader writes a store for every word:
 * it would take seconds to compile a kernel that has the 16 KiB which every GPU has.
 */
const swiftshaderFlags = ["disable-dawn-features=use_vulkan_zero_initialize_workgroup_memory_extension"];

async function tryDriver(file: string | undefined, flags: string[] = []): Promise<object | string> {
  if (file) {
    if (!existsSync(file)) return `expected ${file}, found none`;
    process.env.VK_ICD_FILENAMES = file;
    process.env.XDG_RUNTIME_DIR ??= tmpdir();
    holdLoader(join(await unpackVulkan(), "libvulkan.so.1"));
  }
  const { create, globals } = await import("webgpu");
  Object.assign(globalThis, globals);
  const gpu = create(flags);
  // Dawn crashes once nobody holds what `create` gives.
  const held = globalThis as { heldGpus?: object[] };
  held.heldGpus = [...(held.heldGpus ?? []), gpu];
  return (await gpu.requestAdapter()) ? gpu : "webgpu finds no adapter there";
}

/** Loads the library by its path and leaves it in the process: Dawn, which asks for it by name, is then given the same. */
function holdLoader(path: string): void {
  const noDelete = 0x1000; // RTLD_NODELETE of glibc, since Node closes what turns out to be no addon
  try {
    process.dlopen({ exports: {} }, path, constants.dlopen.RTLD_NOW | constants.dlopen.RTLD_GLOBAL | noDelete);
  } catch (error) {
    if (!/self-register/.test((error as Error).message)) throw error;
  }
}
