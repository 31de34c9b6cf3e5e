// Merges what all calls have to read into shared steps: answers move in every step, prompts in pieces beside them.
// Deals in sequences and ids, knows no cache and no text.

import { JambaError } from "@jamba/core";
import { turn } from "./event-loop.ts";
import type { Runner, Sequence } from "./runner.ts";

export interface ReadOptions {
  /** How many of the last tokens want logits; for more than one, an answer's. */
  readonly rows?: number;
  /** An answer's next tokens, which every step takes along. */
  readonly isAnswer?: boolean;
  /** Of prompts, who goes first: `dueOf`, or sooner once somebody waits for it who is due sooner. */
  readonly due?: () => number;
  readonly signal?: AbortSignal;
}

interface Reading extends Required<Omit<ReadOptions, "signal">> {
  readonly sequence: Sequence;
  readonly ids: readonly number[];
  /** Of `ids`, those read. */
  at: number;
  signal?: AbortSignal;
  settle(logits: Float32Array): void;
  fail(error: unknown): void;
}

interface Part {
  readonly reading: Reading;
  readonly count: number;
}

interface RunningStep {
  readonly parts: readonly Part[];
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
   * Reads `ids` into `sequence`, which nobody else may touch meanwhile.
   *
   * @returns logits of the last `rows` tokens [rows, vocabSize]
   * @throws the signal's reason; what `Runner.step` throws. The sequence is released if a step failed, and else whole, with some of `ids` read.
   */
  async read(sequence: Sequence, ids: readonly number[], options: ReadOptions = {}): Promise<Float32Array> {
    const now = this.dueOf(ids.length, 0);
    const { rows = 1, isAnswer = false, due = () => now, signal } = options;
    signal?.throwIfAborted();
    this.#runner.expectReadable(sequence, ids);
    if (ids.length === 0) return new Float32Array(0);
    let cancel!: () => void;
    try {
      return await new Promise((settle, fail) => {
        const reading: Reading = { sequence, ids, rows, isAnswer, due, signal, at: 0, settle, fail };
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
      if (parts.length > 1 || this.#readings.length > 0) await turn();
    }
    this.#looping = false;
  }

  /** Whose tokens go into the next step. */
  #next(): Part[] {
    const answers = this.#readings.filter(({ isAnswer }) => isAnswer);
    const prompts = this.#readings.filter(({ isAnswer }) => !isAnswer).sort((a, b) => a.due() - b.due());
    const parts: Part[] = answers.map((reading) => ({ reading, count: reading.ids.length }));
    let room = this.#pace;
    if (answers.length > 0) room = this.#credit < 0 ? 0 : Math.min(this.#pace, this.piece);
    for (const reading of prompts) {
      const left = reading.ids.length - reading.at;
      const count = left <= room ? left : floorPower(room);
      if (count === 0) break;
      parts.push({ reading, count });
      room -= count;
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

  async #step(parts: readonly Part[]): Promise<void> {
    const stop = new AbortController();
    const running: RunningStep = { parts, stop, endsAt: 0, yields: false };
    this.#running = running;
    const ready = await this.#withRoom(parts);
    const tokens = ready.reduce((sum, { reading, count }) => sum + (reading.isAnswer ? 0 : count), 0);
    const hasAnswers = ready.some(({ reading }) => reading.isAnswer);
    const estimate = tokens * (this.#tokenMs ?? 0);
    running.yields = !hasAnswers && estimate > worthAbortingMs;
    try {
      if (ready.length === 0) return;
      const advances = ready.map(({ reading: { sequence, ids, at, rows }, count }) => ({
        sequence,
        ids: ids.slice(at, at + count),
        rows: Math.max(0, rows - (ids.length - at - count)),
      }));
      let start = performance.now();
      const run = () => {
        start = performance.now();
        running.endsAt = start + estimate;
        return this.#runner.step(advances, running.yields ? { signal: stop.signal, onCopies: true } : {});
      };
      const values = await run().catch((error) => {
        if (!running.yields || !isOutOfMemory(error)) throw error;
        // Room for all of them, and none for copies.
        running.yields = false;
        return run();
      });
      this.#account(performance.now() - start, tokens, hasAnswers);
      this.counts.steps++;
      this.counts.sequences += ready.length;
      this.counts.tokens += ready.reduce((sum, { count }) => sum + count, 0);
      if (!hasAnswers) this.#pace = Math.min(2 * this.#pace, this.#runner.backend.device.chunkTokens);
      this.#hand(ready, values.get("logits")!.data as Float32Array);
    } catch (error) {
      if (error === cancelled) return;
      if (error === makesWay) this.#pace = Math.max(leastPiece, floorPower(this.#pace / 2));
      else for (const { reading } of ready) this.#end(reading, () => reading.fail(error));
    } finally {
      this.#running = undefined;
      for (const { reading } of parts) if (reading.signal?.aborted) this.#end(reading, () => reading.fail(reading.signal!.reason));
    }
  }

  /** Those of `parts` that there is room for and that are not cancelled meanwhile. */
  async #withRoom(parts: readonly Part[]): Promise<Part[]> {
    const ready: Part[] = [];
    for (const part of parts) {
      try {
        await this.#runner.makeRoom(part.reading.sequence, part.count);
        ready.push(part);
      } catch (error) {
        // The others can go on.
        this.#end(part.reading, () => part.reading.fail(error));
      }
    }
    return ready.filter(({ reading }) => !reading.signal?.aborted);
  }

  /** Gives each part its rows of `logits`, and lets go of those who have all they asked for. */
  #hand(parts: readonly Part[], logits: Float32Array): void {
    const { vocabSize } = this.#runner.config;
    let row = 0;
    for (const { reading, count } of parts) {
      reading.at += count;
      const left = reading.ids.length - reading.at;
      const rows = Math.min(count, Math.max(0, reading.rows - left));
      const own = logits.subarray(row * vocabSize, (row + rows) * vocabSize);
      row += rows;
      if (left === 0) this.#end(reading, () => reading.settle(own));
    }
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

  #end(reading: Reading, tell: () => void): void {
    const at = this.#readings.indexOf(reading);
    if (at < 0) return;
    this.#readings.splice(at, 1);
    tell();
  }

  /** At once, or when the step that has it is over. */
  #cancel(reading: Reading): void {
    const running = this.#running;
    if (!running?.parts.some((part) => part.reading === reading)) this.#end(reading, () => reading.fail(reading.signal!.reason));
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

function isOutOfMemory(error: unknown): boolean {
  return error instanceof JambaError && error.code === "OUT_OF_MEMORY";
}

function mixed(before: number | undefined, now: number): number {
  return before === undefined ? now : 0.7 * before + 0.3 * now;
}

/** The largest power of two up to `n`, 0 below 1: few lengths of pieces, so that their recordings are found again. */
function floorPower(n: number): number {
  return n < 1 ? 0 : 2 ** Math.floor(Math.log2(n));
}
