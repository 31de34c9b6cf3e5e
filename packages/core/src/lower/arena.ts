// Where the values of a step live in one piece of memory, so that a step allocates nothing.

/** Place of a buffer in the arena, in 4-byte words. Buffers whose lives do not overlap share words. */
export interface ArenaBuffer {
  readonly offset: number;
  readonly length: number;
}

/**
 * First fit by order of first use. A buffer is free again after the last command that touches it, never during it,
 * so what a command writes does not overlap what it reads.
 *
 * @param touched the buffers of each command
 * @param lengths words of each buffer
 * @param alignWords what every offset is a multiple of
 */
export function planArena(
  touched: readonly (readonly number[])[],
  lengths: readonly number[],
  alignWords: number,
): { buffers: ArenaBuffer[]; words: number } {
  const first = new Map<number, number>();
  const last = new Map<number, number>();
  for (const [i, used] of touched.entries()) {
    for (const buffer of used) {
      if (!first.has(buffer)) first.set(buffer, i);
      last.set(buffer, i);
    }
  }
  const buffers: ArenaBuffer[] = lengths.map((length) => ({ offset: 0, length }));
  let live: { buffer: number; offset: number; end: number }[] = [];
  let words = 0;
  for (const [buffer, start] of first) {
    live = live.filter((l) => last.get(l.buffer)! >= start);
    const size = Math.ceil(lengths[buffer] / alignWords) * alignWords;
    let offset = 0;
    for (const l of live) {
      if (l.offset - offset >= size) break;
      offset = Math.max(offset, l.end);
    }
    buffers[buffer] = { offset, length: lengths[buffer] };
    live.push({ buffer, offset, end: offset + size });
    live.sort((a, b) => a.offset - b.offset || a.end - b.end);
    words = Math.max(words, offset + size);
  }
  return { buffers, words };
}
