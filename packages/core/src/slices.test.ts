import { afterEach, expect, test, vi } from "vitest";
import { inSlices, nextTurn } from "./slices.ts";

afterEach(() => vi.restoreAllMocks());

let now = 0;

/** Turns of the event loop that others have while `work` is done, on a clock that goes on by a millisecond with each look at it. */
async function turnsDuring(work: () => Promise<unknown>): Promise<number> {
  vi.spyOn(performance, "now").mockImplementation(() => now++);
  let [turns, isOver] = [0, false];
  const others = (async () => {
    for (; !isOver; turns++) await nextTurn();
  })();
  await work();
  isOver = true;
  await others;
  await nextTurn(); // in which nothing of this clock is left
  return turns;
}

function* worksOf(count: number): Generator<undefined, number> {
  for (let i = 0; i < count; i++) yield;
  return count;
}

test("long work lets others have turns", async () => {
  expect(await turnsDuring(async () => expect(await inSlices(worksOf(200))).toBe(200))).toBeGreaterThan(10);
});

test("so does short work, of which much is done one after another or at once", async () => {
  const oneAfterAnother = async () => {
    for (let i = 0; i < 200; i++) await inSlices(worksOf(0));
  };
  expect(await turnsDuring(oneAfterAnother)).toBeGreaterThan(10);
  expect(await turnsDuring(() => Promise.all(Array.from({ length: 200 }, () => inSlices(worksOf(1)))))).toBeGreaterThan(10);
});

test("an abort ends it where it let others on, and the work hears of it", async () => {
  let isLeft = false;
  function* endless() {
    try {
      for (;;) yield;
    } finally {
      isLeft = true;
    }
  }
  const stop = new AbortController();
  const ended = expect(inSlices(endless(), stop.signal)).rejects.toThrow("enough");
  await nextTurn();
  stop.abort(new Error("enough"));
  await ended;
  expect(isLeft).toBe(true);
});
