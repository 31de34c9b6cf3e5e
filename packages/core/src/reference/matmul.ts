import type { CommandOf } from "../command.ts";
import { dot, type StepContext } from "./context.ts";

export function matmul({ x, weights, bias, accumulate, outs }: CommandOf<"matmul">, step: StepContext): void {
  const [L, K] = x.shape;
  const from = step.f32(x);
  for (const [i, weight] of weights.entries()) {
    const N = weight.shape[0];
    const [w, to, stride] = [step.weight(weight), step.f32(outs[i]), outs[i].rowStride];
    const b = bias && step.weight(bias);
    for (let t = 0; t < L; t++) {
      for (let n = 0; n < N; n++) {
        const y = dot(from, t * x.rowStride, w, n * K, K) + (b ? b[n] : 0);
        to[t * stride + n] = accumulate ? to[t * stride + n] + y : y;
      }
    }
  }
}
