// The contract of core on top of the native engine: checks, handles, and the order of calls. Nothing here computes.

import {
  type Backend,
  BackendError,
  type BlockDtype,
  blockFormats,
  type CommandList,
  checkAddress,
  checkInputs,
  checkState,
  type DeviceInfo,
  DtypeError,
  type HostLayerState,
  type HostState,
  HostTensor,
  isBlockDtype,
  JambaError,
  type JambaErrorCode,
  LoadError,
  type MemoryUse,
  matrixOf,
  type PackedSource,
  type PackedWeights,
  type PlannedStep,
  type RunOptions,
  ShapeError,
  type StateAddress,
  type StateCopies,
  type StateSpec,
  type StateStore,
  type StepInputs,
  type StoredDtype,
  stateBytes,
  storedBytes,
  type Tensor,
  type Weight,
  type WeightDtype,
  type WeightSource,
} from "@jamba/core";
import type { NativeEngine, ProgramHandle, StatesHandle, WeightDescription, WeightHandle } from "./addon.ts";
import { type Encoded, encodeList, opcodes } from "./encode.ts";

/** In the order of `Dtype` in native/layout.h. */
export const dtypes = ["f32", "bf16", "f16", "q8", "q4", "q4_1", "q4_k"] as const satisfies readonly WeightDtype[];

/** In the order of `Stored` there, which has blocks in the order of core. */
const storedDtypes = ["f32", "bf16", "f16", ...Object.keys(blockFormats)] as readonly StoredDtype[];

/** What `encodeBlocks` writes. */
const encodedDtypes: readonly BlockDtype[] = ["q4_0", "q5_0", "q8_0", "q4_k", "q6_k"];

/** Rows that share a panel (native/layout.h): pieces of a weight start at multiples of it. */
const panelRows = 16;
/** Quantised ones whose blocks lie in turn. */
const groupedPanels = 4;
/** About how much of a checkpoint is read at once: enough to hide a read behind the packing of the piece before. */
const pieceBytes = 4 * 2 ** 20;
/** The same where the kernels read the file themselves: some hundredths of a second, after which a load can be stopped. */
const filePieceBytes = 64 * 2 ** 20;
/** A weight of a model whose headers and vocabulary left garbage worth collecting. */
const largeBytes = 16 * 2 ** 20;

/** Tokens of one sequence: what fits a word with room for one step. */
const maxSeen = 2 ** 30;

interface Program extends Encoded {
  readonly handle: ProgramHandle;
}

/** What a list was encoded to, once it ran so. */
interface Programs {
  program?: Program;
  traced?: Program;
}

/** Milliseconds spent in one op since the last call of `profile`. */
export interface OpProfile {
  readonly op: (typeof opcodes)[number];
  readonly ms: number;
  readonly calls: number;
}

export class CpuBackend implements Backend {
  readonly packed: PackedWeights;
  readonly #engine: NativeEngine;
  readonly #weights = new Set<CpuWeight>();
  readonly #stores = new Set<CpuStates>();
  readonly #programs = new WeakMap<CommandList, WeakMap<StateStore, Programs>>();
  #nextToken = 1;
  #disposed?: Promise<void>;

  constructor(
    engine: NativeEngine,
    readonly device: DeviceInfo,
  ) {
    this.#engine = engine;
    this.packed = {
      layout: "cpu-16x4-4-k",
      open: async (source) => this.#openPacked(source),
      read: async (weight, from, to) => {
        this.#alive();
        return this.#rethrow(() => this.#engine.readPacked(this.#held(weight).handle, from, to));
      },
    };
  }

  async openWeight(source: WeightSource, dtype: WeightDtype, signal?: AbortSignal): Promise<Weight & Disposable> {
    this.#alive();
    const { name, shape } = source;
    const description = describe(name, shape, dtype);
    expectStored(source);
    const weight = this.#hold(source, dtype, description, () => this.#engine.createWeight(...description));
    try {
      const { columns } = matrixOf(shape);
      const rowBytes = storedBytes(source.dtype, columns);
      const stored = storedDtypes.indexOf(source.dtype);
      if (source.file) {
        const { path, offset, onRead } = source.file;
        for (const [from, to] of pieces(description, rowBytes, filePieceBytes)) {
          signal?.throwIfAborted();
          await this.#engine.packFile(weight.handle, from, to, path, offset + from * rowBytes, stored);
          this.#alive();
          onRead?.((to - from) * rowBytes);
        }
        return weight;
      }
      let packing = Promise.resolve();
      for (const [from, to] of pieces(description, rowBytes, pieceBytes)) {
        signal?.throwIfAborted();
        const bytes = await source.read(from, to, signal);
        const expected = (to - from) * rowBytes;
        if (bytes.byteLength !== expected)
          throw new ShapeError(`${name}: rows ${from} … ${to}: expected ${expected} bytes, found ${bytes.byteLength}`);
        await packing;
        this.#alive();
        packing = this.#engine.packRows(weight.handle, from, to, steady(bytes), stored);
        packing.catch(() => undefined); // seen at the next await
      }
      await packing;
      this.#alive();
      return weight;
    } catch (error) {
      weight[Symbol.dispose]();
      throw toJambaError(error);
    }
  }

  /**
   * Rows of f32 in blocks of `dtype`, with the least Σ importance · error² that a search over scales finds, on all threads.
   *
   * values      [rows, columns]
   * importance  [columns], mean squares of what the weight is multiplied with; without it all columns count alike
   *
   * @throws DtypeError for a format that can't be written and for values that no block can hold
   * @throws ShapeError when rows are no whole number of blocks, or importance has another length or numbers that are none
   */
  async encodeBlocks(values: Float32Array, columns: number, dtype: BlockDtype, importance?: Float32Array): Promise<Uint8Array> {
    this.#alive();
    if (!encodedDtypes.includes(dtype)) throw new DtypeError(`encodeBlocks: expected one of ${encodedDtypes.join(", ")}, found ${dtype}`);
    const { values: length } = blockFormats[dtype];
    if (!(Number.isSafeInteger(columns) && columns > 0) || columns % length !== 0 || values.length % columns !== 0)
      throw new ShapeError(`encodeBlocks: expected rows of whole blocks of ${length}, found ${values.length} values in rows of ${columns}`);
    if (importance && (importance.length !== columns || !importance.every((v) => v >= 0 && v < Number.POSITIVE_INFINITY)))
      throw new ShapeError(
        `encodeBlocks: importance: expected ${columns} mean squares, found ${importance.length} numbers or some that are none`,
      );
    const blocks = new Uint8Array(storedBytes(dtype, values.length));
    const given = [steady(values), columns, storedDtypes.indexOf(dtype), importance && steady(importance), blocks] as const;
    if (values.length > 0) await this.#engine.encodeBlocks(...given).catch(rethrow);
    return blocks;
  }

  createStates(spec: StateSpec): StateStore {
    this.#alive();
    const layout = layoutOf(spec, this.device);
    const handle = this.#engine.createStates(layout);
    const store: CpuStates = new CpuStates(spec, this.#engine, handle, () => this.#stores.delete(store));
    this.#stores.add(store);
    return store;
  }

  async run(
    list: CommandList,
    states: StateStore,
    inputs: StepInputs,
    { signal, trace }: RunOptions = {},
  ): Promise<ReadonlyMap<string, HostTensor>> {
    this.#alive();
    signal?.throwIfAborted();
    const store = this.#own(states);
    for (const name of ["ids", "rows", "starts"] as const)
      if (!(inputs[name] instanceof Int32Array))
        throw new DtypeError(`run: ${name}: expected an Int32Array, found ${typeName(inputs[name])}`);
    checkInputs(list, states, inputs);
    const program = this.#program(list, store, trace !== undefined);
    const outputs = program.outputs.map(({ x }) => allocate(x));
    const token = this.#nextToken++;
    const cancel = () => this.#engine.cancel(token);
    try {
      const done = this.#engine.run(
        program.handle,
        store.handle,
        inputs.ids,
        inputs.rows,
        inputs.starts,
        store.words(inputs.states),
        program.inputs.map(({ name, out }) => given(name, out, inputs)),
        outputs.map(({ data }) => data as ArrayBufferView),
        token,
      );
      signal?.addEventListener("abort", cancel, { once: true });
      await done;
    } catch (error) {
      if ((error as { code?: string }).code === "ABORTED") throw signal?.reason;
      throw toJambaError(error);
    } finally {
      signal?.removeEventListener("abort", cancel);
    }
    const read = new Map<string, HostTensor>();
    const written = list.commands.map((): (Float32Array | Int32Array)[] => []);
    for (const [i, { name, command }] of program.outputs.entries()) {
      if (command === undefined) read.set(name, outputs[i]);
      else written[command].push(outputs[i].data as Float32Array | Int32Array);
    }
    if (trace) for (const [index, command] of list.commands.entries()) trace(command, index, () => written[index]);
    return read;
  }

  async copyStates(states: StateStore, { slots = [], pages = [] }: StateCopies): Promise<void> {
    this.#alive();
    const store = this.#own(states);
    for (const slot of slots.flat()) store.expect("slot", slot, store.nSlots);
    for (const page of pages.flat()) store.expect("page", page, store.nPages);
    await this.#engine.copyStates(store.handle, Int32Array.from(slots.flat()), Int32Array.from(pages.flat())).catch(rethrow);
  }

  async readState(states: StateStore, address: StateAddress): Promise<HostState> {
    this.#alive();
    const store = this.#own(states);
    checkAddress(states, address);
    const { seen } = address;
    const layers = states.spec.layers.map((layer): HostLayerState => {
      const zeros = (...shape: number[]) => allocate({ dtype: "f32", shape });
      const { kind } = layer;
      if (kind === "mamba") return { kind, conv: zeros(layer.dInner, layer.dConv - 1), h: zeros(layer.dInner, layer.dState) };
      return { kind, k: zeros(layer.nKvHeads, seen, layer.headDim), v: zeros(layer.nKvHeads, seen, layer.headDim) };
    });
    await this.#engine.moveState(store.handle, store.words([address]), partsOf(layers), false).catch(rethrow);
    return { seen, layers };
  }

  async writeState(states: StateStore, address: StateAddress, state: HostState): Promise<void> {
    this.#alive();
    const store = this.#own(states);
    checkAddress(states, address);
    checkState(states.spec, address.seen, state);
    await this.#engine.moveState(store.handle, store.words([address]), partsOf(state.layers), true).catch(rethrow);
  }

  memory(): MemoryUse {
    const sum = (held: Iterable<{ sizeBytes: number }>) => [...held].reduce((a, b) => a + b.sizeBytes, 0);
    return {
      weightBytes: sum(this.#weights),
      mappedBytes: sum([...this.#weights].filter(({ mapped }) => mapped)),
      stateBytes: sum(this.#stores),
      arenaBytes: this.#disposed ? 0 : this.#engine.arenaBytes(),
    };
  }

  weightBytes(shape: readonly number[], dtype: WeightDtype): number {
    return sizeBytes(describe("weight", shape, dtype));
  }

  workspaceBytes(steps: readonly PlannedStep[]): number {
    this.#alive();
    // Each buffer grows to the most that a step needs of it.
    const most = [0, 0, 0];
    for (const { list, seen } of steps) {
      if (!Number.isSafeInteger(seen) || seen < 0 || seen > 2 ** 32)
        throw new ShapeError(`workspaceBytes: seen: expected a count of tokens up to 2^32, found ${seen}`);
      const { words, weights } = encodeList(list);
      const descriptions = weights.map(({ name, shape, dtype }) => describe(name, shape, dtype));
      const layout = layoutOf(list.states, this.device);
      const room = this.#rethrow(() => this.#engine.roomOf(words, descriptions, layout, seen));
      for (const [i, bytes] of room.entries()) most[i] = Math.max(most[i], bytes);
    }
    return most.reduce((a, b) => a + b);
  }

  /** Where the time of steps went since the last call, by op, the longest first. Fused ops count as what they became. */
  async profile(): Promise<OpProfile[]> {
    this.#alive();
    const found = await this.#engine.profile();
    const all = opcodes.map((op, i) => ({ op, calls: found[2 * i], ms: 1000 * found[2 * i + 1] }));
    return all.filter(({ calls }) => calls > 0).sort((a, b) => b.ms - a.ms);
  }

  dispose(): Promise<void> {
    this.#disposed ??= (async () => {
      const ended = () => this.#engine.interrupt().catch(() => undefined); // rejects with DISPOSED behind what was queued before
      await ended();
      for (const weight of this.#weights) weight[Symbol.dispose]();
      for (const store of this.#stores) store.dispose();
      await ended();
      this.#engine.stop();
    })();
    return this.#disposed;
  }

  #openPacked({ name, shape, dtype, path, offset }: PackedSource): CpuWeight {
    this.#alive();
    if (!Number.isSafeInteger(offset) || offset < 0 || offset % 64 !== 0)
      throw new LoadError(`${name}: expected an offset into ${path} that is a multiple of 64, found ${offset}`);
    const description = describe(name, shape, dtype);
    return this.#hold({ name, shape }, dtype, description, () => this.#engine.mapWeight(path, offset, ...description), true);
  }

  #hold(
    { name, shape }: { name: string; shape: readonly number[] },
    dtype: WeightDtype,
    description: WeightDescription,
    create: () => WeightHandle,
    mapped = false,
  ): CpuWeight {
    const bytes = sizeBytes(description);
    // Before the first one only: they all would come on top of the garbage.
    if (bytes >= largeBytes && ![...this.#weights].some((held) => held.sizeBytes >= largeBytes)) this.#engine.giveBackUnused();
    const handle = this.#rethrow(create);
    const weight: CpuWeight = new CpuWeight(name, dtype, [...shape], handle, bytes, mapped, () => {
      if (this.#weights.delete(weight)) this.#engine.release(handle);
    });
    this.#weights.add(weight);
    return weight;
  }

  #program(list: CommandList, store: CpuStates, trace: boolean): Program {
    const byStore = this.#programs.get(list) ?? new WeakMap<StateStore, Programs>();
    this.#programs.set(list, byStore);
    const cached = byStore.get(store) ?? {};
    byStore.set(store, cached);
    const key = trace ? "traced" : "program";
    const found = cached[key];
    if (found) {
      for (const weight of found.weights) this.#held(weight);
      return found;
    }
    const encoded = encodeList(list, { trace });
    const handles = encoded.weights.map((weight) => this.#held(weight).handle);
    cached[key] = { ...encoded, handle: this.#rethrow(() => this.#engine.createProgram(encoded.words, handles, store.handle)) };
    return cached[key];
  }

  #held(weight: Weight): CpuWeight {
    if (!this.#weights.has(weight as CpuWeight))
      throw new BackendError(`${weight.name}: expected a weight that this backend holds, found another's or a disposed one`);
    return weight as CpuWeight;
  }

  #own(states: StateStore): CpuStates {
    if (!this.#stores.has(states as CpuStates)) {
      throw new BackendError("cpu backend: expected states that it made itself, found another's; move them with readState and writeState");
    }
    return states as CpuStates;
  }

  #rethrow<T>(body: () => T): T {
    try {
      return body();
    } catch (error) {
      throw toJambaError(error);
    }
  }

  #alive(): void {
    if (this.#disposed) throw new JambaError("DISPOSED", "cpu backend: expected an open backend, found it disposed");
  }
}

class CpuWeight implements Weight, Disposable {
  constructor(
    readonly name: string,
    readonly dtype: WeightDtype,
    readonly shape: readonly number[],
    readonly handle: WeightHandle,
    readonly sizeBytes: number,
    readonly mapped: boolean,
    readonly forget: () => void,
  ) {}

  [Symbol.dispose](): void {
    this.forget();
  }
}

class CpuStates implements StateStore {
  nSlots = 0;
  nPages = 0;
  sizeBytes = 0;

  constructor(
    readonly spec: StateSpec,
    readonly engine: NativeEngine,
    readonly handle: StatesHandle,
    readonly forget: () => boolean,
  ) {}

  reserve(nSlots: number, nPages: number): void {
    expectCounts("reserve", nSlots, nPages);
    try {
      this.sizeBytes = this.engine.reserveStates(this.handle, nSlots, nPages);
    } catch (error) {
      throw toJambaError(error);
    }
    this.nSlots = Math.max(this.nSlots, nSlots);
    this.nPages = Math.max(this.nPages, nPages);
  }

  shrink(nSlots: number, nPages: number): void {
    expectCounts("shrink", nSlots, nPages);
    try {
      [this.sizeBytes, this.nSlots, this.nPages] = this.engine.shrinkStates(this.handle, nSlots, nPages);
    } catch (error) {
      throw toJambaError(error);
    }
  }

  expect(what: string, found: number, count: number): void {
    if (!(Number.isInteger(found) && found >= 0 && found < count))
      throw new ShapeError(`copyStates: ${what}: expected one in [0, ${count}), found ${found}`);
  }

  /** Per sequence: slot, seen, nPages, pages …; without attention only whether `seen` is 0 means something. */
  words(addresses: readonly StateAddress[]): Int32Array {
    const paged = this.spec.layers.some(({ kind }) => kind === "attention");
    return Int32Array.from(
      addresses.flatMap(({ slot, seen, pages }) => {
        if (!paged) return [slot, Math.min(seen, 1), 0];
        if (seen > maxSeen) throw new ShapeError(`state: seen: expected at most ${maxSeen} tokens, found ${seen}`);
        return [slot, seen, pages.length, ...pages];
      }),
    );
  }

  dispose(): void {
    if (!this.forget()) return;
    this.engine.release(this.handle);
    this.nSlots = this.nPages = this.sizeBytes = 0;
  }
}

function expectCounts(what: string, ...counts: readonly number[]): void {
  for (const count of counts)
    if (!Number.isSafeInteger(count) || count < 0) throw new ShapeError(`${what}: expected a count of slots and of pages, found ${count}`);
}

/** As `layoutOf` in native/addon.cc reads it. */
function layoutOf(spec: StateSpec, { kvDtypes }: DeviceInfo): Int32Array {
  const { pageTokens, kvDtype } = spec;
  if (!Number.isSafeInteger(pageTokens) || pageTokens < 1 || pageTokens > 2 ** 16)
    throw new ShapeError(`createStates: pageTokens: expected an integer in [1, 65536], found ${pageTokens}`);
  if (!kvDtypes.includes(kvDtype)) throw new DtypeError(`createStates: kvDtype: expected one of ${kvDtypes.join(", ")}, found ${kvDtype}`);
  const layers = spec.layers.flatMap((layer) =>
    layer.kind === "mamba" ? [1, layer.dInner, layer.dState, layer.dConv] : [0, layer.nKvHeads, layer.headDim, 0],
  );
  if (layers.some((n) => !Number.isSafeInteger(n) || n < 0 || n > 2 ** 24) || spec.layers.some((l) => l.kind === "mamba" && l.dConv < 1))
    throw new ShapeError(`createStates: expected the sizes of each layer, found ${JSON.stringify(spec.layers)}`);
  // Far below what an i64 counts, with room for what the layout adds.
  if (Object.values(stateBytes(spec, 4)).some((bytes) => bytes > 2 ** 44))
    throw new JambaError("OUT_OF_MEMORY", `createStates: expected slots and pages of less than 16 TiB, found ${JSON.stringify(spec)}`);
  return Int32Array.of(pageTokens, dtypes.indexOf(kvDtype), ...layers);
}

/** A vector of one axis, a matrix of two, a stack of matrices of more. */
function describe(name: string, shape: readonly number[], dtype: WeightDtype): WeightDescription {
  const isVector = shape.length === 1;
  if (!dtypes.includes(dtype)) throw new DtypeError(`${name}: expected one of ${dtypes.join(", ")}, found ${dtype}`);
  if (isVector && dtype !== "f32") throw new DtypeError(`${name}: expected a vector [${shape}] as f32, found ${dtype}`);
  if (shape.length === 0 || shape.some((n) => !Number.isSafeInteger(n) || n < 0 || n >= 2 ** 31))
    throw new ShapeError(`${name}: expected a vector, a matrix or a stack of matrices, found [${shape.join(", ")}]`);
  const stack = shape.slice(0, -2).reduce((a, b) => a * b, 1);
  const description: WeightDescription = [name, dtypes.indexOf(dtype), isVector, stack, isVector ? 1 : shape.at(-2)!, shape.at(-1)!];
  if (![stack, sizeBytes(description)].every(Number.isSafeInteger))
    throw new JambaError("OUT_OF_MEMORY", `${name}: expected a size that can be counted, found [${shape.join(", ")}]`);
  return description;
}

/** @throws DtypeError for a dtype that is none, or rows that are not whole blocks of it */
function expectStored({ name, dtype, shape }: WeightSource): void {
  if (!storedDtypes.includes(dtype))
    throw new DtypeError(`${name}: expected one of ${storedDtypes.join(", ")} in the file, found ${dtype}`);
  const { columns } = matrixOf(shape);
  if (isBlockDtype(dtype) && columns % blockFormats[dtype].values !== 0)
    throw new DtypeError(`${name}: expected rows of whole ${dtype} blocks of ${blockFormats[dtype].values}, found [${shape.join(", ")}]`);
}

/** As `Matrix::bytes` in native/layout.h. */
function sizeBytes([, dtype, isVector, stack, rows, columns]: WeightDescription): number {
  const panelBytes = [
    columns * panelRows * 4,
    Math.ceil(columns / 2) * panelRows * 4,
    columns * panelRows * 2,
    Math.ceil(columns / 64) * 1088,
    Math.ceil(columns / 64) * 576,
    Math.ceil(columns / 64) * 640,
    Math.ceil(columns / 256) * 2368,
  ][dtype];
  const grouped = dtype >= dtypes.indexOf("q8") ? groupedPanels : 1;
  const panels = grouped * Math.ceil(rows / (grouped * panelRows));
  const all = isVector ? columns * 4 : stack * panels * panelBytes;
  return Math.ceil(all / 64) * 64;
}

/** Ranges of rows that are read at once: parts of one matrix in whole panels, or whole matrices where they are small. */
function* pieces(
  [, , isVector, stack, rows]: WeightDescription,
  rowBytes: number,
  pieceBytes: number,
): Generator<[from: number, to: number]> {
  if (isVector) return yield [0, 1];
  if (rowBytes === 0 || rows === 0) return;
  const wanted = Math.max(1, Math.floor(pieceBytes / rowBytes));
  if (rows <= wanted) {
    const together = Math.floor(wanted / rows);
    for (let i = 0; i < stack; i += together) yield [i * rows, Math.min(stack, i + together) * rows];
    return;
  }
  const step = Math.ceil(wanted / panelRows) * panelRows;
  for (let i = 0; i < stack; i++)
    for (let from = 0; from < rows; from += step) yield [i * rows + from, i * rows + Math.min(rows, from + step)];
}

function partsOf(layers: readonly HostLayerState[]): Float32Array[] {
  return layers.flatMap((layer) =>
    (layer.kind === "mamba" ? [layer.conv, layer.h] : [layer.k, layer.v]).map((t) => steady(intact(t)) as Float32Array),
  );
}

/** @throws ShapeError when the buffer under a tensor was resized or given away since */
function intact({ data, size }: HostTensor): Float32Array | Int32Array {
  if ((data as Float32Array).length !== size)
    throw new ShapeError(`tensor: expected ${size} values, found ${(data as Float32Array).length}`);
  return data as Float32Array | Int32Array;
}

/** @throws JambaError OUT_OF_MEMORY */
function allocate({ dtype, shape }: Pick<Tensor, "dtype"> & { shape: readonly number[] }): HostTensor {
  const length = shape.reduce((a, b) => a * b, 1);
  try {
    return dtype === "f32" ? new HostTensor(new Float32Array(length), shape) : new HostTensor(new Int32Array(length), shape);
  } catch (cause) {
    throw new JambaError("OUT_OF_MEMORY", `cpu backend: expected room for [${shape.join(", ")}] values, found none`, { cause });
  }
}

/** Numbers that stay where they are while a thread reads them, even if the caller resizes what holds them. */
function steady<T extends Float32Array | Int32Array | Uint8Array>(values: T): T {
  const { resizable } = values.buffer as ArrayBuffer & { resizable?: boolean };
  return (resizable && values.length > 0 ? values.slice() : values) as T;
}

const typeName = (value: unknown) => (value as object | undefined)?.constructor?.name ?? String(value);

/** @throws ShapeError, DtypeError */
function given(name: string, { dtype, shape }: Tensor, { tensors }: StepInputs): ArrayBufferView {
  const found = tensors?.get(name);
  const type = dtype === "f32" ? "float32" : "int32";
  if (!found) throw new ShapeError(`input ${name}: expected a tensor [${shape.join(", ")}] in inputs.tensors, found none`);
  if (found.dims.join() !== shape.join())
    throw new ShapeError(`input ${name}: expected [${shape.join(", ")}], found [${found.dims.join(", ")}]`);
  if (found.type !== type) throw new DtypeError(`input ${name}: expected ${type}, found ${found.type}`);
  const data = intact(found);
  // A copy: the caller may write the next step's values while this one waits.
  return data.length > 0 ? data.slice() : data;
}

const classes: Partial<Record<JambaErrorCode, new (message: string, options?: ErrorOptions) => JambaError>> = {
  SHAPE: ShapeError,
  DTYPE: DtypeError,
  LOAD: LoadError,
  BACKEND: BackendError,
};

/** Errors of the addon carry a code of core's; those of JavaScript pass as they are. */
export function toJambaError(error: unknown): unknown {
  const { code, message } = error as { code?: JambaErrorCode; message: string };
  if (error instanceof JambaError || !(error instanceof Error) || code === undefined || !/^[A-Z_]+$/.test(code) || code.startsWith("E"))
    return error;
  const known = classes[code];
  return known ? new known(message, { cause: error }) : new JambaError(code, message, { cause: error });
}

function rethrow(error: unknown): never {
  throw toJambaError(error);
}
