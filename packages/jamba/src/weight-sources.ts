// Views of checkpoint tensors: rows put together, values mapped. Nothing is read until a backend pulls.

import { decodeFloats, type FloatDtype, floatBytes, matrixOf, type WeightSource } from "@jamba/core";

export interface RowRange {
  readonly source: WeightSource;
  readonly from: number;
  readonly to: number;
}

/** The same values under another shape. */
export function reshape(source: WeightSource, shape: readonly number[]): WeightSource {
  return { ...source, shape };
}

/** Ranges of rows, one after another; as f32 when they do not share a dtype. */
export function concatRows(name: string, shape: readonly number[], parts: readonly RowRange[]): WeightSource {
  const { columns } = matrixOf(shape);
  const dtypes = new Set<FloatDtype>(parts.map((part) => part.source.dtype));
  const dtype = dtypes.size === 1 ? [...dtypes][0] : "f32";
  const rowBytes = columns * floatBytes[dtype];
  return {
    name,
    dtype,
    shape,
    async read(from, to, signal) {
      const out = new Uint8Array((to - from) * rowBytes);
      let start = 0;
      for (const part of parts) {
        const end = start + part.to - part.from;
        const first = Math.max(from, start);
        const last = Math.min(to, end);
        if (first < last) {
          const bytes = await part.source.read(part.from + first - start, part.from + last - start, signal);
          const same = part.source.dtype === dtype ? bytes : bytesOf(decodeFloats(bytes, part.source.dtype));
          out.set(same, (first - from) * rowBytes);
        }
        start = end;
      }
      return out;
    },
  };
}

/** `f` of every value, as f32. */
export function mapValues(source: WeightSource, f: (value: number) => number): WeightSource {
  return {
    ...source,
    dtype: "f32",
    read: async (from, to, signal) => bytesOf(decodeFloats(await source.read(from, to, signal), source.dtype).map(f)),
  };
}

function bytesOf(values: Float32Array): Uint8Array {
  return new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
}
