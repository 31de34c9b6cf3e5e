import fc from "fast-check";
import { expect, it } from "vitest";
import { bytesOf, gaps, type Range, withRange } from "./partial.ts";

it("ranges and their gaps are those of a list of bytes", () => {
  const size = 30;
  const range = fc.tuple(fc.nat(size), fc.nat(size)).map(([a, b]) => ({ begin: Math.min(a, b), end: Math.max(a, b) }));
  fc.assert(
    fc.property(fc.array(range, { maxLength: 12 }), (added) => {
      const bytes = new Array<boolean>(size).fill(false);
      let ranges: Range[] = [];
      for (const one of added) {
        bytes.fill(true, one.begin, one.end);
        ranges = withRange(ranges, one);
        // Sorted, apart and not empty, as a note must be.
        expect(ranges.every(({ begin, end }, i) => begin < end && (i === 0 || ranges[i - 1].end < begin))).toBe(true);
      }
      const covered = (some: readonly Range[]) => bytes.map((_, i) => some.some(({ begin, end }) => begin <= i && i < end));
      expect(covered(ranges)).toEqual(bytes);
      expect(covered(gaps(ranges, size))).toEqual(bytes.map((done) => !done));
      expect(bytesOf(ranges) + bytesOf(gaps(ranges, size))).toBe(size);
    }),
    { numRuns: 2000 },
  );
});
