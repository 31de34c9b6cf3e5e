// Number formats of weights and activations, and the conversions between them.

import { DtypeError } from "./errors.ts";

/** Formats of plain numbers: what checkpoints store and what the reference backend computes in. */
export type FloatDtype = "f32" | "bf16" | "f16";

/** Formats a weight may have inside a backend. `q8` and `q4`: blocks of 32 with an f16 scale; `q4_1`: also with an f16 minimum. `q4_k`: what GGML's blocks of that name have. */
export type WeightDtype = FloatDtype | "q8" | "q4" | "q4_1" | "q4_k";

export const floatBytes: Readonly<Record<FloatDtype, number>> = { f32: 4, bf16: 2, f16: 2 };

const word = new Uint32Array(1);
const float = new Float32Array(word.buffer);

/** The f32 nearest to `v`, cut to bf16 with round-half-to-even; NaN stays NaN. */
export function toBf16(v: number): number {
  float[0] = v;
  const bits = word[0];
  if (Number.isNaN(v)) return (bits >>> 16) | 0x40;
  return ((bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16) & 0xffff;
}

export function fromBf16(bits: number): number {
  word[0] = bits << 16;
  return float[0];
}

/** IEEE 754 binary16, round-half-to-even; beyond 65504 becomes infinity. */
export function toF16(v: number): number {
  float[0] = v;
  const bits = word[0];
  const sign = (bits >>> 16) & 0x8000;
  const magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000) return sign | 0x7e00;
  if (magnitude >= 0x477ff000) return sign | 0x7c00; // 65520 and more rounds to infinity
  if (magnitude < 0x38800000) return sign | roundHalfEven(Math.abs(float[0]) * 2 ** 24); // subnormal: multiples of 2^-24
  return sign | ((magnitude - 0x38000000 + 0xfff + ((magnitude >>> 13) & 1)) >>> 13);
}

function roundHalfEven(v: number): number {
  const floor = Math.floor(v);
  const rest = v - floor;
  return rest > 0.5 || (rest === 0.5 && floor % 2 === 1) ? floor + 1 : floor;
}

export function fromF16(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >>> 10) & 31;
  const fraction = bits & 1023;
  if (exponent === 31) return fraction ? Number.NaN : sign * Number.POSITIVE_INFINITY;
  return exponent === 0 ? sign * fraction * 2 ** -24 : sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

/**
 * Little-endian bytes of `dtype` as f32; exact for all three formats.
 * @throws DtypeError when the bytes are not a whole number of values
 */
export function decodeFloats(bytes: Uint8Array, dtype: FloatDtype): Float32Array {
  const size = floatBytes[dtype];
  if (bytes.byteLength % size !== 0) {
    throw new DtypeError(`decodeFloats: expected a multiple of ${size} bytes for ${dtype}, found ${bytes.byteLength}`);
  }
  const n = bytes.byteLength / size;
  // A copy, since a view of a file's bytes may start at any address.
  const copy = bytes.slice().buffer;
  if (dtype === "f32") return new Float32Array(copy);
  const halves = new Uint16Array(copy);
  const out = new Float32Array(n);
  if (dtype === "bf16") {
    const words = new Uint32Array(out.buffer);
    for (let i = 0; i < n; i++) words[i] = halves[i] << 16;
  } else {
    for (let i = 0; i < n; i++) out[i] = fromF16(halves[i]);
  }
  return out;
}

/** The reverse: little-endian bytes of `values` as `dtype`, rounded half to even. */
export function encodeFloats(values: Float32Array, dtype: FloatDtype): Uint8Array {
  if (dtype === "f32") return new Uint8Array(values.slice().buffer);
  const halves = new Uint16Array(values.length);
  const round = dtype === "bf16" ? toBf16 : toF16;
  for (let i = 0; i < values.length; i++) halves[i] = round(values[i]);
  return new Uint8Array(halves.buffer);
}

/** Rounds `values` in place to what `dtype` can hold. */
export function roundFloats(values: Float32Array, dtype: FloatDtype): void {
  if (dtype === "bf16") for (let i = 0; i < values.length; i++) values[i] = fromBf16(toBf16(values[i]));
  if (dtype === "f16") for (let i = 0; i < values.length; i++) values[i] = fromF16(toF16(values[i]));
}
