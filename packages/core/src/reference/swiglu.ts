import type { CommandOf } from "../command.ts";
import { type StepContext, silu } from "./context.ts";

export function swiglu({ gate, up, out }: CommandOf<"swiglu">, step: StepContext): void {
  const [L, dFf] = gate.shape;
  const [gates, ups, ys] = [step.f32(gate), step.f32(up), step.f32(out)];
  for (let t = 0; t < L; t++) {
    for (let i = 0; i < dFf; i++) ys[t * dFf + i] = silu(gates[t * gate.rowStride + i]) * ups[t * up.rowStride + i];
  }
}
