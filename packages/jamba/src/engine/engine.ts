// Reads prompts for all calls: admits them, starts each from the deepest state that is kept, keeps states on the way.
// Deals in ids, knows no text.

import { JambaError, type StatePart, type StateSpec } from "@jamba/core";
import { foreignOf, idOf, type Made, madeTokens, type Owner, type Path, pathOf } from "../state/tenant.ts";
import { ActivePrompt, sharedWith } from "./active-prompts.ts";
import { Admission } from "./admission.ts";
import type { Sequence } from "./advance.ts";
import { bordersOf } from "./borders.ts";
import type { Active, EngineOptions, KeptState, Opened, OpenOptions, ReadingPrompt } from "./calls.ts";
import {
  answerReads,
  evidenceOfKept,
  evidenceOfStep,
  type KeptRow,
  keptRowOf,
  noQuestions,
  type Questions,
  type RowEvidence,
  type StepRow,
} from "./evidence.ts";
import { missReason, worthWaiting } from "./miss-reason.ts";
import { type Match, PrefixTree, type ReadTree } from "./prefix-tree.ts";
import type { Runner } from "./runner.ts";
import { type ReadOptions, Scheduler } from "./scheduler.ts";
import { Spill } from "./spill.ts";
import type { Party } from "./turns.ts";

export class Engine {
  readonly #runner: Runner;
  readonly #options: EngineOptions;
  readonly #scheduler: Scheduler;
  readonly #admission: Admission;
  readonly #tree: PrefixTree<Sequence, KeptRow>;
  readonly #spill: Spill;
  readonly #active = new Set<Active>();

  constructor(runner: Runner, options: EngineOptions) {
    this.#runner = runner;
    this.#options = options;
    this.#scheduler = new Scheduler(runner);
    this.#admission = new Admission(options.limits);
    this.#spill = new Spill(runner, options);
    this.#tree = new PrefixTree({
      bytes: options.cacheBytes,
      slotBytes: runner.sizes.slot,
      pageBytes: runner.sizes.page,
      pagesOf: ({ pages }) => pages,
      drop: (...dropped) => this.#spill.take(...dropped),
    });
    runner.whenFull = () => {
      const { states, bytes } = this.#tree.idle;
      this.#spill.within(0, () => this.#tree.trim(bytes / 2 - 1));
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

  get tree(): ReadTree {
    return this.#tree.picture();
  }

  calls(tenant?: string): { running: number; waiting: number } {
    return this.#admission.counts(tenant);
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
    this.#spill.within(0, () => this.#tree.clear());
  }

  /** Refuses who waits, and puts what is kept on the disk, if there is one. */
  async close(): Promise<void> {
    this.#admission.close();
    this.#spill.within(Number.POSITIVE_INFINITY, () => this.#tree.clear(), worthWaiting + 1); // shorter ones are not looked for
    await this.#spill.written;
  }

  /** @throws ShapeError, JambaError CONTEXT_FULL or DISPOSED where `ids` and then `more` are not what a sequence may begin with */
  expectReadable(ids: readonly number[], more?: readonly number[]): void {
    this.#runner.expectReadable({ seen: 0, released: false }, ids, more);
  }

  /**
   * Reads a prompt, as little of it as kept states allow. `end` must follow.
   * @throws the signal's reason; JambaError OPTION, CONTEXT_FULL, OUT_OF_MEMORY, DISPOSED, ShapeError; what a failed step throws
   */
  async open(ids: readonly number[], options: OpenOptions): Promise<Opened> {
    const { maxTokens, priority = 0, questions = noQuestions, from, tenant, systemTokens, request, signal } = options;
    if (ids.length === 0) throw new JambaError("OPTION", "prompt: expected at least one token, found none");
    this.expectReadable(ids);
    const owner = { tenant, systemTokens };
    const party = { tenant: tenant?.name, request };
    const tokens = Math.min(ids.length + maxTokens, this.#runner.contextLength);
    const due = this.#scheduler.dueOf(ids.length, priority);
    const leave = await this.#admission.enter({ tokens, bytes: this.#runner.bytesOf(tokens) }, { ...party, due }, signal);
    let active: Active | undefined;
    let sequence: Sequence | undefined;
    const fetched: KeptState[] = [];
    try {
      active = new ActivePrompt(await this.#placeOf(ids, owner, from?.state.made, fetched, signal), due);
      const { match, kept } = await this.#startOf(active, owner, signal);
      sequence = kept ? await this.#forkOf(kept) : await this.#runner.newSequence();
      const cachedTokens = sequence.seen;
      const evidence =
        cachedTokens === ids.length
          ? evidenceOfKept(kept!.end!, questions)
          : await this.#read({ ids, owner, active, sequence }, match.matched, { ...party, questions: [questions], signal });
      signal?.throwIfAborted(); // what no step had to be read for, or one that could not be stopped
      const cacheMissReason = missReason(ids, cachedTokens, match, this.#options);
      return { sequence, ids: [...ids], evidence, cachedTokens, cacheMissReason, owner, leave };
    } catch (error) {
      // What was read before a cancel need not be read again.
      if (sequence && sequence.seen > 0 && !sequence.released) this.release(this.keep(ids.slice(0, sequence.seen), sequence, owner));
      else if (sequence) this.#runner.release(sequence);
      leave();
      throw error;
    } finally {
      for (const state of fetched) this.#tree.unpin(state);
      if (active) this.#active.delete(active);
      active?.end();
    }
  }

  /**
   * What keys the states of a prompt: those that go on from what `made` says where one of them is there, else this model's own.
   * @param fetched gets what came from the disk for it, pinned
   */
  async #placeOf(
    ids: readonly number[],
    owner: Owner,
    made: Made | undefined,
    fetched: KeptState[],
    signal: AbortSignal | undefined,
  ): Promise<Path> {
    const fetch = async (path: Path, from?: Made) => {
      const found = await this.#fetch(path, owner, from, signal);
      if (found) fetched.push(found);
    };
    if (made) {
      const path = pathOf(ids, owner, made);
      await fetch(path, made);
      if ((this.#tree.match(path).snapshot?.depth ?? 0) >= madeTokens(made)) return path;
    }
    const path = pathOf(ids, owner);
    await fetch(path);
    return path;
  }

  /** From the disk, pinned, if it has read more of `path` than what is kept here. */
  async #fetch(path: Path, owner: Owner, made: Made | undefined, signal: AbortSignal | undefined): Promise<KeptState | undefined> {
    if (!this.#options.disk) return undefined;
    const depth = this.#tree.match(path).snapshot?.depth ?? 0;
    // One token at least is read, for its logits. What was made elsewhere is part of the key, and of no state before it.
    const atLeast = Math.max(depth + worthWaiting, made ? madeTokens(made) - 1 : 0);
    const found = await this.#options.disk.find(path.slice(0, -1), atLeast);
    return found?.load((parts) => this.import(path.slice(0, found.length).map(idOf), parts, owner, made), signal);
  }

  /** Goes on with an answer. @returns evidence of the rows after the last of `ids`, one for each of `questions` */
  async advance(opened: Opened, ids: readonly number[], questions: readonly Questions[]): Promise<readonly RowEvidence[]> {
    this.#runner.expectReadable(opened.sequence, ids);
    const rows = await this.#readRows(opened.sequence, ids, { rows: questions.length, questions, isAnswer: true });
    opened.ids.push(...ids);
    return rows;
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
      reads: answerReads(this.#runner.config.vocabSize),
      take: async (slice) => {
        found = await evidenceOfStep(slice);
        return found;
      },
    });
    return found;
  }

  /**
   * Reads `ids` as a prompt is read, for who wants more of the steps than their end: in line with all calls, in shared steps.
   * @param from goes on with them, or a copy of `copyOf`; without either they begin a sequence. What is new is made when the turn of the
   * call has come
   * @returns the sequence: `drop` follows
   * @throws as `open`; the sequence is released then
   */
  async readThrough(
    ids: readonly number[],
    {
      from,
      copyOf,
      tenant,
      request,
      signal,
      ...options
    }: Pick<ReadOptions, "reads" | "rows" | "questions" | "take" | "signal"> &
      Pick<OpenOptions, "tenant" | "request"> & { readonly from?: Sequence; readonly copyOf?: Sequence },
  ): Promise<Sequence> {
    let sequence = from;
    let leave: (() => void) | undefined;
    try {
      const { seen, released } = from ?? copyOf ?? { seen: 0, released: false };
      this.#runner.expectReadable({ seen, released }, ids);
      const tokens = seen + ids.length;
      const due = this.#scheduler.dueOf(ids.length, 0);
      const party = { tenant: tenant?.name, request };
      leave = await this.#admission.enter({ tokens, bytes: this.#runner.bytesOf(tokens) }, { ...party, due }, signal);
      sequence ??= await (copyOf ? this.#runner.fork(copyOf) : this.#runner.newSequence());
      await this.#scheduler.read(sequence, ids, { ...options, ...party, due: () => due, signal });
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
  end({ sequence, ids, owner, leave }: Opened): KeptState | undefined {
    const kept = sequence.released ? undefined : this.keep(ids, sequence, owner);
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
   * @param made by what, as `madeOf` says; by this model if not given
   * @returns the state, pinned; undefined for one that has read nothing, which is not kept
   * @throws ShapeError when the parts are not those of a state of this model after `ids`
   */
  async import(
    ids: readonly number[],
    parts: AsyncIterable<StatePart> | Iterable<StatePart>,
    owner: Owner,
    made?: Made,
  ): Promise<KeptState | undefined> {
    const sequence = await this.#runner.import(ids.length, parts, made && foreignOf(made, this.#options.numerics));
    if (ids.length > 0) return this.keep(ids, sequence, owner);
    this.#runner.release(sequence);
    return undefined;
  }

  /** By what the bits of a state were made, for who imports it. */
  madeOf(kept: KeptState | undefined): Made {
    if (!kept) return [];
    const made = kept.state.made ?? [];
    return madeTokens(made) < kept.depth ? [...made, [this.#options.numerics, kept.depth]] : made;
  }

  /** Takes over `sequence`, which has read `ids`. @returns its state, pinned */
  keep(ids: readonly number[], sequence: Sequence, owner: Owner, end?: KeptRow): KeptState {
    return this.#tree.keep(pathOf(ids, owner, sequence.made), sequence, { end, owner: owner.tenant?.name });
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
  async #startOf(
    active: Active,
    owner: Owner,
    signal: AbortSignal | undefined,
  ): Promise<{ match: Match<Sequence, KeptRow>; kept?: KeptState }> {
    /** Pinned. */
    let waited: KeptState | undefined;
    try {
      for (;;) {
        const match = this.#tree.match(active.ids);
        const kept = match.snapshot;
        const depth = kept?.depth ?? 0;
        const shared = sharedWith(active, this.#active);
        if (!shared || shared.at - depth < worthWaiting) {
          if (kept) this.#tree.pin(kept);
          this.#tree.visit(active.ids, owner.tenant?.name);
          active.moveTo(depth);
          this.#active.add(active); // at once, so that whoever comes next sees it
          return { match, kept };
        }
        const read = await shared.other.stateAt(shared.at, signal);
        if (waited) this.#tree.unpin(waited);
        waited = read;
      }
    } finally {
      if (waited) this.#tree.unpin(waited);
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
  async #read(prompt: ReadingPrompt, matched: number, given: Party & Pick<ReadOptions, "questions" | "signal">): Promise<RowEvidence> {
    const { ids, active, sequence } = prompt;
    const { questions, ...rest } = given;
    const { chunkTokens } = this.#runner.backend.device;
    const keeps = this.#options.cacheBytes > 0;
    const planned = keeps ? bordersOf(ids, { from: sequence.seen, parts: matched, stopIds: this.#options.stopIds }) : [];
    for (;;) {
      const wanted = [...planned, ...active.wanted].filter((at) => at > active.at);
      const to = Math.min(ids.length, active.at + chunkTokens, ...wanted);
      const some = ids.slice(active.at, to);
      const isLast = to === ids.length;
      const options = { ...rest, due: () => active.due };
      let evidence: RowEvidence | undefined;
      if (isLast) [evidence] = await this.#readRows(sequence, some, { ...options, rows: 1, questions });
      else await this.#scheduler.read(sequence, some, options);
      // Before other steps follow: it stays for the same prompt, which then reads nothing.
      const end = evidence && keeps ? await keptRowOf(evidence) : undefined;
      active.moveTo(to);
      if (wanted.includes(to) || end) await this.#keep(prompt, end);
      if (evidence) return evidence;
    }
  }

  /** Keeps the state that a prompt has come to, and gives it to those who wait for it. */
  async #keep({ ids, owner, active, sequence }: ReadingPrompt, end: KeptRow | undefined): Promise<void> {
    const copy = await this.#copyOf(sequence);
    const kept = copy && this.keep(ids.slice(0, active.at), copy, owner, end);
    active.give(() => {
      if (kept) this.#tree.pin(kept);
      return kept;
    });
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
}
