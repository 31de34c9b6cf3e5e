// What a worker runs, over the memory of the module: one call at a time, and what came of it.

import { JambaError } from "@jamba/core";
import { type Source, writeSource } from "./source.ts";

/** What a thread has of the memory for itself. */
export interface Place {
  /** From 2 on; 1 is the thread that made the instance. */
  readonly id: number;
  /** Its stack grows down from here. */
  readonly stack: number;
  /** The words below its stack, which nobody writes unless it is too deep. */
  readonly guard: number;
  readonly guardWords: number;
  /** Where its own variables lie. */
  readonly locals: number;
  /** Two words: whether an answer of `encode` is there, and how many tokens it has. */
  readonly mail: number;
}

/** What a thread needs to begin. */
export interface Start extends Place {
  readonly module: WebAssembly.Module;
  readonly memory: WebAssembly.Memory;
}

/** What one call may take. */
export interface Allowance {
  /** Of the heap, beside what is there. */
  readonly bytes: number;
  /** MiB in all, given back or not: as much work on every machine, however busy. */
  readonly work: number;
}

/** A function of the module. */
export interface Call {
  readonly name: string;
  readonly args: readonly number[];
  /** A call that wants more traps. */
  readonly most: Allowance;
  /** A `Source` as JSON, written first as Lark; where that lies and its length become the call's second and third arguments. */
  readonly source?: string;
}

export interface Outcome {
  readonly value: number;
  /** What the module said: the reason of a failure, or what a call leaves there. */
  readonly said: string;
  /** The message of a trap. The stack is as before the call then. */
  readonly trap?: string;
  readonly written?: Written;
  /** Of a source: why it was refused. */
  readonly refused?: string;
}

/** Of a source that was written: see `writeSource`. */
export interface Written {
  readonly reasons: ReadonlyMap<string, string>;
  /** Characters of Lark, and the milliseconds that they took. */
  readonly length: number;
  readonly ms: number;
}

export type Message = { readonly start: Start } | { readonly call: Call };
export type Reply =
  | { readonly isReady: true }
  | { readonly outcome: Outcome }
  | { readonly encode: readonly [from: number, length: number, out: number, room: number] };

interface Exports extends Record<string, (...args: readonly number[]) => number> {}

/** A mark that no call writes by chance. */
const untouched = 0x5afe_57ac;
const text = new TextDecoder();
declare const self: { postMessage(message: Reply): void; onmessage: ((event: { data: Message }) => void) | null };

let x: Exports;
let start: Start;
let guard: Int32Array;

self.onmessage = ({ data }) => {
  if ("start" in data) {
    begin(data.start);
    self.postMessage({ isReady: true });
  } else self.postMessage({ outcome: outcomeOf(data.call) });
};

function begin(given: Start): void {
  start = given;
  const { memory, module, mail: at, stack, locals, id } = start;
  const mail = new Int32Array(memory.buffer, at, 2);
  const encode = (...args: [number, number, number, number]) => {
    Atomics.store(mail, 0, 0);
    self.postMessage({ encode: args });
    Atomics.wait(mail, 0, 0);
    return mail[1];
  };
  const { exports } = new WebAssembly.Instance(module, { env: { memory, now: () => performance.now(), encode } });
  x = exports as unknown as Exports;
  guard = new Int32Array(memory.buffer, start.guard, start.guardWords).fill(untouched);
  (exports.__stack_pointer as WebAssembly.Global).value = stack;
  x.__wasm_init_tls(locals);
  x.name_thread(id);
}

function outcomeOf({ name, args, most, source }: Call): Outcome {
  if (source === undefined) return called(most, () => x[name](...args));
  let written: ReturnType<typeof writeSource>;
  const begun = performance.now();
  try {
    written = writeSource(JSON.parse(source) as Source);
  } catch (error) {
    const reason = error instanceof RangeError ? "expected a format that is less nested, found one too deep for the stack" : undefined;
    if (!reason && !(error instanceof JambaError)) throw error;
    return { value: 0, said: "", refused: reason ?? (error as JambaError).message };
  }
  const ms = performance.now() - begun;
  const bytes = new TextEncoder().encode(written.lark);
  const outcome = called(most, () => {
    const at = x.take(bytes.length);
    new Uint8Array(start.memory.buffer).set(bytes, at >>> 0);
    const value = x[name](args[0], at, bytes.length, ...args.slice(1));
    x.give(at, bytes.length);
    return value;
  });
  return { ...outcome, written: { reasons: written.reasons, length: written.lark.length, ms } };
}

function called({ bytes, work }: Allowance, run: () => number): Outcome {
  try {
    x.allow(bytes, work);
    const value = run() ?? 0;
    if (!isWhole()) throw new RangeError("the call stack is too deep");
    return { value, said: said() };
  } catch (error) {
    (x as unknown as { __stack_pointer: WebAssembly.Global }).__stack_pointer.value = start.stack;
    // At once: whoever waits for the heap hears of nothing else.
    if (x.heap_owner() === start.id || !isWhole()) x.break_heap(start.id);
    const trap = x.work_left() === 0 ? "it takes too much work" : String(error);
    return { value: 0, said: x.broken_by() === 0 ? said() : "", trap };
  }
}

function said(): string {
  const from = x.said_ptr();
  return text.decode(new Uint8Array(start.memory.buffer, from, x.said_len()).slice());
}

function isWhole(): boolean {
  return guard.every((word) => word === untouched);
}
