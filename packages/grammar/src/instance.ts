// One memory of the module with a vocabulary in it. What is short is called here, what may be long on threads that share the memory.

import { BackendError } from "@jamba/core";
import type { GrammarModule } from "./module.ts";
import { type Outcome, Thread } from "./thread.ts";

type Call =
  | "vocabulary"
  | "compile"
  | "again"
  | "free"
  | "mask"
  | "consume"
  | "rollback"
  | "is_stopped"
  | "is_accepting"
  | "forced"
  | "forced_text";

interface Exports extends Record<Call, (...args: readonly number[]) => number> {
  readonly __stack_pointer: { value: number };
  readonly __tls_size: { value: number };
  readonly __tls_align: { value: number };
  __wasm_init_tls(locals: number): void;
  start(): void;
  name_thread(id: number): void;
  broke_heap(): number;
  used_bytes(): number;
  said_ptr(): number;
  said_len(): number;
  take(length: number): number;
  give(at: number, length: number): void;
}

/** A call that the module broke off, with its reason. What it was about is at its end. */
export class Failure extends Error {
  constructor(
    message: string,
    /** A trap: a fault of the module itself, not of what it was given. */
    readonly trapped: boolean,
  ) {
    super(message);
  }
}

/** At a time: a compile or a mask that takes long must not hold those that do not. */
const maxThreads = 3;
const threadStackBytes = 4 * 2 ** 20;
const text = new TextDecoder();

export class Instance {
  readonly #module: GrammarModule;
  readonly #memory: WebAssembly.Memory;
  readonly #x: Exports;
  readonly #encode: (text: string) => readonly number[];
  readonly #threads: Thread[] = [];
  readonly #waiting: (() => void)[] = [];
  #opening = 0;
  /** A thread died while it held the heap. Nothing can be called any more. */
  isBroken = false;
  /** Matchers in it. */
  users = 0;

  /** @param encode tokens of a text, as the model's tokenizer makes them */
  constructor(module: GrammarModule, encode: (text: string) => readonly number[]) {
    this.#module = module;
    this.#memory = module.newMemory();
    this.#encode = encode;
    const env = { memory: this.#memory, now: () => performance.now(), encode: this.#encodeAt };
    this.#x = new WebAssembly.Instance(module.module, { env }).exports as unknown as Exports;
    this.#x.start();
  }

  /** Taken from the heap and not given back. */
  get usedBytes(): number {
    return this.#x.used_bytes() >>> 0;
  }

  get memoryBytes(): number {
    return this.#memory.buffer.byteLength;
  }

  take(length: number): number {
    const at = this.#x.take(length) >>> 0;
    if (at === 0) throw new Failure(`no room for ${length} bytes`, false);
    return at;
  }

  give(at: number, length: number): void {
    if (!this.isBroken) this.#x.give(at, length);
  }

  /** A copy in memory of its own: `give` it back. */
  put(bytes: Uint8Array): number {
    const at = this.take(bytes.length);
    new Uint8Array(this.#memory.buffer).set(bytes, at);
    return at;
  }

  /** Words of the memory as they are; valid until the next call. */
  words(at: number, count: number): Int32Array {
    return new Int32Array(this.#memory.buffer, at, count);
  }

  /** What the last call on this thread left. */
  get said(): string {
    return text.decode(this.saidBytes);
  }

  get saidBytes(): Uint8Array {
    return new Uint8Array(this.#memory.buffer, this.#x.said_ptr() >>> 0, this.#x.said_len()).slice();
  }

  /** On this thread. @throws Failure where it traps */
  call(name: Call, ...args: readonly number[]): number {
    if (this.isBroken) throw new Failure("the module broke off in another call", true);
    const top = this.#x.__stack_pointer.value;
    try {
      return this.#x[name](...args);
    } catch (cause) {
      this.#x.__stack_pointer.value = top;
      this.isBroken ||= this.#x.broke_heap() === 1;
      const said = this.isBroken ? "" : `: ${this.said}`;
      throw new Failure(`${cause instanceof Error ? cause.message : cause}${said}`, true);
    }
  }

  /** On a thread where there may be some, else here. @throws Failure where it traps, or the thread ends */
  async run(name: Call, ...args: readonly number[]): Promise<Pick<Outcome, "value" | "said">> {
    if (!this.#module.shared) {
      const value = this.call(name, ...args);
      return { value, said: this.said };
    }
    const thread = await this.#freeThread();
    try {
      const outcome = await thread.run(name, args).catch((error) => {
        this.isBroken = true;
        throw new BackendError(`grammar: expected a worker that goes on, found one that ended: ${error}`, { cause: error });
      });
      if (outcome.trap === undefined) return outcome;
      this.isBroken ||= outcome.broke === true;
      throw new Failure(`${outcome.trap}: ${outcome.said}`, true);
    } finally {
      this.#waiting.shift()?.();
    }
  }

  async #freeThread(): Promise<Thread> {
    for (;;) {
      if (this.isBroken) throw new Failure("the module broke off in another call", true);
      const free = this.#threads.find((thread) => thread.isFree);
      if (free) return free;
      if (this.#threads.length + this.#opening < maxThreads) return this.#openThread();
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    }
  }

  async #openThread(): Promise<Thread> {
    this.#opening++;
    try {
      const { __tls_size: size, __tls_align: align } = this.#x;
      const locals = this.take(size.value + align.value);
      const start = {
        module: this.#module.module,
        memory: this.#memory,
        id: 2 + this.#threads.length + this.#opening,
        stack: this.take(threadStackBytes) + threadStackBytes,
        locals: Math.ceil(locals / align.value) * align.value,
        mail: this.take(8),
      };
      const thread = await Thread.open(start, this.#encodeAt);
      this.#threads.push(thread);
      return thread;
    } finally {
      this.#opening--;
    }
  }

  readonly #encodeAt = (from: number, length: number, out: number, room: number): number => {
    const { buffer } = this.#memory;
    const ids = this.#encode(text.decode(new Uint8Array(buffer, from >>> 0, length).slice()));
    const count = Math.min(ids.length, room);
    new Uint32Array(buffer, out >>> 0, count).set(ids.slice(0, count));
    return count;
  };

  /** Threads end; nothing may be called afterwards. */
  dispose(): void {
    this.isBroken = true;
    for (const thread of this.#threads) thread.dispose();
    for (const go of this.#waiting.splice(0)) go();
  }
}
