// Drafts change how an answer is read, never what it reads.

import { setImmediate as turn } from "node:timers/promises";
import fc from "fast-check";
import { expect, test } from "vitest";
import type { Sequence } from "../engine/advance.ts";
import type { Opened } from "../engine/calls.ts";
import type { Engine } from "../engine/engine.ts";
import { evidenceOf, noQuestions, type Questions, type RowEvidence } from "../engine/evidence.ts";
import { Lookahead, lookUp } from "./prompt-lookup.ts";

const ids = fc.array(fc.integer({ min: 0, max: 2 }), { maxLength: 40 });

test("what is drafted followed the latest earlier copy of the last tokens", () => {
  fc.assert(
    fc.property(
      ids,
      fc.integer({ min: 1, max: 4 }),
      fc.integer({ min: 1, max: 6 }),
      fc.integer({ min: -2, max: 8 }),
      (ids, ngram, maxTokens, room) => {
        const last = ids.slice(-ngram).join();
        // Ends of earlier copies.
        const ends = ids.map((_, at) => at).filter((at) => at >= ngram && ids.slice(at - ngram, at).join() === last);
        const expected =
          ends.length > 0 && ids.length > ngram ? ids.slice(ends.at(-1)!).slice(0, Math.max(0, Math.min(maxTokens, room))) : [];
        expect(lookUp(ids, { maxTokens, ngram }, room)).toEqual(expected);
      },
    ),
    { seed: 41, numRuns: 2000 },
  );
});

interface Fake {
  ids: number[];
  isReading: boolean;
  isGone: boolean;
}

/** A model whose best logit is the text that it has read. Takes its time, and fails now and then. */
class FakeEngine {
  readonly room: number;
  readonly alive = new Set<Fake>();
  /** Rows that somebody may still want. */
  readonly wanted = new Set<RowEvidence>();
  #failures: number[];
  steps = 0;
  readonly faults: string[] = [];

  constructor(room: number, failures: number[]) {
    this.room = room;
    this.#failures = failures;
  }

  /** Not thrown: a guess that fails is no failure. */
  #expect(isRight: boolean, fault: string): void {
    if (!isRight) this.faults.push(fault);
  }

  open(ids: readonly number[]): Opened {
    const sequence: Fake = { ids: [...ids], isReading: false, isGone: false };
    this.alive.add(sequence);
    return {
      sequence: sequence as unknown as Sequence,
      ids: [...ids],
      evidence: rowOf(0, noQuestions),
      cachedTokens: 0,
      owner: {},
      leave: () => undefined,
    };
  }

  async guess(sequence: unknown, ids: readonly number[], questions: readonly Questions[]): Promise<RowEvidence[]> {
    const one = sequence as Fake;
    this.#expect(!one.isReading && !one.isGone, "a read of what is being read or gone");
    this.#expect(one.ids.length + ids.length <= this.room, "a read beyond the context");
    one.isReading = true;
    const wait = this.#failures.pop() ?? 1;
    for (let i = 0; i < Math.abs(wait); i++) await turn();
    this.#expect(!one.isGone, "what is being read was dropped");
    one.isReading = false;
    if (wait < 0) throw new Error("no room");
    one.ids.push(...ids);
    this.steps++;
    return questions.map((asks, i) => {
      const end = one.ids.length - questions.length + i + 1;
      const evidence = rowOf(hashOf(one.ids.slice(0, end)), asks, () => this.wanted.delete(evidence));
      this.wanted.add(evidence);
      return evidence;
    });
  }

  async advance(opened: Opened, ids: readonly number[], questions: readonly Questions[]): Promise<RowEvidence[]> {
    const rows = await this.guess(opened.sequence, ids, questions);
    opened.ids.push(...ids);
    return rows;
  }

  roomOf({ sequence }: Opened): number {
    return this.room - (sequence as unknown as Fake).ids.length;
  }

  async copyOf({ sequence }: Opened): Promise<Fake> {
    await turn();
    const copy = { ids: [...(sequence as unknown as Fake).ids], isReading: false, isGone: false };
    this.alive.add(copy);
    return copy;
  }

  drop(sequence: unknown): void {
    const one = sequence as Fake;
    this.#expect(!one.isReading && !one.isGone, "a drop of what is being read or gone");
    one.isGone = true;
    this.alive.delete(one);
  }

  replace(opened: Opened, sequence: Sequence, ids: readonly number[]): void {
    this.drop(opened.sequence);
    opened.sequence = sequence;
    opened.ids.push(...ids);
  }
}

/** Evidence of a row of one logit. */
function rowOf(logit: number, questions: Questions, drawn: () => void = () => undefined): RowEvidence {
  const row = Float32Array.of(logit);
  return { ...evidenceOf(row, 1, questions), row: async () => row, drawn };
}

const asksNothing = () => noQuestions;

/** Another number for each text. */
function hashOf(ids: readonly number[]): number {
  return ids.reduce((hash, id) => (hash * 31 + id + 1) % 65_521, 7);
}

test("whatever is drawn, the evidence is of what was drawn and was asked what is asked there, and what is left over is dropped", async () => {
  const options = fc.record({ maxTokens: fc.integer({ min: 1, max: 5 }), ngram: fc.integer({ min: 1, max: 3 }) });
  const groups = fc.array(fc.tuple(fc.integer({ min: 1, max: 3 }), fc.nat(3)), { minLength: 1, maxLength: 40 });
  await fc.assert(
    fc.asyncProperty(ids, ids, options, fc.nat(30), groups, async (prompt, answer, options, room, groups) => {
      const engine = new FakeEngine(prompt.length + room, []);
      const opened = engine.open(prompt);
      const ahead = new Lookahead(engine as unknown as Engine, opened, options);
      const said = answer.slice(0, room);
      for (let at = 0, i = 0; at < said.length; i++) {
        const [nDrawn, nSure] = groups[i % groups.length];
        const drawn = said.slice(at, at + nDrawn);
        const sure = said.slice(at + nDrawn, at + nDrawn + nSure);
        const before = [...prompt, ...said.slice(0, at + drawn.length)];
        const rows = await ahead.next(drawn, sure, (more) => ({ temperature: 1, asked: [hashOf([...before, ...more])] }));
        expect(rows).toHaveLength(1 + sure.length);
        for (const [more, row] of rows.entries()) {
          const expected = hashOf([...before, ...sure.slice(0, more)]);
          expect([row.max, ...row.asked.keys()]).toEqual([expected, expected]);
          row.drawn();
        }
        at += drawn.length + sure.length;
        expect((opened.sequence as unknown as Fake).ids).toEqual(opened.ids);
        expect([...prompt, ...said.slice(0, at)].slice(0, opened.ids.length)).toEqual(opened.ids);
      }
      const { drafted, accepted } = ahead.counts;
      expect(accepted).toBeLessThanOrEqual(drafted);
      ahead.dispose();
      ahead.dispose();
      expect([...engine.alive]).toEqual([opened.sequence]);
      expect([...engine.wanted]).toEqual([]);
      expect(engine.faults).toEqual([]);
    }),
    { seed: 42, numRuns: 500 },
  );
});

test("a text that repeats takes fewer steps than tokens", async () => {
  const engine = new FakeEngine(1000, []);
  const opened = engine.open([1, 2, 3, 4, 5, 6, 7, 8]);
  const ahead = new Lookahead(engine as unknown as Engine, opened, {});
  for (let i = 0; i < 40; i++) await ahead.next([(i % 8) + 1], [], asksNothing);
  expect(ahead.counts.accepted).toBeGreaterThan(30);
  expect(engine.steps).toBeLessThan(24); // two reads a step where one is drafted
});

test("a read that fails is told when both are over, so that nobody drops what is being read; a guess that fails is none", async () => {
  // Turns that the reads of the answer and of the copy take; below zero they fail then.
  for (const [own, guess] of [
    [1, -1],
    [5, -1],
    [-1, 5],
    [-3, -1],
    [-1, -3],
  ]) {
    const engine = new FakeEngine(1000, [guess, own]);
    const opened = engine.open([1, 2, 3, 1, 2]);
    const ahead = new Lookahead(engine as unknown as Engine, opened, { ngram: 2 });
    const next = ahead.next([3], [], asksNothing).then(
      ([{ max }]) => max,
      (error) => error.message,
    );
    expect(await next).toBe(own < 0 ? "no room" : hashOf([1, 2, 3, 1, 2, 3]));
    expect(ahead.counts.drafted).toBe(0);
    ahead.dispose();
    expect([...engine.alive]).toEqual([opened.sequence]);
    expect(engine.faults).toEqual([]);
    expect((opened.sequence as unknown as Fake).ids).toEqual(opened.ids);
  }
});

test("an answer goes on where there is no room to guess", async () => {
  const engine = new FakeEngine(1000, []);
  engine.copyOf = () => Promise.reject(new Error("no room"));
  const ahead = new Lookahead(engine as unknown as Engine, engine.open([1, 2, 3, 1, 2]), { ngram: 2 });
  for (const id of [3, 1, 2, 3]) await ahead.next([id], [], asksNothing);
  expect(ahead.counts).toEqual({ drafted: 0, accepted: 0 });
});
