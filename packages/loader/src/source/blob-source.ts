import { LoadError } from "@jamba/core";
import { type ByteSource, byteSource } from "./byte-source.ts";

// A blob gives its bytes in a buffer of its own, so the piece is what a read needs on top of its result.
const pieceBytes = 2 ** 26;

export function openBlob(blob: Blob, name = "blob"): ByteSource {
  const fill = async (target: Uint8Array, offset: number) => {
    const bytes = await blob.slice(offset, offset + target.length).arrayBuffer();
    if (bytes.byteLength !== target.length) {
      throw new LoadError(`${name}: expected ${target.length} bytes at ${offset}, found ${bytes.byteLength}`);
    }
    target.set(new Uint8Array(bytes));
  };
  return byteSource({ name, size: blob.size, fill, blob }, pieceBytes);
}
