import type { CommandOf } from "../command.ts";
import type { StepContext } from "./context.ts";

export function gatherRows({ x, out }: CommandOf<"gatherRows">, step: StepContext): void {
  const [from, to, columns] = [step.f32(x), step.f32(out), x.shape[1]];
  for (const [r, row] of step.inputs.rows.entries()) to.set(from.subarray(row * x.rowStride, row * x.rowStride + columns), r * columns);
}
