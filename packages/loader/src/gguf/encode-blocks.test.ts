import { blockFormats, DtypeError, decodeFloats, decodeStored, fromF16, ShapeError, toF16 } from "@jamba/core";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type EncodedBlocks, encodeBlocks, encodeFloats } from "./encode-blocks.ts";

const formats: readonly EncodedBlocks[] = ["q4_0", "q5_0", "q8_0", "q4_k", "q6_k"];
const half = (v: number) => fromF16(toF16(v));
const clamp = (v: number, low: number, high: number) => Math.min(high, Math.max(low, v));

/** What the largest values alone make of a block: scale max/-8 and the like, without search. Decoded. */
const naive: Readonly<Record<EncodedBlocks, (x: Float32Array) => Float32Array>> = {
  q4_0: (x) => stepped(x, -8, 7),
  q5_0: (x) => stepped(x, -16, 15),
  q8_0: (x) => stepped(x, -127, 127),
  q6_k(x) {
    const fitted = parts(x, 16).map((part) => largest(part) / -32);
    const d = half(fitted.reduce((max, v) => (Math.abs(v) > Math.abs(max) ? v : max), 0) / -128);
    return joined(parts(x, 16).map((part, p) => part.map(step(d * clamp(Math.round(fitted[p] / (d || 1)), -128, 127), -32, 31))));
  },
  q4_k(x) {
    const fitted = parts(x, 32).map((part) => {
      const minimum = Math.max(0, -Math.min(...part));
      return { minimum, scale: (Math.max(...part) + minimum) / 15 };
    });
    const d = half(Math.max(0, ...fitted.map(({ scale }) => scale)) / 63);
    const m = half(Math.max(...fitted.map(({ minimum }) => minimum)) / 63);
    return joined(
      parts(x, 32).map((part, p) => {
        const scale = d * clamp(Math.round(fitted[p].scale / (d || 1)), 0, 63);
        const minimum = m * Math.round(fitted[p].minimum / (m || 1));
        return part.map((v) => step(scale, 0, 15)(v + minimum) - minimum);
      }),
    );
  },
};

const largest = (x: Float32Array) => x.reduce((max, v) => (Math.abs(v) > Math.abs(max) ? v : max), 0);
const step = (d: number, low: number, high: number) => (v: number) => (d === 0 ? 0 : d * clamp(Math.round(v / d), low, high));
const parts = (x: Float32Array, n: number) => Array.from({ length: x.length / n }, (_, p) => x.subarray(n * p, n * p + n));
const joined = (pieces: readonly Float32Array[]) => Float32Array.from(pieces.flatMap((piece) => [...piece]));
function stepped(x: Float32Array, low: number, high: number): Float32Array {
  return joined(parts(x, 32).map((part) => part.map(step(half(largest(part) / low), low, high))));
}

function errorOf(x: Float32Array, found: Float32Array, weight: (i: number) => number = () => 1): number {
  return x.reduce((sum, v, i) => sum + weight(i) * (v - found[i]) ** 2, 0);
}

/** Mulberry32. */
function randomFrom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

const normal = (random: () => number) => Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
const values = 256 * 64;

function sample(make: (random: () => number, i: number) => number, length = values): Float32Array {
  const random = randomFrom(1);
  return Float32Array.from({ length }, (_, i) => make(random, i));
}

/** With the most that may be left of the naive error, in the order of `formats`: some above what was measured. */
const shapes: readonly (readonly [name: string, x: Float32Array, bounds: readonly number[]])[] = [
  ["gaussian", sample((r) => 0.02 * normal(r)), [0.92, 0.9, 0.95, 0.82, 0.85]],
  ["heavy tails", sample((r) => (0.02 * normal(r)) / Math.sqrt(r() + 0.01)), [0.97, 0.97, 0.97, 0.85, 0.9]],
  ["positive", sample((r) => 0.05 * r()), [0.95, 0.95, 0.97, 0.9, 0.9]],
  ["one outlier in each part", sample((r, i) => (i % 16 === 5 ? 1 : 0.01) * normal(r)), [1, 1, 1, 1, 1]],
];

describe.each(formats)("%s", (dtype) => {
  const round = (x: Float32Array, importance?: Float32Array) =>
    decodeStored(encodeBlocks(x, importance?.length ?? 256, dtype, importance), dtype);

  test.each(shapes)("a search leaves less error than the largest value alone: %s", (_, x, bounds) => {
    expect(errorOf(x, round(x)) / errorOf(x, naive[dtype](x))).toBeLessThan(bounds[formats.indexOf(dtype)]);
  });

  test("of no block is the error above the naive one", () => {
    const value = fc.oneof(
      fc.float({ min: -1, max: 1, noNaN: true }),
      fc.constantFrom(0, 1, -1, Math.fround(1e-3), 1000),
      fc.float({ min: Math.fround(-1e-6), max: Math.fround(1e-6), noNaN: true }),
    );
    const block = fc.float32Array({ min: -1, max: 1, noNaN: true, minLength: 256, maxLength: 256 });
    const mixed = fc.array(value, { minLength: 256, maxLength: 256 }).map((list) => Float32Array.from(list));
    fc.assert(
      fc.property(fc.oneof(block, mixed), (x) => {
        const [found, bound] = [errorOf(x, round(x)), errorOf(x, naive[dtype](x))];
        expect(found).toBeLessThanOrEqual(bound * (1 + 1e-5) + 1e-20);
      }),
      { numRuns: 300, seed: 7 },
    );
  });

  // The scale of scales of q6_k may be a subnormal f16, which has few bits.
  test("zeros are exact, and one value alone nearly so", () => {
    expect(round(new Float32Array(256))).toEqual(new Float32Array(256));
    for (const v of [1, -1, 0.37, -0.0123, 2 ** 18, -(2 ** 18)])
      for (const found of round(new Float32Array(256).fill(v)))
        expect(Math.abs(found - v) / Math.abs(v)).toBeLessThan(dtype === "q6_k" ? 1e-2 : 1e-3);
  });

  test("importance moves error to where it counts less", () => {
    const x = sample((r) => 0.02 * normal(r));
    const importance = sample((r) => Math.exp(3 * normal(r)), 256);
    const weight = (i: number) => importance[i % 256];
    expect(errorOf(x, round(x, importance), weight)).toBeLessThan(0.8 * errorOf(x, round(x), weight));
    expect(errorOf(x, round(x))).toBeLessThan(errorOf(x, round(x, importance)));
  });

  test("importance has no unit, and none at all is as good as no importance", () => {
    const x = sample((r) => normal(r), 512);
    const importance = sample((r) => r(), 256);
    const scaled = importance.map((v) => v * 2 ** -20);
    expect(encodeBlocks(x, 256, dtype, scaled)).toEqual(encodeBlocks(x, 256, dtype, importance));
    expect(errorOf(x, round(x, new Float32Array(256)))).toBeLessThanOrEqual(errorOf(x, naive[dtype](x)));
  });

  test("every block is one of its own row: any cut into calls gives the same bytes", () => {
    const x = sample((r) => normal(r), 512 * 6);
    const importance = sample((r) => r(), 512);
    const whole = encodeBlocks(x, 512, dtype, importance);
    const pieces = [0, 1, 3].map((row, i) => encodeBlocks(x.subarray(512 * row, 512 * [1, 3, 6][i]), 512, dtype, importance));
    expect(Uint8Array.from(pieces.flatMap((piece) => [...piece]))).toEqual(whole);
    expect(whole.length).toBe(((512 * 6) / blockFormats[dtype].values) * blockFormats[dtype].bytes);
  });

  test("numbers too small for an f16 scale become zero or near it, never something large", () => {
    for (const v of [1e-45, 1e-38, 1e-12, 1e-8, 1e-7, 1e-6]) {
      const x = sample((r) => v * normal(r), 256);
      expect(errorOf(x, round(x))).toBeLessThanOrEqual(errorOf(x, new Float32Array(256)));
    }
  });

  test.each([Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 1e30, -262145])("%d is refused by name and place", (v) => {
    const x = new Float32Array(256);
    x[77] = v;
    expect(() => encodeBlocks(x, 256, dtype)).toThrow(DtypeError);
    expect(() => encodeBlocks(x, 256, dtype)).toThrow(/value 77.* found (NaN|-?Infinity|1\.\d+e\+30|-262145)/);
  });

  test("rows that are no whole blocks, and other importance, are refused", () => {
    const length = blockFormats[dtype].values;
    for (const columns of [0, 1, length - 1, length + 1, 1.5 * length, -length])
      expect(() => encodeBlocks(new Float32Array(length * 3), columns, dtype)).toThrow(ShapeError);
    expect(() => encodeBlocks(new Float32Array(length), length, dtype, new Float32Array(length - 1))).toThrow(/one number for each/);
    for (const v of [Number.NaN, -1, Number.POSITIVE_INFINITY])
      expect(() => encodeBlocks(new Float32Array(length), length, dtype, new Float32Array(length).fill(v))).toThrow(/mean squares/);
    expect(encodeBlocks(new Float32Array(0), length, dtype)).toEqual(new Uint8Array(0));
  });
});

test("a format that is only read is refused with those that are written", () => {
  expect(() => encodeBlocks(new Float32Array(256), 256, "q2_k")).toThrow(/q4_0, q5_0, q8_0, q4_k, q6_k, found q2_k/);
});

describe("floats", () => {
  const edge = Float32Array.of(0, -0, 1, -1.5, 65504, -65504, 1e-8, 1e-45, Math.PI);

  test.each(["f32", "bf16", "f16"] as const)("%s are rounded once: what was rounded stays", (dtype) => {
    const once = decodeFloats(encodeFloats(edge, dtype), dtype);
    expect(encodeFloats(once, dtype)).toEqual(encodeFloats(edge, dtype));
    if (dtype === "f32") expect(once).toEqual(edge);
  });

  test("f16 refuses what it would make infinite, bf16 does not mind", () => {
    expect(() => encodeFloats(Float32Array.of(1, 65520), "f16")).toThrow(/value 1: .*±65504.* found 65520/);
    expect(decodeFloats(encodeFloats(Float32Array.of(65536), "bf16"), "bf16")).toEqual(Float32Array.of(65536));
  });
});
