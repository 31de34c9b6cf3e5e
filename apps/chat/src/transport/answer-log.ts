// An answer that is being written, for any number of readers: each gets it from its beginning.

import type { UiChunk } from "./ui-chunks.ts";

/** Keeps what was said, so that a page that comes back, or a second one, sees all of it. */
export class AnswerLog {
  readonly #chunks: UiChunk[] = [];
  readonly #waiting = new Set<() => void>();
  #ended = false;
  /** Resolves when the answer has ended. */
  readonly done: Promise<void>;

  constructor(answer: AsyncIterable<UiChunk>) {
    this.done = this.#read(answer);
  }

  /** What was said so far. */
  get chunks(): readonly UiChunk[] {
    return this.#chunks;
  }

  /** A reader that goes away ends nothing: whoever asked for the answer has the signal for that. */
  stream(): ReadableStream<UiChunk> {
    let at = 0;
    let wake: (() => void) | undefined;
    return new ReadableStream({
      pull: async (controller) => {
        while (at === this.#chunks.length && !this.#ended) {
          await new Promise<void>((resolve) => {
            wake = resolve;
            this.#waiting.add(resolve);
          });
        }
        if (at < this.#chunks.length) controller.enqueue(this.#chunks[at++]);
        else controller.close();
      },
      cancel: () => {
        at = this.#chunks.length;
        if (wake) this.#waiting.delete(wake);
      },
    });
  }

  async #read(answer: AsyncIterable<UiChunk>): Promise<void> {
    try {
      for await (const chunk of answer) {
        this.#chunks.push(chunk);
        this.#wake();
      }
    } catch (error) {
      this.#chunks.push({ type: "error", errorText: error instanceof Error ? error.message : String(error) });
    } finally {
      this.#ended = true;
      this.#wake();
    }
  }

  #wake(): void {
    for (const wake of this.#waiting) wake();
    this.#waiting.clear();
  }
}
