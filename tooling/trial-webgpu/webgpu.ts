// The part of WebGPU that the driver uses: TypeScript's DOM library has none of it.

export interface Gpu {
  requestAdapter(): Promise<Adapter | null>;
}

export interface Adapter {
  readonly info: { readonly description: string; readonly vendor: string };
  readonly features: Iterable<string>;
  readonly limits: Limits;
  requestDevice(options: { requiredLimits: Record<string, number> }): Promise<GpuDevice>;
}

export type Limits = Readonly<Record<"maxStorageBufferBindingSize" | "maxBufferSize" | "maxStorageBuffersPerShaderStage", number>>;

export interface GpuDevice {
  readonly limits: Limits;
  readonly lost: Promise<{ readonly reason: string; readonly message: string }>;
  readonly queue: {
    writeBuffer(buffer: GpuBuffer, at: number, data: ArrayBufferView, from?: number, size?: number): void;
    submit(commands: readonly object[]): void;
    onSubmittedWorkDone(): Promise<void>;
  };
  onuncapturederror: ((event: { readonly error: Error }) => void) | null;
  createBuffer(options: { size: number; usage: number }): GpuBuffer;
  createShaderModule(options: { label: string; code: string }): object;
  createComputePipelineAsync(options: { label: string; layout: "auto"; compute: { module: object } }): Promise<Pipeline>;
  createBindGroup(options: { layout: object; entries: readonly { binding: number; resource: Binding }[] }): object;
  createCommandEncoder(): Encoder;
  pushErrorScope(filter: "validation" | "out-of-memory"): void;
  popErrorScope(): Promise<Error | null>;
  destroy(): void;
}

export interface Binding {
  readonly buffer: GpuBuffer;
  readonly offset?: number;
  readonly size?: number;
}

export interface GpuBuffer {
  readonly size: number;
  mapAsync(mode: number): Promise<void>;
  getMappedRange(): ArrayBuffer;
  destroy(): void;
}

export interface Pipeline {
  getBindGroupLayout(group: number): object;
}

export interface Encoder {
  beginComputePass(): {
    setPipeline(pipeline: Pipeline): void;
    setBindGroup(at: number, group: object): void;
    dispatchWorkgroups(x: number, y: number): void;
    end(): void;
  };
  copyBufferToBuffer(from: GpuBuffer, fromAt: number, to: GpuBuffer, toAt: number, size: number): void;
  finish(): object;
}

/** Bits of GPUBufferUsage, as the specification fixes them. */
export const usage = { mapRead: 1, copySrc: 4, copyDst: 8, uniform: 64, storage: 128 } as const;
