// The part of WebGPU that is used here.

export interface Gpu {
  readonly wgslLanguageFeatures?: Iterable<string>;
  requestAdapter(options?: { powerPreference?: string }): Promise<Adapter | null>;
}

export interface Adapter {
  readonly info: Readonly<Record<"vendor" | "architecture" | "device" | "description", string>>;
  readonly features: Iterable<string>;
  readonly limits: Readonly<Record<string, number>>;
  requestDevice(): Promise<Device>;
}

export interface Device {
  readonly queue: { submit(commands: readonly object[]): void; onSubmittedWorkDone(): Promise<void> };
  createBuffer(options: { size: number; usage: number }): Buffer;
  createShaderModule(options: { code: string }): object;
  createComputePipelineAsync(options: object): Promise<{ getBindGroupLayout(at: number): object }>;
  createBindGroup(options: object): object;
  createCommandEncoder(): Encoder;
  destroy(): void;
}

export interface Buffer {
  destroy(): void;
}

export interface Encoder {
  beginComputePass(): {
    setPipeline(pipeline: object): void;
    setBindGroup(at: number, group: object): void;
    dispatchWorkgroups(x: number, y: number): void;
    end(): void;
  };
  copyBufferToBuffer(from: Buffer, fromAt: number, to: Buffer, toAt: number, size: number): void;
  finish(): object;
}

/** Its interface has getters, which JSON does not see. */
export function plain<T>(of: object): Readonly<Record<string, T>> {
  const found: Record<string, T> = {};
  for (let at = of; at && at !== Object.prototype; at = Object.getPrototypeOf(at)) {
    for (const key of Object.getOwnPropertyNames(at)) {
      const value = (of as Record<string, unknown>)[key];
      if (typeof value === "string" || typeof value === "number" || typeof value === "boolean") found[key] ??= value as T;
    }
  }
  return found;
}
