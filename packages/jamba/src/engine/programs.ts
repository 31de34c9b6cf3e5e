// Steps of a model, recorded and compiled once for each shape and kept while they are used.

import { type Backend, nextTurn, type Program, record, type StateStore, type StepShape } from "@jamba/core";
import type { JambaConfig } from "@jamba/loader";
import { type ForwardReads, forward } from "../model/forward.ts";
import type { ModelWeights } from "../model/weights.ts";

/** Decode in batches of each size, pieces of prompts alone and beside it. */
const mostPrograms = 32;

export class Programs {
  readonly #kept = new Map<string, Promise<Program>>();
  readonly #prepare: (shape: StepShape, reads: ForwardReads) => Promise<Program>;
  /** Milliseconds of recording and compiling, so far. */
  prepareMs = 0;

  constructor(backend: Backend, config: JambaConfig, weights: ModelWeights, store: StateStore) {
    this.#prepare = async (shape, reads) => {
      const start = performance.now();
      const list = record(shape, store.spec, (ops) => forward(ops, config, weights, reads));
      // Some milliseconds each: what recorded must not hold up the event loop until the backend has read the list too.
      await nextTurn();
      const program = await backend.prepare(list, store);
      this.prepareMs += performance.now() - start;
      return program;
    };
  }

  /** Made when it is first asked for. The one used longest ago goes. */
  async get(shape: StepShape, reads: ForwardReads): Promise<Program> {
    const key = [shape.L, shape.nSequences, shape.nRows, reads.logits, reads.top, reads.hidden, reads.routes, reads.keeps].join();
    const program = this.#kept.get(key) ?? this.#prepare(shape, reads);
    this.#kept.delete(key);
    this.#kept.set(key, program);
    if (this.#kept.size > mostPrograms) {
      const [oldest, old] = this.#kept.entries().next().value!;
      this.#kept.delete(oldest);
      void dispose(old);
    }
    try {
      return await program;
    } catch (error) {
      // Whoever asks next tries again.
      if (this.#kept.get(key) === program) this.#kept.delete(key);
      throw error;
    }
  }

  async dispose(): Promise<void> {
    await Promise.all([...this.#kept.values()].map(dispose));
  }
}

async function dispose(program: Promise<Program>): Promise<void> {
  const [made] = await Promise.allSettled([program]); // who asked for it hears why there is none
  if (made.status === "fulfilled") made.value[Symbol.dispose]();
}
