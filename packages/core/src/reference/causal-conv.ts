import type { CommandOf } from "../command.ts";
import { type StepContext, silu } from "./context.ts";

export function causalConv({ x, weight, bias, layer, out }: CommandOf<"causalConv">, step: StepContext): void {
  const [dInner, dConv] = weight.shape;
  const [from, w, to] = [step.f32(x), step.weight(weight), step.f32(out)];
  const b = bias && step.weight(bias);
  for (const { from: first, to: end, seen, slot } of step.sequences) {
    const conv = step.mamba(layer).conv(slot); // [dInner, dConv - 1]
    if (seen === 0) conv.fill(0);
    for (let d = 0; d < dInner; d++) {
      const history = conv.subarray(d * (dConv - 1), (d + 1) * (dConv - 1));
      for (let t = first; t < end; t++) {
        const current = from[t * x.rowStride + d];
        let sum = (b ? b[d] : 0) + w[d * dConv + dConv - 1] * current;
        for (let k = 0; k < dConv - 1; k++) sum += w[d * dConv + k] * history[k];
        to[t * dInner + d] = silu(sum);
        if (dConv > 1) {
          history.copyWithin(0, 1);
          history[dConv - 2] = current;
        }
      }
    }
  }
}
