// What calls take from the steps that they share: their own rows, joined.

import { HostTensor, type Step } from "@jamba/core";

/** Rows [from, to) of what a step read, in memory of their own: those of other calls go. */
export async function rowsOf(step: Step, name: string, [from, to]: readonly [number, number]): Promise<HostTensor> {
  const whole = await step.read(name);
  const [rows, columns] = whole.dims;
  if (from === 0 && to === rows) return whole;
  return new HostTensor((whole.data as Float32Array).slice(from * columns, to * columns), [to - from, columns]);
}

export function concatRows(tensors: readonly HostTensor[]): HostTensor {
  const filled = tensors.filter((t) => t.dims[0] > 0);
  if (filled.length === 1) return filled[0];
  const columns = filled[0].dims[1];
  const rows = filled.reduce((n, t) => n + t.dims[0], 0);
  const out = filled[0].type === "int32" ? new Int32Array(rows * columns) : new Float32Array(rows * columns);
  let at = 0;
  for (const t of filled) {
    out.set(t.data as Float32Array, at);
    at += t.data.length;
  }
  return new HostTensor(out as Float32Array, [rows, columns]);
}
