import type { CommandOf } from "../command.ts";
import type { StepContext } from "./context.ts";

export function route({ logits, experts, weights }: CommandOf<"route">, step: StepContext): void {
  const [L, nExperts] = logits.shape;
  const nActive = experts.shape[1];
  const [from, chosen, shares] = [step.f32(logits), step.i32(experts), step.f32(weights)];
  for (let t = 0; t < L; t++) {
    const row = from.subarray(t * logits.rowStride, t * logits.rowStride + nExperts);
    const max = row.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY);
    const sum = row.reduce((a, b) => a + Math.exp(b - max), 0);
    // Array sort is stable, so equal logits stay in order of index; a NaN compares as equal and stays where it is.
    const order = Array.from(row.keys()).sort((a, b) => row[b] - row[a]);
    for (let j = 0; j < nActive; j++) {
      chosen[t * nActive + j] = order[j];
      shares[t * nActive + j] = Math.exp(row[order[j]] - max) / sum;
    }
  }
}
