// Encodes f32 into what GGUF files store. Blocks get the scales, out of a range around the obvious ones, whose least squares fit
// leaves the least error; dividing by the largest value instead leaves 5 to 25 % more.
//
// cpu/native/encode-blocks.h is this search in C++ and gives the same bytes. There, candidates are lanes of f32: hence sums over the values
// of a part are f32, in the order of the values and rounded after each operation; what follows from those sums is f64.

import { type BlockDtype, blockFormats, DtypeError, fromF16, isBlockDtype, ShapeError, type StoredDtype, toBf16, toF16 } from "@jamba/core";

/** Block formats that can be written. */
export type EncodedBlocks = "q4_0" | "q5_0" | "q8_0" | "q4_k" | "q6_k";

/** Encodes the values x of a block, whose errors count w times. */
type Encoder = (x: Float32Array, w: Float32Array, block: Uint8Array) => void;

/**
 * Rows of f32 as blocks of `dtype`, with the least Σ importance · error² that a search over scales finds.
 *
 * values      [rows, columns]
 * importance  [columns], mean squares of what the weight is multiplied with; without it all values count alike
 *
 * @throws DtypeError for a format that can't be written, and for values that no block can hold: not finite, or beyond ±2^18
 * @throws ShapeError when rows are no whole number of blocks, or importance has another length or negative numbers
 */
export function encodeBlocks(values: Float32Array, columns: number, dtype: BlockDtype, importance?: Float32Array): Uint8Array {
  const encode = Object.hasOwn(encoders, dtype) ? encoders[dtype as EncodedBlocks] : undefined;
  if (!encode) throw new DtypeError(`encodeBlocks: expected one of ${Object.keys(encoders).join(", ")}, found ${dtype}`);
  const { values: length, bytes } = blockFormats[dtype];
  if (!(columns > 0) || columns % length !== 0 || values.length % columns !== 0)
    throw new ShapeError(`encodeBlocks: expected rows of whole blocks of ${length}, found ${values.length} values in rows of ${columns}`);
  expectHoldable(values, dtype);
  const weights = weightsOf(importance, columns);
  const out = new Uint8Array((values.length / length) * bytes);
  for (let at = 0, to = 0; at < values.length; at += length, to += bytes) {
    const column = at % columns;
    encode(values.subarray(at, at + length), weights.subarray(column, column + length), out.subarray(to, to + bytes));
  }
  return out;
}

/**
 * Little-endian bytes of `dtype`, rounded half to even.
 * @throws DtypeError when f16 can't hold a value
 */
export function encodeFloats(values: Float32Array, dtype: "f32" | "bf16" | "f16"): Uint8Array {
  if (dtype === "f32") return new Uint8Array(values.slice().buffer);
  if (dtype === "f16") expectHoldable(values, dtype);
  return new Uint8Array(Uint16Array.from(values, dtype === "f16" ? toF16 : toBf16).buffer);
}

/** Far above any weight, and below what the smallest format's scale reaches. */
const maxMagnitude = 2 ** 18;
const maxF16 = 65504;

/** @throws DtypeError naming the first value that `dtype` can't hold */
export function expectHoldable(values: Float32Array, dtype: StoredDtype): void {
  if (dtype === "f32" || dtype === "bf16") return;
  const limit = isBlockDtype(dtype) ? maxMagnitude : maxF16;
  for (let i = 0; i < values.length; i++) {
    if (Math.abs(values[i]) <= limit) continue; // false for NaN
    throw new DtypeError(`value ${i}: expected a number within ±${limit}, as ${dtype} holds them, found ${values[i]}; use bf16 or f32`);
  }
}

/** Nothing weighs nothing: a column that the calibration never saw still keeps its value where that costs others nothing. */
const leastWeight = 1e-6;

function weightsOf(importance: Float32Array | undefined, columns: number): Float32Array {
  if (importance === undefined) return new Float32Array(columns).fill(1);
  if (importance.length !== columns)
    throw new ShapeError(`importance: expected one number for each of ${columns} columns, found ${importance.length}`);
  let sum = 0;
  for (const v of importance) {
    if (!(v >= 0 && v < Number.POSITIVE_INFINITY)) throw new ShapeError(`importance: expected mean squares, found ${v}`);
    sum += v;
  }
  const mean = sum / columns;
  return importance.map((v) => (mean > 0 ? v / mean + leastWeight : 1));
}

const { fround } = Math;
// biome-ignore lint/complexity/useMathMinMax: it also minds NaN and -0, and takes three times as long.
const clamp = (v: number, low: number, high: number) => (v > high ? high : v < low ? low : v);
/** The nearest whole number, half to even: a sum with 1.5 · 2^52 has no bits for less. */
const nearest = (v: number) => v + 1.5 * 2 ** 52 - 1.5 * 2 ** 52;
/** The nearest whole number in a range, for what v is as f32. */
const whole = (v: number, low: number, high: number) => nearest(clamp(fround(v), low, high));
const same = (v: number) => v;
/** What f16 makes of a scale, which is never 0 unless the scale is. */
const half = (v: number) => (fround(v) === 0 ? 0 : fromF16(toF16(clamp(v, -maxF16, maxF16))) || 2 ** -24);

/** Values of one scale, and how much the error of each counts. */
interface Part {
  readonly x: Float32Array;
  readonly w: Float32Array;
}

function partsOf(x: Float32Array, w: Float32Array, n: number): Part[] {
  return Array.from({ length: x.length / n }, (_, p) => ({ x: x.subarray(n * p, n * p + n), w: w.subarray(n * p, n * p + n) }));
}

/** Whole numbers that a scale multiplies. */
interface Steps {
  readonly low: number;
  readonly high: number;
}

const nTries = 32;
/** How often a candidate takes the scale that fits its steps best, and the steps nearest to that. A second time leaves a hundredth less. */
const nFits = 2;
/** Where the largest value lies in the steps' range: at its end (1), where what is exact stays so, within, or beyond, where it is cut off so that others fare better. */
const reaches = Float32Array.from({ length: nTries }, (_, i) => (i < 18 ? (39 + i) / 50 : (5 + i) / 20));
/** By how many steps the ends of an affine part's steps lie beyond its values, or within them where negative: values seldom reach both. */
const [belows, aboves] = [
  [0, 0.5, 1, 2],
  [-3, -2, -1, 0, 0.5, 1, 2, 3.5],
];
/** Half of the smallest scale that f16 has: what is no larger becomes 0 in every format. */
const nothing = 2 ** -25;
/** Tried in place of a scale of 0, which has no inverse: its steps are 0 beside any value. */
const nextToNothing = fround(1e-30);
/** Share of a determinant's terms below which it is but their rounding: all values lie on one step. */
const noise = 1e-6;
/** Turns of: whole scales of parts near what each part wants, then the block's own scales that fit those best. */
const nTurns = 4;

// Candidates: x is nearly scale · q - minimum, for q the nearest steps. Their sums over a part: of w q, w q² and w q x.
const [scales, minima, sumQ, sumQQ, sumXQ] = Array.from({ length: 5 }, () => new Float32Array(nTries));

function trySums({ x, w }: Part, { low, high }: Steps, from: number, to: number): void {
  for (let c = from; c < to; c++) {
    const minimum = minima[c];
    const inverse = fround(1 / scales[c]);
    let [ofQ, ofQQ, ofXQ] = [0, 0, 0];
    for (let i = 0; i < x.length; i++) {
      const q = nearest(clamp(fround(fround(x[i] + minimum) * inverse), low, high));
      const wq = fround(w[i] * q);
      ofQ = fround(ofQ + wq);
      ofQQ = fround(ofQQ + fround(wq * q));
      ofXQ = fround(ofXQ + fround(wq * x[i]));
    }
    sumQ[c] = ofQ;
    sumQQ[c] = ofQQ;
    sumXQ[c] = ofXQ;
  }
}

interface Found {
  readonly c: number;
  readonly error: number;
}

/** The candidate of the least error, Σ w (x - scale q + minimum)²: of equals `first`, or else the earliest. */
function bestOf(part: Part, steps: Steps, tries: number, first: number): Found {
  let best = { c: first, error: errorOf(part, steps, first, Number.POSITIVE_INFINITY) };
  for (let c = 0; c < tries; c++) {
    const error = errorOf(part, steps, c, best.error);
    if (error < best.error) best = { c, error };
  }
  return best;
}

/** Stops where it is no longer below `least`: it only grows. */
function errorOf({ x, w }: Part, { low, high }: Steps, c: number, least: number): number {
  const [scale, minimum] = [scales[c], minima[c]];
  const inverse = fround(1 / scale);
  let error = 0;
  for (let i = 0; i < x.length && error < least; i++) {
    const raised = fround(x[i] + minimum);
    const q = nearest(clamp(fround(raised * inverse), low, high));
    const rest = fround(raised - fround(scale * q));
    error = fround(error + fround(fround(w[i] * rest) * rest));
  }
  return error;
}

/** The scale with the least Σ w (x - scale q)², as `hold` lets it be stored. Of either sign where the steps reach farther below 0. */
function fitScale(part: Part, steps: Steps, hold: (scale: number) => number): number {
  let largest = 0;
  for (const v of part.x) if (Math.abs(v) > Math.abs(largest)) largest = v;
  if (Math.abs(largest) <= nothing) return 0;
  let [best, least] = [0, Number.POSITIVE_INFINITY];
  minima.fill(0);
  for (const end of -steps.low === steps.high ? [steps.high] : [steps.low, -steps.low]) {
    for (let c = 0; c < nTries; c++) scales[c] = largest / fround(reaches[c] * end);
    for (let fit = 0; fit < nFits; fit++) {
      trySums(part, steps, 0, nTries);
      for (let c = 0; c < nTries; c++) scales[c] = sumXQ[c] / sumQQ[c];
    }
    for (let c = 0; c < nTries; c++) scales[c] = hold(scales[c]);
    const { c, error } = bestOf(part, steps, nTries, 0);
    if (error < least) [best, least] = [scales[c], error];
  }
  return best;
}

const q = new Uint8Array(256);

/** Puts the nearest steps into `q`, from `to` on, counted from `low`. */
function quantise(x: Float32Array, scale: number, minimum: number, { low, high }: Steps, to = 0): void {
  const inverse = scale === 0 ? 0 : fround(1 / scale);
  for (let i = 0; i < x.length; i++) q[to + i] = whole(fround(x[i] + minimum) * inverse, low, high) - low;
}

function putF16(block: Uint8Array, at: number, value: number): void {
  const bits = toF16(value);
  block[at] = bits & 255;
  block[at + 1] = bits >> 8;
}

/** 16 bytes of the low 4 bits of 32 steps: the first half of them low in each byte. */
function putNibbles(block: Uint8Array, at: number): void {
  for (let i = 0; i < 16; i++) block[at + i] = (q[i] & 15) | ((q[i + 16] & 15) << 4);
}

/** f16 scale, 32 steps. */
const simple =
  (steps: Steps, put: (block: Uint8Array) => void): Encoder =>
  (x, w, block) => {
    const scale = fitScale({ x, w }, steps, half);
    quantise(x, scale, 0, steps);
    putF16(block, 0, scale);
    put(block);
  };

/** Never -128: kernels take magnitudes as int8. */
const q8 = { low: -127, high: 127 };
const q6 = { low: -32, high: 31 };
const q4 = { low: 0, high: 15 };

/** 16 parts of 16 values: low 4 bits [128], high 2 bits [64], an int8 scale each [16], an f16 scale of those. */
const encodeQ6K: Encoder = (x, w, block) => {
  const parts = partsOf(x, w, 16);
  const wanted = parts.map((part) => fitScale(part, q6, same));
  const largest = wanted.reduce((max, scale) => (Math.abs(scale) > Math.abs(max) ? scale : max), 0);
  let [best, least, bestScales] = [0, Number.POSITIVE_INFINITY, new Int8Array(16)];
  // The largest becomes -128, which makes the finest steps.
  for (let [turn, d] = [0, half(largest / -128)]; turn < nTurns && d !== 0; turn++) {
    const chosen = new Int8Array(16);
    let [error, xq, qq] = [0, 0, 0];
    minima.fill(0);
    for (const [p, part] of parts.entries()) {
      const near = whole(wanted[p] / d, -128, 127);
      const scaleOf = (c: number) => clamp(near + c - 8, -128, 127);
      for (let c = 0; c < 16; c++) scales[c] = d * scaleOf(c) || nextToNothing;
      const { c, error: ofPart } = bestOf(part, q6, 16, 8);
      trySums(part, q6, c, c + 1);
      const scale = scaleOf(c);
      chosen[p] = scale;
      error += ofPart;
      xq += scale * sumXQ[c];
      qq += scale * scale * sumQQ[c];
    }
    if (!(error < least)) break;
    [best, least, bestScales] = [d, error, chosen];
    d = qq > 0 ? half(xq / qq) : 0;
  }
  for (const [p, part] of parts.entries()) quantise(part.x, fround(best * bestScales[p]), 0, q6, 16 * p);
  for (let i = 0; i < 128; i++) {
    const from = 128 * (i >> 6) + (i & 63);
    block[i] = (q[from] & 15) | ((q[from + 64] & 15) << 4);
  }
  for (let i = 0; i < 64; i++) {
    const from = 128 * (i >> 5) + (i & 31);
    block[128 + i] = (q[from] >> 4) | ((q[from + 32] >> 4) << 2) | ((q[from + 64] >> 4) << 4) | ((q[from + 96] >> 4) << 6);
  }
  block.set(new Uint8Array(bestScales.buffer), 192);
  putF16(block, 208, best);
};

interface AffinePart extends Part {
  /** Σ w */
  readonly sumW: number;
  /** Σ w x */
  readonly sumX: number;
}

/** x is nearly scale · q - minimum, q in 0 … 15, neither below 0. */
function fitAffine({ sumW, sumX, ...part }: AffinePart): { scale: number; minimum: number } {
  const [most, lowest] = [Math.max(...part.x), Math.min(0, ...part.x)];
  const range = fround(most - lowest);
  if (range <= nothing) return { scale: 0, minimum: -lowest };
  for (let c = 0; c < nTries; c++) {
    const [below, above] = [belows[c % 4], aboves[c >> 2]];
    scales[c] = range / (15 + below + above);
    minima[c] = -lowest - scales[c] * below;
  }
  for (let fit = 0; fit < nFits; fit++) {
    trySums(part, q4, 0, nTries);
    for (let c = 0; c < nTries; c++) {
      const [ofQ, qq, xq] = [sumQ[c], sumQQ[c], sumXQ[c]];
      const determinant = sumW * qq - ofQ * ofQ;
      // Without a minimum where all values lie on one step, or the best one is above 0, which the format lacks. If all steps are 0, scale is NaN.
      const raised = ofQ * xq - qq * sumX;
      const both = determinant > noise * sumW * qq && raised >= 0;
      const inverse = 1 / (both ? determinant : qq);
      const scale = (both ? sumW * xq - sumX * ofQ : xq) * inverse;
      if (scale > nextToNothing) [scales[c], minima[c]] = [scale, both ? raised * inverse : 0];
    }
  }
  const { c } = bestOf(part, q4, nTries, 0);
  return { scale: scales[c], minimum: minima[c] };
}

/** f16 scale, f16 minimum, 8 parts of 32 values: 6 bits of each for the part's own scale and minimum [12], 4 bits per value [128]. */
const encodeQ4K: Encoder = (x, w, block) => {
  const parts = partsOf(x, w, 32).map((part) => ({
    ...part,
    sumW: part.w.reduce((sum, weight) => sum + weight, 0),
    sumX: part.w.reduce((sum, weight, i) => sum + weight * part.x[i], 0),
  }));
  const wanted = parts.map(fitAffine);
  let d = half(Math.max(...wanted.map(({ scale }) => scale)) / 63);
  let m = half(Math.max(...wanted.map(({ minimum }) => minimum)) / 63);
  let best = { d: 0, m: 0, a: new Uint8Array(8), b: new Uint8Array(8) };
  let least = Number.POSITIVE_INFINITY;
  for (let turn = 0; turn < nTurns; turn++) {
    const chosen = { d, m, a: new Uint8Array(8), b: new Uint8Array(8) };
    // Sums for the d and m that fit these scales and steps best: x is nearly d · a q - m · b.
    let [error, aa, ab, bb, xa, xb] = [0, 0, 0, 0, 0, 0];
    for (const [p, part] of parts.entries()) {
      const nearA = d > 0 ? whole(wanted[p].scale / d, 0, 63) : 0;
      const nearB = m > 0 ? whole(wanted[p].minimum / m, 0, 63) : 0;
      // Five scales and three minima around what is wanted; the last candidate is one more of each sort.
      const aOf = (c: number) => clamp(nearA + (c % 5) - 2, 0, 63);
      const bOf = (c: number) => clamp(nearB + Math.floor(c / 5) - 1, 0, 63);
      for (let c = 0; c < 16; c++) {
        scales[c] = d * aOf(c) || nextToNothing;
        minima[c] = m * bOf(c);
      }
      const { c, error: ofPart } = bestOf(part, q4, 16, 7);
      trySums(part, q4, c, c + 1);
      const [a, b] = [aOf(c), bOf(c)];
      [chosen.a[p], chosen.b[p]] = [a, b];
      error += ofPart;
      aa += a * a * sumQQ[c];
      ab += a * b * sumQ[c];
      bb += b * b * part.sumW;
      xa += a * sumXQ[c];
      xb += b * part.sumX;
    }
    if (!(error < least)) break;
    [best, least] = [chosen, error];
    const determinant = aa * bb - ab * ab;
    [d, m] = [aa > 0 ? xa / aa : 0, 0];
    if (determinant > noise * aa * bb) [d, m] = [(xa * bb - xb * ab) / determinant, (xa * ab - xb * aa) / determinant];
    [d, m] = [half(Math.max(d, 0)), half(Math.max(m, 0))];
  }
  putF16(block, 0, best.d);
  putF16(block, 2, best.m);
  for (const [p, { x }] of parts.entries()) {
    const [a, b] = [best.a[p], best.b[p]];
    quantise(x, fround(best.d * a), fround(best.m * b), q4, 32 * p);
    if (p < 4) {
      block[4 + p] = a;
      block[8 + p] = b;
    } else {
      block[8 + p] = (a & 15) | ((b & 15) << 4);
      block[p] |= (a >> 4) << 6;
      block[4 + p] |= (b >> 4) << 6;
    }
  }
  for (let i = 0; i < 128; i++) {
    const from = 64 * (i >> 5) + (i & 31);
    block[16 + i] = q[from] | (q[from + 32] << 4);
  }
};

const encoders: Readonly<Record<EncodedBlocks, Encoder>> = {
  q4_0: simple({ low: -8, high: 7 }, (block) => putNibbles(block, 2)),
  q5_0: simple({ low: -16, high: 15 }, (block) => {
    for (let i = 0; i < 32; i++) block[2 + (i >> 3)] |= (q[i] >> 4) << (i & 7);
    putNibbles(block, 6);
  }),
  q8_0: simple(q8, (block) => {
    for (let i = 0; i < 32; i++) block[2 + i] = q[i] - 127;
  }),
  q4_k: encodeQ4K,
  q6_k: encodeQ6K,
};
