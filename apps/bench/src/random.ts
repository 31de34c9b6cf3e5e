// Numbers that stand in for weights, the same on every run.

import { logitSpread, sizeOf, type TensorSpec, weightStd } from "./presets.ts";

export type Random = () => number;

/** Uniform in [0, 1): mulberry32, public domain (Tommy Ettinger). */
export function randomFrom(seed: number): Random {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Box and Muller 1958. */
export function normals(random: Random, count: number, std: number): Float32Array {
  const values = new Float32Array(count);
  for (let i = 0; i < count; i += 2) {
    const radius = std * Math.sqrt(-2 * Math.log(1 - random()));
    const angle = 2 * Math.PI * random();
    values[i] = radius * Math.cos(angle);
    values[i + 1] = radius * Math.sin(angle);
  }
  return values;
}

/** Values of a tensor that is f32 on both sides. */
export function fill({ fill, shape }: Pick<TensorSpec, "fill" | "shape">, random: Random): Float32Array {
  const count = sizeOf({ shape });
  if (fill === "normal") return normals(random, count, weightStd);
  const columns = shape.at(-1)!;
  const bound = 4 ** -0.5; // torch's for a convolution over 4 tokens
  const value = {
    ones: () => 1,
    spread: () => logitSpread / (weightStd * Math.sqrt(count)), // of one row of the head and a hidden state of such values
    uniform: () => (2 * random() - 1) * bound,
    A: (i: number) => -1 - (i % columns),
    dtBias: () => {
      const dt = Math.exp(Math.log(1e-3) + random() * Math.log(100));
      return dt + Math.log(-Math.expm1(-dt));
    },
  }[fill];
  return Float32Array.from({ length: count }, (_, i) => value(i));
}
