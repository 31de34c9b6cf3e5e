// Slots and pages, each in a range of addresses that grows: what is there stays where it is, and kernels need not know.

import {
  type DriverStates,
  floatBytes,
  partBytes,
  roundUp,
  type StateAddress,
  type StateLayout,
  type StatePart,
  type StateSpec,
  stateLayout,
} from "@jamba/core";
import type { CudaMemory } from "./memory.ts";

export class CudaStates implements DriverStates {
  nSlots = 0;
  nPages = 0;
  /** Counts the steps that were submitted. */
  steps = 0;

  private constructor(
    readonly memory: CudaMemory,
    readonly spec: StateSpec,
    readonly layout: StateLayout,
    /** Addresses. */
    readonly slots: number,
    readonly pages: number,
    /** Of the last two steps: what they keep, then what they read. */
    readonly results: readonly [number, number],
  ) {}

  static async open(memory: CudaMemory, spec: StateSpec): Promise<CudaStates> {
    const layout = stateLayout(spec);
    const [slots, pages, ...results] = await Promise.all([memory.range(), memory.range(), memory.range(), memory.range()]);
    return new CudaStates(memory, spec, layout, slots, pages, results as [number, number]);
  }

  get sizeBytes(): number {
    return this.nSlots * this.#slotBytes + this.nPages * this.#pageBytes;
  }

  async reserve(nSlots: number, nPages: number): Promise<void> {
    const [slots, pages] = [Math.max(this.nSlots, nSlots), Math.max(this.nPages, nPages)];
    await this.memory.map(this.slots, slots * this.#slotBytes, "states");
    try {
      await this.memory.map(this.pages, pages * this.#pageBytes, "states");
    } catch (error) {
      await this.memory.map(this.slots, this.nSlots * this.#slotBytes, "states");
      throw error;
    }
    [this.nSlots, this.nPages] = [slots, pages];
  }

  shrink(nSlots: number, nPages: number): void {
    [this.nSlots, this.nPages] = [Math.min(this.nSlots, nSlots), Math.min(this.nPages, nPages)];
    // That the device is gone hears who asks something of it.
    this.memory.map(this.slots, this.nSlots * this.#slotBytes, "states").catch(() => undefined);
    this.memory.map(this.pages, this.nPages * this.#pageBytes, "states").catch(() => undefined);
  }

  async readPart(address: StateAddress, part: Omit<StatePart, "bytes">): Promise<Uint8Array> {
    const place = this.#placeOf(address, part);
    const pieces = place.pieces.map(() => new Uint8Array(place.pieceBytes));
    await Promise.all(place.pieces.map((from, i) => this.memory.read(from, [pieces[i]])));
    const bytes = new Uint8Array(partBytes(part));
    for (const { piece, at, own, size } of place.rows()) bytes.set(pieces[piece].subarray(at, at + size), own);
    return bytes;
  }

  async writePart(address: StateAddress, { bytes, ...part }: StatePart): Promise<void> {
    const place = this.#placeOf(address, part);
    const pieces = place.pieces.map(() => new Uint8Array(place.pieceBytes));
    for (const { piece, at, own, size } of place.rows()) pieces[piece].set(bytes.subarray(own, own + size), at);
    await Promise.all(place.pieces.map((to, i) => this.memory.write(to, pieces[i])));
  }

  release(): void {
    for (const range of [this.slots, this.pages, ...this.results]) this.memory.release(range);
    [this.nSlots, this.nPages] = [0, 0];
  }

  get #slotBytes(): number {
    return 4 * this.layout.slotWords;
  }

  get #pageBytes(): number {
    return 4 * this.layout.pageWords;
  }

  /** Pieces of memory that a part lies in, each without a gap, and where each of its rows stands in them: a slot's, or one of each page. */
  #placeOf({ slot, pages, seen }: StateAddress, { layer, name, shape, dtype }: Omit<StatePart, "bytes">): Place {
    const place = this.layout.layers[layer];
    if (place.kind === "mamba") {
      const [nRows, columns] = shape;
      const size = 4 * columns;
      const rowBytes = name === "conv" ? size : 4 * roundUp(columns, 4);
      const pieces = nRows * rowBytes > 0 ? [this.slots + slot * this.#slotBytes + 4 * (name === "conv" ? place.conv : place.h)] : [];
      const rows = pieces.flatMap(() => Array.from({ length: nRows }, (_, r) => ({ piece: 0, at: r * rowBytes, own: r * size, size })));
      return { pieces, pieceBytes: nRows * rowBytes, rows: () => rows };
    }
    const { pageTokens } = this.spec;
    const [nKvHeads, , headDim] = shape;
    const [rowBytes, size] = [4 * place.rowWords, floatBytes[dtype] * headDim];
    // What a page has behind the last token means nothing: it is written along.
    const pieceBytes = nKvHeads * pageTokens * rowBytes;
    const first = this.pages + 4 * place.at + (name === "k" ? 0 : pieceBytes);
    const pieces = Array.from({ length: Math.ceil(seen / pageTokens) }, (_, n) => first + pages[n] * this.#pageBytes);
    function* rows() {
      for (let head = 0; head < nKvHeads; head++)
        for (let t = 0; t < seen; t++) {
          const at = (head * pageTokens + (t % pageTokens)) * rowBytes;
          yield { piece: Math.floor(t / pageTokens), at, own: (head * seen + t) * size, size };
        }
    }
    return { pieces, pieceBytes, rows };
  }
}

interface Place {
  readonly pieces: readonly number[];
  readonly pieceBytes: number;
  rows(): Iterable<{ readonly piece: number; readonly at: number; readonly own: number; readonly size: number }>;
}
