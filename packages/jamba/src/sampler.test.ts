import { describe, expect, test } from "vitest";
import { argmax, logprobOf, type Said, sample, topLogprobs, uniform } from "./sampler.ts";

const nothing: Said = { prompt: [], answer: [] };
const logits = Float32Array.from([1, 3, 2, 3, -1]);

/** Counts of `n` draws. */
function draws(options: Parameters<typeof sample>[1], n = 4000, said = nothing): number[] {
  const counts = Array(logits.length).fill(0);
  for (let i = 0; i < n; i++) counts[sample(logits, options, said, uniform(7, i))]++;
  return counts;
}

describe("sample", () => {
  test("temperature 0 is argmax, ties to the lower id, whatever is drawn", () => {
    for (const u of [0, 0.5, 0.999]) expect(sample(logits, {}, nothing, u)).toBe(1);
    expect(argmax(logits)).toBe(1);
  });

  test("topK of 1 is argmax at any temperature", () => {
    expect(draws({ temperature: 5, topK: 1 })).toEqual([0, 4000, 0, 0, 0]);
  });

  test("draws follow the softmax (chi-square, fixed seed)", () => {
    const counts = draws({ temperature: 1 });
    const chi = counts.reduce((sum, count, id) => {
      const expected = 4000 * Math.exp(logprobOf(logits, id));
      return sum + (count - expected) ** 2 / expected;
    }, 0);
    expect(chi).toBeLessThan(18.5); // 99.9 % of the distribution with 4 degrees of freedom
  });

  test("topP keeps the fewest that reach it", () => {
    // Probabilities 0.39, 0.39, 0.14, 0.05, 0.01 in order of logits.
    expect(draws({ temperature: 1, topP: 0.5 })).toEqual([0, expect.any(Number), 0, expect.any(Number), 0]);
    expect(draws({ temperature: 1, topP: 0.1 })).toEqual([0, 4000, 0, 0, 0]);
    expect(draws({ temperature: 1, topP: 0 })).toEqual([0, 4000, 0, 0, 0]);
  });

  test("minP drops what is less probable than its share of the best", () => {
    const counts = draws({ temperature: 3, minP: 0.3 });
    expect([counts[0], counts[4]]).toEqual([0, 0]);
    expect(counts[2]).toBeGreaterThan(0);
  });

  test("penalties and bias move logits", () => {
    expect(sample(logits, { repetitionPenalty: 2 }, { prompt: [1], answer: [3] }, 0)).toBe(2);
    expect(sample(logits, { frequencyPenalty: 0.4 }, { prompt: [1], answer: [1, 3, 3, 3] }, 0)).toBe(1);
    expect(sample(logits, { presencePenalty: 2.5 }, { prompt: [], answer: [1, 3] }, 0)).toBe(2);
    expect(sample(logits, { logitBias: { 4: 10 } }, nothing, 0)).toBe(4);
    expect(sample(logits, { logitBias: { 1: Number.NEGATIVE_INFINITY, 3: Number.NEGATIVE_INFINITY } }, nothing, 0)).toBe(2);
  });

  test("the logits stay as they are", () => {
    const before = logits.slice();
    draws({ temperature: 2, repetitionPenalty: 3, logitBias: { 0: 1 } }, 3, { prompt: [0], answer: [1] });
    expect(logits).toEqual(before);
  });

  test("logits without a number are refused", () => {
    expect(() => sample(Float32Array.from([Number.NaN, Number.NaN]), {}, nothing, 0)).toThrow(expect.objectContaining({ code: "BACKEND" }));
  });
});

test("uniform is the same for the same seed and counter, spread over [0, 1), and different for close seeds", () => {
  const numbers = Array.from({ length: 10_000 }, (_, i) => uniform(42, i));
  expect(numbers).toEqual(Array.from({ length: 10_000 }, (_, i) => uniform(42, i)));
  const buckets = Array(10).fill(0);
  for (const number of numbers) buckets[Math.floor(number * 10)]++;
  for (const count of buckets) expect(Math.abs(count - 1000)).toBeLessThan(120);
  for (const seed of [43, 42 + 2 ** 32, -42]) expect(uniform(seed, 0)).not.toBe(uniform(42, 0));
});

test("log probabilities sum to one, and the best come first", () => {
  expect([...logits.keys()].reduce((sum, id) => sum + Math.exp(logprobOf(logits, id)), 0)).toBeCloseTo(1, 12);
  expect(topLogprobs(logits, 3).map(({ id }) => id)).toEqual([1, 3, 2]);
});
