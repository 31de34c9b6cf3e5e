import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { askedIds, type Said, sampleRow } from "./sampler.ts";

test("the ids asked for are those that options change, each once and within the vocabulary", () => {
  const said = { prompt: [1, 2, 2, 99], answer: [3, 3, 4] };
  const asked = (options: Parameters<typeof askedIds>[0]) => askedIds(options, said, 50).sort((a, b) => a - b);
  expect(asked({ temperature: 1, topP: 0.5, dry: { multiplier: 0 } })).toEqual([]);
  expect(asked({ logitBias: { 7: 1, 3: -1, 50: 1 } })).toEqual([3, 7]);
  expect(asked({ frequencyPenalty: 1 })).toEqual([3, 4]);
  expect(asked({ presencePenalty: -1, logitBias: { 1: 0 } })).toEqual([1, 3, 4]);
  expect(asked({ repetitionPenalty: 1.1 })).toEqual([1, 2, 3, 4]);
  expect(askedIds({ dry: { multiplier: 1, allowedLength: 1 } }, { prompt: [5, 6, 7], answer: [5] }, 50)).toEqual([6]);
});

describe("dry", () => {
  const flat = new Float32Array(6);
  /** What a text takes from each logit, found by the logit bias that just makes up for it. */
  function costs(text: number[], dry: NonNullable<Parameters<typeof sampleRow>[1]["dry"]>, isBreaker?: Said["isBreaker"]): number[] {
    return [...flat.keys()].map((id) => {
      const beats = (bias: number) =>
        sampleRow(
          flat,
          { dry, logitBias: Object.fromEntries([...flat.keys()].map((other) => [other, other === id ? bias : -1000])) },
          { prompt: text, answer: [], isBreaker },
          [0, 0],
        ) === id;
      let [low, high] = [-1000, 1e6];
      for (let i = 0; i < 60; i++) [low, high] = beats((low + high) / 2) ? [low, (low + high) / 2] : [(low + high) / 2, high];
      return Math.round((high + 1000) * 1000) / 1000;
    });
  }

  test("a longer copy costs more, and the longest counts", () => {
    // 1 2 3 was followed by 4, and 3 alone also by 5.
    const text = [1, 2, 3, 4, 3, 5, 1, 2, 3];
    expect(costs(text, { multiplier: 2, base: 3, allowedLength: 1 })).toEqual([0, 0, 0, 0, 18, 2]);
    expect(costs(text, { multiplier: 2, base: 3 })).toEqual([0, 0, 0, 0, 6, 0]);
    expect(costs(text, { multiplier: 2, base: 3, lastN: 6, allowedLength: 1 })).toEqual([0, 0, 0, 0, 0, 2]);
    expect(costs(text, { multiplier: 0 })).toEqual([0, 0, 0, 0, 0, 0]);
  });

  test("copies stop at breakers, which cost nothing themselves", () => {
    const text = [1, 2, 3, 4, 1, 2, 3];
    expect(costs(text, { multiplier: 1, base: 2, allowedLength: 1 }, (id) => id === 2)[4]).toBe(1);
    expect(costs(text, { multiplier: 1, base: 2, allowedLength: 1 }, (id) => id === 3)[4]).toBe(0);
    expect(costs(text, { multiplier: 1, base: 2, allowedLength: 1 }, (id) => id === 4)[4]).toBe(0);
  });

  test("lengths are those of a search by hand", () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 0, max: 2 }), { maxLength: 24 }), fc.integer({ min: 1, max: 3 }), (text, allowedLength) => {
        const expected = [0, 0, 0, 0, 0, 0];
        for (let end = 1; end < text.length; end++) {
          let length = 0;
          while (length < end && text[end - 1 - length] === text[text.length - 1 - length]) length++;
          if (length >= allowedLength) expected[text[end]] = Math.max(expected[text[end]], 2 ** (length - allowedLength));
        }
        // Up to 2^23: what f32 adds to a bias is rounded.
        for (const [id, cost] of costs(text, { multiplier: 1, base: 2, allowedLength }).entries())
          expect(Math.abs(cost - expected[id])).toBeLessThanOrEqual(1e-3 + 1e-6 * expected[id]);
      }),
      { numRuns: 60 },
    );
  });
});
