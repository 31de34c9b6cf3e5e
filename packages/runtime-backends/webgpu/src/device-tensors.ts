// Tensors in buffers of the device, as onnxruntime-common has them: what steps read of a caller's, and give to one.

import { BackendError, type DriverTensors, HostTensor, JambaError, ShapeError, type TensorForm } from "@jamba/core";
import { type GpuBuffer, usage } from "./gpu.ts";
import type { GpuMemory } from "./gpu-memory.ts";
import type { Range } from "./states.ts";

export class GpuTensors implements DriverTensors {
  constructor(
    readonly memory: GpuMemory,
    readonly mostBytes: number,
  ) {}

  /** Whose device it is WebGPU tells no one: a step with a buffer of another one ends with BACKEND, and nothing of it runs. */
  expectReadable(name: string, buffer: object, bytes: number): void {
    const { size, usage: bits } = buffer as GpuBuffer;
    if (!(size >= bytes)) throw new ShapeError(`${name}: expected a GPU buffer of at least ${bytes} bytes, found ${size}`);
    if (size > this.mostBytes)
      throw new JambaError("OUT_OF_MEMORY", `${name}: expected a GPU buffer of at most ${this.mostBytes} bytes, found ${size}`);
    const needed = usage.storage | usage.copySrc;
    if ((bits & needed) !== needed)
      throw new BackendError(`${name}: expected a GPU buffer with the usages STORAGE and COPY_SRC, found usage ${bits}`);
  }

  join(tensors: readonly HostTensor[], dims: readonly number[]): Promise<HostTensor> {
    const ranges = tensors.map(({ gpuBuffer, size }) => ({ buffer: gpuBuffer as unknown as GpuBuffer, at: 0, size: 4 * size }));
    return this.of(() => ranges, { type: tensors[0].type as TensorForm["type"], dims });
  }

  /** @throws JambaError OUT_OF_MEMORY */
  async of(rangesOf: () => readonly Range[], { type: dataType, dims }: TensorForm): Promise<HostTensor> {
    const buffer = await this.memory.gather(rangesOf);
    const size = 4 * dims.reduce((a, b) => a * b, 1);
    return HostTensor.fromGpuBuffer(
      buffer as never,
      {
        dataType,
        dims,
        dispose: () => buffer.destroy(),
        download: async () => {
          const { buffer: bytes } = await this.memory.fetch(() => [{ buffer, at: 0, size }]);
          return dataType === "float32" ? new Float32Array(bytes) : new Int32Array(bytes);
        },
      } as Parameters<typeof HostTensor.fromGpuBuffer<"float32" | "int32">>[1],
    );
  }
}
