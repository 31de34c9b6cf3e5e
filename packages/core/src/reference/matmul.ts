import type { FusedCommandOf, Norm, Tensor } from "../command.ts";
import { dot, type StepContext, silu } from "./context.ts";
import { normedRow } from "./rms-norm.ts";

export function matmul({ x, norm, weights, bias, accumulate, outs }: FusedCommandOf<"matmul">, step: StepContext): void {
  const [L, K] = x.shape;
  const rowAt = rowsOf(step, x, norm);
  for (const [i, weight] of weights.entries()) {
    const [w, to, stride] = [step.weight(weight), step.f32(outs[i]), outs[i].rowStride];
    const b = bias && step.weight(bias);
    for (let t = 0; t < L; t++) {
      const row = rowAt(t);
      for (let n = 0; n < weight.shape[0]; n++) {
        const y = dot(row, 0, w, n * K, K) + (b ? b[n] : 0);
        to[t * stride + n] = accumulate ? to[t * stride + n] + y : y;
      }
    }
  }
}

export function gateUp({ x, norm, gateProj, upProj, out }: FusedCommandOf<"gateUp">, step: StepContext): void {
  const [L, K] = x.shape;
  const rowAt = rowsOf(step, x, norm);
  const [gate, up, to] = [step.weight(gateProj), step.weight(upProj), step.f32(out)];
  for (let t = 0; t < L; t++) {
    const row = rowAt(t);
    for (let n = 0; n < out.shape[1]; n++)
      to[t * out.rowStride + n] = silu(Math.fround(dot(row, 0, gate, n * K, K))) * Math.fround(dot(row, 0, up, n * K, K));
  }
}

/** Rows of x, normed on the way if there is a norm. */
function rowsOf(step: StepContext, x: Tensor, norm: Norm | undefined): (t: number) => Float32Array {
  const [from, columns] = [step.f32(x), x.shape[1]];
  const row = (t: number) => from.subarray(t * x.rowStride, t * x.rowStride + columns);
  if (!norm) return row;
  const weight = step.weight(norm.weight);
  return (t) => normedRow(row(t), weight, norm.eps);
}
