// States that have no room any more: on the disk, if there is one, and gone otherwise.

import type { StateCache } from "../state/cache-by-name.ts";
import type { Path } from "../state/tenant.ts";
import type { Sequence } from "./advance.ts";
import type { Runner } from "./runner.ts";

export interface SpillOptions {
  /** Where states go that have no room any more, and come back from. */
  readonly disk?: StateCache;
  /** Hears why one could not go there. */
  readonly onDiskError?: (error: unknown) => void;
}

/** Tokens: shorter ones are read again as soon as found, and writing them would hold up calls. */
const worthSpilling = 64;

/** States that wait to be written still take memory. */
const mostWaiting = 8;

export class Spill {
  readonly #runner: Runner;
  readonly #options: SpillOptions;
  #waiting = 0;
  #limit = mostWaiting;
  #least = worthSpilling;
  #written: Promise<void> = Promise.resolve();

  constructor(runner: Runner, options: SpillOptions) {
    this.#runner = runner;
    this.#options = options;
  }

  /** Settles when what was given so far is on the disk, or failed to get there. */
  get written(): Promise<void> {
    return this.#written;
  }

  /** Runs `drop`, which gives states to `take`, with so many of them waiting at most, each of so many tokens at least. */
  within(limit: number, drop: () => void, least = worthSpilling): void {
    this.#limit = limit;
    this.#least = least;
    drop();
    this.#limit = mostWaiting;
    this.#least = worthSpilling;
  }

  /** Takes over `state`, which is released in the end. @param pathTo what it has read; without it the state is not worth writing */
  take(state: Sequence, pathTo: (() => Path) | undefined, owner: string | undefined): void {
    const { disk, onDiskError } = this.#options;
    if (!disk || !pathTo || state.seen < this.#least || this.#waiting >= this.#limit) {
      this.#runner.release(state);
      return;
    }
    const path = pathTo();
    this.#waiting++;
    this.#written = this.#written
      .then(() => disk.put(path, this.#runner.export(state), { owner }))
      .catch((error) => onDiskError?.(error)) // full or gone: a later prompt reads the tokens again
      .finally(() => {
        this.#waiting--;
        this.#runner.release(state);
      });
  }
}
