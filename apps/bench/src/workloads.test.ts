import fc from "fast-check";
import { expect, test } from "vitest";
import { endId, type Request, writerOf } from "./conversation.ts";
import { randomFrom } from "./random.ts";
import { expectationsOf, workloadsOf } from "./workloads.ts";

const request = (...ids: number[]): Request => ({ ids, answer: [7, endId] });

test("what parts in the middle of a message may be read again from its beginning, once", () => {
  const requests = [request(5, 6, endId, 8, 9, 10), request(5, 6, endId, 8, 9, 11), request(5, 6, endId, 8, 9, 12)];
  expect(expectationsOf(requests)).toEqual([
    { fresh: 6, again: 0 },
    { fresh: 1, again: 2 },
    { fresh: 1, again: 0 },
  ]);
});

test("what parts elsewhere from a prompt that parted before counts from there", () => {
  expect(expectationsOf([request(3, 4, 5, 6, 7), request(3, 4, 8), request(3, 4, 5, 9)])[2]).toEqual({ fresh: 1, again: 1 });
});

test("an answer was read but for its last token", () => {
  const [, next] = expectationsOf([request(5, 6), request(5, 6, 7, endId, 8)]);
  expect(next).toEqual({ fresh: 2, again: 3 });
});

test("each token of a prompt is new, known, or may be read again, and the last one is always read", () => {
  const prompt = fc.array(fc.constantFrom(endId, 5, 6), { minLength: 1, maxLength: 12 });
  fc.assert(
    fc.property(fc.array(prompt, { minLength: 1, maxLength: 6 }), (prompts) => {
      const requests = prompts.map((ids) => request(...ids));
      for (const [i, { fresh, again }] of expectationsOf(requests).entries()) {
        expect(fresh).toBeGreaterThan(0);
        expect(again).toBeGreaterThanOrEqual(0);
        expect(fresh + again).toBeLessThanOrEqual(prompts[i].length);
      }
      // Whatever came before: a prompt that comes for the third time costs its last token.
      const again = request(...prompts[0]);
      expect(expectationsOf([...requests, again, again]).at(-1)).toEqual({ fresh: 1, again: 0 });
    }),
  );
});

test("the workloads part where their names say", () => {
  const workloads = workloadsOf(writerOf(randomFrom(1), 1024));
  expect(workloads.map(({ name, requests }) => [name, ...expectationsOf(requests).map(({ fresh, again }) => `${fresh} ${again}`)])).toEqual(
    [
      ["480 tokens and another suffix", "501 0", "20 481", "20 0"],
      ["a system text and other users", "642 0", "40 1", "40 0"],
      ["the time in the middle of the prompt", "845 0", "445 400", "445 0"],
      ["reasoning stripped from the last turn", "142 0", "61 1", "61 1"],
      ["a note five messages above the end", "672 0", "360 0", "289 0"],
      ["an earlier message edited", "662 0", "382 30", "382 0"],
      ["answered again", "662 0", "1 0", "1 0"],
    ],
  );
});
