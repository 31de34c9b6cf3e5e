// Rows of numbers as q4_k, which few ask for that have no file of it: on the host, where it is short.

import { fromF16, toF16 } from "../dtype.ts";
import type { RowLayout } from "./layout.ts";

/**
 * Eight blocks of 32 share two f16 and 12 bytes of scales and minima of 6 bits (GGML's block_q4_K): value = d · scale · nibble - dMin · minimum.
 *
 * @param values [rows, columns]
 */
export function encodeQ4K(values: Float32Array, rows: number, { columns, blocks, dataBytes, scaleBytes }: RowLayout) {
  const data = new Uint8Array(rows * dataBytes);
  const scales = new Uint8Array(rows * scaleBytes);
  const row = new Float32Array(32 * blocks);
  for (let r = 0; r < rows; r++) {
    row.fill(0);
    row.set(values.subarray(r * columns, (r + 1) * columns));
    for (let s = 0; 8 * s < blocks; s++)
      encodeSuperBlock(
        row.subarray(256 * s, 256 * s + 256),
        data.subarray(r * dataBytes + 128 * s, r * dataBytes + 128 * s + 128),
        new DataView(scales.buffer, r * scaleBytes + 16 * s, 16),
      );
  }
  return { data, scales };
}

function encodeSuperBlock(values: Float32Array, data: Uint8Array, head: DataView): void {
  const parts = Array.from({ length: 8 }, (_, p) => values.subarray(32 * p, 32 * p + 32));
  // Minima are taken off: what is above 0 alone begins at 0.
  const ranges = parts.map((x) => {
    const minimum = Math.min(0, ...x);
    return { scale: (Math.max(0, ...x) - minimum) / 15, minimum: -minimum };
  });
  const d = toF16(Math.max(...ranges.map(({ scale }) => scale)) / 63);
  const dMin = toF16(Math.max(...ranges.map(({ minimum }) => minimum)) / 63);
  head.setUint16(0, d, true);
  head.setUint16(2, dMin, true);
  for (const [p, x] of parts.entries()) {
    const scale = nearest(ranges[p].scale / (fromF16(d) || 1), 63);
    const minimum = nearest(ranges[p].minimum / (fromF16(dMin) || 1), 63);
    putScale(head, p, scale, minimum);
    const [step, low] = [fromF16(d) * scale, fromF16(dMin) * minimum];
    const nibble = (i: number) => (step === 0 ? 0 : nearest((x[i] + low) / step, 15));
    for (let i = 0; i < 16; i++) data[16 * p + i] = nibble(i) | (nibble(i + 16) << 4);
  }
}

/** In [0, high]; what is no number becomes 0. */
function nearest(v: number, high: number): number {
  return Math.min(high, Math.max(0, Math.round(v))) || 0;
}

/** A scale and a minimum of 6 bits among the 12 bytes of eight of each. */
function putScale(head: DataView, p: number, scale: number, minimum: number): void {
  const or = (byte: number, bits: number) => head.setUint8(4 + byte, head.getUint8(4 + byte) | bits);
  if (p < 4) {
    or(p, scale);
    or(p + 4, minimum);
    return;
  }
  or(p + 4, (scale & 15) | ((minimum & 15) << 4));
  or(p - 4, (scale >> 4) << 6);
  or(p, (minimum >> 4) << 6);
}
