// Weights on the device, and how stored rows come there.

import { type DriverWeight, JambaError, type PartLayout, partsOf, type RowLayout, type StoredDtype, type Weight } from "@jamba/core";
import type { GpuBinding, GpuBuffer } from "./gpu.ts";
import type { GpuMemory } from "./gpu-memory.ts";
import type { Packer } from "./pack.ts";

/** Of all weights: a process may map some 65,000 pieces of memory, of which drivers take one for each, and ends beyond it. */
const mostBuffers = 2 ** 14;

export interface WeightPart extends PartLayout {
  readonly buffer: GpuBuffer;
}

export class GpuWeight implements DriverWeight {
  private constructor(
    readonly packer: Packer,
    readonly weight: Weight,
    readonly row: RowLayout,
    readonly parts: readonly WeightPart[],
  ) {}

  static sizeOf(weight: Weight, memory: GpuMemory): number {
    return layoutOf(weight, memory).parts.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  }

  /** @throws JambaError OUT_OF_MEMORY */
  static async open(weight: Weight, memory: GpuMemory, packer: Packer): Promise<GpuWeight> {
    const { row, parts } = layoutOf(weight, memory);
    const count = memory.weightBuffers + parts.length;
    if (count > mostBuffers)
      throw new JambaError(
        "OUT_OF_MEMORY",
        `${weight.name}: expected weights in at most ${mostBuffers} buffers, found ${count} in bindings of ${memory.mostBindingBytes} bytes; make mostBindingBytes larger`,
      );
    // Others may be opened meanwhile.
    memory.weightBuffers = count;
    const buffers = await memory
      .allocate(
        weight.name,
        parts.map(({ sizeBytes }) => sizeBytes),
      )
      .catch((error) => {
        memory.weightBuffers -= parts.length;
        throw error;
      });
    return new GpuWeight(
      packer,
      weight,
      row,
      parts.map((part, i) => ({ ...part, buffer: buffers[i] })),
    );
  }

  get sizeBytes(): number {
    return this.parts.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  }

  async pack(from: number, to: number, bytes: Uint8Array, stored: StoredDtype): Promise<void> {
    try {
      await this.packer.pack(this, { from, to, bytes }, stored);
    } catch (error) {
      throw this.packer.memory.ended() ?? error;
    }
  }

  release(): void {
    this.packer.memory.weightBuffers -= this.parts.length;
    for (const { buffer } of this.parts) buffer.destroy();
  }
}

/** @throws JambaError OUT_OF_MEMORY for rows that no binding holds */
function layoutOf(weight: Weight, { mostBindingBytes, gpu }: GpuMemory): ReturnType<typeof partsOf> {
  const layout = partsOf(weight, mostBindingBytes);
  const { maxStorageBufferBindingSize: most } = gpu.limits;
  if (layout.row.dataBytes > most)
    throw new JambaError("OUT_OF_MEMORY", `${weight.name}: expected rows of at most ${most} bytes, found ${layout.row.dataBytes}`);
  return layout;
}

/** Data and scales of a part as a kernel binds them; what has no scales binds its data twice. */
export function bindingsOf(name: string, { buffer, dataBytes, scalesAt, scaleBytes }: WeightPart): Record<string, GpuBinding> {
  const data = { buffer, offset: 0, size: Math.max(16, dataBytes) };
  return { [name]: data, [`${name}Scales`]: scaleBytes > 0 ? { buffer, offset: scalesAt, size: scaleBytes } : data };
}
