import fc from "fast-check";
import { expect, test } from "vitest";
import { StopTexts } from "./stop-texts.ts";

function run(stops: string[], pieces: string[]) {
  const texts = new StopTexts(stops);
  const shown = pieces.map((piece) => texts.push(piece)).join("") + texts.end();
  return { shown, found: texts.found };
}

test("in any pieces, the text ends before the first stop text and no part of it is shown", () => {
  const letter = fc.constantFrom("a", "b", "c");
  const text = fc.string({ unit: letter, maxLength: 30 });
  const stops = fc.array(fc.string({ unit: letter, minLength: 1, maxLength: 4 }), { maxLength: 3 });
  fc.assert(
    fc.property(text, stops, fc.array(fc.nat(30)), (text, stops, cuts) => {
      const borders = [0, ...cuts.filter((cut) => cut <= text.length).sort((a, b) => a - b), text.length];
      const pieces = borders.slice(1).map((end, i) => text.slice(borders[i], end));
      const { shown, found } = run(stops, pieces);
      const ends = stops.map((stop) => text.indexOf(stop)).filter((at) => at >= 0);
      // A stop text that ends sooner wins over one that begins sooner but is not whole yet.
      if (ends.length === 0) expect({ shown, found }).toEqual({ shown: text, found: undefined });
      else {
        expect(text.startsWith(shown + found)).toBe(true);
        for (const stop of stops) expect(shown.includes(stop)).toBe(false);
      }
    }),
    { seed: 5, numRuns: 2000 },
  );
});

test("text that only began like a stop text comes out at the end", () => {
  expect(run(["###"], ["a#", "#"])).toEqual({ shown: "a##", found: undefined });
});
