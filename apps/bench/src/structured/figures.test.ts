import { expect, test } from "vitest";
import { fieldsOf, meets, quantile, quantilesOf } from "./figures.ts";

test("a quantile is a value of the list, and all of them are below the last", () => {
  const values = [5, 1, 4, 2, 3];
  expect([0, 0.5, 0.99, 1].map((share) => quantile(values, share))).toEqual([1, 3, 5, 5]);
  expect(quantilesOf("a mask", values, { p99: ["<=", 4] }).map(({ value }) => value)).toEqual([3, 5, 5, 5]);
});

test("a target is met at its own value", () => {
  const figure = { what: "", value: 20, unit: "ms" } as const;
  expect(meets(figure)).toBe(undefined);
  expect(meets({ ...figure, target: ["<=", 20] })).toBe(true);
  expect(meets({ ...figure, target: [">=", 20] })).toBe(true);
  expect(meets({ ...figure, target: ["<=", 19.9] })).toBe(false);
});

test("a row shows what was measured beside what must hold", () => {
  const figure = { what: "a gap", value: 12.345, unit: "ms", range: [10, 31], runs: 3, target: ["<=", 20] } as const;
  expect(fieldsOf(figure)).toEqual(["a gap", "12.3 ms", "10..31", "3", "<= 20 ms", "met"]);
  expect(fieldsOf({ what: "wrongly admitted", value: 0, unit: "" })).toEqual(["wrongly admitted", "0", "", "", "", ""]);
});
