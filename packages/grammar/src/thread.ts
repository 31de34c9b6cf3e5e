// Workers over the module's memory, for what takes long.

import { openThread, type ThreadPort } from "@jamba/core";
import type { Call, Message, Outcome, Place, Reply } from "./thread-code.ts";
import code from "./thread-code.ts?text";

/** Tokens of the text at `from`, written to `out`. */
export type Encode = (from: number, length: number, out: number, room: number) => number;

/** None where the tokenizer throws; nobody above this would hear of it. */
function tokensOf(encode: () => number): number {
  try {
    return encode();
  } catch {
    return 0;
  }
}

/** Between asking a call to stop and ending its thread. */
const graceMs = 200;

/** Of a call that is under way. */
interface Ends {
  resolve(outcome: Outcome): void;
  reject(error: unknown): void;
}

/** A thread, which makes one call at a time. */
export class Thread {
  readonly place: Place;
  /** Somebody is about to call. */
  isTaken = false;
  readonly #port: ThreadPort<Message, Reply>;
  #ends: Ends | undefined;
  #failure: unknown;

  private constructor(place: Place, port: ThreadPort<Message, Reply>) {
    this.place = place;
    this.#port = port;
  }

  static async open(place: Place, module: WebAssembly.Module, memory: WebAssembly.Memory, encode: Encode): Promise<Thread> {
    const port = await openThread<Message, Reply>(code);
    const thread = new Thread(place, port);
    const mail = new Int32Array(memory.buffer, place.mail, 2);
    let ready: () => void;
    // A worker takes its time to begin, on a busy machine more than a call may: that is not the call's.
    const isReady = new Promise<void>((resolve) => {
      ready = resolve;
    });
    port.listen(
      (data) => {
        if ("isReady" in data) return ready();
        if ("outcome" in data) return thread.#end(({ resolve }) => resolve(data.outcome));
        mail[1] = tokensOf(() => encode(...data.encode));
        Atomics.store(mail, 0, 1);
        Atomics.notify(mail, 0);
      },
      (error) => {
        thread.#failure = error;
        ready();
        thread.#end(({ reject }) => reject(error));
      },
    );
    port.post({ start: { ...place, module, memory } });
    await isReady;
    if (thread.isGone) throw thread.#failure;
    port.rest();
    return thread;
  }

  /** Whether it is at its end: what it was calling took too long, or the worker failed. */
  get isGone(): boolean {
    return this.#failure !== undefined;
  }

  /** @throws what ended the thread */
  async run(call: Call, { mostMs, stop }: { readonly mostMs: number; stop(): void }): Promise<Outcome> {
    let isLate = false;
    const late = setTimeout(() => {
      isLate = true;
      stop();
      // It takes no memory then, so that it can be ended without harm to the heap.
      end = setTimeout(() => void this.#giveUp(), graceMs);
    }, mostMs);
    let end: ReturnType<typeof setTimeout> | undefined;
    try {
      const outcome = await new Promise<Outcome>((resolve, reject) => {
        if (this.isGone) return reject(this.#failure);
        this.#ends = { resolve, reject };
        this.#port.post({ call });
      });
      return isLate && outcome.trap !== undefined ? { ...outcome, said: "", trap: `it takes more than ${mostMs} ms` } : outcome;
    } finally {
      clearTimeout(late);
      clearTimeout(end);
    }
  }

  async #giveUp(): Promise<void> {
    this.#failure = new Error("it was ended");
    await this.#port.end();
    this.#end(({ resolve }) => resolve({ value: 0, said: "", trap: "it does not stop" }));
  }

  #end(settle: (ends: Ends) => void): void {
    const ends = this.#ends;
    this.#ends = undefined;
    if (ends) settle(ends);
  }

  dispose(): void {
    this.#failure ??= new Error("it was disposed");
    void this.#port.end();
    this.#end(({ reject }) => reject(this.#failure));
  }
}
