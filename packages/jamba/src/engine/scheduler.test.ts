// Steps are shared fairly, whoever comes, goes and fails. On a clock and a runner of the test's own: no time passes here.

import { HostTensor, JambaError } from "@jamba/core";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import type { Advance, Sequence } from "./advance.ts";
import type { StepRow } from "./evidence.ts";
import type { Runner, StepOptions, StepResult } from "./runner.ts";
import { type ReadOptions, Scheduler } from "./scheduler.ts";

/** Time goes on when everybody waits for it. */
class Clock {
  now = 0;
  #events: { at: number; ring: () => void }[] = [];

  sleep(ms: number): Promise<void> {
    return new Promise((ring) => this.#events.push({ at: this.now + ms, ring }));
  }

  /** Until all of `work` has come to an end. @throws what fails; an Error when nothing would ever happen again */
  async run<T>(work: Promise<T>): Promise<T> {
    let isOver = false;
    const end = () => {
      isOver = true;
    };
    work.then(end, end);
    for (;;) {
      for (let i = 0; i < 4; i++) await new Promise((resolve) => setImmediate(resolve));
      if (isOver) return work;
      const next = this.#events.reduce((a, b) => (b.at < a.at ? b : a), { at: Number.POSITIVE_INFINITY, ring: () => undefined });
      if (next.at === Number.POSITIVE_INFINITY) throw new Error(`at ${this.now} ms everybody waits for ever`);
      this.#events.splice(this.#events.indexOf(next), 1);
      this.now = next.at;
      next.ring();
    }
  }
}

interface FakeSequence extends Sequence {
  readonly read: number[];
  /** Nobody may step it: it was given back. */
  isClosed?: boolean;
  noRoom?: boolean;
}

const stepMs = 20;
const tokenMs = 1;
const chunkTokens = 512;
const costMs = (tokens: number) => stepMs + tokenMs * tokens;

/** A device that takes as long as it has tokens to read, and knows who may be read. Logits are [id, position]. */
class FakeRunner {
  readonly backend = { device: { chunkTokens, interrupts: "commands" } };
  readonly config = { vocabSize: 2 };
  readonly steps: {
    start: number;
    end: number;
    tokens: number;
    rows: number;
    isWhole: boolean;
    onCopies: boolean;
    sequences: FakeSequence[];
    reads: StepOptions["reads"];
  }[] = [];
  readonly #clock: Clock;
  #isBusy = false;
  /** What the next step fails with. */
  failure?: unknown;
  /** Before the step begins, for room and for its program. */
  roomMs = 0;
  noCopies = false;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  newSequence(): FakeSequence {
    return { slot: 0, pages: [], seen: 0, released: false, read: [] };
  }

  expectReadable(sequence: FakeSequence): void {
    if (sequence.released) throw new JambaError("DISPOSED", "released");
    expect(sequence.isClosed, "a step of a sequence that was given back").toBeFalsy();
  }

  async step(all: readonly Advance[], { signal, onCopies = false, onStart, reads }: StepOptions): Promise<StepResult> {
    const refused: StepResult["refused"][number][] = [];
    let parts: Advance[] = [];
    for (const part of all) {
      const sequence = part.sequence as FakeSequence;
      this.expectReadable(sequence);
      if (sequence.noRoom) refused.push({ part, error: new JambaError("OUT_OF_MEMORY", "no room") });
      else parts.push(part);
      if (this.roomMs > 0) await this.#clock.sleep(this.roomMs);
    }
    parts = parts.filter(({ isWanted }) => isWanted?.() !== false);
    if (parts.length === 0) return { parts, refused };
    const sequences = parts.map(({ sequence }) => sequence as FakeSequence);
    for (const sequence of sequences) this.expectReadable(sequence);
    expect(new Set(sequences).size).toBe(parts.length);
    expect(this.#isBusy).toBe(false);
    expect(parts.every(({ ids, rows }) => ids.length > 0 && rows <= ids.length)).toBe(true);
    const copied = onCopies && !this.noCopies;
    if (copied) signal?.throwIfAborted();
    onStart?.(copied);
    this.#isBusy = true;
    const tokens = parts.reduce((sum, { ids }) => sum + ids.length, 0);
    const rows = parts.reduce((sum, part) => sum + part.rows, 0);
    const step = { start: this.#clock.now, end: 0, tokens, rows, isWhole: false, onCopies: copied, sequences, reads };
    this.steps.push(step);
    try {
      let abort!: () => void;
      const aborted = new Promise<never>((_, reject) => {
        abort = () => copied && reject(signal!.reason);
        signal?.addEventListener("abort", abort);
      });
      await Promise.race([this.#clock.sleep(costMs(tokens)), aborted]).finally(() => signal?.removeEventListener("abort", abort));
      if (this.failure) throw this.failure;
    } catch (error) {
      this.failure = undefined;
      if (!copied) for (const sequence of sequences) sequence.released = true;
      throw error;
    } finally {
      step.end = this.#clock.now;
      this.#isBusy = false;
    }
    step.isWhole = true;
    const logits: number[] = [];
    for (const { sequence, ids, rows } of parts) {
      for (const [i, id] of ids.entries()) if (i >= ids.length - rows) logits.push(id, sequence.seen + i);
      sequence.seen += ids.length;
      (sequence as FakeSequence).read.push(...ids);
    }
    const read = async (_: string, [from, to]: readonly [number, number] = [0, rows]) =>
      new HostTensor(Float32Array.from(logits.slice(2 * from, 2 * to)), [to - from, 2]);
    return { step: { done: Promise.resolve(), read }, parts, refused };
  }
}

/** Reads `ids`, and what the fake runner gives of their last rows. */
async function read(sequence: Sequence, ids: readonly number[], options: ReadOptions = {}): Promise<number[]> {
  const logits: number[] = [];
  await scheduler.read(sequence, ids, {
    reads: { logits: "read" },
    take: async ({ step, rows }) => {
      logits.push(...((await step.read("logits", rows)).data as Float32Array));
      return undefined;
    },
    ...options,
  });
  return logits;
}

let clock: Clock;
let runner: FakeRunner;
let scheduler: Scheduler;
beforeEach(() => {
  clock = new Clock();
  runner = new FakeRunner(clock);
  scheduler = new Scheduler(runner as unknown as Runner);
  vi.spyOn(performance, "now").mockImplementation(() => clock.now);
});
afterEach(() => {
  vi.restoreAllMocks();
});

const idsOf = (count: number, from = 0) => Array.from({ length: count }, (_, i) => from + i);

interface Prompt {
  readonly sequence: FakeSequence;
  readonly due: number;
  startedAt: number;
  endedAt: number;
}

/** Reads a prompt as the engine does: in chunks, each as soon as the last is read. */
async function readPrompt(tokens: number, { priority = 0, signal }: { priority?: number; signal?: AbortSignal } = {}): Promise<Prompt> {
  const sequence = runner.newSequence();
  const due = scheduler.dueOf(tokens, priority);
  const prompt = { sequence, due, startedAt: clock.now, endedAt: 0 };
  const ids = idsOf(tokens);
  try {
    for (let from = 0; from < tokens; from += chunkTokens) {
      const part = ids.slice(from, from + chunkTokens);
      const rows = from + chunkTokens >= tokens ? 1 : 0;
      expect(await read(sequence, part, { rows, due: () => due, signal })).toEqual(rows ? [tokens - 1, tokens - 1] : []);
    }
  } finally {
    sequence.isClosed = true;
  }
  prompt.endedAt = clock.now;
  expect(sequence.read).toEqual(ids);
  return prompt;
}

/** @returns when each token came */
async function writeAnswer(tokens: number, pauseMs = 0): Promise<number[]> {
  const sequence = runner.newSequence();
  const times: number[] = [];
  for (let i = 0; i < tokens; i++) {
    if (pauseMs > 0) await clock.sleep(pauseMs);
    expect(await read(sequence, [i], { rows: 1, isAnswer: true })).toEqual([i, i]);
    times.push(clock.now);
  }
  sequence.isClosed = true;
  return times;
}

/** What was measured on the first steps is known from here on. */
const warmUp = () => clock.run(readPrompt(2 * chunkTokens));

describe("fairness", () => {
  test.each([1, 2, 5])("%i answers keep half their speed beside long prompts, which go on", async (count) => {
    await warmUp();
    const prompts: Promise<Prompt>[] = [];
    const start = clock.now;
    const answers = Array.from({ length: count }, () => writeAnswer(1000));
    let isOver = false;
    const all = Promise.all(answers).finally(() => {
      isOver = true;
    });
    const flood = (async () => {
      for (; !isOver; await clock.sleep(1000)) prompts.push(readPrompt(3000));
    })();
    const times = await clock.run(all);
    const aloneMs = costMs(count);
    for (const of of times) {
      // Over a window of two pieces of prompts and the answers' time between them.
      for (let i = 100; i < of.length; i++) expect((of[i] - of[i - 100]) / 100).toBeLessThanOrEqual(2 * aloneMs * 1.1 + 8);
    }
    const end = clock.now;
    const read = runner.steps.reduce((sum, step) => sum + (step.start >= start && step.end <= end ? step.tokens - count : 0), 0);
    expect(read * tokenMs).toBeGreaterThan(0.35 * (end - start));
    await clock.run(Promise.all([flood, ...prompts]));
  });

  test("an answer waits for no more than a piece of a prompt", async () => {
    await warmUp();
    const [times] = await clock.run(Promise.all([writeAnswer(200), readPrompt(5000)]));
    for (let i = 2; i < times.length; i++) expect(times[i] - times[i - 1]).toBeLessThanOrEqual(400 + 2 * costMs(1));
  });

  test.each([20, 60, 100, 200])(
    "a prompt of %i tokens that comes in a long step waits no longer than three of its own steps",
    async (tokens) => {
      for (let at = 5; at < costMs(chunkTokens); at += 26) {
        scheduler = new Scheduler(runner as unknown as Runner);
        await warmUp();
        const long = readPrompt(4000);
        const short = clock.sleep(at).then(() => readPrompt(tokens));
        const { startedAt, endedAt } = await clock.run(short);
        expect(endedAt - startedAt, `after ${at} ms`).toBeLessThanOrEqual(3 * costMs(tokens));
        await clock.run(long);
      }
    },
  );

  test.each([
    ["prompts", () => readPrompt(16)],
    ["longer prompts", () => readPrompt(100)],
    ["cancelled prompts", () => readPrompt(300, { signal: cancelAfter(50) }).catch(() => undefined)],
    ["slow answers", () => writeAnswer(1)],
  ] as const)("steady interruptions by %s don't stop a long prompt", async (_, interrupt) => {
    await warmUp();
    let isOver = false;
    const long = readPrompt(4000).finally(() => {
      isOver = true;
    });
    const others: Promise<unknown>[] = [];
    const flood = (async () => {
      for (; !isOver; await clock.sleep(170)) others.push(interrupt());
    })();
    const { startedAt, endedAt } = await clock.run(long);
    expect(endedAt - startedAt).toBeLessThan(30_000);
    await clock.run(Promise.all([flood, ...others]));
  });

  test("whatever prompts come, each ends before those that are due after it can hold it up", async () => {
    const arrival = fc.record({
      afterMs: fc.integer({ min: 0, max: 400 }),
      tokens: fc.oneof(fc.integer({ min: 1, max: 100 }), fc.integer({ min: 100, max: 3000 })),
      priority: fc.integer({ min: -1, max: 1 }),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(arrival, { minLength: 1, maxLength: 30 }), async (arrivals) => {
        runner = new FakeRunner(clock);
        scheduler = new Scheduler(runner as unknown as Runner);
        await warmUp();
        const work = (async () => {
          const prompts: Promise<Prompt>[] = [];
          for (const { afterMs, tokens, priority } of arrivals) {
            await clock.sleep(afterMs);
            prompts.push(readPrompt(tokens, { priority }));
          }
          return Promise.all(prompts);
        })();
        const prompts = await clock.run(work);
        for (const { due, startedAt, endedAt } of prompts) {
          const before = prompts.filter((other) => other.due <= due && other.endedAt > startedAt);
          const own = before.reduce((sum, { sequence }) => sum + costMs(sequence.seen) + stepMs * (sequence.seen / 128), 0);
          // As much again of others, and what was lost in steps that were stopped, beside the one that ran.
          expect(endedAt - startedAt).toBeLessThanOrEqual(3 * own + costMs(chunkTokens));
        }
      }),
      { seed: 31, numRuns: 60 },
    );
  });
});

describe("cancelling", () => {
  const reason = new Error("enough");

  test("before, nothing is read; after, nothing happens", async () => {
    await expect(scheduler.read(runner.newSequence(), [1], { signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
    expect(runner.steps).toEqual([]);
    const stop = new AbortController();
    await clock.run(readPrompt(100, { signal: stop.signal }));
    stop.abort(reason);
    await clock.run(readPrompt(100));
  });

  test.each([true, false])("alone, in a long step: at once; whether there was one before: %s", async (isWarm) => {
    if (isWarm) await warmUp();
    const stop = new AbortController();
    const start = clock.now;
    const read = readPrompt(4000, { signal: stop.signal }).catch((error) => [error, clock.now]);
    void clock.sleep(100).then(() => stop.abort(reason));
    expect(await clock.run(read)).toEqual([reason, start + 100]);
    await clock.run(readPrompt(100));
  });

  test("in line behind a step that goes on: at once", async () => {
    const first = writeAnswer(1);
    const stop = new AbortController();
    const second = clock
      .sleep(5)
      .then(() => readPrompt(100, { signal: stop.signal }))
      .catch((error) => [error, clock.now]);
    void clock.sleep(7).then(() => stop.abort(reason));
    expect(await clock.run(second)).toEqual([reason, 7]);
    await clock.run(first);
  });

  test("while room is made for it: when that is done, and it is not read", async () => {
    runner.roomMs = 10;
    const stop = new AbortController();
    const read = readPrompt(100, { signal: stop.signal }).catch((error) => [error, clock.now]);
    void clock.sleep(4).then(() => stop.abort(reason));
    expect(await clock.run(read)).toEqual([reason, 10]);
    expect(runner.steps).toEqual([]);
  });

  test("at any moment, beside anybody: only those who cancel end, their sequences are not touched again, all others read all", async () => {
    const call = fc.record({
      afterMs: fc.integer({ min: 0, max: 300 }),
      tokens: fc.integer({ min: 1, max: 1200 }),
      isAnswer: fc.boolean(),
      cancelMs: fc.option(fc.integer({ min: 0, max: 800 })),
    });
    await fc.assert(
      fc.asyncProperty(
        fc.array(call, { minLength: 1, maxLength: 12 }),
        fc.constantFrom(0, 3),
        fc.boolean(),
        async (calls, roomMs, warm) => {
          runner = new FakeRunner(clock);
          scheduler = new Scheduler(runner as unknown as Runner);
          if (warm) await warmUp();
          runner.roomMs = roomMs;
          const work = calls.map(async ({ afterMs, tokens, isAnswer, cancelMs }) => {
            await clock.sleep(afterMs);
            if (isAnswer) return writeAnswer(tokens % 20);
            const signal = cancelMs === null ? undefined : cancelAfter(cancelMs);
            await readPrompt(tokens, { signal }).catch((error) => {
              if (error !== signal?.reason) throw error;
            });
          });
          await clock.run(Promise.all(work));
        },
      ),
      { seed: 32, numRuns: 150, endOnFailure: true },
    );
  });
});

describe("failing", () => {
  test("a step that fails rejects those in it and no others", async () => {
    await warmUp();
    const failure = new Error("lost device");
    const codes = [readPrompt(400), readPrompt(400)].map((read) =>
      read.then(
        () => "read",
        (error) => error,
      ),
    );
    const later = clock.sleep(30).then(() => {
      runner.failure = failure;
      return readPrompt(900);
    });
    const found = await clock.run(Promise.all(codes));
    expect(found).toContain(failure);
    await clock.run(later);
    const inIt = runner.steps.find((step) => !step.isWhole)!.sequences.length;
    expect(found.filter((one) => one === failure).length).toBe(inIt);
    const whole = runner.steps.filter(({ isWhole }) => isWhole);
    expect(scheduler.counts).toEqual({
      steps: whole.length,
      sequences: whole.reduce((sum, { sequences }) => sum + sequences.length, 0),
      tokens: whole.reduce((sum, { tokens }) => sum + tokens, 0),
    });
  });

  test("who finds no room ends with OUT_OF_MEMORY, the others of the step go on", async () => {
    const full = { ...runner.newSequence(), noRoom: true };
    const code = scheduler.read(full, idsOf(10)).catch((error) => error.code);
    expect((await clock.run(Promise.all([code, readPrompt(300), writeAnswer(5)])))[0]).toBe("OUT_OF_MEMORY");
    const alone = scheduler.read(full, idsOf(10)).catch((error) => error.code);
    expect(await clock.run(alone)).toBe("OUT_OF_MEMORY");
  });

  test("where there is room for a prompt and none for a copy of it, it is read all the same", async () => {
    await warmUp();
    runner.noCopies = true;
    await clock.run(Promise.all([readPrompt(900), readPrompt(300)]));
  });

  test("nothing to read is no step; rows are those of the last tokens, in whatever pieces they are read", async () => {
    expect(await read(runner.newSequence(), [])).toEqual([]);
    expect(runner.steps).toEqual([]);
    const many = read(runner.newSequence(), idsOf(9, 100), { rows: 3, isAnswer: true });
    const [logits] = await clock.run(Promise.all([many, writeAnswer(3), readPrompt(1000)]));
    expect([...logits]).toEqual([106, 6, 107, 7, 108, 8]);
  });
});

describe("what steps give", () => {
  test("one step gives what each of its calls wants, and each gets its own part of it", async () => {
    const parts: unknown[] = [];
    const call = (reads: ReadOptions["reads"], tokens: number, rows: number) =>
      scheduler.read(runner.newSequence(), idsOf(tokens), {
        reads,
        rows,
        questions: [
          { temperature: 1, asked: [7] },
          { temperature: 1, asked: [8, 9] },
        ],
        isAnswer: true,
        take: async ({ tokens, rows, asked, askedAt }) => void parts.push([tokens, rows, asked, askedAt]) as undefined,
      });
    await clock.run(
      Promise.all([
        call({ top: 1, logits: "keep" }, 3, 2),
        call({ hidden: "final" }, 2, 0),
        call({ top: 4, logits: "read", routes: true }, 4, 3),
      ]),
    );
    expect(runner.steps.map(({ reads }) => reads)).toEqual([{ top: 4, logits: "read", hidden: "final", routes: true }]);
    expect(parts).toEqual([
      [[0, 3], [0, 2], [[7], [8, 9]], 0],
      [[3, 5], [2, 2], [], 3],
      [[5, 9], [2, 5], [[7], [8, 9], [8, 9]], 3],
    ]);
  });

  test("a call that wants many rows is cut where their logits would take too much memory, and loses none", async () => {
    runner.config.vocabSize = 65536;
    const logits = await clock.run(read(runner.newSequence(), idsOf(300), { rows: 290 }));
    expect(logits).toEqual(idsOf(290, 10).flatMap((id) => [id, id]));
    expect(Math.max(...runner.steps.map(({ rows }) => rows))).toBe(128);
    expect(runner.steps.map(({ tokens }) => tokens)).toEqual([138, 128, 34]);
  });

  test("a row that nobody has drawn from is fetched before its step's values go, and no other is", async () => {
    const fetched: string[] = [];
    const answer = async (name: string, drawnAfter: number) => {
      const sequence = runner.newSequence();
      for (let i = 0; i < 4; i++) {
        const row = { isDrawn: false, row: async () => void fetched.push(`${name}${i} before step ${runner.steps.length}`) };
        await scheduler.read(sequence, [i], { rows: 1, isAnswer: true, take: async () => [row as unknown as StepRow] });
        void clock.sleep(drawnAfter).then(() => {
          row.isDrawn = true;
        });
      }
    };
    await clock.run(Promise.all([answer("quick", 0), answer("slow", 2.5 * costMs(2))]));
    expect(fetched).toEqual(["slow0 before step 2", "slow1 before step 3"]);
  });
});

test("a device that can't stop a step gets none on copies", async () => {
  runner.backend.device.interrupts = "steps";
  await warmUp();
  await clock.run(readPrompt(2000));
  expect(runner.steps.some(({ onCopies }) => onCopies)).toBe(false);
});

test("what comes before a step, room and compiling, is no part of what a token is taken to cost", async () => {
  await warmUp();
  const before = scheduler.piece;
  runner.roomMs = 5000;
  await clock.run(readPrompt(chunkTokens));
  expect(scheduler.piece).toBe(before);
});

function cancelAfter(ms: number): AbortSignal {
  const stop = new AbortController();
  void clock.sleep(ms).then(() => stop.abort(new Error("enough")));
  return stop.signal;
}
