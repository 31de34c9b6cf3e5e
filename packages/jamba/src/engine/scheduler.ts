// Merges what all calls have to read into shared steps: answers move in every step, prompts in pieces beside them.
// Deals in sequences and ids, knows no cache and no text.

import { nextTurn, type Step } from "@jamba/core";
import type { ForwardReads } from "../model/forward.ts";
import type { Advance, Sequence } from "./advance.ts";
import { noQuestions, type Questions, type StepRow, type StepSlice } from "./evidence.ts";
import type { Runner } from "./runner.ts";
import { inTurn, type Party } from "./turns.ts";

export interface ReadOptions extends Party {
  /** What steps must give; nothing if not given. */
  readonly reads?: ForwardReads;
  /** How many of the last tokens want logits. */
  readonly rows?: number;
  /** Of each of these rows; the last one's is repeated. */
  readonly questions?: readonly Questions[];
  /** Called after each step that read some of the tokens, before the next one is submitted. What it gives may fetch its row later than that. */
  readonly take?: (part: StepSlice) => Promise<readonly StepRow[] | undefined>;
  /** An answer's next tokens, which every step takes along. */
  readonly isAnswer?: boolean;
  /** Of the prompts of one tenant, who goes first: `dueOf`, or sooner once somebody waits for it who is due sooner. */
  readonly due?: () => number;
  readonly signal?: AbortSignal;
}

interface Reading extends Required<Omit<ReadOptions, "signal" | keyof Party>>, Party {
  readonly sequence: Sequence;
  readonly ids: readonly number[];
  /** Of `ids`, those read. */
  at: number;
  signal?: AbortSignal;
  settle(): void;
  fail(error: unknown): void;
}

interface Portion {
  readonly reading: Reading;
  /** Tokens of it. */
  readonly count: number;
}

interface RunningStep {
  readonly parts: readonly Portion[];
  readonly stop: AbortController;
  endsAt: number;
  /** Made on copies: it may be stopped and loses nothing but time. */
  yields: boolean;
}

/** The longest that answers wait for a piece of a prompt. */
const pieceMs = 400;

/** Below this a step costs nearly as much for fewer tokens. */
const leastPiece = 32;

/** Steps shorter than this end sooner than an abort would pay. */
const worthAbortingMs = 30;

/** Logits of one step: rows beyond that wait for the next. 128 rows of a vocabulary of 65,536. */
const mostLogitBytes = 32 * 2 ** 20;

/** Why a step was stopped. */
const makesWay = new Error("a step makes way for a shorter one");
const cancelled = new Error("a step was for a call that is cancelled");

export class Scheduler {
  /** Of steps that were not stopped and did not fail. */
  readonly counts = { steps: 0, sequences: 0, tokens: 0 };
  readonly #runner: Runner;
  #readings: Reading[] = [];
  #running: RunningStep | undefined;
  #looping = false;
  /** Measured on what ran: milliseconds of a token of a prompt, and of a step of answers alone. */
  #tokenMs: number | undefined;
  #answersMs: number | undefined;
  /** Below 0: prompts have had so many milliseconds more than answers, which come first until that is made up. */
  #credit = 0;
  /** Tokens of a step of prompts alone; fewer after it was stopped, so that some steps get through however often that happens. */
  #pace: number;
  /** Rows that may still be fetched: of the last step, and of the one before it, whose values go with the next submit. */
  #rows: readonly [last: readonly StepRow[], before: readonly StepRow[]] = [[], []];

  constructor(runner: Runner) {
    this.#runner = runner;
    this.#pace = runner.backend.device.chunkTokens;
  }

  /**
   * When a prompt of so many tokens should have been read: short ones first, none put off for ever.
   * @param priority each level is worth half a minute of waiting
   */
  dueOf(tokens: number, priority: number): number {
    return performance.now() + 4 * tokens * (this.#tokenMs ?? 1) - 30_000 * priority;
  }

  /**
   * Reads `ids` into `sequence`, which nobody else may touch meanwhile and which must be able to go on with them.
   *
   * @throws the signal's reason; what `Runner.step` and `take` throw. The sequence is released if a step failed, and else whole, with some
   * of `ids` read.
   */
  async read(sequence: Sequence, ids: readonly number[], options: ReadOptions = {}): Promise<void> {
    const now = this.dueOf(ids.length, 0);
    const { reads = {}, rows = 0, questions = [noQuestions], isAnswer = false, due = () => now, tenant, request, signal } = options;
    const take = options.take ?? (async () => undefined);
    signal?.throwIfAborted();
    if (ids.length === 0) return;
    let cancel!: () => void;
    try {
      await new Promise<void>((settle, fail) => {
        const reading: Reading = {
          ...{ sequence, ids, reads, rows, questions, take, isAnswer, due, tenant, request, signal },
          at: 0,
          settle,
          fail,
        };
        cancel = () => this.#cancel(reading);
        signal?.addEventListener("abort", cancel);
        this.#readings.push(reading);
        this.#makeWay(reading);
        void this.#loop();
      });
    } finally {
      signal?.removeEventListener("abort", cancel);
    }
  }

  async #loop(): Promise<void> {
    if (this.#looping) return;
    this.#looping = true;
    // Calls that are made together start together.
    await Promise.resolve();
    while (this.#readings.length > 0) {
      const parts = this.#next();
      await this.#step(parts);
      // Whoever got logits comes back with the next token before the next step is made up.
      if (parts.length > 1 || this.#readings.length > 0) await nextTurn();
    }
    this.#looping = false;
  }

  /** Whose tokens go into the next step. */
  #next(): Portion[] {
    const answers = this.#readings.filter(({ isAnswer }) => isAnswer);
    const prompts = inTurn(
      this.#readings.filter(({ isAnswer }) => !isAnswer),
      ({ due }) => due(),
    );
    const parts: Portion[] = answers.map((reading) => ({ reading, count: reading.ids.length }));
    let room = this.#pace;
    if (answers.length > 0) room = this.#credit < 0 ? 0 : Math.min(this.#pace, this.piece);
    let rowRoom = Math.max(
      1,
      floorPower(mostLogitBytes / (4 * this.#runner.config.vocabSize)) - answers.reduce((n, { rows }) => n + rows, 0),
    );
    for (const reading of prompts) {
      const left = reading.ids.length - reading.at;
      const some = left <= room ? left : floorPower(room);
      const count = Math.min(some, Math.max(0, left - reading.rows) + rowRoom);
      if (count === 0) break;
      parts.push({ reading, count });
      room -= count;
      rowRoom -= rowsOf({ reading, count });
      // Who is served first does not wait for more than as much again of others.
      if (count === left && reading === prompts[0]) room = Math.min(room, count);
    }
    return parts;
  }

  /** Tokens of a prompt that answers wait for at most. */
  get piece(): number {
    const tokens = Math.max(leastPiece, floorPower(pieceMs / (this.#tokenMs ?? pieceMs / leastPiece)));
    return Math.min(tokens, this.#runner.backend.device.chunkTokens);
  }

  async #step(parts: readonly Portion[]): Promise<void> {
    const stop = new AbortController();
    const tokensOf = (some: readonly Portion[]) => some.reduce((sum, { reading, count }) => sum + (reading.isAnswer ? 0 : count), 0);
    const hasAnswers = parts.some(({ reading }) => reading.isAnswer);
    const estimate = tokensOf(parts) * (this.#tokenMs ?? 0);
    // How long the first step takes nobody knows: minutes on a slow device.
    const isLong = this.#tokenMs === undefined ? tokensOf(parts) > leastPiece : estimate > worthAbortingMs;
    // A device that can't stop a step would make copies for nothing.
    const yields = !hasAnswers && isLong && this.#runner.backend.device.interrupts === "commands";
    const running: RunningStep = { parts, stop, endsAt: performance.now() + estimate, yields };
    this.#running = running;
    const byAdvance = new Map(parts.map((part) => [advanceOf(part), part]));
    let start = 0;
    try {
      const {
        step,
        parts: done,
        refused,
      } = await this.#runner.step([...byAdvance.keys()], {
        reads: readsOf(parts),
        onCopies: yields,
        signal: stop.signal,
        onStart: (onCopies) => {
          start = performance.now();
          running.yields = onCopies;
          running.endsAt = start + estimate;
          // Who has not drawn from the step before the last one gets its row now, or never.
          for (const row of this.#rows[1]) if (!row.isDrawn) void row.row();
          this.#rows = [[], this.#rows[0]];
        },
      });
      // The others can go on.
      for (const { part, error } of refused) this.#end(byAdvance.get(part)!.reading, ({ fail }) => fail(error));
      if (!step) return;
      const ready = done.map((advance) => ({ ...byAdvance.get(advance)!, advance }));
      this.#account(performance.now() - start, tokensOf(ready), hasAnswers);
      this.counts.steps++;
      this.counts.sequences += ready.length;
      this.counts.tokens += ready.reduce((sum, { count }) => sum + count, 0);
      if (!hasAnswers) this.#pace = Math.min(2 * this.#pace, this.#runner.backend.device.chunkTokens);
      await this.#hand(ready, step);
    } catch (error) {
      if (error === cancelled) return;
      if (error === makesWay) this.#pace = Math.max(leastPiece, floorPower(this.#pace / 2));
      else for (const { reading } of parts) if (!reading.signal?.aborted) this.#end(reading, ({ fail }) => fail(error));
    } finally {
      this.#running = undefined;
      for (const { reading } of parts) if (reading.signal?.aborted) this.#end(reading, ({ fail }) => fail(reading.signal!.reason));
    }
  }

  /** Gives each part what is its own of the step, and lets go of those who have all they asked for. */
  async #hand(parts: readonly (Portion & { readonly advance: Advance })[], step: Step): Promise<void> {
    const kept: StepRow[] = [];
    let [token, row, askedAt] = [0, 0, 0];
    const taking = parts.map(async ({ reading, count, advance: { rows, asked = [] } }) => {
      const own: StepSlice = { step, tokens: [token, token + count], rows: [row, row + rows], asked, askedAt };
      token += count;
      row += rows;
      for (const ids of asked) askedAt += ids.length;
      try {
        kept.push(...((await reading.take(own)) ?? []));
        reading.at += count;
        if (reading.at === reading.ids.length) this.#end(reading, ({ settle }) => settle());
      } catch (error) {
        this.#end(reading, ({ fail }) => fail(error));
      }
    });
    await Promise.all(taking);
    this.#rows = [kept, this.#rows[1]];
  }

  #account(ms: number, tokens: number, hasAnswers: boolean): void {
    const answersMs = hasAnswers ? (this.#answersMs ?? 0) : 0;
    if (tokens >= leastPiece / 2) this.#tokenMs = mixed(this.#tokenMs, Math.max(0, ms - answersMs) / tokens);
    if (!hasAnswers) this.#credit = 0;
    else if (tokens === 0) {
      this.#answersMs = mixed(this.#answersMs, ms);
      this.#credit = Math.min(0, this.#credit + ms);
    } else this.#credit -= Math.max(0, ms - answersMs);
  }

  #end(reading: Reading, tell: (reading: Reading) => void): void {
    const at = this.#readings.indexOf(reading);
    if (at < 0) return;
    this.#readings.splice(at, 1);
    tell(reading);
  }

  /** At once, or when the step that has it is over. */
  #cancel(reading: Reading): void {
    const running = this.#running;
    if (!running?.parts.some((part) => part.reading === reading)) this.#end(reading, ({ fail }) => fail(reading.signal!.reason));
    else if (running.yields) running.stop.abort(cancelled);
  }

  /** Stops a long step of prompts for one who would wait for it longer than for its own. */
  #makeWay({ ids, due, isAnswer }: Reading): void {
    const running = this.#running;
    if (!running?.yields || running.stop.signal.aborted) return;
    const own = isAnswer ? (this.#answersMs ?? 0) : ids.length * (this.#tokenMs ?? 0);
    const comesFirst = isAnswer || running.parts.every(({ reading }) => due() < reading.due());
    if (comesFirst && running.endsAt - performance.now() > own) running.stop.abort(makesWay);
  }
}

/** How many rows a part has: of the last tokens that its call reads. */
function rowsOf({ reading: { ids, at, rows }, count }: Portion): number {
  return Math.min(count, Math.max(0, rows - (ids.length - at - count)));
}

function advanceOf(part: Portion): Advance {
  const { sequence, ids, at, rows, questions, signal } = part.reading;
  const nRows = rowsOf(part);
  const end = at + part.count;
  // Which of the rows of the call these are.
  const first = rows - (ids.length - end) - nRows;
  const asks = Array.from({ length: nRows }, (_, i) => questions[Math.min(first + i, questions.length - 1)]);
  return {
    sequence,
    ids: ids.slice(at, end),
    rows: nRows,
    temperature: asks[0]?.temperature,
    asked: asks.map(({ asked }) => asked),
    isWanted: () => !signal?.aborted,
  };
}

/** What all parts want together. */
function readsOf(parts: readonly Portion[]): ForwardReads {
  const all = parts.map(({ reading }) => reading.reads);
  const tops = all.flatMap(({ top = [] }) => top);
  const one = <K extends keyof ForwardReads>(name: K, ...values: ForwardReads[K][]) =>
    values.find((value) => all.some((reads) => reads[name] === value));
  return {
    logits: one("logits", "read", "keep"),
    // Who asked for fewer has the more to choose from.
    top: tops.length > 0 ? Math.max(...tops) : undefined,
    hidden: one("hidden", "all", "final"),
    routes: one("routes", true),
    // Only where nobody wants them at once.
    keeps: all.every(({ hidden, routes, keeps }) => keeps || !(hidden || routes)) ? one("keeps", true) : undefined,
  };
}

function mixed(before: number | undefined, now: number): number {
  return before === undefined ? now : 0.7 * before + 0.3 * now;
}

/** The largest power of two up to `n`, 0 below 1: few lengths of pieces, so that their recordings are found again. */
function floorPower(n: number): number {
  return n < 1 ? 0 : 2 ** Math.floor(Math.log2(n));
}
