// Views of checkpoint tensors: rows put together, values mapped. Nothing is read until a backend pulls.

import { decodeStored, matrixOf, type StoredDtype, storedBytes, type WeightSource } from "@jamba/core";

export interface RowRange {
  readonly source: WeightSource;
  readonly from: number;
  readonly to: number;
}

/** The same values under another shape. */
export function reshape(source: WeightSource, shape: readonly number[]): WeightSource {
  return { ...source, shape };
}

/** The same, with a call back after every piece. */
export function whenRead(source: WeightSource, onRead: (sizeBytes: number) => void): WeightSource {
  return {
    ...source,
    file: source.file && { ...source.file, onRead },
    blob: source.blob && { ...source.blob, onRead },
    async read(from, to, signal) {
      const bytes = await source.read(from, to, signal);
      onRead(bytes.byteLength);
      return bytes;
    },
  };
}

/** Ranges of rows, one after another; as f32 when they do not share a dtype. */
export function concatRows(name: string, shape: readonly number[], parts: readonly RowRange[]): WeightSource {
  const { columns } = matrixOf(shape);
  const dtypes = new Set<StoredDtype>(parts.map((part) => part.source.dtype));
  const dtype = dtypes.size === 1 ? [...dtypes][0] : "f32";
  const rowBytes = storedBytes(dtype, columns);
  return {
    name,
    dtype,
    shape,
    async read(from, to, signal) {
      const pieces: Uint8Array[] = [];
      let start = 0;
      for (const part of parts) {
        const end = start + part.to - part.from;
        const first = Math.max(from, start);
        const last = Math.min(to, end);
        if (first < last) {
          const bytes = await part.source.read(part.from + first - start, part.from + last - start, signal);
          pieces.push(part.source.dtype === dtype ? bytes : bytesOf(decodeStored(bytes, part.source.dtype)));
        }
        start = end;
      }
      // Most reads lie within one part and need no copy.
      return pieces.length === 1 ? pieces[0] : joined(pieces, (to - from) * rowBytes);
    },
  };
}

/** `f` of every value, as f32. */
export function mapValues(source: WeightSource, f: (value: number) => number): WeightSource {
  return {
    ...source,
    dtype: "f32",
    file: undefined,
    blob: undefined,
    read: async (from, to, signal) => bytesOf(decodeStored(await source.read(from, to, signal), source.dtype).map(f)),
  };
}

function joined(pieces: readonly Uint8Array[], sizeBytes: number): Uint8Array {
  const out = new Uint8Array(sizeBytes);
  let at = 0;
  for (const piece of pieces) {
    out.set(piece, at);
    at += piece.length;
  }
  return out;
}

function bytesOf(values: Float32Array): Uint8Array {
  return new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
}
