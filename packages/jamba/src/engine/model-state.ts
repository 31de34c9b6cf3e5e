// The state of one sequence as a value: go on from it as often as you like, it does not change.

import { type HostState, JambaError, toHostState } from "@jamba/core";
import type { Sequence } from "./advance.ts";
import type { Runner } from "./runner.ts";

/**
 * What the model remembers of the tokens it has read. `forward` and sessions never change a state that they are given.
 * It holds device memory until it is disposed (or its model is).
 */
export class ModelState {
  readonly #runner: Runner;
  readonly #sequence: Sequence;

  /**
   * Takes over `sequence`, which nobody else may advance after.
   * @param ids the tokens that it has read; unknown for a state that was imported
   */
  constructor(
    runner: Runner,
    sequence: Sequence,
    readonly ids?: readonly number[],
  ) {
    this.#runner = runner;
    this.#sequence = sequence;
  }

  /** Tokens read so far. */
  get seen(): number {
    return this.#sequence.seen;
  }

  /** A copy with a life of its own: KV pages are shared until one side writes, the rest is copied. */
  async fork(): Promise<ModelState> {
    return new ModelState(this.#runner, await this.#runner.fork(this.#sequence), this.ids);
  }

  /** Host tensors, all f32, in the portable layout of `HostState`. */
  export(): Promise<HostState> {
    return toHostState(this.seen, this.#runner.export(this.#sequence));
  }

  /** A sequence that may be advanced. @internal */
  async toSequence(runner: Runner): Promise<Sequence> {
    if (runner !== this.#runner) {
      throw new JambaError("SESSION_MISMATCH", "state: expected one of this model, found another's; export() it and pass what comes out");
    }
    return runner.fork(this.#sequence);
  }

  dispose(): void {
    this.#runner.release(this.#sequence);
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}
