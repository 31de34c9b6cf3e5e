// Weights on the device, and how stored rows come there: as they are where they can, else converted by a kernel.

import {
  type DriverWeight,
  decodeStored,
  encodeQ4K,
  isBlockDtype,
  type PartLayout,
  packedDtypeOf,
  partsOf,
  type RowLayout,
  type StoredDtype,
  type Weight,
} from "@jamba/core";
import { flat } from "./kernels.ts";
import type { CudaMemory } from "./memory.ts";

export class CudaWeight implements DriverWeight {
  private constructor(
    readonly memory: CudaMemory,
    readonly weight: Weight,
    readonly row: RowLayout,
    readonly part: PartLayout,
    readonly address: number,
  ) {}

  static sizeOf(weight: Weight): number {
    return layoutOf(weight).part.sizeBytes;
  }

  static async open(weight: Weight, memory: CudaMemory): Promise<CudaWeight> {
    const { row, part } = layoutOf(weight);
    return new CudaWeight(memory, weight, row, part, await memory.allocate(part.sizeBytes, weight.name));
  }

  get sizeBytes(): number {
    return this.part.sizeBytes;
  }

  async pack(from: number, to: number, bytes: Uint8Array, stored: StoredDtype): Promise<void> {
    const { dtype } = this.weight;
    const { columns, dataBytes, scaleBytes } = this.row;
    if (columns === 0) return;
    const data = this.address + from * dataBytes;
    const scales = this.address + this.part.scalesAt + from * scaleBytes;
    if (dtype === stored && !isBlockDtype(stored) && (dtype === "f32" || columns % 32 === 0)) return this.memory.write(data, bytes);
    if (dtype === "f32") return this.memory.write(data, bytesOf(decodeStored(bytes, stored)));
    const isSame = isBlockDtype(stored) && packedDtypeOf[stored] === dtype && directly.has(stored);
    if (dtype === "q4_k" && !isSame) {
      const encoded = encodeQ4K(decodeStored(bytes, stored), to - from, this.row);
      await this.memory.write(data, encoded.data);
      return this.memory.write(scales, encoded.scales);
    }
    // The kernel takes numbers, or the very blocks.
    const raw = isBlockDtype(stored) && !isSame ? bytesOf(decodeStored(bytes, stored)) : bytes;
    const name = `${isSame ? "copy" : "pack"}${dtype[0].toUpperCase()}${dtype.slice(1)}`;
    const rows = to - from;
    const params = { data, scales, columns, blocks: this.row.blocks, rows, stored: Math.max(0, ["f32", "bf16", "f16"].indexOf(stored)) };
    await this.memory.convert(raw, name, params, flat(rows * this.row.blocks));
  }

  release(): void {
    this.memory.release(this.address);
  }
}

/** Stored blocks that stay as they are, to the bit. */
const directly: ReadonlySet<StoredDtype> = new Set(["q8_0", "q4_0", "q4_1", "q4_k"]);

function layoutOf(weight: Weight): { row: RowLayout; part: PartLayout } {
  const { row, parts } = partsOf(weight, Number.POSITIVE_INFINITY);
  return { row, part: parts[0] };
}

const bytesOf = ({ buffer, byteOffset, byteLength }: Float32Array) => new Uint8Array(buffer, byteOffset, byteLength);
