// Weights on the device, and how stored rows come there.

import type { DriverWeight, StoredDtype, Weight } from "@jamba/core";
import type { GpuBinding, GpuBuffer } from "./gpu.ts";
import type { GpuMemory } from "./gpu-memory.ts";
import { type PartLayout, partsOf, type RowLayout } from "./layout.ts";
import type { Packer } from "./pack.ts";

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

  static sizeOf(weight: Weight, mostBindingBytes: number): number {
    return partsOf(weight, mostBindingBytes).parts.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  }

  /** @throws JambaError OUT_OF_MEMORY */
  static async open(weight: Weight, memory: GpuMemory, packer: Packer): Promise<GpuWeight> {
    const { row, parts } = partsOf(weight, memory.mostBindingBytes);
    const buffers = await memory.allocate(
      weight.name,
      parts.map(({ sizeBytes }) => sizeBytes),
    );
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
    for (const { buffer } of this.parts) buffer.destroy();
  }
}

/** Data and scales of a part as a kernel binds them; what has no scales binds its data twice. */
export function bindingsOf(name: string, { buffer, dataBytes, scalesAt, scaleBytes }: WeightPart): Record<string, GpuBinding> {
  const data = { buffer, offset: 0, size: Math.max(16, dataBytes) };
  return { [name]: data, [`${name}Scales`]: scaleBytes > 0 ? { buffer, offset: scalesAt, size: scaleBytes } : data };
}
