// A stream that can be iterated, awaited, sent over the web, or awaited beside one of these.

import { JambaError } from "@jamba/core";
import type { Part, Result } from "./generate.ts";
import type { GenerateOptions } from "./options.ts";
import { type WebResponseOptions, type WebStreamOptions, webResponse, webStream } from "./web-stream.ts";

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
    // Whoever asks for it first and then loops, or makes a response, does so at once.
    if (!this.#started) queueMicrotask(() => this.#started || void this.#finish());
    return this.#result;
  }

  /**
   * The answer as bytes: server-sent events, or its text alone. A part is drawn when the reader asks for more. Cancelling the stream, as
   * servers do when a client goes away, cancels the answer. An error comes as the last event; the text breaks off with it.
   * @throws JambaError OPTION for a stream that is read already
   */
  toReadableStream(options: WebStreamOptions = {}): ReadableStream<Uint8Array> {
    this.#start();
    const cancel = (reason: unknown) => {
      this.#left.abort(reason);
      return this.#finish();
    };
    return webStream({ next: () => this.#next(), cancel }, options);
  }

  /**
   * The same as a web `Response` with its headers, for whatever serves these: Hono, Next, Bun, Deno, service workers. For Node's own server
   * and Express pipe its `body`.
   * @throws as `toReadableStream`
   */
  toResponse(options: WebResponseOptions = {}): Response {
    return webResponse(this.toReadableStream(options), options);
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Part, void> {
    this.#start();
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

  /** Takes the answer for one reader. */
  #start(): void {
    if (this.#started)
      throw new JambaError("OPTION", "stream: expected one reader, found a second; its whole text is in `await stream.result`");
    this.#started = true;
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
