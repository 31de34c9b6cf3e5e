// A stream that can be iterated, awaited, or both.

import { JambaError } from "@jamba/core";
import type { Part, Result } from "./generate.ts";
import type { GenerateOptions } from "./options.ts";

/**
 * Iterate for the parts; `result` resolves once the answer is whole, iterated or not. Leaving the loop cancels the answer.
 *
 * However an answer is cancelled (by its signal, by `timeoutMs`, by leaving the loop), it ends with what there is, which may be nothing,
 * and its result says why: `finishReason: "cancelled"`, `cancelReason`. With `throwOnCancel` the loop and `result` throw the reason.
 * A signal that was aborted before the call throws it in any case.
 */
export class TextStream<Parsed = unknown> implements AsyncIterable<Part> {
  readonly #left = new AbortController();
  readonly #parts: AsyncGenerator<Part, Result>;
  readonly #result: Promise<Result<Parsed>>;
  #settle!: { resolve(result: Result<Parsed>): void; reject(error: unknown): void };
  readonly #throwOnCancel: boolean;
  #started = false;

  constructor(
    { signal, timeoutMs, throwOnCancel = false }: Pick<GenerateOptions, "signal" | "timeoutMs" | "throwOnCancel">,
    start: (signal: AbortSignal) => AsyncGenerator<Part, Result>,
  ) {
    const ends = [signal ?? [], timeoutMs === undefined ? [] : AbortSignal.timeout(timeoutMs), this.#left.signal].flat();
    this.#throwOnCancel = throwOnCancel;
    this.#parts = signal?.aborted ? refuse(signal.reason) : start(AbortSignal.any(ends));
    this.#result = new Promise((resolve, reject) => {
      this.#settle = { resolve, reject };
    });
    // Whoever iterates meets the error there; nobody has to look at `result`.
    this.#result.catch(() => undefined);
  }

  get result(): Promise<Result<Parsed>> {
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
      const answers = next.done && this.#throwOnCancel ? (next.value.choices ?? [next.value]) : [];
      const cancelled = answers.find(({ finishReason }) => finishReason === "cancelled");
      if (cancelled) throw cancelled.cancelReason;
      if (next.done) this.#settle.resolve(next.value as Result<Parsed>);
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

// biome-ignore lint/correctness/useYield: it has no part
async function* refuse(reason: unknown): AsyncGenerator<never, never> {
  throw reason;
}
