// A module's functions with their arguments in its memory. Runs on the thread that asks for sizes and on the one that owns the module.

/** An error that the module threw, with one of core's codes. */
export class ModuleFailure extends Error {
  constructor(
    readonly code: string,
    message: string,
  ) {
    super(message);
  }
}

const pageBytes = 65536;
/** Of WebAssembly, and half and a quarter of it: an engine may not have the addresses for more. */
const mostPages = [65536, 32768, 16384];

/** A memory for a module, as large as the engine lets it become. @throws RangeError where not even the least can be had */
export function makeMemory(shared: boolean): { memory: WebAssembly.Memory; mostBytes: number } {
  let failure: unknown;
  for (const maximum of mostPages) {
    try {
      return { memory: new WebAssembly.Memory({ initial: 64, maximum, shared }), mostBytes: maximum * pageBytes };
    } catch (error) {
      failure = error;
    }
  }
  throw failure;
}

/** What native/wasm/door.cc exports. Places are unsigned, but come as signed numbers. */
export interface ModuleExports {
  readonly __stack_pointer: WebAssembly.Global<"i32">;
  __wasm_call_ctors(): void;
  start(threads: number): void;
  stackOf(bytes: number): number;
  work(thread: number): void;
  take(bytes: number): number;
  give(place: number): void;
  commit(): void;
  rollBack(): void;
  takenBytes(): number;
  arenaBytes(): number;
  cancelWords(): number;
  names(): number;
  roundsOnce(): number;
  checkDots?(times: number): number; // 0 where one is wrong
  weightBytes(name: number, length: number, dtype: number, isVector: boolean, stack: number, rows: number, columns: number): number;
  createWeight(name: number, length: number, dtype: number, isVector: boolean, stack: number, rows: number, columns: number): number;
  releaseWeight(weight: number): void;
  packRows(weight: number, from: number, to: number, bytes: number, size: number, stored: number): void;
  packedAt(weight: number, from: number, bytes: number): number;
  encodeBlocks(
    values: number,
    nValues: number,
    columns: number,
    stored: number,
    importance: number,
    nImportance: number,
    blocks: number,
    bytes: number,
  ): void;
  stateSizes(layout: number, sizes: number): void;
  createStates(layout: number): number;
  releaseStates(states: number): void;
  reserveStates(states: number, nSlots: number, nPages: number): number;
  shrinkStates(states: number, nSlots: number, nPages: number): void;
  copyStates(states: number, slots: number, pages: number): void;
  movePart(states: number, address: number, layer: number, part: number, bytes: number, write: boolean): void;
  createProgram(words: number, weights: number, states: number): number;
  releaseProgram(program: number): void;
  beginRun(program: number, states: number, spans: number, nInputs: number, nOutputs: number, token: number): void;
  advanceRun(ms: number): number;
  endRun(): number;
  dropRun(): void;
  keptAt(token: number, index: number, from: number, to: number, bytes: number): number;
  dropKept(token: number): void;
  roomOf(words: number, descriptions: number, layout: number, seen: number, sizes: number): void;
  profile(all: number): void;
  measureLimits(found: number): void;
}

/** Arguments of one call, in memory until it is over. */
export class Arguments {
  readonly #places: number[] = [];

  constructor(readonly instance: Instance) {}

  /** Room for so many bytes. */
  room(bytes: number): number {
    const { exports } = this.instance;
    const place = exports.take(bytes) >>> 0;
    exports.commit(); // a call that fails later must not free it
    this.#places.push(place);
    return place;
  }

  /** A copy of these numbers. @throws TypeError for what holds none */
  copy(values: ArrayBufferView): number {
    if (!ArrayBuffer.isView(values)) throw new TypeError("wasm backend: expected an array of numbers, found another value");
    const place = this.room(values.byteLength);
    this.instance.bytes(place, values.byteLength).set(new Uint8Array(values.buffer, values.byteOffset, values.byteLength));
    return place;
  }

  /** A place and a size (`Span` in native/wasm/door.cc), of a copy. */
  span(values: ArrayBufferView): number {
    return this.copy(Uint32Array.of(this.copy(values), values.byteLength));
  }

  /** The same, of room for so many bytes. */
  roomSpan(bytes: number): number {
    return this.copy(Uint32Array.of(this.room(bytes), bytes));
  }

  end(): void {
    for (const place of this.#places) this.instance.exports.give(place);
  }
}

export class Instance {
  readonly exports: ModuleExports;
  #utf8 = new TextDecoder();

  constructor(
    module: WebAssembly.Module,
    readonly memory: WebAssembly.Memory,
  ) {
    const fail = (code: number, codeLength: number, message: number, length: number) => {
      throw new ModuleFailure(this.text(code, codeLength), this.text(message, length));
    };
    // A page's clock has ticks of up to a millisecond, and a module divides by what passed.
    let calls = 0;
    const now = () => performance.now() + 1e-5 * ++calls;
    this.exports = new WebAssembly.Instance(module, { env: { memory, fail, now } }).exports as unknown as ModuleExports;
  }

  bytes(place: number, length: number): Uint8Array {
    // The memory may have grown, and then its buffer is another.
    return new Uint8Array(this.memory.buffer, place >>> 0, length);
  }

  text(place: number, length: number): string {
    return this.#utf8.decode(this.bytes(place, length).slice()); // no shared memory gets decoded as it lies
  }

  numbers(place: number, length: number): Float64Array {
    return new Float64Array(this.bytes(place, 8 * length).slice().buffer);
  }

  /**
   * One call of the module. What `args` holds goes when it is over.
   * @throws ModuleFailure, with memory as it was before; a RuntimeError is the module's end
   */
  call<T>(body: (args: Arguments, exports: ModuleExports) => T): T {
    const args = new Arguments(this);
    const { exports } = this;
    const stack = exports.__stack_pointer.value;
    try {
      return body(args, exports);
    } catch (error) {
      exports.__stack_pointer.value = stack;
      if (error instanceof ModuleFailure) {
        exports.dropRun();
        exports.rollBack();
      }
      throw error;
    } finally {
      exports.commit();
      args.end();
    }
  }
}
