// Random blocks of the formats that checkpoints store, and what each weight dtype may lose of them.

import { type BlockDtype, blockFormats, type StoredDtype, storedBytes, toF16, type WeightDtype, type WeightSource } from "@jamba/core";
import { normal, seeded } from "./random.ts";

/** Where the f16 numbers of a block lie, scales before minima. */
export const floatsAt: Readonly<Record<BlockDtype, readonly number[]>> = {
  q4_0: [0],
  q4_1: [0, 2],
  q5_0: [0],
  q5_1: [0, 2],
  q8_0: [0],
  q2_k: [80, 82],
  q3_k: [108],
  q4_k: [0, 2],
  q5_k: [0, 2],
  q6_k: [208],
  iq4_nl: [0],
  iq4_xs: [0],
};

/** Any bits but those of scales and minima, which at random could be infinite: normal numbers around 0, or `scale` for all. */
export function randomBlocks(dtype: BlockDtype, count: number, seed: number, scale?: number): Uint8Array {
  const { bytes: size } = blockFormats[dtype];
  const random = seeded(seed);
  const bytes = Uint8Array.from({ length: count * size }, () => Math.floor(random() * 256));
  const view = new DataView(bytes.buffer);
  for (let at = 0; at < bytes.length; at += size)
    for (const offset of floatsAt[dtype]) view.setUint16(at + offset, scale ?? toF16(normal(random) / 100), true);
  return bytes;
}

export function storedSource(dtype: StoredDtype, shape: readonly number[], bytes: Uint8Array): WeightSource {
  const rowBytes = storedBytes(dtype, shape.at(-1)!);
  return { name: `${dtype} [${shape}]`, dtype, shape, read: async (from, to) => bytes.subarray(from * rowBytes, to * rowBytes) };
}

/** rms of the difference over rms of what is expected. */
export function lossOf(found: Float32Array, expected: Float32Array): number {
  if (found.length !== expected.length) return Number.POSITIVE_INFINITY;
  let [error, power] = [0, 0];
  for (const [i, v] of expected.entries()) {
    error += (found[i] - v) ** 2;
    power += v * v;
  }
  return error === 0 ? 0 : Math.sqrt(error / power);
}

/**
 * The most that a dtype may lose of a thousand random blocks, by `lossOf`; 0 where nothing changes. Found, and a tenth more. Rounding
 * a scale to f16 costs 2^-12 at most: what q4_k as q4_1 and iq4_xs as q8 lose. 8 bits of a block that had fewer cost a 127th of its largest
 * value over the root of 24 to 12. Random integers fit 4 bits worse than weights do.
 */
const lost: Readonly<Record<BlockDtype, Readonly<Record<"q8" | "q4" | "q4_1" | "q4_k", number>>>> = {
  q4_0: { q8: 0, q4: 0, q4_1: 0, q4_k: 0.011 },
  q4_1: { q8: 3.9e-3, q4: 0.061, q4_1: 0, q4_k: 0.014 },
  q5_0: { q8: 0, q4: 0.065, q4_1: 0.057, q4_k: 0.058 },
  q5_1: { q8: 3.9e-3, q4: 0.061, q4_1: 0.031, q4_k: 0.031 },
  q8_0: { q8: 0, q4: 0.065, q4_1: 0.061, q4_k: 0.058 },
  q2_k: { q8: 4.1e-3, q4: 0.059, q4_1: 0.026, q4_k: 0.025 },
  q3_k: { q8: 4.9e-3, q4: 0.054, q4_1: 0.065, q4_k: 0.051 },
  q4_k: { q8: 4e-3, q4: 0.061, q4_1: 2.3e-4, q4_k: 0 },
  q5_k: { q8: 4.1e-3, q4: 0.061, q4_1: 0.031, q4_k: 0.031 },
  q6_k: { q8: 4.9e-3, q4: 0.077, q4_1: 0.072, q4_k: 0.068 },
  iq4_nl: { q8: 0, q4: 0.065, q4_1: 0.066, q4_k: 0.057 },
  iq4_xs: { q8: 2.4e-4, q4: 0.067, q4_1: 0.067, q4_k: 0.057 },
};
/** Of floats: half of the last bit at most, 2^-9 and 2^-12 of a value, which random ones come near to. */
const rounded = { f32: 0, bf16: 2e-3, f16: 2.4e-4 };

export const mostLost = (from: BlockDtype, to: WeightDtype): number => ({ ...rounded, ...lost[from] })[to];
