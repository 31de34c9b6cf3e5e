import type { CommandOf } from "../command.ts";
import { dot, type StepContext, silu } from "./context.ts";

export function experts(command: CommandOf<"experts">, step: StepContext): void {
  const { x, routes, accumulate, out } = command;
  const [, dFf, dModel] = command.gateProj.shape;
  const [gateProj, upProj, downProj] = [step.weight(command.gateProj), step.weight(command.upProj), step.weight(command.downProj)];
  const [xs, chosen, shares, ys] = [step.f32(x), step.i32(routes.experts), step.f32(routes.weights), step.f32(out)];
  const nActive = routes.experts.shape[1];
  const hidden = new Float32Array(dFf);
  const sum = new Float64Array(dModel);
  for (let t = 0; t < x.shape[0]; t++) {
    sum.fill(0);
    for (let j = 0; j < nActive; j++) {
      const base = chosen[t * routes.experts.rowStride + j] * dFf * dModel;
      const share = shares[t * routes.weights.rowStride + j];
      for (let i = 0; i < dFf; i++) {
        const gate = dot(xs, t * x.rowStride, gateProj, base + i * dModel, dModel);
        hidden[i] = silu(gate) * dot(xs, t * x.rowStride, upProj, base + i * dModel, dModel);
      }
      for (let i = 0; i < dModel; i++) sum[i] += share * dot(hidden, 0, downProj, base + i * dFf, dFf);
    }
    for (let i = 0; i < dModel; i++) ys[t * out.rowStride + i] = sum[i] + (accumulate ? ys[t * out.rowStride + i] : 0);
  }
}
