// Advances sequences: gives them slots and pages, records or replays the step, runs it. Deals in ids, knows no text.

import { PagedAllocator } from "@jamba/attention";
import {
  type Backend,
  type CommandList,
  checkState,
  type FloatDtype,
  floatBytes,
  type HostState,
  type HostTensor,
  JambaError,
  record,
  ShapeError,
  type StateAddress,
  type StateSpec,
  type StateStore,
  stateBytes,
} from "@jamba/core";
import type { JambaConfig } from "@jamba/loader";
import type { ModelWeights } from "../load/weights.ts";
import { type ForwardReads, forward, stateSpec } from "../model/forward.ts";

/** The paged state of one conversation. Only the runner changes it. */
export interface Sequence extends StateAddress {
  slot: number;
  pages: number[];
  seen: number;
  released: boolean;
}

/** One sequence's part of a step. */
export interface Advance {
  readonly sequence: Sequence;
  readonly ids: readonly number[];
  /** How many of the last of `ids` want logits. */
  readonly rows: number;
}

export interface Advanced extends ForwardReads {
  readonly signal?: AbortSignal;
  /** Advance copies, which take the places of the sequences once the step is whole: an abort then loses time and nothing else. */
  readonly onCopies?: boolean;
}

/** Tokens per KV page: small enough that a short fork wastes little, large enough that page tables stay short. */
export const pageTokens = 64;

/** Slots and pages that are made at a time, once all are in use. */
export const reserved = { slots: 4, pages: 16 };

/** Recorded lists kept for replay: decode in batches of each size, pieces of prompts alone and beside it. */
const keptLists = 32;

export class Runner {
  readonly #store: StateStore;
  readonly #allocator: PagedAllocator;
  readonly #lists = new Map<string, CommandList>();
  /** What the backend is doing for this runner, with what stops it. */
  readonly #calls = new Map<AbortController, Promise<unknown>>();
  #disposed = false;
  /** Asked for room when there is none: whether some was made. */
  whenFull: () => boolean = () => false;

  constructor(
    readonly backend: Backend,
    readonly config: JambaConfig,
    readonly weights: ModelWeights,
    /** Tokens a sequence may hold. */
    readonly contextLength: number,
    kvDtype: FloatDtype,
  ) {
    this.#store = backend.createStates(stateSpec(config, pageTokens, kvDtype));
    this.#allocator = new PagedAllocator(this.#store, reserved);
  }

  /** Slots and pages in use: what a leak would raise. */
  get used(): { slots: number; pages: number } {
    return this.#allocator.used;
  }

  /** How many sequences share a page in use. */
  usersOf(page: number): number {
    return this.#allocator.usersOf(page);
  }

  get stateSpec(): StateSpec {
    return this.#store.spec;
  }

  /** Bytes of one slot and of one page. */
  get sizes(): { slot: number; page: number } {
    return stateBytes(this.stateSpec, floatBytes[this.stateSpec.kvDtype]);
  }

  /** Bytes that a sequence of this many tokens takes when it shares nothing. */
  bytesOf(tokens: number): number {
    return this.sizes.slot + Math.ceil(tokens / pageTokens) * this.sizes.page;
  }

  newSequence(): Sequence {
    this.#expectOpen();
    return { slot: this.#take(() => this.#allocator.takeSlot()), pages: [], seen: 0, released: false };
  }

  async fork(from: Sequence): Promise<Sequence> {
    this.#expectOpen();
    this.#expectLive(from);
    const slot = this.#take(() => this.#allocator.takeSlot());
    this.#allocator.share(from.pages);
    const to = { slot, pages: [...from.pages], seen: from.seen, released: false };
    try {
      await this.#call(() => this.backend.copyStates(this.#store, { slots: [[from.slot, slot]] }));
    } catch (error) {
      this.release(to);
      throw error;
    }
    return to;
  }

  release(sequence: Sequence): void {
    if (sequence.released) return;
    sequence.released = true;
    this.#allocator.release(sequence.slot, sequence.pages);
  }

  async export(sequence: Sequence): Promise<HostState> {
    this.#expectLive(sequence);
    return this.#call(() => this.backend.readState(this.#store, sequence));
  }

  /** @throws ShapeError when `state` is not one of this model's */
  async import(state: HostState): Promise<Sequence> {
    if (!Number.isSafeInteger(state.seen) || state.seen < 0) throw new ShapeError(`state: seen: expected a count, found ${state.seen}`);
    this.#expectRoom(0, state.seen);
    checkState(this.#store.spec, state.seen, state);
    const sequence: Sequence = { ...this.newSequence(), seen: state.seen };
    try {
      sequence.pages.push(...this.#takePages(Math.ceil(state.seen / pageTokens)));
      await this.#call(() => this.backend.writeState(this.#store, sequence, state));
    } catch (error) {
      this.release(sequence);
      throw error;
    }
    return sequence;
  }

  /** @throws JambaError CONTEXT_FULL, DISPOSED or ShapeError when `sequence` can't go on with `ids` */
  expectReadable(sequence: Pick<Sequence, "seen" | "released">, ids: readonly number[]): void {
    this.#expectOpen();
    this.#expectLive(sequence);
    for (const id of ids) {
      if (!(Number.isSafeInteger(id) && id >= 0 && id < this.config.vocabSize)) {
        throw new ShapeError(`ids: expected token ids in [0, ${this.config.vocabSize}), found ${id}`);
      }
    }
    this.#expectRoom(sequence.seen, ids.length);
  }

  /**
   * One step of any number of sequences, each with any number of tokens.
   * After a failure or an abort the sequences of the step are released, since their states are half moved, unless it was made on copies.
   *
   * @returns the values that `forward` reads, over the tokens of all sequences in order
   * @throws JambaError CONTEXT_FULL, OUT_OF_MEMORY or ShapeError before anything moved
   */
  async step(parts: readonly Advance[], { signal, onCopies, ...reads }: Advanced = {}): Promise<ReadonlyMap<string, HostTensor>> {
    for (const { sequence, ids } of parts) this.expectReadable(sequence, ids);
    signal?.throwIfAborted();
    const starts = new Int32Array(parts.length + 1);
    const rows: number[] = [];
    for (const [i, part] of parts.entries()) {
      starts[i + 1] = starts[i] + part.ids.length;
      for (let row = starts[i + 1] - Math.min(part.rows, part.ids.length); row < starts[i + 1]; row++) rows.push(row);
    }
    const ids = Int32Array.from(parts.flatMap((part) => part.ids));
    const moving: Sequence[] = [];
    try {
      for (const { sequence } of parts) moving.push(onCopies ? await this.fork(sequence) : sequence);
      for (const [i, sequence] of moving.entries()) await this.makeRoom(sequence, parts[i].ids.length);
    } catch (error) {
      if (onCopies) for (const copy of moving) this.release(copy);
      throw error;
    }
    try {
      const list = await this.#list({ L: ids.length, nSequences: parts.length, nRows: rows.length }, reads);
      const states = moving.map(({ slot, pages, seen }) => ({ slot, pages, seen }));
      const inputs = { ids, starts, states, rows: Int32Array.from(rows) };
      const values = await this.#call((signal) => this.backend.run(list, this.#store, inputs, { signal }), signal);
      for (const [i, { sequence, ids }] of parts.entries()) {
        if (onCopies) this.#replace(sequence, moving[i]);
        sequence.seen += ids.length;
      }
      return values;
    } catch (error) {
      for (const sequence of moving) this.release(sequence);
      throw error;
    }
  }

  /**
   * Takes pages for `tokens` more, none of those to be written shared with a fork. A step does so by itself.
   * @throws JambaError OUT_OF_MEMORY, with the state as it was
   */
  async makeRoom(sequence: Sequence, tokens: number): Promise<void> {
    if (tokens === 0 || !this.config.layerKinds.includes("attention")) return;
    const first = Math.floor(sequence.seen / pageTokens);
    const last = sequence.pages[first];
    if (last !== undefined && this.#allocator.isShared(last)) {
      const [own] = this.#takePages(1);
      sequence.pages[first] = own;
      this.#allocator.releasePages([last]);
      await this.#call(() => this.backend.copyStates(this.#store, { pages: [[last, own]] }));
    }
    const missing = Math.ceil((sequence.seen + tokens) / pageTokens) - sequence.pages.length;
    if (missing > 0) sequence.pages.push(...this.#takePages(missing));
  }

  /** Steps that are under way end with code DISPOSED before the states go. */
  async dispose(): Promise<void> {
    this.#disposed = true;
    for (const stop of this.#calls.keys()) stop.abort(disposed());
    await Promise.allSettled(this.#calls.values());
    this.#store.dispose();
  }

  async #call<T>(call: (signal: AbortSignal) => Promise<T>, signal?: AbortSignal): Promise<T> {
    this.#expectOpen();
    signal?.throwIfAborted();
    // One for each call: AbortSignal.any would tie each to a signal that lives as long as the model.
    const stop = new AbortController();
    const abort = () => stop.abort(signal!.reason);
    signal?.addEventListener("abort", abort);
    try {
      const running = call(stop.signal);
      this.#calls.set(stop, running);
      return await running;
    } finally {
      this.#calls.delete(stop);
      signal?.removeEventListener("abort", abort);
    }
  }

  async #list(step: { L: number; nSequences: number; nRows: number }, reads: ForwardReads): Promise<CommandList> {
    const key = [step.L, step.nSequences, step.nRows, reads.hidden, reads.routes].join();
    const found = this.#lists.get(key);
    const list = found ?? record(step, this.#store.spec, (ops) => forward(ops, this.config, this.weights, reads));
    this.#lists.delete(key);
    this.#lists.set(key, list);
    if (this.#lists.size > keptLists) this.#lists.delete(this.#lists.keys().next().value!);
    // Some milliseconds each: what recorded must not hold up the event loop until the backend has read the list too.
    if (!found) await new Promise((resolve) => setTimeout(resolve));
    return list;
  }

  /** `sequence` goes on as `by`, which is no more. */
  #replace(sequence: Sequence, by: Sequence): void {
    if (sequence.released) {
      this.release(by);
      return;
    }
    this.#allocator.release(sequence.slot, sequence.pages);
    sequence.slot = by.slot;
    sequence.pages = by.pages;
    by.released = true;
  }

  #takePages(count: number): number[] {
    this.#expectOpen();
    return this.#take(() => this.#allocator.takePages(count));
  }

  #take<T>(take: () => T): T {
    for (;;) {
      try {
        return take();
      } catch (error) {
        if (!(error instanceof JambaError && error.code === "OUT_OF_MEMORY" && this.whenFull())) throw error;
      }
    }
  }

  #expectOpen(): void {
    if (this.#disposed) throw disposed();
  }

  #expectLive(sequence: Pick<Sequence, "released">): void {
    if (sequence.released) throw new JambaError("DISPOSED", "state: expected one that is in use, found it disposed (or its step failed)");
  }

  #expectRoom(seen: number, more: number): void {
    if (seen + more <= this.contextLength) return;
    throw new JambaError(
      "CONTEXT_FULL",
      `expected at most contextLength = ${this.contextLength} tokens, found ${seen} read and ${more} to come; shorten the prompt or load the model with a larger contextLength`,
    );
  }
}

function disposed(): JambaError {
  return new JambaError("DISPOSED", "model: expected an open one, found it disposed");
}
