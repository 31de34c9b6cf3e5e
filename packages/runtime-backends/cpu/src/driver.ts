// The contract of core on the native executor: handles, and shapes in its terms. Nothing here computes, and nothing is checked that the frame checks.

import {
  type BlockDtype,
  type DeviceInfo,
  type Driver,
  type DriverPacked,
  type DriverProgram,
  type DriverStates,
  type DriverWeight,
  DtypeError,
  hostRoom,
  JambaError,
  type LocalBytes,
  type LoweringTarget,
  type OpProfile,
  type PackedCopies,
  type PackedInputs,
  type Plan,
  packAddresses,
  partBytes,
  type Room,
  ShapeError,
  type StateAddress,
  type StatePart,
  type StateSpec,
  type StoredDtype,
  stateBytes,
  type Ticket,
  type Weight,
} from "@jamba/core";
import {
  type Addon,
  type CpuExecutor,
  type ProgramHandle,
  type StatesHandle,
  type WeightDescription,
  type WeightHandle,
  weightDtypes,
} from "./addon.ts";
import { guarded, rethrow, using } from "./errors.ts";
import { planWords } from "./plan-words.ts";

/** Rows that share a panel (native/layout.h): pieces of a weight start at multiples of it. */
const panelRows = 16;

/** A weight of a model whose headers and vocabulary left garbage worth collecting. */
const largeBytes = 16 * 2 ** 20;

/** What `encodeBlocks` writes. */
const encodedDtypes: readonly BlockDtype[] = ["q4_0", "q5_0", "q8_0", "q4_k", "q6_k"];

/** What both doors tell of their devices alike. */
export const cpuDevice = {
  weightDtypes,
  kvDtypes: ["f16", "bf16", "f32"],
  chunkTokens: 512,
  stateStep: { slots: 4, pages: 16 },
  interrupts: "commands",
} as const satisfies Partial<DeviceInfo>;

/** Counts up with every change of kernels after which the same inputs give other bits. Threads, batches and chunks change none. */
const numericsVersion = 1;

/** @param kernels what decides bits beside that: the instruction set, as its kernels are called natively */
export const numericsOf = (kernels: string) => `${kernels}-${numericsVersion}`;

interface CpuProgram extends DriverProgram {
  readonly handle: ProgramHandle;
}

export class CpuDriver implements Driver<CpuWeight, CpuStates, CpuProgram> {
  readonly lowering: LoweringTarget = {
    fuses: new Set(["norm into matmul", "swiglu of two matmuls"]),
    alignBytes: 256,
    // Offsets are words in an i32.
    mostArenaBytes: 4 * (2 ** 31 - 1),
  };
  readonly packed: DriverPacked<CpuWeight>;
  readonly lost?: Promise<JambaError>;
  readonly #executor: CpuExecutor;
  #nextToken = 1;
  #hasLarge = false;
  #stopped = false;

  constructor(
    readonly addon: Pick<Addon, "ops" | "dtypes" | "stored">,
    executor: CpuExecutor,
    readonly device: DeviceInfo,
  ) {
    this.#executor = executor;
    this.lost = executor.lost;
    this.packed = {
      layout: "cpu-16x4-4-k",
      write: (weight, at, bytes) => executor.writePacked(weight.handle, at, bytes).catch(rethrow),
      read: (weight, from, to) =>
        using(
          () => executor.readPacked(weight.handle, from, to),
          (bytes) => bytes,
        ),
      ...(executor.mapWeight && { map: (weight: Weight, file: LocalBytes) => this.#map(weight, file) }),
    };
  }

  weightBytes(weight: Weight): number {
    return guarded(() => this.#executor.weightBytes(...this.#describe(weight)));
  }

  createWeight(weight: Weight): CpuWeight | Promise<CpuWeight> {
    const sizeBytes = this.weightBytes(weight);
    // Before the first one only: they all would come on top of the garbage.
    if (sizeBytes >= largeBytes && !this.#hasLarge) this.#executor.giveBackUnused();
    this.#hasLarge ||= sizeBytes >= largeBytes;
    return using(
      () => this.#executor.createWeight(...this.#describe(weight)),
      (handle) => new CpuWeight(this.#executor, handle, sizeBytes, false, (stored) => this.#storedNumber(stored)),
    );
  }

  stateBytes(spec: StateSpec): { slot: number; page: number } {
    const [slot, page] = this.#executor.stateSizes(this.#layoutOf(spec));
    return { slot, page };
  }

  createStates(spec: StateSpec): CpuStates | Promise<CpuStates> {
    return using(
      () => this.#executor.createStates(this.#layoutOf(spec)),
      (handle) => new CpuStates(this.#executor, handle, spec),
    );
  }

  copyStates({ handle }: CpuStates, { slots, pages }: PackedCopies): Promise<void> {
    return this.#executor.copyStates(handle, slots, pages).catch(rethrow);
  }

  compile(plan: Plan, states: CpuStates, weightOf: (weight: Weight) => CpuWeight): CpuProgram | Promise<CpuProgram> {
    const { words, weights } = planWords(plan, this.addon.ops);
    const handles = weights.map((weight) => weightOf(weight).handle);
    return using(
      () => this.#executor.createProgram(words, handles, states.handle),
      (handle) => ({ handle, release: () => this.#executor.release(handle) }),
    );
  }

  submit(program: CpuProgram, states: CpuStates, inputs: PackedInputs): Ticket {
    const token = this.#nextToken++;
    const done = guarded(() =>
      this.#executor.run(
        program.handle,
        states.handle,
        inputs.ids,
        inputs.rows,
        inputs.starts,
        inputs.addresses,
        inputs.temperatures,
        inputs.askedStarts,
        inputs.askedIds,
        inputs.copies.slots,
        inputs.copies.pages,
        inputs.tensors,
        inputs.outputs,
        token,
      ),
    );
    return {
      done: done.catch(rethrow),
      readKept: (index, from, to, values) => guarded(() => this.#executor.readKept(token, index, from, to, values)).catch(rethrow),
      dropKept: () => this.#executor.dropKept(token),
      cancel: () => this.#executor.cancel(token),
    };
  }

  arenaBytes(): number {
    return this.#executor.arenaBytes();
  }

  workspaceBytes(steps: readonly { readonly plan: Plan; readonly seen: number }[]): number {
    // Each buffer grows to the most that a step needs of it.
    const most = [0, 0, 0, 0];
    for (const { plan, seen } of steps) {
      const { words, weights } = planWords(plan, this.addon.ops);
      const descriptions = weights.map((weight) => this.#describe(weight));
      const room = guarded(() => this.#executor.roomOf(words, descriptions, this.#layoutOf(plan.states), seen));
      for (const [i, bytes] of room.entries()) most[i] = Math.max(most[i], bytes);
    }
    return most.reduce((a, b) => a + b);
  }

  async room(): Promise<Room> {
    const host = await hostRoom();
    const { mostBytes } = this.#executor;
    if (mostBytes === undefined) return host;
    const { totalBytes = mostBytes, freeBytes = mostBytes } = host;
    const left = mostBytes - this.#executor.takenBytes!;
    const said = Math.min(freeBytes, left) === left ? `within the ${mostBytes / 2 ** 30} GiB that WebAssembly has` : host.said;
    return { totalBytes: Math.min(totalBytes, mostBytes), freeBytes: Math.min(freeBytes, left), said };
  }

  async encodeBlocks(
    values: Float32Array,
    columns: number,
    dtype: BlockDtype,
    importance: Float32Array | undefined,
    blocks: Uint8Array,
  ): Promise<void> {
    if (!encodedDtypes.includes(dtype)) throw new DtypeError(`encodeBlocks: expected one of ${encodedDtypes.join(", ")}, found ${dtype}`);
    if (values.length > 0) await this.#executor.encodeBlocks(values, columns, this.#storedNumber(dtype), importance, blocks).catch(rethrow);
  }

  async profile(): Promise<OpProfile[]> {
    const found = await this.#executor.profile();
    const all = this.addon.ops.map((op, i) => ({ op, calls: found[2 * i], ms: 1000 * found[2 * i + 1] }));
    return all.filter(({ calls }) => calls > 0).sort((a, b) => b.ms - a.ms);
  }

  async interrupt(): Promise<void> {
    await this.#executor.interrupt().catch(() => undefined); // rejects with DISPOSED behind what was queued before
  }

  async dispose(): Promise<void> {
    // Again: what was released meanwhile goes before the threads do.
    await this.interrupt();
    if (!this.#stopped) this.#executor.stop();
    this.#stopped = true;
  }

  #map(weight: Weight, { path, offset }: LocalBytes): CpuWeight {
    const sizeBytes = this.weightBytes(weight);
    const handle = guarded(() => this.#executor.mapWeight!(path, offset, ...this.#describe(weight)));
    return new CpuWeight(this.#executor, handle, sizeBytes, true, (stored) => this.#storedNumber(stored));
  }

  #storedNumber(stored: StoredDtype): number {
    return this.addon.stored.findIndex(({ name }) => name === stored);
  }

  /** A vector of one axis, a matrix of two, a stack of matrices of more. */
  #describe({ name, shape, dtype }: Weight): WeightDescription {
    const isVector = shape.length === 1;
    if (isVector && dtype !== "f32") throw new DtypeError(`${name}: expected a vector [${shape}] as f32, found ${dtype}`);
    if (shape.length === 0 || shape.some((n) => !Number.isSafeInteger(n) || n < 0 || n >= 2 ** 31))
      throw new ShapeError(`${name}: expected a vector, a matrix or a stack of matrices, found [${shape.join(", ")}]`);
    // 4 bytes a value, with room for what a panel adds to few rows and columns.
    if (4 * shape.reduce((a, b) => a * Math.max(b, 256), 1) > Number.MAX_SAFE_INTEGER)
      throw new JambaError("OUT_OF_MEMORY", `${name}: expected a size that can be counted, found [${shape.join(", ")}]`);
    const stack = shape.slice(0, -2).reduce((a, b) => a * b, 1);
    return [name, this.addon.dtypes.indexOf(dtype), isVector, stack, isVector ? 1 : shape.at(-2)!, shape.at(-1)!];
  }

  /** As `layoutOf` in native/states.cc reads it. */
  #layoutOf(spec: StateSpec): Int32Array {
    const layers = spec.layers.flatMap((layer) =>
      layer.kind === "mamba" ? [1, layer.dInner, layer.dState, layer.dConv] : [0, layer.nKvHeads, layer.headDim, 0],
    );
    if (layers.some((n) => !Number.isSafeInteger(n) || n < 0 || n > 2 ** 24) || spec.layers.some((l) => l.kind === "mamba" && l.dConv < 1))
      throw new ShapeError(`createStates: expected the sizes of each layer, found ${JSON.stringify(spec.layers)}`);
    // Far below what an i64 counts, with room for what the layout adds.
    if (Object.values(stateBytes({ ...spec, kvDtype: "f32" })).some((bytes) => bytes > 2 ** 44))
      throw new JambaError("OUT_OF_MEMORY", `createStates: expected slots and pages of less than 16 TiB, found ${JSON.stringify(spec)}`);
    return Int32Array.of(spec.pageTokens, this.addon.dtypes.indexOf(spec.kvDtype), ...layers);
  }
}

class CpuWeight implements DriverWeight {
  readonly rowStep = panelRows;
  readonly packBlob?: DriverWeight["packBlob"];

  constructor(
    readonly executor: CpuExecutor,
    readonly handle: WeightHandle,
    readonly sizeBytes: number,
    readonly mapped: boolean,
    readonly numberOf: (stored: StoredDtype) => number,
  ) {
    const { packBlob } = executor;
    if (!packBlob) return;
    this.packBlob = (from, to, blob, offset, stored) =>
      guarded(() => packBlob.call(executor, handle, from, to, blob, offset, numberOf(stored))).catch(rethrow);
  }

  pack(from: number, to: number, bytes: Uint8Array, stored: StoredDtype): Promise<void> {
    return guarded(() => this.executor.packRows(this.handle, from, to, bytes, this.numberOf(stored))).catch(rethrow);
  }

  packFile(from: number, to: number, path: string, offset: number, stored: StoredDtype): Promise<void> {
    return guarded(() => this.executor.packFile(this.handle, from, to, path, offset, this.numberOf(stored))).catch(rethrow);
  }

  release(): void {
    this.executor.release(this.handle);
  }
}

class CpuStates implements DriverStates {
  nSlots = 0;
  nPages = 0;
  sizeBytes = 0;

  constructor(
    readonly executor: CpuExecutor,
    readonly handle: StatesHandle,
    readonly spec: StateSpec,
  ) {}

  reserve(nSlots: number, nPages: number): void | Promise<void> {
    return using(
      () => this.executor.reserveStates(this.handle, nSlots, nPages),
      (sizeBytes) => {
        this.sizeBytes = sizeBytes;
        this.nSlots = Math.max(this.nSlots, nSlots);
        this.nPages = Math.max(this.nPages, nPages);
      },
    );
  }

  shrink(nSlots: number, nPages: number): void {
    [this.sizeBytes, this.nSlots, this.nPages] = guarded(() => this.executor.shrinkStates(this.handle, nSlots, nPages));
  }

  async readPart(address: StateAddress, part: Omit<StatePart, "bytes">): Promise<Uint8Array> {
    const bytes = new Uint8Array(partBytes(part));
    await this.#move(address, part, bytes, false);
    return bytes;
  }

  writePart(address: StateAddress, part: StatePart): Promise<void> {
    return this.#move(address, part, part.bytes, true);
  }

  release(): void {
    this.executor.release(this.handle);
    this.nSlots = this.nPages = this.sizeBytes = 0;
  }

  #move(address: StateAddress, { layer, name }: Omit<StatePart, "bytes">, bytes: Uint8Array, write: boolean): Promise<void> {
    const part = name === "conv" || name === "k" ? 0 : 1;
    const words = packAddresses(this.spec, [address]);
    return guarded(() => this.executor.movePart(this.handle, words, layer, part, bytes, write)).catch(rethrow);
  }
}
