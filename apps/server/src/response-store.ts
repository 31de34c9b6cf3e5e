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

/** The responses of all tenants: to each its own, as if there were no others. */
export class Responses {
  readonly #maxBytes: number;
  readonly #stores = new Map<string | undefined, ResponseStore>();

  /** @param maxBytes of all texts together, roughly; the oldest of who has most go first, so that nobody is left with less than an equal share */
  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  of(tenant: string | undefined): ResponseStore {
    const store = this.#stores.get(tenant) ?? new ResponseStore(this.#maxBytes, () => this.#makeRoom());
    this.#stores.set(tenant, store);
    return store;
  }

  get count(): number {
    return this.#sum(({ count }) => count);
  }

  get bytes(): number {
    return this.#sum(({ bytes }) => bytes);
  }

  #sum(of: (store: ResponseStore) => number): number {
    return [...this.#stores.values()].reduce((sum, store) => sum + of(store), 0);
  }

  #makeRoom(): void {
    while (this.bytes > this.#maxBytes)
      [...this.#stores.values()].reduce((most, one) => (one.bytes > most.bytes ? one : most)).forgetOldest();
  }
}

/** Of one tenant. */
export class ResponseStore {
  readonly #maxBytes: number;
  readonly #makeRoom: () => void;
  /** Oldest first. */
  readonly #kept = new Map<string, { kept: KeptResponse; bytes: number }>();
  readonly #items = new Map<string, InputItem>();
  #bytes = 0;

  /** @param makeRoom called when there is more to keep */
  constructor(maxBytes: number, makeRoom: () => void) {
    this.#maxBytes = maxBytes;
    this.#makeRoom = makeRoom;
  }

  get count(): number {
    return this.#kept.size;
  }

  get bytes(): number {
    return this.#bytes;
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
    this.#makeRoom();
  }

  forgetOldest(): void {
    for (const [oldest] of this.#kept) return void this.delete(oldest);
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
