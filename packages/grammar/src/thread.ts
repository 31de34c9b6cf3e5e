// Workers over the module's memory, for what takes long. They know no grammar: they make one call at a time and tell what came of it.

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
interface Start extends Place {
  readonly module: WebAssembly.Module;
  readonly memory: WebAssembly.Memory;
}

export interface Call {
  readonly name: string;
  readonly args: readonly number[];
  /** Of the heap, at most; a call that wants more traps. */
  readonly mostBytes: number;
}

export interface Outcome {
  readonly value: number;
  /** What the module said: the reason of a failure, or what a call leaves there. */
  readonly said: string;
  /** The message of a trap. The stack is as before the call then. */
  readonly trap?: string;
}

/** Tokens of the text at `from`, written to `out`. */
export type Encode = (from: number, length: number, out: number, room: number) => number;

/**
 * Runs in the worker, from its own text: bundlers need not find a file. So it uses nothing from outside of it, and no syntax that
 * a build may turn into calls of helpers.
 */
function serve(self: { postMessage(message: unknown): void; onmessage: ((event: { data: unknown }) => void) | null }): void {
  // biome-ignore lint/suspicious/noExplicitAny: exports of the module
  let x: any;
  let top = 0;
  let id = 0;
  const listen = (memory: WebAssembly.Memory): string => {
    const from = x.said_ptr();
    return new TextDecoder().decode(new Uint8Array(memory.buffer, from, x.said_len()).slice());
  };
  let memory: WebAssembly.Memory;
  let guard: Int32Array;
  const mark = 0x5afe_57ac;
  const isWhole = () => guard.every((word) => word === mark);
  self.onmessage = (event) => {
    const data = event.data as { start?: Start; call?: Call };
    const start = data.start;
    if (start) {
      memory = start.memory;
      const mail = new Int32Array(memory.buffer, start.mail, 2);
      const env = {
        memory: memory,
        now: () => performance.now(),
        encode: (from: number, length: number, out: number, room: number) => {
          Atomics.store(mail, 0, 0);
          self.postMessage({ encode: [from, length, out, room] });
          Atomics.wait(mail, 0, 0);
          return mail[1];
        },
      };
      x = new WebAssembly.Instance(start.module, { env: env }).exports;
      top = start.stack;
      id = start.id;
      guard = new Int32Array(memory.buffer, start.guard, start.guardWords).fill(mark);
      x.__stack_pointer.value = top;
      x.__wasm_init_tls(start.locals);
      x.name_thread(id);
      return;
    }
    const call = data.call as Call;
    let outcome: Outcome;
    try {
      x.allow(call.mostBytes);
      const value = x[call.name].apply(undefined, call.args) || 0;
      outcome = { value: value, said: listen(memory) };
      if (!isWhole()) throw new RangeError("its stack is too deep");
    } catch (error) {
      x.__stack_pointer.value = top;
      // At once: whoever waits for the heap hears of nothing else.
      if (x.heap_owner() === id || !isWhole()) x.break_heap(id);
      outcome = { value: 0, said: x.broken_by() === 0 ? listen(memory) : "", trap: String(error) };
    }
    self.postMessage({ outcome: outcome });
  };
}

interface Port {
  post(message: unknown): void;
  listen(onMessage: (data: unknown) => void, onError: (error: unknown) => void): void;
  /** Resolves when nothing of it runs any more. */
  end(): Promise<unknown>;
}

async function openWorker(): Promise<Port> {
  if (typeof process === "object" && process.versions?.node) {
    const { Worker } = await import("node:worker_threads");
    const code = `const { parentPort } = require("node:worker_threads");
const self = { postMessage: (message) => parentPort.postMessage(message), onmessage: null };
parentPort.on("message", (data) => self.onmessage({ data }));
(${serve})(self);`;
    // The engine's own stack ends before that in memory does, and with an error.
    const worker = new Worker(code, { eval: true, execArgv: [], stdout: false, resourceLimits: { stackSizeMb: 1 } });
    worker.unref();
    return {
      post: (message) => worker.postMessage(message),
      listen: (onMessage, onError) => void worker.on("message", onMessage).on("error", onError),
      end: () => worker.terminate(),
    };
  }
  const url = URL.createObjectURL(new Blob([`(${serve})(self);`], { type: "text/javascript" }));
  const worker = new Worker(url);
  return {
    post: (message) => worker.postMessage(message),
    listen: (onMessage, onError) => {
      worker.onmessage = ({ data }) => onMessage(data);
      worker.onerror = onError;
    },
    end: async () => {
      worker.terminate();
      URL.revokeObjectURL(url);
      await new Promise((resolve) => setTimeout(resolve, 100)); // nothing tells when it has ended
    },
  };
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
  readonly #port: Port;
  #ends: Ends | undefined;
  #failure: unknown;

  private constructor(place: Place, port: Port) {
    this.place = place;
    this.#port = port;
  }

  static async open(place: Place, module: WebAssembly.Module, memory: WebAssembly.Memory, encode: Encode): Promise<Thread> {
    const port = await openWorker();
    const thread = new Thread(place, port);
    const mail = new Int32Array(memory.buffer, place.mail, 2);
    port.listen(
      (data) => {
        const { outcome, encode: asked } = data as { outcome?: Outcome; encode?: Parameters<Encode> };
        if (outcome) return thread.#end(({ resolve }) => resolve(outcome));
        mail[1] = encode(...asked!);
        Atomics.store(mail, 0, 1);
        Atomics.notify(mail, 0);
      },
      (error) => {
        thread.#failure = error;
        thread.#end(({ reject }) => reject(error));
      },
    );
    port.post({ start: { ...place, module, memory } satisfies Start });
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
