// Prompts that are being read at the same time: who shares the beginning of one waits for its state, and reads no token of it again.

import type { Path } from "../state/tenant.ts";

/** A prompt that is being read, and who waits for a part of it. */
export class ActivePrompt<Kept> {
  /** Tokens that were read. */
  at = 0;
  #waits: { readonly at: number; readonly resolve: (kept: Kept | undefined) => void }[] = [];

  constructor(
    readonly ids: Path,
    public due: number,
  ) {}

  /** Where in `ids` somebody waits for the state. */
  get wanted(): number[] {
    return this.#waits.map(({ at }) => at);
  }

  /**
   * The state after `at` tokens, as soon as these are read; undefined where it is not kept.
   * @throws the signal's reason
   */
  async stateAt(at: number, signal: AbortSignal | undefined): Promise<Kept | undefined> {
    signal?.throwIfAborted();
    let abort!: () => void;
    try {
      return await new Promise<Kept | undefined>((resolve, reject) => {
        const wait = { at, resolve };
        abort = () => {
          this.#waits = this.#waits.filter((one) => one !== wait);
          reject(signal!.reason);
        };
        signal?.addEventListener("abort", abort);
        this.#waits.push(wait);
      });
    } finally {
      signal?.removeEventListener("abort", abort);
    }
  }

  /** So many tokens are read. Lets those go who came too late for the state that they wait for. */
  moveTo(at: number): void {
    this.at = at;
    this.#settle((wait) => wait.at < at);
  }

  /** @param kept asked once for each who waits for the state after the tokens that are read */
  give(kept: () => Kept | undefined): void {
    this.#settle((wait) => wait.at === this.at, kept);
  }

  /** No more of it will be read. */
  end(): void {
    this.#settle(() => true);
  }

  #settle(isDue: (wait: { at: number }) => boolean, kept: () => Kept | undefined = () => undefined): void {
    const due = this.#waits.filter(isDue);
    this.#waits = this.#waits.filter((wait) => !due.includes(wait));
    for (const { resolve } of due) resolve(kept());
  }
}

/** The one that has most of a prompt still to read, and how much of it; it is due no later than that prompt then. */
export function sharedWith<Kept>(
  { ids, due }: ActivePrompt<Kept>,
  others: Iterable<ActivePrompt<Kept>>,
): { other: ActivePrompt<Kept>; at: number } | undefined {
  let best: { other: ActivePrompt<Kept>; at: number } | undefined;
  for (const other of others) {
    const common = commonLength(ids, other.ids);
    // Only where the other one ends are there logits.
    const at = common === ids.length && common < other.ids.length ? common - 1 : common;
    if (at > other.at && at > (best?.at ?? 0)) best = { other, at };
  }
  if (best) best.other.due = Math.min(best.other.due, due);
  return best;
}

function commonLength(a: Path, b: Path): number {
  let n = 0;
  while (n < a.length && n < b.length && a[n] === b[n]) n++;
  return n;
}
