// Reads prompts for all calls: admits them, starts each from the deepest state that is kept, keeps states on the way.
// Deals in ids, knows no text.

import { JambaError, type StatePart, type StateSpec } from "@jamba/core";
import type { DiskCache } from "../state/disk-cache.ts";
import { Admission, type Limits } from "./admission.ts";
import {
  candidates,
  evidenceOfKept,
  evidenceOfStep,
  type KeptRow,
  keptRowOf,
  noQuestions,
  type Questions,
  type RowEvidence,
  type StepRow,
} from "./evidence.ts";
import { type Match, PrefixTree, type Snapshot } from "./prefix-tree.ts";
import type { Runner, Sequence } from "./runner.ts";
import { type ReadOptions, Scheduler } from "./scheduler.ts";

export type KeptState = Snapshot<Sequence, KeptRow>;

export interface EngineOptions {
  /** Tokens that end a message: states are kept there. */
  readonly stopIds: ReadonlySet<number>;
  /** Of states that are kept although no call and no session holds them. */
  readonly cacheBytes: number;
  /** Where states go that have no room any more, and come back from. */
  readonly disk?: DiskCache;
  /** Hears why one could not go there. */
  readonly onDiskError?: (error: unknown) => void;
  /** Of calls that run at the same time. */
  readonly limits: Limits;
}

export interface OpenOptions {
  /** The most that the answer may add. */
  readonly maxTokens: number;
  readonly priority?: number;
  /** Of the first draw. */
  readonly questions?: Questions;
  readonly signal?: AbortSignal;
}

/** A prompt that was read, and the answer that goes on from it. */
export interface Opened {
  sequence: Sequence;
  /** What `sequence` has read. */
  readonly ids: number[];
  /** Of the last token of the prompt. */
  readonly evidence: RowEvidence;
  /** Tokens of the prompt that a kept state had read before. */
  readonly cachedTokens: number;
  readonly cacheMissReason?: string;
  /** Ends the stay among the running calls. */
  readonly leave: () => void;
}

/** A prompt that is being read, and who waits for a part of it. */
interface Active {
  readonly ids: readonly number[];
  due: number;
  at: number;
  waits: { readonly at: number; readonly resolve: (kept: KeptState | undefined) => void }[];
}

/**
 * Distances from the end of a prompt at which states are kept are this and its products with 4, 16, …: at most four times as much is read
 * as had to be. More of them would cut a cold prompt into pieces that are slower to read.
 */
const leastDistance = 128;

/** Sharing fewer tokens is not worth waiting for another call. */
const worthWaiting = 16;

/** Tokens: shorter ones are read again as soon as found. */
const worthSpilling = 64;

/** States that wait to be written still take memory. */
const mostSpilling = 8;

export class Engine {
  readonly #runner: Runner;
  readonly #options: EngineOptions;
  readonly #scheduler: Scheduler;
  readonly #admission: Admission;
  readonly #tree: PrefixTree<Sequence, KeptRow>;
  readonly #active = new Set<Active>();
  /** States on their way to the disk. */
  #spilling = 0;
  #spilled: Promise<void> = Promise.resolve();
  #spillLimit = mostSpilling;

  constructor(runner: Runner, options: EngineOptions) {
    this.#runner = runner;
    this.#options = options;
    this.#scheduler = new Scheduler(runner);
    this.#admission = new Admission(options.limits);
    this.#tree = new PrefixTree({
      bytes: options.cacheBytes,
      slotBytes: runner.sizes.slot,
      pageBytes: runner.sizes.page,
      pagesOf: ({ pages }) => pages,
      drop: (state, ids) => this.#drop(state, ids),
    });
    runner.whenFull = () => {
      const { states, bytes } = this.#tree.idle;
      this.#dropWith(0, () => this.#tree.trim(bytes / 2 - 1));
      return states > 0;
    };
  }

  /** What a state of this model looks like. */
  get stateShape(): { spec: StateSpec; vocabSize: number } {
    return { spec: this.#runner.stateSpec, vocabSize: this.#runner.config.vocabSize };
  }

  /** States that no call and no session holds. */
  get kept(): { states: number; bytes: number } {
    const { states, bytes } = this.#tree.idle;
    return { states, bytes };
  }

  get calls(): { running: number; waiting: number } {
    return this.#admission.counts;
  }

  /** `prepareMs`: spent on recording and compiling, beside the steps. */
  get steps(): Readonly<Scheduler["counts"] & { prepareMs: number }> {
    return { ...this.#scheduler.counts, prepareMs: this.#runner.prepareMs };
  }

  /** Slots and pages that calls, sessions and states hold: what a leak would raise. */
  get used(): { slots: number; pages: number } {
    const { slots, pages } = this.#runner.used;
    const idle = this.#tree.idle;
    let free = 0;
    for (const [page, users] of idle.pages) if (this.#runner.usersOf(page) === users) free++;
    return { slots: slots - idle.states, pages: pages - free };
  }

  clear(): void {
    this.#dropWith(0, () => this.#tree.clear());
  }

  /** Refuses who waits, and puts what is kept on the disk, if there is one. */
  async close(): Promise<void> {
    this.#admission.close();
    this.#dropWith(Number.POSITIVE_INFINITY, () => this.#tree.clear());
    await this.#spilled;
  }

  /**
   * Reads a prompt, as little of it as kept states allow. `end` must follow.
   * @throws the signal's reason; JambaError OPTION, CONTEXT_FULL, OUT_OF_MEMORY, DISPOSED, ShapeError; what a failed step throws
   */
  async open(ids: readonly number[], { maxTokens, priority = 0, questions = noQuestions, signal }: OpenOptions): Promise<Opened> {
    if (ids.length === 0) throw new JambaError("OPTION", "prompt: expected at least one token, found none");
    this.#runner.expectReadable({ seen: 0, released: false }, ids);
    const tokens = Math.min(ids.length + maxTokens, this.#runner.contextLength);
    const due = this.#scheduler.dueOf(ids.length, priority);
    const leave = await this.#admission.enter({ tokens, bytes: this.#runner.bytesOf(tokens) }, due, signal);
    const active: Active = { ids, due, at: 0, waits: [] };
    let sequence: Sequence | undefined;
    let fetched: KeptState | undefined;
    try {
      fetched = await this.#fetch(ids, signal);
      const { match, kept } = await this.#startOf(active, signal);
      sequence = kept ? await this.#forkOf(kept) : await this.#runner.newSequence();
      const cachedTokens = sequence.seen;
      const evidence =
        cachedTokens === ids.length
          ? evidenceOfKept(kept!.end!, questions)
          : await this.#read(active, sequence, match.matched, { questions: [questions], signal });
      signal?.throwIfAborted(); // what no step had to be read for, or one that could not be stopped
      return { sequence, ids: [...ids], evidence, cachedTokens, cacheMissReason: this.#missReason(ids, cachedTokens, match), leave };
    } catch (error) {
      // What was read before a cancel need not be read again.
      if (sequence && sequence.seen > 0 && !sequence.released) this.release(this.#tree.keep(ids.slice(0, sequence.seen), sequence));
      else if (sequence) this.#runner.release(sequence);
      leave();
      throw error;
    } finally {
      if (fetched) this.#tree.unpin(fetched);
      this.#active.delete(active);
      for (const { resolve } of active.waits) resolve(undefined);
    }
  }

  /** From the disk, pinned, if it has read more of `ids` than what is kept here. */
  async #fetch(ids: readonly number[], signal: AbortSignal | undefined): Promise<KeptState | undefined> {
    if (!this.#options.disk) return undefined;
    const depth = this.#tree.match(ids).snapshot?.depth ?? 0;
    // One token at least is read, for its logits.
    const found = await this.#options.disk.find(ids.slice(0, -1), depth + worthWaiting);
    return found?.load((parts) => this.import(ids.slice(0, found.length), parts), signal);
  }

  /** Drops states with so many of them on their way to the disk at most. */
  #dropWith(spillLimit: number, drop: () => void): void {
    this.#spillLimit = spillLimit;
    drop();
    this.#spillLimit = mostSpilling;
  }

  #drop(state: Sequence, ids: (() => number[]) | undefined): void {
    const { disk } = this.#options;
    if (!disk || !ids || state.seen < worthSpilling || this.#spilling >= this.#spillLimit) {
      this.#runner.release(state);
      return;
    }
    const path = ids();
    this.#spilling++;
    this.#spilled = this.#spilled
      .then(() => disk.put(path, this.#runner.export(state)))
      .catch((error) => this.#options.onDiskError?.(error)) // full or gone: a later prompt reads the tokens again
      .finally(() => {
        this.#spilling--;
        this.#runner.release(state);
      });
  }

  /** Goes on with an answer. @returns evidence of the row after the last of `ids` */
  async advance(opened: Opened, ids: readonly number[], questions: Questions): Promise<RowEvidence> {
    this.#runner.expectReadable(opened.sequence, ids);
    const [evidence] = await this.#readRows(opened.sequence, ids, { rows: 1, questions: [questions], isAnswer: true });
    opened.ids.push(...ids);
    return evidence;
  }

  /** Goes on with an answer that may turn out to be another. @returns evidence of the rows after the last tokens, one for each of `questions` */
  async guess(sequence: Sequence, ids: readonly number[], questions: readonly Questions[]): Promise<readonly RowEvidence[]> {
    this.#runner.expectReadable(sequence, ids);
    return this.#readRows(sequence, ids, { rows: questions.length, questions, isAnswer: true });
  }

  async #readRows(sequence: Sequence, ids: readonly number[], options: ReadOptions): Promise<readonly StepRow[]> {
    let found: readonly StepRow[] = [];
    await this.#scheduler.read(sequence, ids, {
      ...options,
      reads: { top: Math.min(candidates, this.#runner.config.vocabSize), logits: "keep" },
      take: async (slice) => {
        found = await evidenceOfStep(slice);
        return found;
      },
    });
    return found;
  }

  /**
   * Reads `ids` as a prompt is read, for who wants more of the steps than their end: in line with all calls, in shared steps.
   * @param from goes on with them; without it they begin a sequence, which is made when the turn of the call has come
   * @returns the sequence: `drop` follows
   * @throws as `open`; the sequence is released then
   */
  async readThrough(
    ids: readonly number[],
    { from, signal, ...options }: Pick<ReadOptions, "reads" | "rows" | "questions" | "take" | "signal"> & { readonly from?: Sequence },
  ): Promise<Sequence> {
    let sequence = from;
    let leave: (() => void) | undefined;
    try {
      this.#runner.expectReadable(from ?? { seen: 0, released: false }, ids);
      const tokens = (from?.seen ?? 0) + ids.length;
      const due = this.#scheduler.dueOf(ids.length, 0);
      leave = await this.#admission.enter({ tokens, bytes: this.#runner.bytesOf(tokens) }, due, signal);
      sequence ??= await this.#runner.newSequence();
      await this.#scheduler.read(sequence, ids, { ...options, due: () => due, signal });
      return sequence;
    } catch (error) {
      if (sequence) this.#runner.release(sequence);
      throw error;
    } finally {
      leave?.();
    }
  }

  /** Tokens that the answer may still take. */
  roomOf({ sequence }: Opened): number {
    return this.#runner.contextLength - sequence.seen;
  }

  /** A sequence beside that of the answer, which is dropped or takes its place. */
  copyOf({ sequence }: Opened): Promise<Sequence> {
    return this.#runner.fork(sequence);
  }

  drop(sequence: Sequence): void {
    this.#runner.release(sequence);
  }

  /** Goes on with `sequence`, which has read `ids` more. */
  replace(opened: Opened, sequence: Sequence, ids: readonly number[]): void {
    this.#runner.release(opened.sequence);
    opened.sequence = sequence;
    opened.ids.push(...ids);
  }

  /** Ends the stay of a call, whose state is kept. @returns that state, pinned: `release` follows */
  end({ sequence, ids, leave }: Opened): KeptState | undefined {
    const kept = sequence.released ? undefined : this.#tree.keep(ids, sequence);
    leave();
    return kept;
  }

  hold(kept: KeptState): void {
    this.#tree.pin(kept);
  }

  release(kept: KeptState): void {
    this.#tree.unpin(kept);
  }

  /**
   * @returns the state, pinned; undefined for one that has read nothing, which is not kept
   * @throws ShapeError when the parts are not those of a state of this model after `ids`
   */
  async import(ids: readonly number[], parts: AsyncIterable<StatePart> | Iterable<StatePart>): Promise<KeptState | undefined> {
    const sequence = await this.#runner.import(ids.length, parts);
    if (ids.length > 0) return this.keep(ids, sequence);
    this.#runner.release(sequence);
    return undefined;
  }

  /** Takes over `sequence`, which has read `ids`. @returns its state, pinned */
  keep(ids: readonly number[], sequence: Sequence): KeptState {
    return this.#tree.keep(ids, sequence);
  }

  /** Without a state, that of a sequence which has read nothing. */
  async *export(kept: KeptState | undefined): AsyncGenerator<StatePart> {
    const state = kept?.state ?? (await this.#runner.newSequence());
    try {
      yield* this.#runner.export(state);
    } finally {
      if (!kept) this.#runner.release(state);
    }
  }

  /** The deepest state to go on from, pinned. Waits for another call that is about to have read more. */
  async #startOf(active: Active, signal: AbortSignal | undefined): Promise<{ match: Match<Sequence, KeptRow>; kept?: KeptState }> {
    /** Pinned. */
    let waited: KeptState | undefined;
    try {
      for (;;) {
        const match = this.#tree.match(active.ids);
        const kept = match.snapshot;
        const depth = kept?.depth ?? 0;
        const shared = this.#sharedWith(active);
        if (!shared || shared.at - depth < worthWaiting) {
          if (kept) this.#tree.pin(kept);
          this.#tree.visit(active.ids);
          active.at = depth;
          this.#active.add(active); // at once, so that whoever comes next sees it
          return { match, kept };
        }
        const read = await this.#waitFor(shared.other, shared.at, signal);
        if (waited) this.#tree.unpin(waited);
        waited = read;
      }
    } finally {
      if (waited) this.#tree.unpin(waited);
    }
  }

  /** The call that has most of the prompt still to read, and how much of it. */
  #sharedWith({ ids, due }: Active): { other: Active; at: number } | undefined {
    let best: { other: Active; at: number } | undefined;
    for (const other of this.#active) {
      const common = commonLength(ids, other.ids);
      // Only where the other one ends are there logits.
      const at = common === ids.length && common < other.ids.length ? common - 1 : common;
      if (at > other.at && at > (best?.at ?? 0)) best = { other, at };
    }
    if (best) best.other.due = Math.min(best.other.due, due);
    return best;
  }

  async #waitFor(other: Active, at: number, signal: AbortSignal | undefined): Promise<KeptState | undefined> {
    let abort: (() => void) | undefined;
    try {
      return await new Promise<KeptState | undefined>((resolve, reject) => {
        const wait = { at, resolve };
        abort = () => {
          other.waits = other.waits.filter((one) => one !== wait);
          reject(signal!.reason);
        };
        signal?.throwIfAborted();
        signal?.addEventListener("abort", abort);
        other.waits.push(wait);
      });
    } finally {
      if (abort) signal?.removeEventListener("abort", abort);
    }
  }

  /** A sequence of its own that goes on from `kept`, which is unpinned. */
  async #forkOf(kept: KeptState): Promise<Sequence> {
    try {
      return await this.#runner.fork(kept.state);
    } finally {
      this.#tree.unpin(kept);
    }
  }

  /** Reads the rest of a prompt, keeping states on the way. @returns evidence of the row after its last token */
  async #read(
    active: Active,
    sequence: Sequence,
    matched: number,
    { questions, signal }: Pick<ReadOptions, "questions" | "signal">,
  ): Promise<RowEvidence> {
    const { ids } = active;
    const { chunkTokens } = this.#runner.backend.device;
    const keeps = this.#options.cacheBytes > 0;
    const planned = keeps ? this.#borders(ids, sequence.seen, matched) : [];
    for (;;) {
      const wanted = [...planned, ...active.waits.map(({ at }) => at)].filter((at) => at > active.at);
      const to = Math.min(ids.length, active.at + chunkTokens, ...wanted);
      const some = ids.slice(active.at, to);
      const isLast = to === ids.length;
      const options = { due: () => active.due, signal };
      let evidence: RowEvidence | undefined;
      if (isLast) [evidence] = await this.#readRows(sequence, some, { ...options, rows: 1, questions });
      else await this.#scheduler.read(sequence, some, options);
      // Before other steps follow: it stays for the same prompt, which then reads nothing.
      const end = evidence && keeps ? await keptRowOf(evidence) : undefined;
      active.at = to;
      this.#passOver(active);
      if (wanted.includes(to) || end) await this.#keep(active, sequence, end);
      if (evidence) return evidence;
    }
  }

  /** Lets those go who came too late for the state that they wait for. */
  #passOver(active: Active): void {
    for (const { at, resolve } of active.waits) if (at < active.at) resolve(undefined);
    active.waits = active.waits.filter(({ at }) => at >= active.at);
  }

  /** Keeps the state that a prompt has come to, and gives it to those who wait for it. */
  async #keep(active: Active, sequence: Sequence, end: KeptRow | undefined): Promise<void> {
    const copy = await this.#copyOf(sequence);
    const kept = copy && this.#tree.keep(active.ids.slice(0, active.at), copy, end);
    for (const { at, resolve } of active.waits) {
      if (at !== active.at) continue;
      if (kept) this.#tree.pin(kept);
      resolve(kept);
    }
    active.waits = active.waits.filter(({ at }) => at !== active.at);
    if (kept) this.#tree.unpin(kept);
  }

  /** None where there is no room: a state that can't be kept is no reason to fail. */
  async #copyOf(sequence: Sequence): Promise<Sequence | undefined> {
    try {
      return await this.#runner.fork(sequence);
    } catch (error) {
      if (error instanceof JambaError && error.code === "OUT_OF_MEMORY") return undefined;
      throw error;
    }
  }

  /** Where in `ids`, after `from`, states are to be kept: where the prompt parts from an earlier one, at message ends, at growing distances from the end. */
  #borders(ids: readonly number[], from: number, parts: number): number[] {
    const borders = new Set([parts]);
    for (let i = from; i < ids.length; i++) if (this.#options.stopIds.has(ids[i])) borders.add(i + 1);
    for (let distance = leastDistance; ids.length - distance >= from + leastDistance; distance *= 4) borders.add(ids.length - distance);
    return [...borders].filter((at) => at > from && at < ids.length);
  }

  /** Says why less than half of a prompt was there already. */
  #missReason(ids: readonly number[], cachedTokens: number, { matched, wasDropped, parts }: Match<Sequence, KeptRow>): string | undefined {
    if (2 * cachedTokens >= ids.length) return undefined;
    const [at, all] = [matched.toLocaleString("en"), ids.length.toLocaleString("en")];
    if (wasDropped && matched - cachedTokens >= worthWaiting) {
      const bytes = this.#options.cacheBytes.toLocaleString("en");
      return `the first ${at} of ${all} tokens were read before, but their states were dropped to stay within cache.bytes = ${bytes}`;
    }
    if (matched === 0) return "nothing that begins like this was read before";
    if (matched === ids.length) return `all ${all} tokens were read before, but no state was kept among them`;
    if (!parts) return `only the first ${at} of ${all} tokens were read before`;
    const message = 1 + ids.slice(0, matched).filter((id) => this.#options.stopIds.has(id)).length;
    return `differs from the cached conversation at token ${at} of ${all}, inside message ${message}`;
  }
}

function commonLength(a: readonly number[], b: readonly number[]): number {
  let n = 0;
  while (n < a.length && n < b.length && a[n] === b[n]) n++;
  return n;
}
