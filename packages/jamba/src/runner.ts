// Advances sequences: gives them slots and pages, records or replays the step, runs it. Deals in ids, knows no text.

import { PagedAllocator } from "@jamba/attention";
import {
  type Backend,
  type CommandList,
  checkState,
  type FloatDtype,
  type HostState,
  type HostTensor,
  JambaError,
  record,
  ShapeError,
  type StateAddress,
  type StateStore,
} from "@jamba/core";
import type { JambaConfig } from "@jamba/loader";
import { type ForwardReads, forward, stateSpec } from "./model.ts";
import type { ModelWeights } from "./weights.ts";

/** The paged state of one conversation while it moves. Only the runner changes it. */
export interface Sequence extends StateAddress {
  readonly slot: number;
  readonly pages: number[];
  seen: number;
  /** The tokens seen; undefined when the state came from outside without them. */
  ids: number[] | undefined;
  released: boolean;
}

/** One sequence's part of a step. */
export interface Advance {
  readonly sequence: Sequence;
  readonly ids: readonly number[];
  /** Which of `ids` want logits: "last", "all" or "none". */
  readonly logits: "last" | "all" | "none";
}

export interface Advanced extends ForwardReads {
  readonly signal?: AbortSignal;
}

/** Tokens per KV page: small enough that a short fork wastes little, large enough that page tables stay short. */
export const pageTokens = 64;

/** Slots and pages that are made at a time, once all are in use. */
export const reserved = { slots: 4, pages: 16 };

/** Recorded lists kept for replay: decode alone, decode in small batches, one prefill chunk, and a few more. */
const keptLists = 8;

export class Runner {
  readonly #store: StateStore;
  readonly #allocator: PagedAllocator;
  readonly #lists = new Map<string, CommandList>();
  /** What the backend is doing for this runner, with what stops it. */
  readonly #calls = new Map<AbortController, Promise<unknown>>();
  #disposed = false;

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

  newSequence(): Sequence {
    this.#expectOpen();
    return { slot: this.#allocator.takeSlot(), pages: [], seen: 0, ids: [], released: false };
  }

  async fork(from: Sequence): Promise<Sequence> {
    this.#expectOpen();
    this.#expectLive(from);
    const slot = this.#allocator.takeSlot();
    this.#allocator.share(from.pages);
    const to = { slot, pages: [...from.pages], seen: from.seen, ids: from.ids && [...from.ids], released: false };
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
    const sequence: Sequence = { ...this.newSequence(), seen: state.seen, ids: state.seen === 0 ? [] : undefined };
    try {
      sequence.pages.push(...this.#takePages(Math.ceil(state.seen / pageTokens)));
      await this.#call(() => this.backend.writeState(this.#store, sequence, state));
    } catch (error) {
      this.release(sequence);
      throw error;
    }
    return sequence;
  }

  /**
   * One step of any number of sequences, each with any number of tokens.
   * After a failure or an abort the sequences of the step are released, since their states are half moved.
   *
   * @returns the values that `forward` reads, over the tokens of all sequences in order
   * @throws JambaError CONTEXT_FULL or ShapeError before anything moved
   */
  async step(parts: readonly Advance[], { signal, ...reads }: Advanced = {}): Promise<ReadonlyMap<string, HostTensor>> {
    this.#expectOpen();
    for (const { sequence, ids } of parts) {
      this.#expectLive(sequence);
      this.#expectIds(ids);
      this.#expectRoom(sequence.seen, ids.length);
    }
    signal?.throwIfAborted();
    const starts = new Int32Array(parts.length + 1);
    const rows: number[] = [];
    for (const [i, { ids, logits }] of parts.entries()) {
      const [start, end] = [starts[i], starts[i] + ids.length];
      starts[i + 1] = end;
      if (logits === "last" && end > start) rows.push(end - 1);
      if (logits === "all") for (let row = start; row < end; row++) rows.push(row);
    }
    const ids = Int32Array.from(parts.flatMap((part) => part.ids));
    try {
      for (const { sequence, ids } of parts) await this.#makeWritable(sequence, ids.length);
      const list = await this.#list({ L: ids.length, nSequences: parts.length, nRows: rows.length }, reads);
      const states = parts.map(({ sequence }) => ({ slot: sequence.slot, pages: sequence.pages, seen: sequence.seen }));
      const inputs = { ids, starts, states, rows: Int32Array.from(rows) };
      const values = await this.#call((signal) => this.backend.run(list, this.#store, inputs, { signal }), signal);
      for (const { sequence, ids } of parts) {
        sequence.seen += ids.length;
        sequence.ids?.push(...ids);
      }
      return values;
    } catch (error) {
      for (const { sequence } of parts) this.release(sequence);
      throw error;
    }
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

  /** Pages for `tokens` more, none of those to be written shared with a fork. */
  async #makeWritable(sequence: Sequence, tokens: number): Promise<void> {
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

  #takePages(count: number): number[] {
    this.#expectOpen();
    return this.#allocator.takePages(count);
  }

  #expectOpen(): void {
    if (this.#disposed) throw disposed();
  }

  #expectLive(sequence: Sequence): void {
    if (sequence.released) throw new JambaError("DISPOSED", "state: expected one that is in use, found it disposed (or its step failed)");
  }

  #expectIds(ids: readonly number[]): void {
    for (const id of ids) {
      if (!(Number.isSafeInteger(id) && id >= 0 && id < this.config.vocabSize)) {
        throw new ShapeError(`ids: expected token ids in [0, ${this.config.vocabSize}), found ${id}`);
      }
    }
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
