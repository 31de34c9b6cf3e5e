// What a reference kernel sees of a step: arena memory, weights, and the tokens of each sequence.

import type { Tensor } from "../command.ts";
import type { PackedInputs } from "../device/driver.ts";
import type { SequenceTokens } from "../device/step-words.ts";
import type { Weight } from "../device/weight.ts";
import type { MambaLayer, PagedKv } from "./states.ts";

export interface StepContext {
  readonly inputs: PackedInputs;
  readonly sequences: readonly SequenceTokens[];
  /** From the tensor's first element on; rows are `rowStride` apart. */
  f32(tensor: Tensor): Float32Array;
  i32(tensor: Tensor): Int32Array;
  /** Row-major, all of it. */
  weight(weight: Weight): Float32Array;
  mamba(layer: number): MambaLayer;
  kv(layer: number): PagedKv;
  /** Values of the next `input`, and room for the next value that is read. */
  nextInput(): Float32Array | Int32Array;
  nextOutput(): Float32Array | Int32Array;
  /** Copies a value to where it can be fetched later. */
  keep(x: Tensor): void;
}

/** x / (1 + e^-x) */
export function silu(x: number): number {
  return x / (1 + Math.exp(-x));
}

/** `Σ_k a[aAt + k] b[bAt + k]` in f64: the truth that faster kernels are measured by. */
export function dot(a: Float32Array, aAt: number, b: Float32Array, bAt: number, length: number): number {
  let sum = 0;
  for (let k = 0; k < length; k++) sum += a[aAt + k] * b[bAt + k];
  return sum;
}

/** The values of a tensor without the gaps that a view has between its rows. */
export function dense(step: StepContext, tensor: Tensor): Float32Array | Int32Array {
  const [rows, columns] = tensor.shape;
  const [from, out] =
    tensor.dtype === "f32" ? [step.f32(tensor), new Float32Array(rows * columns)] : [step.i32(tensor), new Int32Array(rows * columns)];
  for (let t = 0; t < rows; t++) out.set(from.subarray(t * tensor.rowStride, t * tensor.rowStride + columns), t * columns);
  return out;
}
