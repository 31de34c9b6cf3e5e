// A step's inputs as the flat arrays that every device takes.

import type { Tensor as HostTensor } from "onnxruntime-common";
import type { Tensor } from "../command.ts";
import { DtypeError, JambaError, ShapeError } from "../errors.ts";
import type { Plan } from "../lower/lower.ts";
import type { StepInputs } from "./backend.ts";
import { hasPages } from "./checks.ts";
import type { DriverTensors, PackedCopies, PackedInputs } from "./driver.ts";
import type { StateAddress, StateCopies, StateSpec } from "./state.ts";

/** Copies what the caller may change while the step waits. */
export function packInputs(
  plan: Plan,
  spec: StateSpec,
  inputs: StepInputs,
  outputs: PackedInputs["outputs"],
  deviceTensors?: DriverTensors,
): PackedInputs {
  const { nRows } = plan.step;
  const tensors = plan.inputs.map(({ name, out }) => given(name, out, inputs, deviceTensors));
  const onDevice = tensors.flatMap((tensor, i) => (isArray(tensor) ? [] : [[i, tensor] as const]));
  return {
    ids: copied(inputs.ids),
    rows: copied(inputs.rows),
    starts: copied(inputs.starts),
    addresses: packAddresses(spec, inputs.states),
    copies: packCopies(inputs.copies ?? {}),
    temperatures: inputs.temperatures ? copied(inputs.temperatures) : new Float32Array(nRows).fill(1),
    askedStarts: inputs.asked ? copied(inputs.asked.starts) : new Int32Array(nRows + 1),
    askedIds: inputs.asked ? copied(inputs.asked.ids) : new Int32Array(0),
    tensors: tensors.map((tensor) => (isArray(tensor) ? tensor : new Float32Array(0))),
    ...(onDevice.length > 0 && { buffers: new Map(onDevice) }),
    outputs,
  };
}

export function packCopies({ slots = [], pages = [] }: StateCopies): PackedCopies {
  return { slots: Int32Array.from(slots.flat()), pages: Int32Array.from(pages.flat()) };
}

/** As `PackedInputs.addresses`. */
export function packAddresses(spec: StateSpec, addresses: readonly StateAddress[]): Int32Array {
  const paged = hasPages(spec);
  const words = new Int32Array(addresses.reduce((n, { pages }) => n + 3 + (paged ? pages.length : 0), 0));
  let at = 0;
  for (const { slot, seen, pages } of addresses) {
    words.set([slot, paged ? seen : Math.min(seen, 1), paged ? pages.length : 0], at);
    at += 3;
    if (!paged) continue;
    words.set(pages, at);
    at += pages.length;
  }
  return words;
}

const isArray = (given: object): given is Float32Array | Int32Array => ArrayBuffer.isView(given);

/** @returns values, or the buffer that has them @throws ShapeError, DtypeError, JambaError UNSUPPORTED */
function given(
  name: string,
  { dtype, shape }: Tensor,
  { tensors }: StepInputs,
  deviceTensors: DriverTensors | undefined,
): Float32Array | Int32Array | object {
  const found = tensors?.get(name);
  const type = dtype === "f32" ? "float32" : "int32";
  const text = `[${shape.join(", ")}]`;
  if (!found) throw new ShapeError(`input ${name}: expected a tensor ${text} in inputs.tensors, found none`);
  if (found.dims.join() !== shape.join()) throw new ShapeError(`input ${name}: expected ${text}, found [${found.dims.join(", ")}]`);
  if (found.type !== type) throw new DtypeError(`input ${name}: expected ${type}, found ${found.type}`);
  if (found.location === "cpu" || found.location === "cpu-pinned") return copied(intact(name, found));
  if (found.location !== "gpu-buffer" || !deviceTensors)
    throw new JambaError(
      "UNSUPPORTED",
      `input ${name}: expected a tensor in host memory${deviceTensors ? " or a GPU buffer" : ""}, found "${found.location}"; await its getData() first`,
    );
  deviceTensors.expectReadable(name, found.gpuBuffer, 4 * found.size);
  return found.gpuBuffer;
}

/** An empty array may lie in a buffer that was given away. */
function copied<T extends Int32Array | Float32Array>(values: T): T {
  return (values.length === 0 ? values : values.slice()) as T;
}

/** @throws ShapeError when the buffer under a tensor was resized or given away since */
function intact(name: string, { data, size }: HostTensor): Float32Array | Int32Array {
  const values = data as Float32Array | Int32Array;
  if (values.length !== size) throw new ShapeError(`input ${name}: expected ${size} values, found ${values.length}`);
  return values;
}
