import type { CommandOf } from "../command.ts";
import { dot, type StepContext } from "./context.ts";

export function rmsNorm({ x, weight, eps, out }: CommandOf<"rmsNorm">, step: StepContext): void {
  const [L, N] = x.shape;
  const [from, w, to] = [step.f32(x), step.weight(weight), step.f32(out)];
  for (let t = 0; t < L; t++) to.set(normedRow(from.subarray(t * x.rowStride, t * x.rowStride + N), w, eps), t * N);
}

export function normedRow(x: Float32Array, weight: Float32Array, eps: number): Float32Array {
  const scale = 1 / Math.sqrt(dot(x, 0, x, 0, x.length) / x.length + eps);
  return x.map((v, i) => v * scale * weight[i]);
}
