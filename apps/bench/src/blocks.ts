// GGUF's formats of numbers, encoded as llama.cpp's reference quantisers do, without their search for better scales.

import { toBf16, toF16 } from "@jamba/core";

export interface BlockFormat {
  /** GGUF's number for it. */
  readonly type: number;
  /** Values in a block, and its bytes. */
  readonly values: number;
  readonly bytes: number;
  /** One block, or any number of values where a block is one value. */
  encode(from: Float32Array, to: Uint8Array): void;
}

const putF16 = (to: Uint8Array, at: number, value: number) => {
  const bits = toF16(value);
  to[at] = bits & 255;
  to[at + 1] = bits >> 8;
};

function largest(values: Float32Array): number {
  let found = 0;
  for (const value of values) if (Math.abs(value) > Math.abs(found)) found = value;
  return found;
}

const inverse = (d: number) => (d === 0 ? 0 : 1 / d);
const clamp = (v: number, low: number, high: number) => Math.min(high, Math.max(low, v));

export const blockFormats = {
  F32: {
    type: 0,
    values: 1,
    bytes: 4,
    encode: (from, to) => to.set(new Uint8Array(from.buffer, from.byteOffset, from.byteLength)),
  },
  BF16: {
    type: 30,
    values: 1,
    bytes: 2,
    encode: (from, to) => to.set(new Uint8Array(Uint16Array.from(from, toBf16).buffer)),
  },
  /** f16 scale, 32 int8. */
  Q8_0: {
    type: 8,
    values: 32,
    bytes: 34,
    encode(from, to) {
      const d = Math.abs(largest(from)) / 127;
      putF16(to, 0, d);
      for (let i = 0; i < 32; i++) to[2 + i] = Math.round(from[i] * inverse(d));
    },
  },
  /** f16 scale, 32 values of 4 bits around 8: the low halves of 16 bytes, then the high ones. */
  Q4_0: {
    type: 2,
    values: 32,
    bytes: 18,
    encode(from, to) {
      const d = largest(from) / -8;
      putF16(to, 0, d);
      const q = (i: number) => clamp(Math.floor(from[i] * inverse(d) + 8.5), 0, 15);
      for (let i = 0; i < 16; i++) to[2 + i] = q(i) | (q(i + 16) << 4);
    },
  },
  /** 256 values of 6 bits around 32: low 4 bits [128], high 2 bits [64], 16 int8 scales, f16 scale of those. */
  Q6_K: {
    type: 14,
    values: 256,
    bytes: 210,
    encode(from, to) {
      const scales = Array.from({ length: 16 }, (_, i) => Math.abs(largest(from.subarray(16 * i, 16 * i + 16))) / 31);
      const d = Math.max(...scales) / 127;
      const whole = scales.map((scale) => clamp(Math.round(scale * inverse(d)), 1, 127));
      const q = (i: number) => clamp(Math.round(from[i] * inverse(d * whole[i >> 4])), -32, 31) + 32;
      for (let half = 0; half < 2; half++) {
        for (let i = 0; i < 32; i++) {
          const [a, b, c, e] = [0, 32, 64, 96].map((at) => q(128 * half + at + i));
          to[64 * half + i] = (a & 15) | ((c & 15) << 4);
          to[64 * half + 32 + i] = (b & 15) | ((e & 15) << 4);
          to[128 + 32 * half + i] = (a >> 4) | ((b >> 4) << 2) | ((c >> 4) << 4) | ((e >> 4) << 6);
        }
      }
      to.set(whole, 192);
      putF16(to, 208, d);
    },
  },
} as const satisfies Record<string, BlockFormat>;

export type BlockName = keyof typeof blockFormats;

/** @returns as many whole blocks as `values` holds */
export function encodeBlocks(values: Float32Array, name: BlockName): Uint8Array<ArrayBuffer> {
  const { values: each, bytes, encode }: BlockFormat = blockFormats[name];
  const count = Math.floor(values.length / each);
  const out = new Uint8Array(count * bytes);
  if (each === 1) encode(values, out);
  else for (let i = 0; i < count; i++) encode(values.subarray(i * each, (i + 1) * each), out.subarray(i * bytes, (i + 1) * bytes));
  return out;
}

/** The blocks a matrix has in the peer's file: llama-quantize keeps the head of a 4-bit model in Q6_K. */
export function blockOf({ matrix, head }: { matrix: boolean; head: boolean }, format: "q4" | "q8" | "bf16"): BlockName {
  if (!matrix) return "F32";
  if (format === "bf16") return "BF16";
  return format === "q8" ? "Q8_0" : head ? "Q6_K" : "Q4_0";
}

export const bytesPerValue = (name: BlockName): number => blockFormats[name].bytes / blockFormats[name].values;
