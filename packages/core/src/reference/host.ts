// Values that come from the caller and go back to it.

import { Tensor as HostTensor } from "onnxruntime-common";
import type { CommandOf } from "../command.ts";
import { DtypeError, ShapeError } from "../errors.ts";
import { dense, type StepContext } from "./context.ts";

export function input({ name, out }: CommandOf<"input">, step: StepContext): void {
  const given = step.inputs.get(name);
  const [rows, columns] = out.shape;
  if (!given) throw new ShapeError(`input ${name}: expected a tensor [${out.shape.join(", ")}] in inputs.tensors, found none`);
  if (given.dims.length !== 2 || given.dims[0] !== rows || given.dims[1] !== columns) {
    throw new ShapeError(`input ${name}: expected [${out.shape.join(", ")}], found [${given.dims.join(", ")}]`);
  }
  const type = out.dtype === "f32" ? "float32" : "int32";
  if (given.type !== type) throw new DtypeError(`input ${name}: expected ${type}, found ${given.type}`);
  if (out.dtype === "f32") step.f32(out).set(given.data as Float32Array);
  else step.i32(out).set(given.data as Int32Array);
}

export function read({ name, x }: CommandOf<"read">, step: StepContext): void {
  step.outputs.set(name, new HostTensor(dense(step, x), x.shape));
}
