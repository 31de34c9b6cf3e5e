// Pulls a weight's rows from where they are stored into what a device holds of it, the next piece read while one is packed.

import { storedBytes } from "../blocks.ts";
import { ShapeError } from "../errors.ts";
import type { DriverWeight } from "./driver.ts";
import type { Guard } from "./held.ts";
import { matrixOf, type WeightSource } from "./weight.ts";

/** About how much is read at once: enough to hide a read behind the packing of the piece before. */
const pieceBytes = 4 * 2 ** 20;
/** The same where the device reads the file itself: some hundredths of a second, after which a load can be stopped. */
const filePieceBytes = 64 * 2 ** 20;
/** The same for a blob, of which the reader has a copy. */
const blobPieceBytes = 16 * 2 ** 20;

/** @throws ShapeError when the source gives more or fewer bytes than its rows have */
export async function readInto(weight: DriverWeight, source: WeightSource, { wait }: Guard, signal?: AbortSignal): Promise<void> {
  const { name, shape, dtype, file, blob } = source;
  const rowBytes = storedBytes(dtype, matrixOf(shape).columns);
  if (file && weight.packFile) {
    for (const [from, to] of piecesOf(shape, weight.rowStep ?? 1, rowBytes, filePieceBytes)) {
      signal?.throwIfAborted();
      await wait(weight.packFile(from, to, file.path, file.offset + from * rowBytes, dtype));
      file.onRead?.((to - from) * rowBytes);
    }
    return;
  }
  if (blob && weight.packBlob) {
    for (const [from, to] of piecesOf(shape, weight.rowStep ?? 1, rowBytes, blobPieceBytes)) {
      signal?.throwIfAborted();
      await wait(weight.packBlob(from, to, blob.blob, blob.offset + from * rowBytes, dtype));
      blob.onRead?.((to - from) * rowBytes);
    }
    return;
  }
  let packing: Promise<unknown> = Promise.resolve();
  for (const [from, to] of piecesOf(shape, weight.rowStep ?? 1, rowBytes, pieceBytes)) {
    signal?.throwIfAborted();
    const bytes = await source.read(from, to, signal);
    const expected = (to - from) * rowBytes;
    if (bytes.byteLength !== expected)
      throw new ShapeError(`${name}: rows ${from} … ${to}: expected ${expected} bytes, found ${bytes.byteLength}`);
    await packing;
    packing = wait(weight.pack(from, to, steady(bytes), dtype));
    packing.catch(() => undefined); // heard of at the next await
  }
  await packing;
}

/** Ranges of rows that are read at once: parts of one matrix in whole steps, or whole matrices where they are small. A vector is one row. */
export function* piecesOf(
  shape: readonly number[],
  rowStep: number,
  rowBytes: number,
  pieceBytes: number,
): Generator<[from: number, to: number]> {
  if (shape.length === 1) return yield [0, 1];
  const rows = shape.at(-2)!;
  const stack = shape.slice(0, -2).reduce((a, b) => a * b, 1);
  if (rowBytes === 0 || rows === 0) return;
  const wanted = Math.max(1, Math.floor(pieceBytes / rowBytes));
  if (rows <= wanted) {
    const together = Math.floor(wanted / rows);
    for (let i = 0; i < stack; i += together) yield [i * rows, Math.min(stack, i + together) * rows];
    return;
  }
  const step = Math.ceil(wanted / rowStep) * rowStep;
  for (let i = 0; i < stack; i++)
    for (let from = 0; from < rows; from += step) yield [i * rows + from, i * rows + Math.min(rows, from + step)];
}

/** Bytes that stay where they are while a device reads them, even if the caller resizes what holds them. */
export function steady<T extends Float32Array | Uint8Array>(values: T): T {
  const { resizable } = values.buffer as ArrayBuffer & { resizable?: boolean };
  return (resizable && values.length > 0 ? values.slice() : values) as T;
}
