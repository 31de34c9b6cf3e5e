// One memory of the module with a vocabulary in it. What is short is called here, what may be long on threads that share the memory.

import { JambaError } from "@jamba/core";
import type { GrammarModule } from "./module.ts";
import { type Source, writeSource } from "./source.ts";
import { Thread } from "./thread.ts";
import type { Allowance, Outcome, Place } from "./thread-code.ts";

type Call =
  | "take"
  | "give"
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
  heap_owner(): number;
  break_heap(id: number): void;
  broken_by(): number;
  stop_thread(id: number): void;
  allow(bytes: number, work: number): void;
  work_left(): number;
  used_bytes(): number;
  said_ptr(): number;
  said_len(): number;
}

/** A call that the module broke off, with its reason. What it was about is at its end. */
export class Failure extends Error {
  constructor(
    message: string,
    /** A trap: a fault of the module itself, not of what it was given. "by others": another call brought the instance down. */
    readonly trapped: boolean | "by others" = false,
  ) {
    super(message);
  }
}

/** What a call may take on a thread: one that takes more is broken off, so that others have theirs. Work of 0.5 s; the time is a last resort. */
export const most = { bytes: 96 * 2 ** 20, work: 512, ms: 5000 };
/** On this thread, which others wait for: work of 15 ms. */
const mostHere = 16;
const unlimited = 2 ** 32 - 1;
/** Calls of an answer. */
const followed: readonly Call[] = ["mask", "consume", "rollback", "is_accepting", "forced", "forced_text"];

/** Others may bring the instance down more than once while one tries. */
export const maxTries = 3;

/** What the module calls the thread that made the instance. */
const firstThread = 1;
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
  /** Of threads that have ended. */
  readonly #places: Place[] = [];
  #opening = 0;
  #nextId = firstThread + 1;
  /** A call broke off in the middle of a change to the heap. Nothing can be called any more. */
  isBroken = false;
  /** Some call broke off, and what it had taken is lost. */
  hasLeaks = false;
  /** It should not be used for more than what is under way. */
  isWorn = false;
  /** Matchers in it. */
  #users = 0;
  #isRetired = false;

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
    const at = this.call("take", length) >>> 0;
    if (at === 0) throw new Failure(`no room for ${length} bytes`);
    return at;
  }

  give(at: number, length: number): void {
    this.tryCall("give", at, length);
  }

  /** What need not be done where nothing can be called any more. */
  tryCall(name: Call, ...args: readonly number[]): void {
    try {
      this.call(name, ...args);
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
    }
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

  bytes(at: number, count: number): Uint8Array {
    return new Uint8Array(this.#memory.buffer, at, count);
  }

  /** What the last call on this thread left. */
  get said(): string {
    return text.decode(this.bytes(this.#x.said_ptr() >>> 0, this.#x.said_len()).slice());
  }

  /** On this thread. @throws Failure where it traps */
  call(name: Call, ...args: readonly number[]): number {
    if (this.isBroken) throw new Failure("the module broke off in another call", "by others");
    const top = this.#x.__stack_pointer.value;
    this.#x.allow(...this.#allowanceOf(name));
    try {
      return this.#x[name](...args);
    } catch (cause) {
      this.#x.__stack_pointer.value = top;
      throw this.#failure(String(cause), firstThread);
    }
  }

  /** Bytes and work. Without threads whoever asks waits for all of it here. */
  #allowanceOf(name: Call): [bytes: number, work: number] {
    if (name === "compile") return [most.bytes, most.work];
    if (!followed.includes(name)) return [unlimited, unlimited];
    return [unlimited, this.#module.shared ? mostHere : most.work];
  }

  /** On a thread where there may be some, else here. @throws Failure where it traps, takes very long or ends its thread */
  async run(
    name: Call,
    args: readonly number[],
    { ms, source, ...allowance }: Allowance & { readonly ms: number; readonly source?: string } = most,
  ): Promise<Outcome> {
    if (!this.#module.shared) return this.#runHere(name, args, source);
    const thread = await this.#freeThread();
    try {
      const outcome = await thread.run(
        { name, args, most: allowance, source },
        { mostMs: ms, stop: () => this.#x.stop_thread(thread.place.id) },
      );
      if (outcome.trap === undefined) return outcome;
      throw this.#failure(outcome.trap, thread.place.id, outcome.said);
    } catch (error) {
      throw error instanceof Failure ? error : this.#failure(`its thread ended: ${error}`, thread.place.id, "");
    } finally {
      thread.isTaken = false;
      if (thread.isGone) {
        this.#threads.splice(this.#threads.indexOf(thread), 1);
        this.#places.push(thread.place);
      }
      this.#waiting.shift()?.();
    }
  }

  #runHere(name: Call, args: readonly number[], source: string | undefined): Outcome {
    if (source === undefined) return { value: this.call(name, ...args), said: this.said };
    const begun = performance.now();
    const { lark, reasons } = writeSource(JSON.parse(source) as Source);
    const written = { reasons, length: lark.length, ms: performance.now() - begun };
    const bytes = new TextEncoder().encode(lark);
    const at = this.put(bytes);
    try {
      return { value: this.call(name, args[0], at, bytes.length, ...args.slice(1)), said: this.said, written };
    } finally {
      this.give(at, bytes.length);
    }
  }

  /** After a call broke off on thread `id`: what it had taken stays taken, and a change to the heap that it was in is never finished. */
  #failure(trap: string, id: number, said?: string): Failure {
    if (this.#x.heap_owner() === id) this.#x.break_heap(id);
    const culprit = this.#x.broken_by();
    const byOthers = this.isBroken || (culprit !== 0 && culprit !== id);
    this.hasLeaks = true;
    this.isBroken ||= culprit !== 0;
    this.isWorn ||= this.isBroken;
    if (byOthers) return new Failure("the module broke off in another call", "by others");
    const words = said ?? (this.isBroken ? "" : this.said);
    if (id === firstThread && this.#x.work_left() === 0) return new Failure("it takes too much work", true);
    // Where memory ends there is no reason but the trap.
    if (words === "" && trap.includes("unreachable")) return new Failure("it takes more memory than there is", true);
    if (trap.includes("call stack")) return new Failure("it has too many parts, or parts too deep within each other", true);
    return new Failure([trap, words].filter(Boolean).join(": "), true);
  }

  async #freeThread(): Promise<Thread> {
    for (;;) {
      if (this.isBroken) throw new Failure("the module broke off in another call", "by others");
      const free = this.#threads.find((thread) => !thread.isTaken);
      if (free) {
        free.isTaken = true;
        return free;
      }
      if (this.#threads.length + this.#opening < maxThreads) return this.#openThread();
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    }
  }

  /** @returns one that is taken */
  async #openThread(): Promise<Thread> {
    this.#opening++;
    try {
      const place = this.#places.pop() ?? this.#newPlace();
      const thread = await Thread.open(place, this.#module.module, this.#memory, this.#encodeAt).catch((cause) => {
        this.#waiting.shift()?.();
        throw new JambaError(
          "UNSUPPORTED",
          `grammar: expected a place that lets workers be started, found one that does not: ${cause}; a page's policy must allow blob: in worker-src`,
          { cause },
        );
      });
      if (this.isBroken) {
        thread.dispose();
        throw new Failure("the module broke off in another call", "by others");
      }
      thread.isTaken = true;
      this.#threads.push(thread);
      return thread;
    } finally {
      this.#opening--;
    }
  }

  #newPlace(): Place {
    const { __tls_size: size, __tls_align: align } = this.#x;
    const locals = this.take(size.value + align.value);
    const guard = this.take(threadStackBytes);
    return {
      id: this.#nextId++,
      stack: guard + threadStackBytes,
      guard,
      guardWords: 4096,
      locals: Math.ceil(locals / align.value) * align.value,
      mail: this.take(8),
    };
  }

  readonly #encodeAt = (from: number, length: number, out: number, room: number): number => {
    const { buffer } = this.#memory;
    const ids = this.#encode(text.decode(new Uint8Array(buffer, from >>> 0, length).slice()));
    const count = Math.min(ids.length, room);
    new Uint32Array(buffer, out >>> 0, count).set(ids.slice(0, count));
    return count;
  };

  enter(): void {
    this.#users++;
  }

  leave(): void {
    this.#users--;
    if (this.#isRetired && this.#users === 0) this.dispose();
  }

  /** Ends with the last matcher that is in it. */
  retire(): void {
    this.#isRetired = true;
    if (this.#users === 0) this.dispose();
  }

  /** Threads end; nothing may be called afterwards. */
  dispose(): void {
    this.isBroken = true;
    for (const thread of this.#threads) thread.dispose();
    for (const go of this.#waiting.splice(0)) go();
  }
}
