// Block formats of GGML, as GGUF files store them: each row is a whole number of blocks, each block carries its own scales.

import { decodeFloats, type FloatDtype, floatBytes, fromF16, type WeightDtype } from "./dtype.ts";
import { DtypeError } from "./errors.ts";

/** Values and bytes of one block (ggml-common.h of llama.cpp). */
export const blockFormats = {
  q4_0: { values: 32, bytes: 18 },
  q4_1: { values: 32, bytes: 20 },
  q5_0: { values: 32, bytes: 22 },
  q5_1: { values: 32, bytes: 24 },
  q8_0: { values: 32, bytes: 34 },
  q2_k: { values: 256, bytes: 84 },
  q3_k: { values: 256, bytes: 110 },
  q4_k: { values: 256, bytes: 144 },
  q5_k: { values: 256, bytes: 176 },
  q6_k: { values: 256, bytes: 210 },
  iq4_nl: { values: 32, bytes: 18 },
  iq4_xs: { values: 256, bytes: 136 },
} as const;

export type BlockDtype = keyof typeof blockFormats;

/** What a checkpoint's tensor may be stored in. */
export type StoredDtype = FloatDtype | BlockDtype;

/** All of them, floats first. */
export const storedDtypes = ["f32", "bf16", "f16", ...(Object.keys(blockFormats) as BlockDtype[])] as readonly StoredDtype[];

export function isBlockDtype(dtype: StoredDtype): dtype is BlockDtype {
  return Object.hasOwn(blockFormats, dtype);
}

/** Bytes of `columns` values; a fraction when they are no whole number of blocks. */
export function storedBytes(dtype: StoredDtype, columns: number): number {
  if (!isBlockDtype(dtype)) return columns * floatBytes[dtype];
  const { values, bytes } = blockFormats[dtype];
  return (columns / values) * bytes;
}

/** The weight dtype that keeps what a stored one has: exactly where it can, else with a finer step than the stored one's. */
export const packedDtypeOf: Readonly<Record<StoredDtype, WeightDtype>> = {
  f32: "f32",
  bf16: "bf16",
  f16: "f16",
  q4_0: "q4",
  q4_1: "q4_1",
  q5_0: "q8",
  q5_1: "q8",
  q8_0: "q8",
  q2_k: "q8",
  q3_k: "q8",
  q4_k: "q4_k",
  q5_k: "q8",
  q6_k: "q8",
  iq4_nl: "q8",
  iq4_xs: "q8",
};

/** Parts of a block are 32 values, each half of a part has a scale: value i of part p is scale · q + minimum. */
interface Decoder {
  q(block: Uint8Array, p: number, i: number): number;
  scale(block: Uint8Array, p: number, half: number): number;
  minimum?(block: Uint8Array, p: number, half: number): number;
}

const u16 = (b: Uint8Array, at: number) => b[at] | (b[at + 1] << 8);
const f16 = (b: Uint8Array, at: number) => fromF16(u16(b, at));
const i8 = (byte: number) => (byte << 24) >> 24;
const bit = (b: Uint8Array, at: number, i: number) => (b[at + (i >> 3)] >> (i & 7)) & 1;
/** 32 nibbles in 16 bytes: the low ones first. */
const nibble = (b: Uint8Array, at: number, i: number) => (b[at + (i & 15)] >> (i & 16 ? 4 : 0)) & 15;
/** Of K formats: two parts share 32 bytes of nibbles, four share 32 bytes of crumbs. */
const nibbleK = (b: Uint8Array, at: number, p: number, i: number) => (b[at + 32 * (p >> 1) + i] >> (4 * (p & 1))) & 15;
const crumbK = (b: Uint8Array, at: number, p: number, i: number) => (b[at + 32 * (p >> 2) + i] >> (2 * (p & 3))) & 3;
/** 8 scales and 8 minima of 6 bits in the 12 bytes behind a block's own scale and minimum. */
const scaleK = (b: Uint8Array, p: number) => (p < 4 ? b[4 + p] & 63 : (b[8 + p] & 15) | ((b[p] >> 6) << 4));
const minimumK = (b: Uint8Array, p: number) => (p < 4 ? b[8 + p] & 63 : (b[8 + p] >> 4) | ((b[4 + p] >> 6) << 4));

/** What the 4 bits of iq4 stand for. */
const codebook = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];

const decoders: Readonly<Record<BlockDtype, Decoder>> = {
  q4_0: { q: (b, _, i) => nibble(b, 2, i) - 8, scale: (b) => f16(b, 0) },
  q4_1: { q: (b, _, i) => nibble(b, 4, i), scale: (b) => f16(b, 0), minimum: (b) => f16(b, 2) },
  q5_0: { q: (b, _, i) => nibble(b, 6, i) + 16 * bit(b, 2, i) - 16, scale: (b) => f16(b, 0) },
  q5_1: { q: (b, _, i) => nibble(b, 8, i) + 16 * bit(b, 4, i), scale: (b) => f16(b, 0), minimum: (b) => f16(b, 2) },
  q8_0: { q: (b, _, i) => i8(b[2 + i]), scale: (b) => f16(b, 0) },
  q2_k: {
    q: (b, p, i) => crumbK(b, 16, p, i),
    scale: (b, p, half) => f16(b, 80) * (b[2 * p + half] & 15),
    minimum: (b, p, half) => -f16(b, 82) * (b[2 * p + half] >> 4),
  },
  q3_k: {
    q: (b, p, i) => crumbK(b, 32, p, i) + 4 * ((b[i] >> p) & 1) - 4,
    scale(b, p, half) {
      const n = 2 * p + half; // of 16 scales: low nibbles of 8 bytes, high nibbles of the same, and two bits more in 4 bytes
      const low = (b[96 + (n & 7)] >> (n < 8 ? 0 : 4)) & 15;
      const high = (b[104 + (n & 3)] >> (2 * (n >> 2))) & 3;
      return f16(b, 108) * ((low | (high << 4)) - 32);
    },
  },
  q4_k: {
    q: (b, p, i) => nibbleK(b, 16, p, i),
    scale: (b, p) => f16(b, 0) * scaleK(b, p),
    minimum: (b, p) => -f16(b, 2) * minimumK(b, p),
  },
  q5_k: {
    q: (b, p, i) => nibbleK(b, 48, p, i) + 16 * ((b[16 + i] >> p) & 1),
    scale: (b, p) => f16(b, 0) * scaleK(b, p),
    minimum: (b, p) => -f16(b, 2) * minimumK(b, p),
  },
  q6_k: {
    q: (b, p, i) => ((b[64 * (p >> 2) + 32 * (p & 1) + i] >> (p & 2 ? 4 : 0)) & 15) + 16 * crumbK(b, 128, p, i) - 32,
    scale: (b, p, half) => f16(b, 208) * i8(b[192 + 2 * p + half]),
  },
  iq4_nl: { q: (b, _, i) => codebook[nibble(b, 2, i)], scale: (b) => f16(b, 0) },
  iq4_xs: {
    q: (b, p, i) => codebook[nibble(b, 8 + 16 * p, i)],
    scale: (b, p) => f16(b, 0) * (((b[4 + (p >> 1)] >> (4 * (p & 1))) & 15) + 16 * ((u16(b, 2) >> (2 * p)) & 3) - 32),
  },
};

/**
 * The values of whole blocks, or of floats, rounded to f32 once.
 * @throws DtypeError when the bytes are not a whole number of blocks
 */
export function decodeStored(bytes: Uint8Array, dtype: StoredDtype): Float32Array {
  if (!isBlockDtype(dtype)) return decodeFloats(bytes, dtype);
  const { values, bytes: size } = blockFormats[dtype];
  if (bytes.byteLength % size !== 0)
    throw new DtypeError(`decodeStored: expected a multiple of ${size} bytes for ${dtype}, found ${bytes.byteLength}`);
  const { q, scale, minimum } = decoders[dtype];
  const out = new Float32Array((bytes.byteLength / size) * values);
  for (let at = 0; at < out.length; at += 16) {
    const from = Math.floor(at / values) * size;
    const block = bytes.subarray(from, from + size);
    const [p, half] = [(at % values) >> 5, (at >> 4) & 1];
    const [step, low] = [scale(block, p, half), minimum?.(block, p, half) ?? 0];
    for (let i = 0; i < 16; i++) out[at + i] = step * q(block, p, 16 * half + i) + low;
  }
  return out;
}
