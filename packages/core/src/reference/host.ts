// Values that come from the caller and go back to it.

import type { CommandOf, Tensor } from "../command.ts";
import { dense, type StepContext } from "./context.ts";

export function input({ out }: CommandOf<"input">, step: StepContext): void {
  const given = step.nextInput();
  if (out.dtype === "f32") step.f32(out).set(given);
  else step.i32(out).set(given);
}

export function read({ x }: { x: Tensor }, step: StepContext): void {
  step.nextOutput().set(dense(step, x));
}

export function keep({ x }: { x: Tensor }, step: StepContext): void {
  step.keep(x);
}
