// SHA-256 of all bytes of tensors, in pieces that are hashed at the same time and in any order: what reads them may pass them on.

import { JambaError } from "@jamba/core";
import { type Range, withRange } from "./hub/partial.ts";
import type { TensorInfo } from "./source/tensor-info.ts";

/** Of each tensor: another number names every model anew. */
const pieceBytes = 4 * 2 ** 20;
const sampleBytes = 4096;
/** Pieces that wait for their hashes: what is read faster than it is hashed must not fill the memory. */
const mostWaiting = 4;

interface Piece {
  readonly begin: number;
  readonly end: number;
  /** What was passed on of it so far, until it is whole. */
  parts?: { bytes: Uint8Array<ArrayBuffer>; done: Range[] };
  digest?: Promise<Uint8Array>;
}

interface Tensor {
  readonly pieces: readonly Piece[];
  readonly sample: Uint8Array<ArrayBuffer>;
  readonly sampleAt: number;
}

export interface TensorPiece {
  readonly name: string;
  readonly begin: number;
  readonly end: number;
}

export class TensorDigests {
  readonly #tensors = new Map<string, Tensor>();
  readonly #waiting = new Set<Promise<unknown>>();

  constructor(tensors: Iterable<Pick<TensorInfo, "name" | "sizeBytes">>) {
    for (const { name, sizeBytes } of tensors) {
      const pieces = Array.from({ length: Math.ceil(sizeBytes / pieceBytes) }, (_, i) => ({
        begin: i * pieceBytes,
        end: Math.min(sizeBytes, (i + 1) * pieceBytes),
      }));
      const sampleAt = Math.max(0, Math.floor((sizeBytes - sampleBytes) / 2));
      this.#tensors.set(name, { pieces, sampleAt, sample: new Uint8Array(Math.min(sizeBytes, sampleBytes)) });
    }
  }

  /** Hears the bytes of a tensor from `offset` on, which may be changed afterwards. Settles when there is room for more. */
  async add(name: string, offset: number, bytes: Uint8Array): Promise<void> {
    const tensor = this.#tensors.get(name);
    if (!tensor) return;
    copyOverlap(bytes, offset, tensor.sample, tensor.sampleAt);
    const end = offset + bytes.length;
    for (let i = Math.floor(offset / pieceBytes); i < tensor.pieces.length && tensor.pieces[i].begin < end; i++) {
      const piece = tensor.pieces[i];
      if (piece.digest) continue;
      const [from, to] = [Math.max(offset, piece.begin), Math.min(end, piece.end)];
      if (to - from === piece.end - piece.begin) {
        piece.parts = undefined;
        this.#hash(piece, bytes.slice(from - offset, to - offset));
        continue;
      }
      piece.parts ??= { bytes: new Uint8Array(piece.end - piece.begin), done: [] };
      copyOverlap(bytes, offset, piece.parts.bytes, piece.begin);
      piece.parts.done = withRange(piece.parts.done, { begin: from, end: to });
      const [first, ...others] = piece.parts.done;
      if (others.length > 0 || first.begin !== piece.begin || first.end !== piece.end) continue;
      this.#hash(piece, piece.parts.bytes);
      piece.parts = undefined;
    }
    while (this.#waiting.size >= mostWaiting) await Promise.race(this.#waiting);
  }

  /** What nobody passed on yet. */
  *missing(): Generator<TensorPiece> {
    for (const [name, { pieces }] of this.#tensors) for (const { begin, end, digest } of pieces) if (!digest) yield { name, begin, end };
  }

  /**
   * When nothing is missing.
   * @returns of each tensor the hash of the hashes of its pieces, and of up to 4 KiB in its middle
   */
  async results(): Promise<Map<string, { all: string; sample: string }>> {
    const found = new Map<string, { all: string; sample: string }>();
    for (const [name, { pieces, sample }] of this.#tensors) {
      const digests = new Uint8Array(32 * pieces.length);
      for (const [i, { digest }] of pieces.entries()) digests.set((await digest)!, 32 * i);
      found.set(name, { all: hexOf(await sha256(digests)), sample: hexOf(await sha256(sample)) });
    }
    return found;
  }

  #hash(piece: Piece, bytes: Uint8Array): void {
    piece.digest = sha256(bytes);
    // Whoever asks for the results hears of what failed.
    const done: Promise<unknown> = piece.digest.catch(() => undefined).then(() => this.#waiting.delete(done));
    this.#waiting.add(done);
  }
}

/** @param at where `bytes` and `target` begin in the same tensor */
function copyOverlap(bytes: Uint8Array, bytesAt: number, target: Uint8Array, targetAt: number): void {
  const [from, to] = [Math.max(bytesAt, targetAt), Math.min(bytesAt + bytes.length, targetAt + target.length)];
  if (from < to) target.set(bytes.subarray(from - bytesAt, to - bytesAt), from - targetAt);
}

/** @throws JambaError UNSUPPORTED where there is no WebCrypto */
export async function sha256(bytes: Uint8Array): Promise<Uint8Array> {
  const { subtle } = globalThis.crypto ?? {};
  if (!subtle)
    throw new JambaError("UNSUPPORTED", "expected WebCrypto, found none; browsers have it on pages from https:// or localhost only");
  return new Uint8Array(await subtle.digest("SHA-256", bytes as Uint8Array<ArrayBuffer>));
}

export function hexOf(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
