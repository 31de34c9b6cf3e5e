import type { CommandOf } from "../command.ts";
import { dot, type StepContext } from "./context.ts";

export function rmsNorm({ x, weight, eps, out }: CommandOf<"rmsNorm">, step: StepContext): void {
  const [L, N] = x.shape;
  const [from, w, to] = [step.f32(x), step.weight(weight), step.f32(out)];
  for (let t = 0; t < L; t++) {
    const at = t * x.rowStride;
    const scale = 1 / Math.sqrt(dot(from, at, from, at, N) / N + eps);
    for (let i = 0; i < N; i++) to[t * N + i] = from[at + i] * scale * w[i];
  }
}
