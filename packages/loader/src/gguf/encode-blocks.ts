// Encodes f32 into what GGUF files store. Blocks get the scales, out of a range around the obvious ones, whose least squares fit
// leaves the least error; dividing by the largest value instead leaves 5 to 25 % more.

import { type BlockDtype, blockFormats, DtypeError, fromF16, isBlockDtype, ShapeError, type StoredDtype, toBf16, toF16 } from "@jamba/core";

/** Block formats that can be written. */
export type EncodedBlocks = "q4_0" | "q5_0" | "q8_0" | "q4_k" | "q6_k";

interface Input {
  readonly x: Float32Array;
  /** How much the error of each column counts; the same for all rows. */
  readonly w: Float32Array;
  /** Shares of the range that the largest magnitude is tried at. */
  readonly reaches: readonly number[];
}

/** Encodes the block whose values begin at `at` and their weights at `wAt`. */
type Encoder = (input: Input, at: number, wAt: number, block: Uint8Array) => void;

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
  const input = { x: values, w: weightsOf(importance, columns), reaches: importance ? [...near, ...far] : near };
  const out = new Uint8Array((values.length / length) * bytes);
  for (let at = 0, to = 0; at < values.length; at += length, to += bytes) encode(input, at, at % columns, out.subarray(to, to + bytes));
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

const round = (v: number) => Math.floor(v + 0.5);
const clamp = (v: number, low: number, high: number) => Math.min(high, Math.max(low, v));
/** What f16 makes of a scale, which is never nothing unless the scale is. */
const half = (v: number) => fromF16(toF16(v)) || Math.sign(v) * 2 ** -24;
const same = (v: number) => v;

/** At 1 what is exact stays so, hence first. Beyond it, the largest is cut off so that the others fare better: far beyond where it is one that hardly counts. */
const near = [1, ...Array.from({ length: 15 }, (_, i) => 0.78 + 0.023 * i)];
const far = Array.from({ length: 8 }, (_, i) => 1.16 + 0.07 * i);

/** Differences of sums that are nothing but rounding. */
const noise = 1e-10;

/** Whole numbers that a scale multiplies. */
interface Steps {
  readonly low: number;
  readonly high: number;
}

/** Σ w (x - d q)² with the nearest q. */
function errorOf({ x, w }: Input, at: number, wAt: number, n: number, d: number, { low, high }: Steps): number {
  const inverse = d === 0 ? 0 : 1 / d;
  let error = 0;
  for (let i = 0; i < n; i++) {
    const rest = x[at + i] - d * clamp(round(x[at + i] * inverse), low, high);
    error += w[wAt + i] * rest * rest;
  }
  return error;
}

/**
 * The scale d, of those that `hold` lets be stored, with the least Σ w (x - d q)². Of either sign where the steps reach farther below 0.
 *
 * For each try, q are the nearest whole numbers, and d is fitted to them by least squares: Σ w x q / Σ w q².
 */
function fitScale({ x, w, reaches }: Input, at: number, wAt: number, n: number, { low, high }: Steps, hold: (d: number) => number): number {
  let largest = 0;
  let squares = 0;
  for (let i = 0; i < n; i++) {
    const v = x[at + i];
    if (Math.abs(v) > Math.abs(largest)) largest = v;
    squares += w[wAt + i] * v * v;
  }
  let best = 0;
  let least = squares;
  if (largest === 0) return best;
  for (const end of -low > high ? [low, -low] : [high]) {
    for (const reach of reaches) {
      const inverse = (reach * end) / largest;
      let xq = 0;
      let qq = 0;
      for (let i = 0; i < n; i++) {
        const v = x[at + i];
        const q = clamp(round(v * inverse), low, high);
        const wq = w[wAt + i] * q;
        xq += wq * v;
        qq += wq * q;
      }
      if (qq === 0) continue;
      const d = hold(xq / qq);
      const error = squares - 2 * d * xq + d * d * qq;
      if (error < least - noise * squares) {
        best = d;
        least = error;
      }
    }
  }
  return best;
}

const q = new Int16Array(256);

/** Puts the nearest steps into `q`, from `to` on, counted from `low`. */
function quantise(x: Float32Array, at: number, n: number, d: number, { low, high }: Steps, to = 0): void {
  const inverse = d === 0 ? 0 : 1 / d;
  for (let i = 0; i < n; i++) q[to + i] = clamp(round(x[at + i] * inverse), low, high) - low;
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
  (input, at, wAt, block) => {
    const d = fitScale(input, at, wAt, 32, steps, half);
    quantise(input.x, at, 32, d, steps);
    putF16(block, 0, d);
    put(block);
  };

/** Never -128: kernels take magnitudes as int8. */
const q8 = { low: -127, high: 127 };
const q6 = { low: -32, high: 31 };

/** 16 parts of 16 values: low 4 bits [128], high 2 bits [64], an int8 scale each [16], an f16 scale of those. */
const encodeQ6K: Encoder = (input, at, wAt, block) => {
  const { x, w } = input;
  const fitted = Array.from({ length: 16 }, (_, p) => fitScale(input, at + 16 * p, wAt + 16 * p, 16, q6, same));
  const largest = fitted.reduce((max, d) => (Math.abs(d) > Math.abs(max) ? d : max), 0);
  let [best, least, bestScales] = [0, Number.POSITIVE_INFINITY, new Int16Array(16)];
  // From -128, which has the finest step, then from what least squares makes of the scale that this gave.
  for (let [turn, d] = [0, half(largest / -128)]; turn < 3 && d !== 0; turn++) {
    const scales = new Int16Array(16);
    let [error, xq, qq] = [0, 0, 0];
    for (let p = 0; p < 16; p++) {
      const [from, wFrom] = [at + 16 * p, wAt + 16 * p];
      let leastHere = Number.POSITIVE_INFINITY;
      for (let step = -1; step <= 1; step++) {
        const scale = clamp(round(fitted[p] / d) + step, -128, 127);
        const found = errorOf(input, from, wFrom, 16, d * scale, q6);
        if (found < leastHere) [leastHere, scales[p]] = [found, scale];
      }
      error += leastHere;
      quantise(x, from, 16, d * scales[p], q6);
      for (let i = 0; i < 16; i++) {
        const s = scales[p] * (q[i] - 32);
        xq += w[wFrom + i] * x[from + i] * s;
        qq += w[wFrom + i] * s * s;
      }
    }
    if (error < least) [best, least, bestScales] = [d, error, scales];
    d = qq === 0 ? 0 : half(xq / qq);
  }
  for (let p = 0; p < 16; p++) quantise(x, at + 16 * p, 16, best * bestScales[p], q6, 16 * p);
  for (let i = 0; i < 128; i++) {
    const from = 128 * (i >> 6) + (i & 63);
    block[i] = (q[from] & 15) | ((q[from + 64] & 15) << 4);
  }
  for (let i = 0; i < 64; i++) {
    const from = 128 * (i >> 5) + (i & 31);
    block[128 + i] = (q[from] >> 4) | ((q[from + 32] >> 4) << 2) | ((q[from + 64] >> 4) << 4) | ((q[from + 96] >> 4) << 6);
  }
  for (let p = 0; p < 16; p++) block[192 + p] = bestScales[p];
  putF16(block, 208, best);
};

/** x is nearly scale · q - minimum, with q in [0, 15] and neither scale nor minimum negative. */
interface Affine {
  readonly scale: number;
  readonly minimum: number;
}

/** As `fitScale`, for a scale and a minimum. */
function fitAffine({ x, w, reaches }: Input, at: number, wAt: number): Affine {
  let [min, max, sumW, sumX, squares] = [0, Number.NEGATIVE_INFINITY, 0, 0, 0];
  for (let i = 0; i < 32; i++) {
    const v = x[at + i];
    const weight = w[wAt + i];
    if (v < min) min = v;
    if (v > max) max = v;
    sumW += weight;
    sumX += weight * v;
    squares += weight * v * v;
  }
  if (max <= min) return { scale: 0, minimum: -min };
  let best: Affine = { scale: 0, minimum: 0 };
  let least = squares;
  for (const reach of reaches) {
    const inverse = (reach * 15) / (max - min);
    let sumQ = 0;
    let xq = 0;
    let qq = 0;
    for (let i = 0; i < 32; i++) {
      const v = x[at + i];
      const step = clamp(round((v - min) * inverse), 0, 15);
      const wq = w[wAt + i] * step;
      sumQ += wq;
      xq += wq * v;
      qq += wq * step;
    }
    const determinant = sumW * qq - sumQ * sumQ;
    let scale = (sumW * xq - sumX * sumQ) / determinant;
    let minimum = (sumQ * xq - qq * sumX) / determinant;
    // All on one step, or a minimum above 0, which the format lacks.
    if (!(determinant > noise * sumW * qq && minimum >= 0)) [scale, minimum] = [qq === 0 ? 0 : xq / qq, 0];
    if (scale <= 0) continue;
    const error =
      squares - 2 * scale * xq + 2 * minimum * sumX + scale * scale * qq - 2 * scale * minimum * sumQ + minimum * minimum * sumW;
    if (error < least - noise * squares) [best, least] = [{ scale, minimum }, error];
  }
  return best;
}

/** Σ w (x - (scale q - minimum))² of 32 values with the nearest q, which it puts into `q` from `to` on. */
function quantiseAffine({ x, w }: Input, at: number, wAt: number, { scale, minimum }: Affine, to: number): number {
  const inverse = scale === 0 ? 0 : 1 / scale;
  let error = 0;
  for (let i = 0; i < 32; i++) {
    const step = clamp(round((x[at + i] + minimum) * inverse), 0, 15);
    const rest = x[at + i] - scale * step + minimum;
    error += w[wAt + i] * rest * rest;
    q[to + i] = step;
  }
  return error;
}

/** f16 scale, f16 minimum, 8 parts of 32 values: 6 bits of each for the part's own scale and minimum [12], 4 bits per value [128]. */
const encodeQ4K: Encoder = (input, at, wAt, block) => {
  const { x, w } = input;
  const fitted = Array.from({ length: 8 }, (_, p) => fitAffine(input, at + 32 * p, wAt + 32 * p));
  let best = { d: 0, m: 0, scales: new Uint8Array(8), minima: new Uint8Array(8) };
  let least = Number.POSITIVE_INFINITY;
  let d = half(Math.max(...fitted.map(({ scale }) => scale)) / 63);
  let m = half(Math.max(...fitted.map(({ minimum }) => minimum)) / 63);
  for (let turn = 0; turn < 3; turn++) {
    const [scales, minima] = [new Uint8Array(8), new Uint8Array(8)];
    // Sums for the d and m that fit these scales and steps best: x is nearly d · a - m · b.
    let [error, aa, ab, bb, xa, xb] = [0, 0, 0, 0, 0, 0];
    for (let p = 0; p < 8; p++) {
      const [from, wFrom] = [at + 32 * p, wAt + 32 * p];
      const [scale, minimum] = [d === 0 ? 0 : round(fitted[p].scale / d), m === 0 ? 0 : round(fitted[p].minimum / m)];
      let leastHere = Number.POSITIVE_INFINITY;
      for (let near = 0; near < 9; near++) {
        const a = clamp(scale + (near % 3) - 1, 0, 63);
        const b = clamp(minimum + Math.floor(near / 3) - 1, 0, 63);
        const found = quantiseAffine(input, from, wFrom, { scale: d * a, minimum: m * b }, 0);
        if (found < leastHere) [leastHere, scales[p], minima[p]] = [found, a, b];
      }
      error += quantiseAffine(input, from, wFrom, { scale: d * scales[p], minimum: m * minima[p] }, 0);
      for (let i = 0; i < 32; i++) {
        const weight = w[wFrom + i];
        const a = scales[p] * q[i];
        const b = minima[p];
        aa += weight * a * a;
        ab += weight * a * b;
        bb += weight * b * b;
        xa += weight * x[from + i] * a;
        xb += weight * x[from + i] * b;
      }
    }
    if (error < least) {
      least = error;
      best = { d, m, scales, minima };
    }
    const determinant = aa * bb - ab * ab;
    [d, m] =
      determinant > noise * aa * bb ? [(xa * bb - xb * ab) / determinant, (xa * ab - xb * aa) / determinant] : [aa > 0 ? xa / aa : 0, 0];
    [d, m] = [half(Math.max(d, 0)), half(Math.max(m, 0))];
  }
  putF16(block, 0, best.d);
  putF16(block, 2, best.m);
  for (let p = 0; p < 8; p++) {
    const [scale, minimum] = [best.scales[p], best.minima[p]];
    quantiseAffine(input, at + 32 * p, wAt + 32 * p, { scale: best.d * scale, minimum: best.m * minimum }, 32 * p);
    if (p < 4) {
      block[4 + p] = scale;
      block[8 + p] = minimum;
    } else {
      block[8 + p] = (scale & 15) | ((minimum & 15) << 4);
      block[p] |= (scale >> 4) << 6;
      block[4 + p] |= (minimum >> 4) << 6;
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
