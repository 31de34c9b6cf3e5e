import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { evidenceOf, noQuestions } from "../engine/evidence.ts";
import { draw, logprobsOf, type Said, type SamplingOptions, sampleRow, uniform } from "./sampler.ts";

const nothing: Said = { prompt: [], answer: [] };
const logits = Float32Array.from([1, 3, 2, 3, -1]);
const all = evidenceOf(logits, logits.length, noQuestions);

/** Counts of `n` draws. */
function draws(options: SamplingOptions, n = 4000, said = nothing): number[] {
  const counts = Array(logits.length).fill(0);
  for (let i = 0; i < n; i++) counts[sampleRow(logits, options, said, [uniform(7, 2 * i), uniform(7, 2 * i + 1)])]++;
  return counts;
}

describe("sampleRow", () => {
  test("temperature 0 is argmax, ties to the lower id, whatever is drawn", () => {
    for (const u of [0, 0.5, 0.999]) expect(sampleRow(logits, {}, nothing, [u, 0])).toBe(1);
  });

  test("topK of 1 is argmax at any temperature", () => {
    expect(draws({ temperature: 5, topK: 1 })).toEqual([0, 4000, 0, 0, 0]);
  });

  test("draws follow the softmax (chi-square, fixed seed)", () => {
    const counts = draws({ temperature: 1 });
    const chi = counts.reduce((sum, count, id) => {
      const expected = 4000 * Math.exp(logprobsOf(all, id, 0)!.logprob);
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
    expect(sampleRow(logits, { repetitionPenalty: 2 }, { prompt: [1], answer: [3] }, [0, 0])).toBe(2);
    expect(sampleRow(logits, { frequencyPenalty: 0.4 }, { prompt: [1], answer: [1, 3, 3, 3] }, [0, 0])).toBe(1);
    expect(sampleRow(logits, { presencePenalty: 2.5 }, { prompt: [], answer: [1, 3] }, [0, 0])).toBe(2);
    expect(sampleRow(logits, { logitBias: { 4: 10 } }, nothing, [0, 0])).toBe(4);
    expect(sampleRow(logits, { logitBias: { 1: Number.NEGATIVE_INFINITY, 3: Number.NEGATIVE_INFINITY } }, nothing, [0, 0])).toBe(2);
  });

  test("the logits stay as they are", () => {
    const before = logits.slice();
    draws({ temperature: 2, repetitionPenalty: 3, logitBias: { 0: 1 } }, 3, { prompt: [0], answer: [1] });
    expect(logits).toEqual(before);
  });

  test("logits without a number are refused", () => {
    const refused = expect.objectContaining({ code: "BACKEND" });
    expect(() => sampleRow(Float32Array.of(Number.NaN, Number.NaN), {}, nothing, [0, 0])).toThrow(refused);
    expect(() => sampleRow(logits, { temperature: 1 }, nothing, [0, 0], new Int32Array(1))).toThrow(refused);
  });
});

/** Random logits with ties, and some that are impossible. */
const logitsOf = fc
  .array(fc.oneof(fc.double({ min: -30, max: 30, noNaN: true }), fc.constantFrom(0, 1, 1, 2), fc.constant(Number.NEGATIVE_INFINITY)), {
    minLength: 1,
    maxLength: 60,
  })
  .map((values) => Float32Array.from([...values, 0.5]));
const softmax = (values: Float32Array) => {
  const top = Math.max(...values);
  const shares = Array.from(values, (v) => Math.exp(v - top));
  const total = shares.reduce((a, b) => a + b, 0);
  return shares.map((share) => share / total);
};
/** Every id that some draw gives. */
function reach(values: Float32Array, options: SamplingOptions, chance = 0.5): Set<number> {
  const found = new Set<number>();
  // At a high temperature all that is kept is about as likely.
  const evidence = evidenceOf(values, values.length, { temperature: 100, asked: [] });
  for (let i = 0; i <= 2000; i++) found.add(draw(evidence, { temperature: 100, ...options }, nothing, [i / 2001, chance])!);
  return found;
}
/** Ids in the order of `by`, until they reach `mass`. */
function fewest(p: readonly number[], mass: number, by: (id: number) => number): number[] {
  const ids = [...p.keys()].filter((id) => p[id] > 0).sort((a, b) => by(a) - by(b) || a - b);
  let rest = mass;
  const end = ids.findIndex((id) => {
    rest -= p[id];
    return rest <= 1e-12;
  });
  return end < 0 ? ids : ids.slice(0, end + 1);
}

describe("what is kept, against the plain way to say it", () => {
  test("topK", () => {
    fc.assert(
      fc.property(logitsOf, fc.integer({ min: 1, max: 70 }), (values, topK) => {
        const p = softmax(values);
        const ids = [...p.keys()].filter((id) => values[id] > Number.NEGATIVE_INFINITY);
        const expected = ids.sort((a, b) => values[b] - values[a] || a - b).slice(0, topK);
        expect([...reach(values, { topK })].every((id) => expected.includes(id))).toBe(true);
        expect(reach(values, { topK }).has(expected[0])).toBe(true);
      }),
      { numRuns: 60 },
    );
  });

  test("topP", () => {
    fc.assert(
      fc.property(logitsOf, fc.double({ min: 0.01, max: 0.99, noNaN: true }), (values, topP) => {
        const expected = fewest(softmax(values), topP, (id) => -values[id]);
        for (const id of reach(values, { topP })) expect(expected).toContain(id);
        // All that the temperature leaves a chance of one in two thousand.
        const likely = expected.filter((id) => values[id] > Math.max(...values) - 100);
        expect(reach(values, { topP }).size).toBe(likely.length);
      }),
      { numRuns: 60 },
    );
  });

  test("typicalP", () => {
    fc.assert(
      fc.property(logitsOf, fc.double({ min: 0.05, max: 0.95, noNaN: true }), (values, typicalP) => {
        const p = softmax(values);
        const entropy = -p.reduce((sum, q) => sum + (q > 0 ? q * Math.log(q) : 0), 0);
        const distances = p.map((q) => Math.abs(-Math.log(q) - entropy));
        const found = reach(values, { typicalP });
        // What rounding may tell apart otherwise is left out: those as typical as the last one.
        const kept = fewest(p, typicalP, (id) => distances[id]);
        const border = distances[kept.at(-1)!];
        for (const id of found) expect(distances[id]).toBeLessThanOrEqual(border + 1e-6);
        for (const id of kept) if (distances[id] < border - 1e-6 && p[id] > 1e-9) expect(found).toContain(id);
      }),
      { numRuns: 60 },
    );
  });

  test("minP asks for a share of the best that typicalP leaves", () => {
    // 0.48 has a surprise far below the expected one, and all others are about as typical.
    const values = Float32Array.of(3, ...Array.from({ length: 20 }, (_, i) => i / 1000));
    expect(reach(values, { typicalP: 0.2, minP: 0.5 }).has(0)).toBe(false);
  });

  test("xtc drops all likely tokens but the least likely, when its chance comes", () => {
    const values = Float32Array.from([2, 1.5, 1, -3, -4]); // 0.50, 0.31, 0.19, and two rare ones
    expect(reach(values, { xtc: { probability: 0.6 } }, 0.59)).toEqual(new Set([2, 3, 4]));
    expect(reach(values, { xtc: { probability: 0.6 } }, 0.6)).toEqual(new Set([0, 1, 2, 3, 4]));
    expect(reach(values, { xtc: { probability: 1, threshold: 0.25 } })).toEqual(new Set([1, 2, 3, 4]));
    expect(reach(values, { xtc: { probability: 1, threshold: 0.5001 } })).toEqual(new Set([0, 1, 2, 3, 4]));
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
  expect([...logits.keys()].reduce((sum, id) => sum + Math.exp(logprobsOf(all, id, 0)!.logprob), 0)).toBeCloseTo(1, 12);
  const { logprob, top } = logprobsOf(evidenceOf(logits, 4, { temperature: 1, asked: [4] }), 4, 3)!;
  expect(logprob).toBeCloseTo(logprobsOf(all, 4, 0)!.logprob, 12);
  expect(top).toEqual([1, 3, 2].map((id) => ({ id, logprob: logprobsOf(all, id, 0)!.logprob })));
  expect(logprobsOf(evidenceOf(logits, 4, noQuestions), 4, 3)).toBeUndefined();
});
