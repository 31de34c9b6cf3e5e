// Stored rows into the layout of a weight: on the device, from the bytes as they are, wherever it can.

import { decodeStored, encodeQ4K, isBlockDtype, type StoredDtype, storedDtypes } from "@jamba/core";
import { flat } from "./dispatch.ts";
import type { GpuMemory, Place } from "./gpu-memory.ts";
import type { KernelKey, Kernels } from "./kernels.ts";
import { GpuProgram } from "./program.ts";
import { expectNone, scoped } from "./scoped.ts";
import { bindingsOf, type GpuWeight, type WeightPart } from "./weights.ts";

/** Bytes that may wait to be packed: the next rows are read meanwhile. */
const mostWaiting = 2 ** 26;

/** Rows [from, to) of a weight, of which the first stands at row 0 of `bytes`. */
interface Rows {
  readonly from: number;
  readonly to: number;
  readonly bytes: Uint8Array;
}

export class Packer {
  /** The queue keeps order: what is packed next may overwrite it. */
  readonly #raw: Place;
  #waiting = 0;

  constructor(
    readonly kernels: Kernels,
    readonly memory: GpuMemory,
  ) {
    this.#raw = { buffer: memory.buffer(16) };
  }

  /** Settles when there is room for more. */
  async pack(weight: GpuWeight, rows: Rows, stored: StoredDtype): Promise<void> {
    const { dtype } = weight.weight;
    const { columns } = weight.row;
    if (columns === 0) return;
    const { bytes } = rows;
    const constants = { stored: storedDtypes.indexOf(stored) };
    if (dtype === stored && dtype === "q4_k") await this.#run(weight, rows, { name: "pack-q4_k" });
    else if (dtype === "q4_k") {
      const { data, scales } = encodeQ4K(decodeStored(bytes, stored), rows.to - rows.from, weight.row);
      this.#write(weight, rows, data, scales);
    } else if (dtype === stored && !isBlockDtype(stored) && (dtype === "f32" || columns % 32 === 0)) this.#write(weight, rows, bytes);
    else if (dtype === "f32") this.#write(weight, rows, bytesOf(decodeStored(bytes, stored)));
    else if (dtype === "bf16" || dtype === "f16")
      await this.#run(weight, rows, { name: "pack-halves", constants: { ...constants, isF16: +(dtype === "f16") } });
    else await this.#run(weight, rows, { name: `pack-${dtype}`, constants });
    this.#waiting += bytes.byteLength;
    if (this.#waiting < mostWaiting) return;
    this.#waiting = 0;
    await this.memory.settle(this.memory.gpu.queue.onSubmittedWorkDone());
  }

  release(): void {
    this.#raw.buffer.destroy();
  }

  /** Rows that are as the device has them. */
  #write(weight: GpuWeight, rows: Rows, data: Uint8Array, scales?: Uint8Array): void {
    const { dataBytes, scaleBytes } = weight.row;
    for (const { part, first, end, at } of inParts(weight, rows)) {
      this.memory.write(part.buffer, at * dataBytes, data.subarray(first * dataBytes, end * dataBytes));
      if (scales) this.memory.write(part.buffer, part.scalesAt + at * scaleBytes, scales.subarray(first * scaleBytes, end * scaleBytes));
    }
  }

  async #run(weight: GpuWeight, rows: Rows, key: KernelKey): Promise<void> {
    const { columns, blocks } = weight.row;
    await this.kernels.get(key);
    const size = Math.ceil(rows.bytes.byteLength / 4) * 4;
    while (size > this.#raw.buffer.size) {
      const [buffer] = await this.memory.allocate(weight.weight.name, [size]);
      // Another weight may have brought a larger one meanwhile.
      const smaller = buffer.size > this.#raw.buffer.size ? this.#raw.buffer : buffer;
      if (smaller !== buffer) this.#raw.buffer = buffer;
      smaller.destroy();
    }
    // A thread has a word of two values, one block, or two whose scales share a word.
    const perRow = { "pack-halves": 16 * blocks, "pack-q4_1": blocks, "pack-q4_k": blocks }[key.name as string] ?? blocks / 2;
    const planned = inParts(weight, rows).map(({ part, first, end, at }) => {
      const { weight: data, weightScales: scales } = bindingsOf("weight", part);
      const params = { columns, blocks, rows: end - first, rawRow: first, firstRow: at };
      return { key, params, buffers: { raw: this.#raw, data, scales }, groups: flat((end - first) * perRow), op: "pack" };
    });
    const program = await GpuProgram.open(this.kernels, this.memory, planned);
    const { found } = scoped(this.memory.gpu, () => {
      this.memory.write(this.#raw.buffer, 0, size === rows.bytes.byteLength ? rows.bytes : padded(rows.bytes, size));
      const encoder = this.memory.gpu.createCommandEncoder();
      const pass = encoder.beginComputePass();
      for (const [i, { kernel }] of program.calls.entries()) {
        pass.setPipeline(kernel.pipeline);
        pass.setBindGroup(0, program.group(i, {}, 0, undefined));
        pass.dispatchWorkgroups(...planned[i].groups);
      }
      pass.end();
      this.memory.gpu.queue.submit([encoder.finish()]);
    });
    program.release();
    expectNone(await found);
  }
}

/** Where rows lie: rows [first, end) of those that came are rows from `at` on of a part. */
function inParts({ parts }: GpuWeight, { from, to }: Rows): { part: WeightPart; first: number; end: number; at: number }[] {
  return parts.flatMap((part) => {
    const [first, end] = [Math.max(from, part.firstRow), Math.min(to, part.firstRow + part.rows)];
    return first < end ? [{ part, first: first - from, end: end - from, at: first - part.firstRow }] : [];
  });
}

const bytesOf = ({ buffer, byteOffset, byteLength }: Float32Array) => new Uint8Array(buffer, byteOffset, byteLength);

function padded(bytes: Uint8Array, size: number): Uint8Array {
  const all = new Uint8Array(size);
  all.set(bytes);
  return all;
}
