// A stream that can be iterated, awaited, or both.

import { JambaError } from "@jamba/core";
import type { Part, Result } from "./generate.ts";

/** Iterate for the parts; `result` resolves once the answer is whole, iterated or not. Leaving the loop cancels the answer. */
export class TextStream implements AsyncIterable<Part> {
  readonly #left = new AbortController();
  readonly #parts: AsyncGenerator<Part, Result>;
  readonly #result: Promise<Result>;
  #settle!: { resolve(result: Result): void; reject(error: unknown): void };
  #started = false;

  constructor(
    { signal, timeoutMs }: { readonly signal?: AbortSignal; readonly timeoutMs?: number },
    start: (signal: AbortSignal) => AsyncGenerator<Part, Result>,
  ) {
    const ends = [signal ?? [], timeoutMs === undefined ? [] : AbortSignal.timeout(timeoutMs), this.#left.signal].flat();
    this.#parts = start(AbortSignal.any(ends));
    this.#result = new Promise((resolve, reject) => {
      this.#settle = { resolve, reject };
    });
    // Whoever iterates meets the error there; nobody has to look at `result`.
    this.#result.catch(() => undefined);
  }

  get result(): Promise<Result> {
    if (!this.#started) void this.#finish();
    return this.#result;
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Part, void> {
    if (this.#started)
      throw new JambaError("OPTION", "stream: expected one loop over it, found a second; its whole text is in `await stream.result`");
    this.#started = true;
    let ended = false;
    try {
      for (let next = await this.#next(); !next.done; next = await this.#next()) yield next.value;
      ended = true;
    } catch (error) {
      ended = true;
      throw error;
    } finally {
      if (!ended) {
        this.#left.abort();
        await this.#finish();
      }
    }
  }

  async #next(): Promise<IteratorResult<Part, Result>> {
    try {
      const next = await this.#parts.next();
      if (next.done) this.#settle.resolve(next.value);
      return next;
    } catch (error) {
      this.#settle.reject(error);
      throw error;
    }
  }

  async #finish(): Promise<void> {
    this.#started = true;
    try {
      while (!(await this.#next()).done);
    } catch {
      // `result` rejects with it.
    }
  }
}
