// Counts who uses which slot and which KV page. Knows no numbers, only indices.

import { JambaError, type StateStore } from "@jamba/core";

/** Releases: looking for what can go back to the system takes time in proportion to what is held. */
const shrinkEvery = 64;

/** A page is shared until one of its users writes to it; a slot has one user. */
export class PagedAllocator {
  #freeSlots: number[] = [];
  #freePages: number[] = [];
  #users = new Map<number, number>();
  #slots = new Set<number>();
  #releases = 0;
  /** Of the store: those beyond are new, whoever made it grow. */
  #known = { slots: 0, pages: 0 };

  /** @param chunk how many slots and pages are reserved at a time once the store is full */
  constructor(
    readonly store: StateStore,
    readonly chunk: { slots: number; pages: number },
  ) {}

  get used(): { slots: number; pages: number } {
    return { slots: this.#slots.size, pages: this.#users.size };
  }

  /** @throws JambaError OUT_OF_MEMORY, with nothing taken */
  async takeSlot(): Promise<number> {
    while (this.#freeSlots.length === 0) await this.#grow(this.chunk.slots, 0);
    const slot = this.#freeSlots.pop()!;
    this.#slots.add(slot);
    return slot;
  }

  /** @throws JambaError OUT_OF_MEMORY, with nothing taken */
  async takePages(count: number): Promise<number[]> {
    while (this.#freePages.length < count) {
      const missing = count - this.#freePages.length;
      await this.#grow(0, Math.ceil(missing / this.chunk.pages) * this.chunk.pages);
    }
    const pages = Array.from({ length: count }, () => this.#freePages.pop()!);
    for (const page of pages) this.#users.set(page, 1);
    return pages;
  }

  /** Another call may take what this one made: who needs some looks again. */
  async #grow(slots: number, pages: number): Promise<void> {
    const { store } = this;
    await store.reserve(store.nSlots + slots, store.nPages + pages);
    for (let slot = store.nSlots - 1; slot >= this.#known.slots; slot--) this.#freeSlots.push(slot);
    for (let page = store.nPages - 1; page >= this.#known.pages; page--) this.#freePages.unshift(page);
    this.#known = { slots: store.nSlots, pages: store.nPages };
  }

  share(pages: readonly number[]): void {
    for (const page of pages) this.#users.set(page, this.usersOf(page) + 1);
  }

  isShared(page: number): boolean {
    return this.usersOf(page) > 1;
  }

  /** Memory goes back to the system once most of it is free. */
  release(slot: number, pages: readonly number[]): void {
    if (!this.#slots.delete(slot)) throw new JambaError("BACKEND", `release: expected a slot in use, found ${slot}`);
    this.#freeSlots.push(slot);
    this.releasePages(pages);
    const used = this.#slots.size + this.#users.size;
    const free = this.#freeSlots.length + this.#freePages.length;
    if (used === 0 || (++this.#releases % shrinkEvery === 0 && free > 2 * used)) this.#shrink();
  }

  #shrink(): void {
    const end = (used: Iterable<number>, least: number) => {
      let last = least - 1;
      for (const index of used) last = Math.max(last, index);
      return last + 1;
    };
    this.store.shrink(end(this.#slots, this.chunk.slots), end(this.#users.keys(), this.chunk.pages));
    // The lowest are taken first from here on, so that the end gets free.
    const left = (free: number[], count: number) => free.filter((index) => index < count).sort((a, b) => b - a);
    this.#freeSlots = left(this.#freeSlots, this.store.nSlots);
    this.#freePages = left(this.#freePages, this.store.nPages);
    this.#known = { slots: this.store.nSlots, pages: this.store.nPages };
  }

  releasePages(pages: readonly number[]): void {
    for (const page of pages) {
      const users = this.usersOf(page) - 1;
      if (users > 0) this.#users.set(page, users);
      else {
        this.#users.delete(page);
        this.#freePages.push(page);
      }
    }
  }

  /** @throws JambaError BACKEND for a page that nobody uses */
  usersOf(page: number): number {
    const users = this.#users.get(page);
    if (users === undefined) throw new JambaError("BACKEND", `expected a page in use, found ${page}`);
    return users;
  }
}
