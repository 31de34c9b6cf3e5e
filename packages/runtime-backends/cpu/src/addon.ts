// The native addon as it is, typed. Handles are opaque and belong to the executor that made them.

import {
  BackendError,
  blockFormats,
  floatBytes,
  fromNode,
  hasNode,
  type JambaError,
  packageFolders,
  referenceKernels,
  type StoredDtype,
  storedDtypes,
  type WeightDtype,
} from "@jamba/core";

/** Instruction sets, best first where a processor has several. */
export type CpuLevel = "avx512bf16" | "avx512" | "avx2" | "i8mm" | "neon" | "portable";

export type WeightHandle = { readonly weight: unique symbol };
export type StatesHandle = { readonly states: unique symbol };
export type ProgramHandle = { readonly program: unique symbol };

export type StatesLeft = [bytes: number, nSlots: number, nPages: number];

/** name, dtype, isVector, stack, rows, columns */
export type WeightDescription = [name: string, dtype: number, isVector: boolean, stack: number, rows: number, columns: number];

/**
 * The addon's executor, and the WebAssembly module's, whose calls go to a worker. Promises settle in the order of the calls. Errors carry one
 * of core's codes, or "ABORTED".
 */
export interface CpuExecutor {
  /** Resolves when its threads are gone, where they can go. */
  readonly lost?: Promise<JambaError>;
  /** What its memory can grow to, and what of that is taken, where it is not the host's. */
  readonly mostBytes?: number;
  readonly takenBytes?: number;
  /** Collects garbage, in some hundredths of a second, and gives what nobody uses back to the system. */
  giveBackUnused(): void;
  /** Bytes that a weight takes. */
  weightBytes(...description: WeightDescription): number;
  createWeight(...description: WeightDescription): WeightHandle | Promise<WeightHandle>;
  mapWeight?(path: string, offset: number, ...description: WeightDescription): WeightHandle;
  packRows(weight: WeightHandle, from: number, to: number, bytes: Uint8Array, stored: number): Promise<void>;
  /** The same, of bytes that lie in a file from `offset` on. */
  packFile(weight: WeightHandle, from: number, to: number, path: string, offset: number, stored: number): Promise<void>;
  /** The same, of a blob's, where its worker reads it. */
  packBlob?(weight: WeightHandle, from: number, to: number, blob: Blob, offset: number, stored: number): Promise<void>;
  /** Bytes of the packed layout, from byte `at` of the weight on. */
  writePacked(weight: WeightHandle, at: number, bytes: Uint8Array): Promise<void>;
  readPacked(weight: WeightHandle, from: number, to: number): Uint8Array | Promise<Uint8Array>;
  /** `blocks` takes what the rows of `values` become. */
  encodeBlocks(
    values: Float32Array,
    columns: number,
    stored: number,
    importance: Float32Array | undefined,
    blocks: Uint8Array,
  ): Promise<void>;
  /** Bytes that a slot and a page take. */
  stateSizes(layout: Int32Array): Float64Array;
  createStates(layout: Int32Array): StatesHandle | Promise<StatesHandle>;
  /** @returns bytes held */
  reserveStates(states: StatesHandle, nSlots: number, nPages: number): number | Promise<number>;
  shrinkStates(states: StatesHandle, nSlots: number, nPages: number): StatesLeft;
  release(handle: WeightHandle | StatesHandle | ProgramHandle): void;
  createProgram(words: Int32Array, weights: WeightHandle[], states: StatesHandle): ProgramHandle | Promise<ProgramHandle>;
  run(
    program: ProgramHandle,
    states: StatesHandle,
    ids: Int32Array,
    rows: Int32Array,
    starts: Int32Array,
    /** Per sequence: slot, seen, nPages, pages … */
    addresses: Int32Array,
    temperatures: Float32Array,
    askedStarts: Int32Array,
    askedIds: Int32Array,
    copiedSlots: Int32Array,
    copiedPages: Int32Array,
    inputs: readonly ArrayBufferView[],
    outputs: readonly ArrayBufferView[],
    token: number,
  ): Promise<void>;
  /** Rows of what the `index`-th `keep` of a run kept. */
  readKept(token: number, index: number, from: number, to: number, values: ArrayBufferView): Promise<void>;
  /** What a run kept is not read any more. */
  dropKept(token: number): void;
  cancel(token: number): void;
  copyStates(states: StatesHandle, slots: Int32Array, pages: Int32Array): Promise<void>;
  /** Between a sequence's place and a dense array: of a layer conv (0) and h (1), or k (0) and v (1) in the format that they are kept in. */
  movePart(states: StatesHandle, address: Int32Array, layer: number, part: 0 | 1, bytes: Uint8Array, write: boolean): Promise<void>;
  arenaBytes(): number;
  /** Bytes of the arena, of shared scratch, of the threads' own and of kept values after such a step. Nothing of it need exist. */
  roomOf(words: Int32Array, weights: WeightDescription[], layout: Int32Array, seen: number): Float64Array;
  /** calls, seconds for each op, in the order of `Addon.ops` */
  profile(): Promise<Float64Array>;
  /** q4, q8, bf16, f32 operations and bytes read per second */
  measureLimits(): Promise<Float64Array>;
  interrupt(): Promise<void>;
  stop(): void;
}

/** The addon's own: what is made is there at once. */
export interface NativeExecutor extends CpuExecutor {
  createWeight(...description: WeightDescription): WeightHandle;
  mapWeight(path: string, offset: number, ...description: WeightDescription): WeightHandle;
  readPacked(weight: WeightHandle, from: number, to: number): Uint8Array;
  createStates(layout: Int32Array): StatesHandle;
  reserveStates(states: StatesHandle, nSlots: number, nPages: number): number;
  createProgram(words: Int32Array, weights: WeightHandle[], states: StatesHandle): ProgramHandle;
}

export interface Addon {
  /** What this machine can run, best first. */
  readonly levels: readonly CpuLevel[];
  readonly Executor: new (level: CpuLevel, threads: number) => NativeExecutor;
  /** Names by the numbers that the addon knows them by. */
  readonly ops: readonly string[];
  readonly dtypes: readonly string[];
  readonly stored: readonly { readonly name: string; readonly values: number; readonly bytes: number }[];
}

export const weightDtypes = ["f32", "bf16", "f16", "q8", "q4", "q4_1", "q4_k"] as const satisfies readonly WeightDtype[];

/**
 * @throws BackendError with the reason: no Node, nothing built for this platform, or a library that does not load.
 * `JAMBA_CPU_ADDON` names another file, such as a build with a sanitizer.
 */
export async function loadAddon(): Promise<Addon> {
  if (!hasNode())
    throw new BackendError("cpu backend: expected a runtime that loads native addons, such as Node; found none, as in browsers");
  const { createRequire } = await fromNode<typeof import("node:module")>("node:module");
  const { existsSync } = await fromNode<typeof import("node:fs")>("node:fs");
  const platform = `${process.platform}-${process.arch}`;
  const places = process.env.JAMBA_CPU_ADDON ? [process.env.JAMBA_CPU_ADDON] : await addonPlaces(platform);
  const file = places.find((place) => existsSync(place));
  if (file === undefined) {
    throw new BackendError(
      `cpu backend: expected native kernels for ${platform} at ${places.join(" or ")}, found none; build them with a C++ compiler: node build-native.mjs in @jamba/backend-cpu`,
    );
  }
  let addon: Addon;
  try {
    addon = createRequire(file)(file) as Addon;
  } catch (cause) {
    throw new BackendError(`cpu backend: expected ${file} to load, found: ${(cause as Error).message}`, { cause });
  }
  expectSameNames(addon, file);
  return addon;
}

async function addonPlaces(platform: string): Promise<string[]> {
  const { join } = await fromNode<typeof import("node:path")>("node:path");
  const folders = await packageFolders("@jamba/backend-cpu", import.meta.url, typeof __filename === "string" ? __filename : undefined);
  return folders.map((folder) => join(folder, "prebuilds", platform, "jamba.node"));
}

/** @throws BackendError when the addon, or a module, was built by `script` from sources that know other ops or formats than these */
export function expectSameNames(
  { ops, dtypes, stored }: Pick<Addon, "ops" | "dtypes" | "stored">,
  file: string,
  script = "build-native.mjs",
): void {
  const formats = storedDtypes.map((dtype) => textOf({ name: dtype, ...sizesOf(dtype) }));
  const expected = [...Object.keys(referenceKernels).map((op) => `op ${op}`), ...weightDtypes, ...formats];
  const found = [...(ops ?? []).map((op) => `op ${op}`), ...(dtypes ?? []), ...(stored ?? []).map(textOf)];
  const missing = expected.find((one) => !found.includes(one)) ?? found.find((one) => !expected.includes(one));
  if (missing === undefined) return;
  throw new BackendError(
    `cpu backend: expected ${file} and its JavaScript to be of one version, found that only one of them has ${missing}; build the kernels again: node ${script} in @jamba/backend-cpu`,
  );
}

const sizesOf = (dtype: StoredDtype) =>
  dtype in floatBytes ? { values: 1, bytes: floatBytes[dtype as "f32"] } : blockFormats[dtype as "q4_0"];
const textOf = ({ name, values, bytes }: Addon["stored"][number]) => `${name} (${values} values in ${bytes} bytes)`;
