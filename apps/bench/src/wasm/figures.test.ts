import { expect, test } from "vitest";
import { fieldsOf, isMet, ratioOf } from "./figures.ts";

const share = {
  what: "q4, one token",
  unit: "GB/s",
  ours: { name: "relaxed", values: [10, 20, 18] },
  beside: { name: "avx2", values: [20, 20, 30] },
  as: "%",
  target: [">=", 60],
} as const;

test("a ratio is that of the sides of one round", () => {
  expect(ratioOf(share)).toEqual({ median: 60, min: 50, max: 100 });
  expect(isMet(share)).toBe(true);
  expect(isMet({ ...share, target: [">=", 61] })).toBe(false);
});

test("one side alone is held to its own value", () => {
  const alone = { what: "first token", unit: "ms", ours: { name: "Chromium", values: [900, 1200, 800] }, target: ["<=", 1000] } as const;
  expect(ratioOf(alone)).toBeUndefined();
  expect(isMet(alone)).toBe(true);
  expect(fieldsOf(alone)).toEqual(["first token", "Chromium", "900 ms", "", "", "", "800..1200", "3", "<= 1000 ms", "met"]);
});

test("a row shows both numbers of its ratio", () => {
  expect(fieldsOf(share)).toEqual([
    ...["q4, one token", "relaxed", "18.0 GB/s", "avx2", "20.0 GB/s"],
    ...["60.0 %", "50.0..100", "3", ">= 60 %", "met"],
  ]);
});
