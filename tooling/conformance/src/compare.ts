// How far apart two arrays are, and the table of how far apart they may be.

import type { FloatDtype, Op, WeightDtype } from "@jamba/core";

export interface Difference {
  /** Σ (found - expected)² / Σ expected² */
  readonly nmse: number;
  readonly maxError: number;
  readonly index: number;
  readonly found: number;
  readonly expected: number;
}

/** A NaN or infinity on one side only makes the difference infinite. */
export function compare(found: ArrayLike<number>, expected: ArrayLike<number>): Difference {
  let [error, power, maxError, index] = [0, 0, 0, 0];
  for (let i = 0; i < expected.length; i++) {
    const same = Object.is(found[i], expected[i]) || found[i] === expected[i];
    const difference = same ? 0 : Math.abs(found[i] - expected[i]);
    const size = Number.isFinite(difference) ? difference : Number.POSITIVE_INFINITY;
    error += size * size;
    if (Number.isFinite(expected[i])) power += expected[i] * expected[i];
    if (size > maxError) [maxError, index] = [size, i];
  }
  if (found.length !== expected.length) error = Number.POSITIVE_INFINITY;
  return { nmse: error === 0 ? 0 : error / power, maxError, index, found: found[index], expected: expected[index] };
}

/**
 * Largest NMSE against the reference (f64 sums), by dtype of the weights. The reference takes weights as the backend holds
 * them, so f32, bf16 and f16 differ only by the order of f32 sums: (2^-24)² · K for sums of K terms, with K below 10^3
 * here. Those in blocks also quantise activations to 8 bits per block of 32: 2e-5 in the mean, twenty times that in the worst of few outputs.
 */
export const tolerances: Readonly<Record<WeightDtype, number>> = {
  f32: 1e-11,
  bf16: 1e-11,
  f16: 1e-11,
  q8: 5e-4,
  q4: 5e-4,
  q4_1: 5e-4,
  q4_k: 5e-4,
};

/** What rounding a weight costs, which only `embed` shows: 1 / (12 · 127²) and 1 / (12 · 8²) of the largest value's square, 1 / (12 · 15²) of the range's, found within a half of that for normal ones. */
const rounding: Partial<Readonly<Record<WeightDtype, number>>> = { q8: 1e-4, q4: 1.2e-2, q4_1: 8e-3, q4_k: 8e-3 };

/** Ops whose bound is not their dtype's: exponentials in f32 cost a few more bits. */
export const opTolerances: Partial<Readonly<Record<Op, number>>> = { selectiveScan: 1e-10, attention: 1e-10 };

/**
 * Where keys and values are rounded as the reference rounds them, what differs is which of two neighbours a value was rounded to that
 * lies between them: a step of the format, in one value of some thousands.
 */
export const kvTolerances: Readonly<Record<FloatDtype, number>> = { f32: 0, bf16: 1e-7, f16: 1e-9 };

export type Tolerances = Partial<typeof tolerances>;

export function toleranceOf({ op }: { op: Op | "layer" }, dtype: WeightDtype, wider: Tolerances = {}): number {
  if (op === "embed" && rounding[dtype]) return rounding[dtype];
  const bound = Math.max(tolerances[dtype], wider[dtype] ?? 0);
  // A layer is some ops deep, and their errors add up.
  return op === "layer" ? Math.max(4 * bound, 1e-10) : Math.max(bound, opTolerances[op] ?? 0);
}
