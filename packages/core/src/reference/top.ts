import type { CommandOf } from "../command.ts";
import { topOf } from "../top.ts";
import type { StepContext } from "./context.ts";

export function top({ logits, k, ids, values, sums }: CommandOf<"top">, step: StepContext): void {
  const { temperatures, askedStarts, askedIds } = step.inputs;
  const [nRows, vocabSize] = logits.shape;
  const asked = step.nextOutput();
  for (let row = 0; row < nRows; row++) {
    const from = step.f32(logits).subarray(row * logits.rowStride, row * logits.rowStride + vocabSize);
    const found = topOf(from, k, temperatures[row]);
    const at = row * ids.rowStride;
    step
      .i32(ids)
      .fill(-1, at, at + k)
      .set(found.ids, at);
    step
      .f32(values)
      .fill(Number.NEGATIVE_INFINITY, at, at + k)
      .set(found.values, at);
    step.f32(sums).set([found.max, found.sumExp, found.sumGaps, found.sumTempered, found.count], row * sums.rowStride);
    for (let i = askedStarts[row]; i < askedStarts[row + 1]; i++) asked[i] = from[askedIds[i]];
  }
}
