// Dispatches as they are planned.

import type { PackedInputs } from "@jamba/core";
import type { GpuBinding } from "./gpu.ts";
import type { KernelKey } from "./kernels.ts";

export type Groups = readonly [x: number, y: number, z?: number];

/** A dispatch as it is planned. What only the driver knows is bound by name: the arena, the step, its results, and segments of `pool`. */
export interface PlannedCall {
  readonly key: KernelKey;
  readonly params: Readonly<Record<string, number>>;
  readonly buffers: Readonly<Record<string, GpuBinding>>;
  /** The step may decide. */
  readonly groups: Groups | ((inputs: PackedInputs) => Groups);
  /** One dispatch for each segment that the step uses. */
  readonly pool?: "slots" | "pages";
  /** Which of the step's tensors it binds as `tensor`, where that lies in a buffer of the device. */
  readonly tensor?: number;
  /** For the profile: the op that it is part of. */
  readonly op: string;
}

/** For groups of 64 threads, spread over two axes. */
export function flat(n: number): Groups {
  const groups = Math.ceil(n / 64);
  const y = Math.ceil(groups / 65535); // the most that one axis takes
  return [Math.ceil(groups / Math.max(1, y)), y];
}
