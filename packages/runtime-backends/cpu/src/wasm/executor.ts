// The module behind the interface of the addon: calls become messages to the worker that owns it, in their order.

import { JambaError, type ThreadPort } from "@jamba/core";
import type { CpuExecutor, ProgramHandle, StatesHandle, StatesLeft, WeightDescription, WeightHandle } from "../addon.ts";
import { cancelPlaces, type OwnerMessage, type OwnerReply } from "./messages.ts";
import type { Sizes } from "./sizes.ts";

export type OwnerPort = ThreadPort<OwnerMessage, OwnerReply>;

interface Chunk {
  readonly count: number;
  readonly bytes: number;
}

type Kind = "Weight" | "States" | "Program";

/** What the owner keeps under a number. */
class Handle {
  isReleased = false;
  /** Of states: what native/states.h has of the same names, so that counts are known at once. */
  readonly slotChunks: Chunk[] = [];
  readonly pageChunks: Chunk[] = [];
  nGrowing = 0;

  constructor(
    readonly executor: ModuleExecutor,
    readonly kind: Kind,
    readonly number: number,
    /** Of a weight. */
    readonly columns = 0,
    /** Of states: bytes of a slot and of a page. */
    readonly sizes: Float64Array = new Float64Array(2),
  ) {}
}

export interface ModuleParts {
  readonly sizes: Sizes;
  /** What its memory can grow to. */
  readonly mostBytes: number;
  /** Where a token at its place ends a run; in no memory of ours where that is not shared. */
  readonly cancelWords?: Int32Array;
}

interface Pending {
  /** Of a run, which a cancel names. */
  readonly token?: number;
  resolve(value: never): void;
  reject(error: unknown): void;
}

/** A message never left. */
class NotPosted extends TypeError {}

const disposed = () => Object.assign(new Error("wasm backend: expected an open backend, found it disposed"), { code: "DISPOSED" });

export class ModuleExecutor implements CpuExecutor {
  readonly lost: Promise<JambaError>;
  readonly mostBytes: number;
  readonly #owner: OwnerPort;
  readonly #others: readonly OwnerPort[];
  readonly #sizes: Sizes;
  readonly #cancelWords: Int32Array | undefined;
  readonly #pending = new Map<number, Pending>();
  #lose!: (reason: JambaError) => void;
  #next = 1;
  #failure: unknown;
  #isInterrupted = false;
  #arenaBytes = 0;
  #takenBytes = 0;

  constructor(owner: OwnerPort, others: readonly OwnerPort[], { sizes, mostBytes, cancelWords }: ModuleParts) {
    this.#owner = owner;
    this.#others = others;
    this.#sizes = sizes;
    this.mostBytes = mostBytes;
    this.#cancelWords = cancelWords;
    this.lost = new Promise((resolve) => {
      this.#lose = resolve;
    });
    const onError = (error: unknown) => this.#break(error instanceof Error ? error.message : String(error));
    owner.listen((reply) => this.#hear(reply), onError);
    for (const other of others) other.listen(() => undefined, onError);
  }

  /** As of the last call that was answered. */
  get takenBytes(): number {
    return this.#takenBytes;
  }

  giveBackUnused(): void {}

  weightBytes(...description: WeightDescription): number {
    return this.#sizes.weightBytes(description);
  }

  async createWeight(...description: WeightDescription): Promise<WeightHandle> {
    const handle = new Handle(this, "Weight", this.#next++, description[5]);
    await this.#call("createWeight", [handle.number, ...description]);
    return handle as unknown as WeightHandle;
  }

  packRows(weight: WeightHandle, from: number, to: number, bytes: Uint8Array, stored: number): Promise<void> {
    return this.#call("packRows", [this.#numberOf(weight, "Weight"), from, to, bytes, stored]);
  }

  packFile(weight: WeightHandle, from: number, to: number, path: string, offset: number, stored: number): Promise<void> {
    const number = this.#numberOf(weight, "Weight");
    const sizeBytes = (to - from) * this.#sizes.rowBytes((weight as unknown as Handle).columns, stored);
    return this.#call("packFile", [number, from, to, path, offset, sizeBytes, stored]);
  }

  async packBlob(weight: WeightHandle, from: number, to: number, blob: Blob, offset: number, stored: number): Promise<void> {
    const number = this.#numberOf(weight, "Weight");
    const sizeBytes = (to - from) * this.#sizes.rowBytes((weight as unknown as Handle).columns, stored);
    try {
      return await this.#call("packBlob", [number, from, to, blob, offset, sizeBytes, stored]);
    } catch (error) {
      if (!(error instanceof NotPosted)) throw error;
    }
    // Node has blobs of files that no worker can be given.
    return this.packRows(weight, from, to, new Uint8Array(await blob.slice(offset, offset + sizeBytes).arrayBuffer()), stored);
  }

  writePacked(weight: WeightHandle, at: number, bytes: Uint8Array): Promise<void> {
    return this.#call("writePacked", [this.#numberOf(weight, "Weight"), at, bytes]);
  }

  readPacked(weight: WeightHandle, from: number, to: number): Promise<Uint8Array> {
    return this.#call("readPacked", [this.#numberOf(weight, "Weight"), from, to]);
  }

  async encodeBlocks(
    values: Float32Array,
    columns: number,
    stored: number,
    importance: Float32Array | undefined,
    blocks: Uint8Array,
  ): Promise<void> {
    blocks.set(await this.#call<Uint8Array>("encodeBlocks", [values, columns, stored, importance, blocks.byteLength]));
  }

  stateSizes(layout: Int32Array): Float64Array {
    return this.#sizes.stateSizes(layout);
  }

  async createStates(layout: Int32Array): Promise<StatesHandle> {
    const handle = new Handle(this, "States", this.#next++, 0, this.#sizes.stateSizes(layout));
    await this.#call("createStates", [handle.number, layout]);
    return handle as unknown as StatesHandle;
  }

  async reserveStates(states: StatesHandle, nSlots: number, nPages: number): Promise<number> {
    const handle = this.#held(states, "States");
    handle.nGrowing++;
    try {
      await this.#call("reserveStates", [handle.number, nSlots, nPages]);
    } finally {
      handle.nGrowing--;
    }
    const { slotChunks, pageChunks } = handle;
    for (const [chunks, count, each] of [
      [slotChunks, nSlots, handle.sizes[0]],
      [pageChunks, nPages, handle.sizes[1]],
    ] as const) {
      const missing = count - countOf(chunks);
      if (missing > 0) chunks.push({ count: missing, bytes: missing * each });
    }
    return bytesOf(slotChunks) + bytesOf(pageChunks);
  }

  shrinkStates(states: StatesHandle, nSlots: number, nPages: number): StatesLeft {
    const handle = this.#held(states, "States");
    const { slotChunks, pageChunks } = handle;
    // What grows at this moment is the owner's to say: all of it stays then.
    if (handle.nGrowing === 0) {
      for (const [chunks, count] of [
        [slotChunks, nSlots],
        [pageChunks, nPages],
      ] as const) {
        while (chunks.length > 0 && countOf(chunks) - chunks.at(-1)!.count >= count) chunks.pop();
      }
      this.#call("shrinkStates", [handle.number, nSlots, nPages]).catch(() => undefined);
    }
    return [bytesOf(slotChunks) + bytesOf(pageChunks), countOf(slotChunks), countOf(pageChunks)];
  }

  release(handle: WeightHandle | StatesHandle | ProgramHandle): void {
    const held = this.#held(handle);
    if (held.isReleased || this.#failure) return;
    held.isReleased = true;
    this.#call("release", [held.kind, held.number]).catch(() => undefined);
  }

  async createProgram(words: Int32Array, weights: WeightHandle[], states: StatesHandle): Promise<ProgramHandle> {
    const numbers = weights.map((weight) => this.#numberOf(weight, "Weight"));
    const handle = new Handle(this, "Program", this.#next++);
    await this.#call("createProgram", [handle.number, words, numbers, this.#numberOf(states, "States")]);
    return handle as unknown as ProgramHandle;
  }

  async run(
    ...[
      program,
      states,
      ids,
      rows,
      starts,
      addresses,
      temperatures,
      askedStarts,
      askedIds,
      slots,
      pages,
      inputs,
      outputs,
      token,
    ]: Parameters<CpuExecutor["run"]>
  ): Promise<void> {
    const [owned, held] = [this.#numberOf(program, "Program"), this.#numberOf(states, "States")];
    const numbers = [ids, rows, starts, addresses, temperatures, askedStarts, askedIds, slots, pages].map(owning);
    const sizes = outputs.map(({ byteLength }) => byteLength);
    const values = await this.#call<Uint8Array[]>("run", [owned, held, numbers, inputs.map(owning), sizes, token], token);
    for (const [i, { buffer, byteOffset, byteLength }] of outputs.entries()) new Uint8Array(buffer, byteOffset, byteLength).set(values[i]);
  }

  async readKept(token: number, index: number, from: number, to: number, values: ArrayBufferView): Promise<void> {
    const { buffer, byteOffset, byteLength } = values;
    const kept = await this.#call<Uint8Array>("readKept", [token, index, from, to, byteLength]);
    new Uint8Array(buffer, byteOffset, byteLength).set(kept);
  }

  dropKept(token: number): void {
    this.#call("dropKept", [token]).catch(() => undefined);
  }

  cancel(token: number): void {
    if (this.#cancelWords) Atomics.store(this.#cancelWords, token % cancelPlaces, token);
    else if (!this.#failure) this.#owner.post({ cancel: token });
  }

  copyStates(states: StatesHandle, slots: Int32Array, pages: Int32Array): Promise<void> {
    return this.#call("copyStates", [this.#numberOf(states, "States"), slots, pages]);
  }

  async movePart(states: StatesHandle, address: Int32Array, layer: number, part: 0 | 1, bytes: Uint8Array, write: boolean): Promise<void> {
    const number = this.#numberOf(states, "States");
    const moved = await this.#call<Uint8Array>("movePart", [number, address, layer, part, write ? bytes : bytes.byteLength, write]);
    if (!write) bytes.set(moved);
  }

  arenaBytes(): number {
    return this.#arenaBytes;
  }

  roomOf(words: Int32Array, weights: WeightDescription[], layout: Int32Array, seen: number): Float64Array {
    return this.#sizes.roomOf(words, weights, layout, seen);
  }

  profile(): Promise<Float64Array> {
    return this.#call("profile", [this.#sizes.names.ops.length]);
  }

  measureLimits(): Promise<Float64Array> {
    return this.#call("measureLimits", []);
  }

  async interrupt(): Promise<void> {
    for (const { token, reject } of this.#pending.values()) {
      if (token !== undefined) this.cancel(token);
      reject(disposed());
    }
    this.#isInterrupted = true;
    throw disposed();
  }

  stop(): void {
    this.#fail(disposed());
    for (const port of [this.#owner, ...this.#others]) void port.end();
    this.#arenaBytes = this.#takenBytes = 0;
  }

  #numberOf(handle: unknown, kind: Kind): number {
    return this.#held(handle, kind).number;
  }

  /** @param kind any, if not given */
  #held(handle: unknown, kind?: Kind): Handle {
    if (!(handle instanceof Handle) || handle.executor !== this || (kind && handle.kind !== kind))
      throw new TypeError(
        `wasm backend: expected a handle of this executor's for ${kind?.toLowerCase() ?? "something"}, found another value`,
      );
    return handle;
  }

  #call<T>(name: string, args: readonly unknown[], token?: number): Promise<T> {
    if (this.#failure) return Promise.reject(this.#failure);
    if (this.#isInterrupted && name !== "release") return Promise.reject(disposed());
    const id = this.#next++;
    return new Promise<T>((resolve, reject) => {
      try {
        this.#owner.post({ call: { id, name, args: args.map((one) => (ArrayBuffer.isView(one) ? owning(one) : one)) } });
      } catch (cause) {
        return reject(
          new NotPosted(`wasm backend: ${name}: expected what another thread can have, found: ${(cause as Error).message}`, { cause }),
        );
      }
      if (this.#pending.size === 0) this.#owner.wake();
      this.#pending.set(id, { token, resolve, reject });
    });
  }

  #hear(reply: OwnerReply): void {
    if ("broken" in reply) this.#break(reply.broken);
    if (!("id" in reply)) return;
    const pending = this.#pending.get(reply.id);
    this.#pending.delete(reply.id);
    if (this.#pending.size === 0) this.#owner.rest();
    if ("failed" in reply) {
      const { code, message } = reply.failed;
      pending?.reject(code === undefined ? new TypeError(message) : Object.assign(new Error(message), { code }));
    } else {
      this.#arenaBytes = reply.arenaBytes;
      this.#takenBytes = reply.takenBytes;
      pending?.resolve(reply.value as never);
    }
  }

  #break(reason: string): void {
    if (this.#failure) return;
    const lost = new JambaError(
      "DEVICE_LOST",
      `wasm backend: expected its threads to go on, found one ended: ${reason}; load the model again`,
    );
    this.#fail(lost);
    for (const port of [this.#owner, ...this.#others]) void port.end();
    this.#lose(lost);
  }

  #fail(failure: unknown): void {
    this.#failure ??= failure;
    for (const pending of this.#pending.values()) pending.reject(failure);
    this.#pending.clear();
  }
}

const countOf = (chunks: readonly Chunk[]) => chunks.reduce((sum, { count }) => sum + count, 0);
const bytesOf = (chunks: readonly Chunk[]) => chunks.reduce((sum, { bytes }) => sum + bytes, 0);

/** A message carries whole buffers, and shares those that are shared. */
function owning<T extends ArrayBufferView>(view: T): T {
  const { buffer, byteLength } = view;
  const isWhole = byteLength === buffer.byteLength && buffer instanceof ArrayBuffer && !(buffer as { resizable?: boolean }).resizable;
  return isWhole ? view : ((view as unknown as Uint8Array).slice() as unknown as T);
}
