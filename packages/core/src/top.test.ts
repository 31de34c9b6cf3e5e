import fc from "fast-check";
import { expect, test } from "vitest";
import { topOf } from "./top.ts";

const rows = fc
  .array(fc.oneof(fc.double({ min: -20, max: 20, noNaN: true }), fc.constantFrom(0, -0, 1, 1, Number.NaN, 1 / 0, -1 / 0, 1e30, -1e30)), {
    maxLength: 80,
  })
  .map((values) => Float32Array.from(values));
const sum = (values: Float32Array, term: (value: number) => number) => values.reduce((total, value) => total + term(value), 0);
/** For sums of terms that are all positive. */
const expectClose = (found: number, expected: number) => expect(Math.abs(found - expected)).toBeLessThanOrEqual(1e-12 * expected);

test("the best are those of a full sort, ties to the lower id, and the sums are over all that is finite", () => {
  fc.assert(
    fc.property(rows, fc.integer({ min: 0, max: 90 }), fc.constantFrom(0.3, 1, 7), (row, k, temperature) => {
      const top = topOf(row, k, temperature);
      const finite = [...row.keys()].filter((id) => Number.isFinite(row[id]));
      const expected = finite.sort((a, b) => row[b] - row[a] || a - b).slice(0, k);
      expect([...top.ids]).toEqual(expected);
      expect([...top.values]).toEqual(expected.map((id) => row[id]));
      const values = row.filter(Number.isFinite);
      expect(top.max === values.reduce((a, b) => Math.max(a, b), -1 / 0)).toBe(true); // -0 is 0
      expect(top.count).toBe(values.length);
      expectClose(
        top.sumExp,
        sum(values, (l) => Math.exp(l - top.max)),
      );
      expectClose(
        top.sumGaps,
        sum(values, (l) => Math.exp(l - top.max) * (top.max - l)),
      );
      expectClose(
        top.sumTempered,
        sum(values, (l) => Math.exp((l - top.max) / temperature)),
      );
    }),
    { numRuns: 1000 },
  );
});

test("temperature 0 counts those that equal the largest", () => {
  expect(topOf(Float32Array.of(1, 3, 2, 3), 1, 0).sumTempered).toBe(2);
});
