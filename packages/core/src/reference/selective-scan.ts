import type { CommandOf } from "../command.ts";
import { type StepContext, silu } from "./context.ts";

// log(1 + e^v). Above 20 the 1 is lost to f32 rounding, so v is the exact answer;
// below, log1p keeps the digits that log(1 + e^v) drops when v is very negative.
function softplus(v: number): number {
  return v > 20 ? v : Math.log1p(Math.exp(v));
}

export function selectiveScan(command: CommandOf<"selectiveScan">, step: StepContext): void {
  const { x, z, dt, B, C, layer, out } = command;
  const [dInner, dState] = command.A.shape;
  const [xs, zs, dts, Bs, Cs, ys] = [step.f32(x), step.f32(z), step.f32(dt), step.f32(B), step.f32(C), step.f32(out)];
  const [A, D, dtBias] = [step.weight(command.A), step.weight(command.D), step.weight(command.dtBias)];
  for (const { from, to, seen, slot } of step.sequences) {
    const h = step.mamba(layer).h(slot); // [dInner, dState]
    if (seen === 0) h.fill(0);
    for (let t = from; t < to; t++) {
      for (let d = 0; d < dInner; d++) {
        const u = xs[t * x.rowStride + d];
        const delta = softplus(dts[t * dt.rowStride + d] + dtBias[d]);
        let y = D[d] * u;
        for (let n = 0; n < dState; n++) {
          const i = d * dState + n;
          h[i] = Math.exp(delta * A[i]) * h[i] + delta * Bs[t * B.rowStride + n] * u;
          y += Cs[t * C.rowStride + n] * h[i];
        }
        ys[t * dInner + d] = y * silu(zs[t * z.rowStride + d]);
      }
    }
  }
}
