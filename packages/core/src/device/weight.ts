// Weights: where their numbers come from, and the handle that a backend gives for them.

import type { StoredDtype } from "../blocks.ts";
import type { WeightDtype } from "../dtype.ts";

/** A tensor of a checkpoint, read in rows so that no tensor has to be in memory twice. */
export interface WeightSource {
  /** For errors: the name in the checkpoint. */
  readonly name: string;
  /** Format of the bytes that `read` gives. */
  readonly dtype: StoredDtype;
  readonly shape: readonly number[];
  /**
   * Rows `[from, to)` of the tensor seen as `[product of all axes but the last, last axis]` (a vector is one row),
   * contiguous little-endian bytes.
   */
  read(from: number, to: number, signal?: AbortSignal): Promise<Uint8Array>;
  /** Where the same bytes lie in a local file, for a backend that reads files itself. Who changes what `read` gives leaves it out. */
  readonly file?: LocalBytes;
  /** Where they lie in a blob, such as a file that was chosen in a page, for a backend whose worker reads it. The same holds for it. */
  readonly blob?: BlobBytes;
}

/** All rows of a tensor, one after another. */
export interface LocalBytes {
  readonly path: string;
  /** Bytes from the start of the file. */
  readonly offset: number;
  /** Called by who reads the file, as often as bytes were read. */
  readonly onRead?: (sizeBytes: number) => void;
}

/** All rows of a tensor, one after another. */
export interface BlobBytes extends Omit<LocalBytes, "path"> {
  readonly blob: Blob;
}

/** A weight inside a backend: opaque, maybe repacked, never changed after it was opened. */
export interface Weight {
  readonly name: string;
  readonly dtype: WeightDtype;
  readonly shape: readonly number[];
}

/** Rows and columns of a shape seen as a matrix; a vector is one row. */
export function matrixOf(shape: readonly number[]): { rows: number; columns: number } {
  const columns = shape.at(-1) ?? 1;
  return { rows: shape.slice(0, -1).reduce((a, b) => a * b, 1), columns };
}

/** A source of f32 values that are in memory: small weights, tests, examples. */
export function sourceOf(name: string, shape: readonly number[], values: Float32Array): WeightSource {
  const { columns } = matrixOf(shape);
  return {
    name,
    dtype: "f32",
    shape,
    read: async (from, to) => new Uint8Array(values.buffer, values.byteOffset + from * columns * 4, (to - from) * columns * 4),
  };
}
