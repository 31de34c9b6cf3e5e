// Plans where the buffers of a recording live, so that a step allocates nothing.

import { type ArenaBuffer, type Command, tensorsOf } from "./command.ts";

/** Words; 256 bytes, the strictest alignment a device asks of a binding offset (WebGPU's default limit). */
const alignment = 64;

/**
 * First fit by order of first use. A buffer is free again after the last command that touches it, never during it,
 * so what a command writes does not overlap what it reads.
 */
export function planArena(commands: readonly Command[], lengths: readonly number[]): { buffers: ArenaBuffer[]; words: number } {
  const first = new Map<number, number>();
  const last = new Map<number, number>();
  for (const [i, command] of commands.entries()) {
    for (const { tensor } of tensorsOf(command)) {
      if (!first.has(tensor.buffer)) first.set(tensor.buffer, i);
      last.set(tensor.buffer, i);
    }
  }
  const buffers: ArenaBuffer[] = lengths.map((length) => ({ offset: 0, length }));
  let live: { buffer: number; offset: number; end: number }[] = [];
  let words = 0;
  for (const [buffer, start] of first) {
    live = live.filter((l) => last.get(l.buffer)! >= start);
    const size = Math.ceil(lengths[buffer] / alignment) * alignment;
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
