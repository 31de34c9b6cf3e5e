// Workers over the module's memory, for what takes long. They know no grammar: they make one call at a time and tell what came of it.

/** What a thread needs to begin. */
interface Start {
  readonly module: WebAssembly.Module;
  readonly memory: WebAssembly.Memory;
  readonly id: number;
  /** Top of its stack, and where its own variables lie. */
  readonly stack: number;
  readonly locals: number;
  /** Two words in memory: whether an answer of `encode` is there, and how many tokens it has. */
  readonly mail: number;
}

interface Call {
  readonly name: string;
  readonly args: readonly (number | bigint)[];
}

export interface Outcome {
  readonly value: number;
  /** What the module said: the reason of a failure, or what a call leaves there. */
  readonly said: string;
  /** The message of a trap. The stack is as before the call then. */
  readonly trap?: string;
  /** The trap left the heap as it was in the middle of a change; no thread can go on. */
  readonly broke?: boolean;
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
  const listen = (memory: WebAssembly.Memory): string => {
    const from = x.said_ptr();
    return new TextDecoder().decode(new Uint8Array(memory.buffer, from, x.said_len()).slice());
  };
  let memory: WebAssembly.Memory;
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
      x.__stack_pointer.value = top;
      x.__wasm_init_tls(start.locals);
      x.name_thread(start.id);
      return;
    }
    const call = data.call as Call;
    let outcome: Outcome;
    try {
      const value = x[call.name].apply(undefined, call.args) || 0;
      outcome = { value: value, said: listen(memory) };
    } catch (error) {
      x.__stack_pointer.value = top;
      const broke = x.broke_heap() === 1;
      outcome = { value: 0, said: broke ? "" : listen(memory), trap: String(error), broke: broke };
    }
    self.postMessage({ outcome: outcome });
  };
}

interface Port {
  post(message: unknown): void;
  listen(onMessage: (data: unknown) => void, onError: (error: unknown) => void): void;
  end(): void;
}

async function openWorker(): Promise<Port> {
  if (typeof process === "object" && process.versions?.node) {
    const { Worker } = await import("node:worker_threads");
    const code = `const { parentPort } = require("node:worker_threads");
const self = { postMessage: (message) => parentPort.postMessage(message), onmessage: null };
parentPort.on("message", (data) => self.onmessage({ data }));
(${serve})(self);`;
    const worker = new Worker(code, { eval: true, execArgv: [], stdout: false, resourceLimits: { stackSizeMb: 16 } });
    worker.unref();
    return {
      post: (message) => worker.postMessage(message),
      listen: (onMessage, onError) => void worker.on("message", onMessage).on("error", onError),
      end: () => void worker.terminate(),
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
    end: () => {
      worker.terminate();
      URL.revokeObjectURL(url);
    },
  };
}

/** Of a call that is under way. */
interface Ends {
  resolve(outcome: Outcome): void;
  reject(error: unknown): void;
}

/** A thread, which makes one call at a time. */
export class Thread {
  readonly #port: Port;
  #ends: Ends | undefined;
  #failure: unknown;

  private constructor(port: Port) {
    this.#port = port;
  }

  static async open(start: Start, encode: Encode): Promise<Thread> {
    const port = await openWorker();
    const thread = new Thread(port);
    const mail = new Int32Array(start.memory.buffer, start.mail, 2);
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
    port.post({ start });
    return thread;
  }

  get isFree(): boolean {
    return this.#ends === undefined;
  }

  /** @throws what ended the worker */
  run(name: string, args: Call["args"]): Promise<Outcome> {
    return new Promise((resolve, reject) => {
      if (this.#failure !== undefined) return reject(this.#failure);
      this.#ends = { resolve, reject };
      this.#port.post({ call: { name, args } });
    });
  }

  #end(settle: (ends: Ends) => void): void {
    const ends = this.#ends;
    this.#ends = undefined;
    if (ends) settle(ends);
  }

  dispose(): void {
    this.#port.end();
  }
}
