// The states of many sequences: segments of slots and of pages that never move, so that growth copies nothing and time per token does not
// grow with it.

import {
  type DriverStates,
  floatBytes,
  JambaError,
  type PackedInputs,
  partBytes,
  roundUp,
  type StateAddress,
  type StatePart,
  type StateSpec,
  stateLayout,
} from "@jamba/core";
import type { GpuBuffer } from "./gpu.ts";
import type { Place } from "./gpu-memory.ts";
import type { GpuProgram } from "./program.ts";
import type { Turns } from "./turns.ts";

/** What states need of their device. */
export interface StateMemory {
  readonly mostBindingBytes: number;
  allocate(what: string, sizes: readonly number[]): Promise<GpuBuffer[]>;
  /** With these words in it, for kernels to read. */
  uniform(words: Uint32Array): GpuBuffer;
  write(buffer: GpuBuffer, at: number, words: Uint8Array): void;
  /** Ranges one after another, as they are after what was submitted before. */
  fetch(rangesOf: () => readonly Range[]): Promise<Uint8Array>;
  readonly turns: Turns;
}

export interface Range {
  readonly buffer: GpuBuffer;
  readonly at: number;
  readonly size: number;
}

/** Units [first, first + count) of a pool. */
export interface Segment {
  readonly buffer: GpuBuffer;
  /** first and count, for kernels. */
  readonly info: GpuBuffer;
  readonly first: number;
  readonly count: number;
}

/** Beyond it there is no such memory. */
const mostSegments = 10_000;

/** Slots, or pages. */
export class Pool {
  readonly segments: Segment[] = [];
  /** Units that were asked for; there may be more. */
  count = 0;

  constructor(
    readonly memory: StateMemory,
    readonly name: string,
    readonly unitBytes: number,
  ) {}

  get capacity(): number {
    const last = this.segments.at(-1);
    return last ? last.first + last.count : 0;
  }

  /** What is not there yet of the first `count` units, in as few segments as a binding allows; each is as large as all before, or larger. */
  missing(count: number): { first: number; count: number }[] {
    const most = Math.max(1, Math.floor(this.memory.mostBindingBytes / (this.unitBytes || 1)));
    const missing: { first: number; count: number }[] = [];
    if ((count - this.capacity) / most > mostSegments)
      throw new JambaError(
        "OUT_OF_MEMORY",
        `states: expected ${this.name} in at most ${mostSegments} pieces of memory, found ${count} of ${this.unitBytes} bytes`,
      );
    for (let first = this.capacity; first < count; ) {
      const own = Math.min(most, Math.max(count - first, first));
      missing.push({ first, count: own });
      first += own;
    }
    return missing;
  }

  segmentOf(unit: number): Segment {
    return this.segments.find(({ first, count }) => unit >= first && unit < first + count)!;
  }

  /** @returns segments that it has no more */
  shrink(count: number): Segment[] {
    const gone: Segment[] = [];
    for (let last = this.segments.at(-1); last && last.first >= count; last = this.segments.at(-1)) gone.push(this.segments.pop()!);
    this.count = Math.min(this.count, this.capacity);
    return gone;
  }
}

function release({ buffer, info }: Segment): void {
  buffer.destroy();
  info.destroy();
}

export class GpuStates implements DriverStates {
  readonly layout: ReturnType<typeof stateLayout>;
  readonly slots: Pool;
  readonly pages: Pool;
  /** Counts segments that came or went: who binds them looks at it. */
  generation = 0;
  /** Does the copies of a step. */
  copier!: GpuProgram;
  /** Counts the steps that were submitted. */
  steps = 0;
  #released = false;

  constructor(
    readonly memory: StateMemory,
    readonly spec: StateSpec,
    /** Of the last two steps: what they keep, then what they read. */
    readonly results: readonly [Place, Place],
  ) {
    this.layout = stateLayout(spec);
    this.slots = new Pool(memory, "slots", 4 * this.layout.slotWords);
    this.pages = new Pool(memory, "pages", 4 * this.layout.pageWords);
  }

  get nSlots(): number {
    return this.slots.count;
  }

  get nPages(): number {
    return this.pages.count;
  }

  get sizeBytes(): number {
    return this.slots.capacity * this.slots.unitBytes + this.pages.capacity * this.pages.unitBytes;
  }

  async reserve(nSlots: number, nPages: number): Promise<void> {
    const wanted = [
      ...this.slots.missing(nSlots).map((range) => ({ ...range, pool: this.slots })),
      ...this.pages.missing(nPages).map((range) => ({ ...range, pool: this.pages })),
    ];
    const buffers = await this.memory.allocate(
      "states",
      wanted.map(({ pool, count }) => count * pool.unitBytes),
    );
    for (const [i, { pool, first, count }] of wanted.entries())
      pool.segments.push({ buffer: buffers[i], info: this.memory.uniform(Uint32Array.of(first, count)), first, count });
    this.slots.count = Math.max(this.slots.count, nSlots);
    this.pages.count = Math.max(this.pages.count, nPages);
    this.generation++;
    if (this.#released) await this.release();
  }

  shrink(nSlots: number, nPages: number): void {
    const gone = [...this.slots.shrink(nSlots), ...this.pages.shrink(nPages)];
    this.generation++;
    // A step that was submitted may still wait to be encoded with them.
    void this.memory.turns.take(async () => gone.forEach(release));
  }

  async readPart(address: StateAddress, part: Omit<StatePart, "bytes">): Promise<Uint8Array> {
    if (address.seen === 0) return new Uint8Array(partBytes(part));
    const { ranges, rowBytes, ownBytes } = this.#ranges(address, part);
    const bytes = await this.memory.fetch(() => ranges);
    if (rowBytes === ownBytes) return bytes;
    const rows = new Uint8Array((bytes.length / rowBytes) * ownBytes);
    for (let r = 0; r * rowBytes < bytes.length; r++) rows.set(bytes.subarray(r * rowBytes, r * rowBytes + ownBytes), r * ownBytes);
    return rows;
  }

  async writePart(address: StateAddress, { bytes, ...part }: StatePart): Promise<void> {
    const { ranges, rowBytes, ownBytes } = this.#ranges(address, part);
    let from = 0;
    const written: { buffer: GpuBuffer; at: number; rows: Uint8Array }[] = [];
    for (const { buffer, at, size } of ranges) {
      const rows = new Uint8Array(size);
      for (let r = 0; r * rowBytes < size; r++, from += ownBytes) rows.set(bytes.subarray(from, from + ownBytes), r * rowBytes);
      written.push({ buffer, at, rows });
    }
    await this.memory.turns.take(async () => {
      for (const { buffer, at, rows } of written) this.memory.write(buffer, at, rows);
    });
  }

  release(): Promise<void> {
    this.#released = true;
    this.shrink(0, 0);
    this.copier.release();
    return this.memory.turns.take(async () => {
      for (const { buffer } of this.results) buffer.destroy();
    });
  }

  /** Where the rows of a part lie, in its order, each with what fills it up: of keys and values each head's run in each page. */
  #ranges({ slot, pages, seen }: StateAddress, { layer, name, shape, dtype }: Omit<StatePart, "bytes">) {
    const place = this.layout.layers[layer];
    if (place.kind === "mamba") {
      const { buffer, first } = this.slots.segmentOf(slot);
      const [rows, columns] = shape;
      const rowBytes = 4 * (name === "conv" ? columns : roundUp(columns, 4));
      const at = (slot - first) * this.slots.unitBytes + 4 * (name === "conv" ? place.conv : place.h);
      return { ranges: rows * rowBytes > 0 ? [{ buffer, at, size: rows * rowBytes }] : [], rowBytes, ownBytes: 4 * columns };
    }
    const { pageTokens } = this.spec;
    const [nKvHeads, , headDim] = shape;
    const [rowBytes, ownBytes] = [4 * place.rowWords, floatBytes[dtype] * headDim];
    const firstHead = name === "k" ? 0 : nKvHeads;
    const nPages = Math.ceil(seen / pageTokens);
    const ranges = Array.from({ length: nKvHeads * nPages }, (_, i) => {
      const [head, n] = [firstHead + Math.floor(i / nPages), i % nPages];
      const { buffer, first } = this.pages.segmentOf(pages[n]);
      const at = (pages[n] - first) * this.pages.unitBytes + 4 * place.at + head * pageTokens * rowBytes;
      return { buffer, at, size: rowBytes * Math.min(pageTokens, seen - n * pageTokens) };
    });
    return { ranges, rowBytes, ownBytes };
  }
}

export type SegmentsInUse = Readonly<Record<"slots" | "pages", readonly Segment[]>>;

/** Segments that a step's sequences live in. */
export function segmentsInUse(states: GpuStates, sequences: readonly { slot: number; pages: Int32Array }[]): SegmentsInUse {
  const inUse = (pool: Pool, units: Iterable<number>): Segment[] => {
    if (pool.segments.length < 2) return pool.segments;
    const found = new Set<Segment>();
    for (const unit of units) found.add(pool.segmentOf(unit));
    return pool.segments.filter((segment) => found.has(segment));
  };
  return {
    slots: inUse(
      states.slots,
      sequences.map(({ slot }) => slot),
    ),
    pages: inUse(
      states.pages,
      sequences.flatMap(({ pages }) => [...pages]),
    ),
  };
}

/** Pairs of units whose copy no kernel does, since they lie in two segments. */
export function copiesBetween(pool: Pool, pairs: PackedInputs["copies"]["slots"]): { from: Range; to: Range }[] {
  const copies: { from: Range; to: Range }[] = [];
  if (pool.segments.length < 2) return copies;
  for (let i = 0; i < pairs.length; i += 2) {
    const [from, to] = [pool.segmentOf(pairs[i]), pool.segmentOf(pairs[i + 1])];
    if (from === to) continue;
    const size = pool.unitBytes;
    copies.push({
      from: { buffer: from.buffer, at: (pairs[i] - from.first) * size, size },
      to: { buffer: to.buffer, at: (pairs[i + 1] - to.first) * size, size },
    });
  }
  return copies;
}
