// Responses that are kept for a while, so that a later request may go on from one by its id. In memory: a restart forgets them.

import type { InputItem } from "./response-input.ts";

export interface KeptResponse {
  /** As it was answered. */
  readonly response: { readonly id: string; readonly output: readonly object[] };
  /** What its request brought. */
  readonly input: readonly InputItem[];
  /** The response that it went on from. */
  readonly previous?: string;
}

export class ResponseStore {
  readonly #maxBytes: number;
  /** Oldest first. */
  readonly #kept = new Map<string, { kept: KeptResponse; bytes: number }>();
  readonly #items = new Map<string, InputItem>();
  #bytes = 0;

  /** @param maxBytes of all texts together, roughly; the oldest go first */
  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  get(id: string): KeptResponse | undefined {
    return this.#kept.get(id)?.kept;
  }

  put(kept: KeptResponse): void {
    // A character takes two bytes at most.
    const bytes = 2 * JSON.stringify(kept).length;
    if (bytes > this.#maxBytes) return;
    this.#kept.set(kept.response.id, { kept, bytes });
    for (const item of itemsOf(kept)) this.#items.set(item.id, item);
    this.#bytes += bytes;
    for (const [oldest] of this.#kept) {
      if (this.#bytes <= this.#maxBytes) break;
      this.delete(oldest);
    }
  }

  /** Whether it was there. */
  delete(id: string): boolean {
    const found = this.#kept.get(id);
    if (!found) return false;
    this.#kept.delete(id);
    this.#bytes -= found.bytes;
    for (const item of itemsOf(found.kept)) this.#items.delete(item.id);
    return true;
  }

  itemOf(id: string): InputItem | undefined {
    return this.#items.get(id);
  }

  /** All that was said up to the end of a response; undefined where a part of it is gone. */
  historyOf(id: string): readonly InputItem[] | undefined {
    const turns: InputItem[][] = [];
    for (let at: string | undefined = id; at !== undefined; ) {
      const kept = this.get(at);
      if (!kept) return undefined;
      turns.push([...kept.input, ...(kept.response.output as InputItem[])]);
      at = kept.previous;
    }
    return turns.reverse().flat();
  }
}

function itemsOf({ response }: KeptResponse) {
  return response.output as readonly (InputItem & { id: string })[];
}
