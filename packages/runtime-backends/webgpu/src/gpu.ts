// The part of WebGPU that the driver uses, as the specification names it: TypeScript's DOM library has none of it, and who passes a
// GPUDevice in needs no types of ours.

export interface Gpu {
  readonly wgslLanguageFeatures?: ReadonlySet<string>;
  requestAdapter(options?: { powerPreference?: "low-power" | "high-performance" }): Promise<GpuAdapter | null>;
}

export interface GpuAdapter {
  readonly info: GpuAdapterInfo;
  readonly features: ReadonlySet<string>;
  readonly limits: GpuLimits;
  requestDevice(options: { requiredLimits: Record<string, number>; requiredFeatures: readonly string[] }): Promise<GpuDevice>;
}

export interface GpuAdapterInfo {
  readonly vendor: string;
  readonly architecture: string;
  readonly device: string;
  readonly description: string;
  /** It computes on the processor. */
  readonly isFallbackAdapter?: boolean;
}

/** Those above the defaults that the driver asks for. */
export const limitNames = [
  "maxStorageBufferBindingSize",
  "maxBufferSize",
  "maxStorageBuffersPerShaderStage",
  "maxComputeWorkgroupStorageSize",
  "maxComputeInvocationsPerWorkgroup",
  "maxComputeWorkgroupSizeX",
] as const;

export type GpuLimits = Readonly<Record<(typeof limitNames)[number], number>>;

export interface GpuDevice {
  readonly limits: GpuLimits;
  readonly features: ReadonlySet<string>;
  readonly adapterInfo?: GpuAdapterInfo;
  readonly lost: Promise<{ readonly reason: string; readonly message: string }>;
  readonly queue: {
    writeBuffer(buffer: GpuBuffer, at: number, data: ArrayBufferView | ArrayBuffer, from?: number, size?: number): void;
    submit(commands: readonly object[]): void;
    onSubmittedWorkDone(): Promise<void>;
  };
  createBuffer(options: { label?: string; size: number; usage: number }): GpuBuffer;
  createShaderModule(options: { label: string; code: string }): object;
  createBindGroupLayout(options: {
    label: string;
    entries: readonly { binding: number; visibility: number; buffer: { type: "uniform" | "storage" | "read-only-storage" } }[];
  }): object;
  createPipelineLayout(options: { bindGroupLayouts: readonly object[] }): object;
  createComputePipelineAsync(options: {
    label: string;
    layout: object;
    compute: { module: object; entryPoint: string; constants: Record<string, number> };
  }): Promise<GpuPipeline>;
  createBindGroup(options: { label?: string; layout: object; entries: readonly { binding: number; resource: GpuBinding }[] }): object;
  createCommandEncoder(): GpuEncoder;
  createQuerySet(options: { type: "timestamp"; count: number }): GpuQuerySet;
  pushErrorScope(filter: "validation" | "out-of-memory" | "internal"): void;
  popErrorScope(): Promise<Error | null>;
  destroy(): void;
}

export interface GpuQuerySet {
  destroy(): void;
}

/** A range of a buffer; all of it if not said. */
export interface GpuBinding {
  readonly buffer: GpuBuffer;
  readonly offset?: number;
  readonly size?: number;
}

export interface GpuBuffer {
  readonly size: number;
  readonly usage: number;
  mapAsync(mode: number, offset?: number, size?: number): Promise<void>;
  getMappedRange(offset?: number, size?: number): ArrayBuffer;
  unmap(): void;
  destroy(): void;
}

/** Opaque, and so are bind groups. */
export type GpuPipeline = object;

export interface GpuPass {
  setPipeline(pipeline: GpuPipeline): void;
  setBindGroup(at: number, group: object): void;
  dispatchWorkgroups(x: number, y?: number, z?: number): void;
  end(): void;
}

export interface GpuEncoder {
  beginComputePass(options?: {
    timestampWrites?: { querySet: GpuQuerySet; beginningOfPassWriteIndex: number; endOfPassWriteIndex: number };
  }): GpuPass;
  copyBufferToBuffer(from: GpuBuffer, fromAt: number, to: GpuBuffer, toAt: number, size: number): void;
  resolveQuerySet(set: GpuQuerySet, first: number, count: number, to: GpuBuffer, at: number): void;
  finish(): object;
}

/** GPUShaderStage.COMPUTE. */
export const computeStage = 4;

/** Bits of GPUBufferUsage, as the specification fixes them. */
export const usage = { mapRead: 1, copySrc: 4, copyDst: 8, uniform: 64, storage: 128, queryResolve: 512 } as const;
