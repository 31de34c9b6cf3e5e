import type { CommandOf } from "../command.ts";
import type { StepContext } from "./context.ts";

export function embed({ table, out }: CommandOf<"embed">, step: StepContext): void {
  const dModel = table.shape[1];
  const from = step.weight(table);
  const to = step.f32(out);
  for (const [t, id] of step.inputs.ids.entries()) to.set(from.subarray(id * dModel, (id + 1) * dModel), t * dModel);
}
