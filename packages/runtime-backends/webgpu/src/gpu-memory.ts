// Buffers of a device, and what comes back from them.

import { JambaError } from "@jamba/core";
import { type GpuBuffer, type GpuDevice, usage } from "./gpu.ts";
import { expectNone, failure, scoped } from "./scoped.ts";
import type { Range, StateMemory } from "./states.ts";
import { Turns } from "./turns.ts";

/** A buffer that may be replaced by a larger one. */
export interface Place {
  buffer: GpuBuffer;
}

export class GpuMemory implements StateMemory {
  /** Bound where a kernel needs nothing. */
  readonly none: GpuBuffer;
  /** Steps, copies, and reads and writes of states take them. */
  readonly turns = new Turns();
  /** Those that weights lie in. */
  weightBuffers = 0;
  /** Those that nobody maps, by size. */
  readonly #staging = new Map<number, GpuBuffer[]>();

  readonly #mapped = new Set<GpuBuffer>();
  /** Lets go of what was made with this memory and has no other owner. */
  readonly atEnd: (() => void)[] = [];

  /** @param ended why nothing can be had any more, if so */
  constructor(
    readonly gpu: GpuDevice,
    readonly mostBindingBytes: number,
    readonly ended: () => JambaError | undefined,
  ) {
    this.none = this.buffer(16);
  }

  buffer(size: number, bits: number = usage.storage | usage.copyDst | usage.copySrc): GpuBuffer {
    return this.gpu.createBuffer({ size: Math.max(16, size), usage: bits });
  }

  uniform(words: Uint32Array): GpuBuffer {
    const buffer = this.buffer(words.byteLength, usage.uniform | usage.copyDst);
    this.gpu.queue.writeBuffer(buffer, 0, words);
    return buffer;
  }

  /** Of whole words. */
  write(buffer: GpuBuffer, at: number, words: Uint8Array | Int32Array): void {
    if (words.byteLength > 0) this.gpu.queue.writeBuffer(buffer, at, words);
  }

  /** @throws JambaError OUT_OF_MEMORY, with nothing allocated */
  async allocate(what: string, sizes: readonly number[]): Promise<GpuBuffer[]> {
    const most = this.gpu.limits.maxBufferSize;
    const bytes = sizes.reduce((a, b) => a + b, 0);
    const outOf = (found: string, cause?: Error) =>
      new JambaError("OUT_OF_MEMORY", `${what}: expected room for ${bytes} bytes, found: ${found}`, { cause });
    if (sizes.some((size) => size > most)) throw outOf(`buffers of at most ${most} bytes`);
    const { value: buffers, found } = scoped(this.gpu, () => sizes.map((size) => this.buffer(size)));
    const error = await found;
    const ended = this.ended();
    if (!error && !ended) return buffers;
    for (const buffer of buffers) buffer.destroy();
    throw ended ?? outOf(error!.message, error!);
  }

  async fetch(rangesOf: () => readonly Range[]): Promise<Uint8Array> {
    const { buffer: staging, size, found } = await this.#gather(rangesOf, (size) => (size === 0 ? undefined : this.staging(size)));
    const data = staging ? await this.map(staging, size) : new Uint8Array(0);
    expectNone(await found);
    return data;
  }

  /** The same into a buffer of their own, which is the caller's. @throws JambaError OUT_OF_MEMORY */
  async gather(rangesOf: () => readonly Range[]): Promise<GpuBuffer> {
    const { buffer, found } = await this.#gather(rangesOf, (size) => this.buffer(size));
    const error = await found;
    const ended = this.ended();
    if (!error && !ended) return buffer;
    buffer.destroy();
    throw ended ?? failure(error);
  }

  /** @param bufferOf where they go, if anywhere */
  #gather<B extends GpuBuffer | undefined>(rangesOf: () => readonly Range[], bufferOf: (size: number) => B) {
    return this.turns.take(async () => {
      const ended = this.ended();
      if (ended) throw ended;
      const ranges = rangesOf();
      const size = ranges.reduce((sum, range) => sum + range.size, 0);
      const { value: buffer, found } = scoped(this.gpu, () => {
        const into = bufferOf(size);
        if (!into) return into;
        const encoder = this.gpu.createCommandEncoder();
        let to = 0;
        for (const { buffer, at, size } of ranges) {
          encoder.copyBufferToBuffer(buffer, at, into, to, size);
          to += size;
        }
        this.gpu.queue.submit([encoder.finish()]);
        return into;
      });
      return { buffer, size, found };
    });
  }

  /** Of at least `bytes`, to copy into and to map; `map` gives it back. */
  staging(bytes: number): GpuBuffer {
    const size = 2 ** Math.ceil(Math.log2(Math.max(256, bytes)));
    return this.#staging.get(size)?.pop() ?? this.buffer(size, usage.mapRead | usage.copyDst);
  }

  async map(staging: GpuBuffer, size: number): Promise<Uint8Array> {
    this.#mapped.add(staging);
    try {
      await this.settle(staging.mapAsync(1, 0, size));
    } catch (error) {
      staging.destroy();
      throw error;
    } finally {
      this.#mapped.delete(staging);
    }
    const data = new Uint8Array(staging.getMappedRange(0, size)).slice();
    staging.unmap();
    const others = this.#staging.get(staging.size);
    // Two steps are under way at most; large ones are not worth keeping.
    if (staging.size > mostKeptBytes || (others?.length ?? 0) >= 2) staging.destroy();
    else if (others) others.push(staging);
    else this.#staging.set(staging.size, [staging]);
    return data;
  }

  /** A device that ends lets maps fail, and the rest succeed. */
  async settle(work: Promise<void>): Promise<void> {
    try {
      await work;
    } catch (cause) {
      throw this.ended() ?? failure(cause);
    }
    const ended = this.ended();
    if (ended) throw ended;
  }

  dispose(): void {
    for (const end of this.atEnd) end();
    for (const buffer of this.#mapped) buffer.destroy();
    for (const buffers of this.#staging.values()) for (const buffer of buffers) buffer.destroy();
    this.none.destroy();
  }
}

const mostKeptBytes = 2 ** 24;
