// Advances sequences: gives them slots and pages, records or replays the step, runs it. Deals in ids, knows no text.

import { PagedAllocator } from "@jamba/attention";
import {
  type Backend,
  checkState,
  type FloatDtype,
  fromHostState,
  type HostState,
  JambaError,
  ShapeError,
  type StatePart,
  type StateSpec,
  type StateStore,
  type Step,
} from "@jamba/core";
import type { JambaConfig } from "@jamba/loader";
import { type ForwardReads, stateSpec } from "../model/forward.ts";
import type { ModelWeights } from "../model/weights.ts";
import { type Made, madeUnknown } from "../state/tenant.ts";
import { type Advance, inputsOf, type Placed, type Sequence } from "./advance.ts";
import { answerReads } from "./evidence.ts";
import { Programs } from "./programs.ts";

export interface StepOptions {
  readonly reads: ForwardReads;
  /** Advance copies, which take the places of the sequences once the step is whole: an abort then loses time and nothing else. */
  readonly onCopies?: boolean;
  /** Of a step on copies; others run to their end. */
  readonly signal?: AbortSignal;
  /** Called when the step begins, its program and its room made, with whether it is on copies: there may be no room for these. */
  readonly onStart?: (onCopies: boolean) => void;
}

export interface StepResult {
  /** Undefined when no part was left. */
  readonly step?: Step;
  /** Those that were advanced, in the order of the step's tokens and rows. */
  readonly parts: readonly Advance[];
  /** Those that there was no room for, as they were. */
  readonly refused: readonly { readonly part: Advance; readonly error: unknown }[];
}

/** Tokens per KV page: small enough that a short fork wastes little, large enough that page tables stay short. */
export const pageTokens = 64;

export class Runner {
  readonly #store: StateStore;
  readonly #allocator: PagedAllocator;
  readonly #programs: Programs;
  /** What the backend is doing for this runner, with what stops it. */
  readonly #calls = new Map<AbortController, Promise<unknown>>();
  #disposed = false;
  /** Bytes of one slot and of one page. */
  readonly sizes: { readonly slot: number; readonly page: number };
  /** Asked for room when there is none: whether some was made. */
  whenFull: () => boolean = () => false;

  private constructor(
    readonly backend: Backend,
    readonly config: JambaConfig,
    weights: ModelWeights,
    /** Tokens a sequence may hold. */
    readonly contextLength: number,
    store: StateStore,
  ) {
    this.#store = store;
    this.sizes = backend.stateBytes(store.spec);
    this.#allocator = new PagedAllocator(store, backend.device.stateStep);
    this.#programs = new Programs(backend, config, weights, store);
  }

  static async open(
    backend: Backend,
    config: JambaConfig,
    weights: ModelWeights,
    { contextLength, kvDtype }: { contextLength: number; kvDtype: FloatDtype },
  ): Promise<Runner> {
    return new Runner(backend, config, weights, contextLength, await backend.createStates(stateSpec(config, pageTokens, kvDtype)));
  }

  /** Slots and pages in use: what a leak would raise. */
  get used(): { slots: number; pages: number } {
    return this.#allocator.used;
  }

  /** How many sequences share a page in use. */
  usersOf(page: number): number {
    return this.#allocator.usersOf(page);
  }

  /** Of recording and compiling, so far: no part of any step's time. */
  get prepareMs(): number {
    return this.#programs.prepareMs;
  }

  get stateSpec(): StateSpec {
    return this.#store.spec;
  }

  /** Bytes that a sequence of this many tokens takes when it shares nothing. */
  bytesOf(tokens: number): number {
    return this.sizes.slot + Math.ceil(tokens / pageTokens) * this.sizes.page;
  }

  async newSequence(): Promise<Sequence> {
    this.#expectOpen();
    return { slot: await this.#take(() => this.#allocator.takeSlot()), pages: [], seen: 0, released: false };
  }

  async fork(from: Sequence): Promise<Sequence> {
    this.#expectOpen();
    this.#expectLive(from);
    const to = await this.#share(from);
    try {
      await this.#call(() => this.backend.copyStates(this.#store, { slots: [[from.slot, to.slot]] }));
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

  /** Part by part. `sequence` must stay as it is until the last one was taken. */
  async *export(sequence: Sequence): AsyncGenerator<StatePart> {
    this.#expectLive(sequence);
    for await (const part of this.backend.readState(this.#store, { ...sequence })) {
      this.#expectOpen();
      yield part;
    }
  }

  /** @throws ShapeError when `state` is not one of this model's */
  async importHost(state: HostState): Promise<Sequence> {
    if (!Number.isSafeInteger(state.seen) || state.seen < 0) throw new ShapeError(`state: seen: expected a count, found ${state.seen}`);
    checkState(this.#store.spec, state.seen, state);
    for (const [i, layer] of state.layers.entries()) {
      for (const tensor of layer.kind === "mamba" ? [layer.conv, layer.h] : [layer.k, layer.v])
        if (!(tensor.data as Float32Array).every(Number.isFinite))
          throw new ShapeError(`state: layer ${i}: expected finite numbers, found others`);
    }
    return this.import(state.seen, fromHostState(state), madeUnknown(state.seen));
  }

  /**
   * @param made where the state was not read by this model as it is held
   * @throws ShapeError when the parts are not those of a state of this model
   */
  async import(seen: number, parts: AsyncIterable<StatePart> | Iterable<StatePart>, made?: Made): Promise<Sequence> {
    this.#expectRoom(0, seen);
    const sequence: Sequence = { ...(await this.newSequence()), seen, made };
    try {
      if (this.#hasPages) sequence.pages.push(...(await this.#take(() => this.#allocator.takePages(Math.ceil(seen / pageTokens)))));
      await this.#call(() => this.backend.writeState(this.#store, sequence, parts));
    } catch (error) {
      this.release(sequence);
      throw error;
    }
    return sequence;
  }

  /** @throws JambaError CONTEXT_FULL, DISPOSED or ShapeError when `sequence` can't go on with `ids` and then `more` */
  expectReadable(sequence: Pick<Sequence, "seen" | "released">, ids: readonly number[], more: readonly number[] = []): void {
    this.#expectOpen();
    this.#expectLive(sequence);
    // First, since it bounds how many are looked at.
    this.#expectRoom(sequence.seen, ids.length + more.length);
    for (const list of [ids, more])
      for (const id of list)
        if (!(Number.isSafeInteger(id) && id >= 0 && id < this.config.vocabSize))
          throw new ShapeError(`ids: expected token ids in [0, ${this.config.vocabSize}), found ${id}`);
  }

  /**
   * One step of any number of sequences, each with any number of tokens: those that there is room for.
   * After a failure or an abort the sequences of the step are released, since their states are half moved, unless it was made on copies.
   * The parts must be readable.
   */
  async step(parts: readonly Advance[], { reads, onCopies = false, signal, onStart }: StepOptions): Promise<StepResult> {
    let { placed, refused } = await this.#place(parts, onCopies);
    const copied = onCopies && refused.length === 0;
    // Room for all of them, perhaps, and none for copies.
    if (onCopies && !copied) {
      for (const one of placed) this.#giveBack(one);
      ({ placed, refused } = await this.#place(parts, false));
    }
    for (const one of placed) if (one.part.isWanted?.() === false) this.#giveBack(one);
    placed = placed.filter(({ part }) => part.isWanted?.() !== false);
    if (placed.length === 0) return { parts: [], refused };
    let step: Step;
    let moved: Promise<void>;
    try {
      const { inputs, shape } = inputsOf(placed);
      const program = await this.#programs.get(shape, reads);
      const stop = copied ? signal : undefined;
      moved = this.#call((signal) => {
        onStart?.(copied);
        step = this.backend.submit(program, inputs, { signal });
        return step.done;
      }, stop);
    } catch (error) {
      for (const one of placed) this.#giveBack(one);
      throw error;
    }
    for (const { pages } of placed) this.#allocator.releasePages(pages.map(([from]) => from));
    try {
      await moved;
    } catch (error) {
      for (const { moving } of placed) this.release(moving);
      throw error;
    }
    for (const { part, moving } of placed) {
      if (copied) this.#replace(part.sequence, moving);
      part.sequence.seen += part.ids.length;
    }
    return { step: step!, parts: placed.map(({ part }) => part), refused };
  }

  /**
   * Runs the longest step of a prompt and one of an answer for a sequence that nobody wants: what the device has no room for is known then.
   * @throws JambaError OUT_OF_MEMORY
   */
  async rehearse(): Promise<void> {
    const reads = answerReads(this.config.vocabSize);
    const sequence = await this.newSequence();
    try {
      for (const L of [Math.min(this.contextLength, this.backend.device.chunkTokens), 1]) {
        if (sequence.seen + L > this.contextLength) break;
        const { refused } = await this.step([{ sequence, ids: Array<number>(L).fill(0), rows: 1 }], { reads });
        for (const { error } of refused) throw error;
      }
    } finally {
      this.release(sequence);
    }
  }

  /** Takes what each part's step writes to, as long as there is some. */
  async #place(parts: readonly Advance[], onCopies: boolean): Promise<{ placed: Placed[]; refused: { part: Advance; error: unknown }[] }> {
    const placed: Placed[] = [];
    const refused: { part: Advance; error: unknown }[] = [];
    for (const part of parts) {
      try {
        placed.push(await this.#placeOne(part, onCopies));
      } catch (error) {
        refused.push({ part, error });
      }
    }
    return { placed, refused };
  }

  /** @throws JambaError OUT_OF_MEMORY, with everything as it was */
  async #placeOne(part: Advance, onCopy: boolean): Promise<Placed> {
    const { sequence, ids } = part;
    const moving = onCopy ? await this.#share(sequence) : sequence;
    const slots = onCopy ? [[sequence.slot, moving.slot] as const] : [];
    if (!this.#hasPages) return { part, moving, slots, pages: [], nAdded: 0 };
    try {
      const first = Math.floor(moving.seen / pageTokens);
      const shared = moving.pages[first];
      const isShared = shared !== undefined && this.#allocator.isShared(shared);
      const missing = Math.ceil((moving.seen + ids.length) / pageTokens) - moving.pages.length;
      const taken = await this.#take(() => this.#allocator.takePages(Math.max(0, missing) + Number(isShared)));
      const pages = isShared ? [[shared, taken[0]] as const] : [];
      if (isShared) moving.pages[first] = taken.shift()!;
      moving.pages.push(...taken);
      return { part, moving, slots, pages, nAdded: taken.length };
    } catch (error) {
      if (onCopy) this.release(moving);
      throw error;
    }
  }

  /** Undoes `#placeOne` where the step did not begin. */
  #giveBack({ part, moving, pages, nAdded }: Placed): void {
    this.#allocator.releasePages(moving.pages.splice(moving.pages.length - nAdded));
    for (const [from, to] of pages) {
      moving.pages[moving.pages.indexOf(to)] = from;
      this.#allocator.releasePages([to]);
    }
    if (moving !== part.sequence) this.release(moving);
  }

  /** Steps that are under way end with code DISPOSED before the states go. */
  async dispose(): Promise<void> {
    this.#disposed = true;
    for (const stop of this.#calls.keys()) stop.abort(disposed());
    await Promise.allSettled(this.#calls.values());
    await this.#programs.dispose();
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

  get #hasPages(): boolean {
    return this.config.layerKinds.includes("attention");
  }

  /** A copy but for the slot, whose numbers are still to be copied. */
  async #share(from: Sequence): Promise<Sequence> {
    const slot = await this.#take(() => this.#allocator.takeSlot());
    if (from.released) this.#allocator.release(slot, []);
    this.#expectLive(from);
    this.#allocator.share(from.pages);
    return { slot, pages: [...from.pages], seen: from.seen, released: false, made: from.made };
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

  async #take<T>(take: () => Promise<T>): Promise<T> {
    for (;;) {
      this.#expectOpen();
      try {
        return await take();
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
