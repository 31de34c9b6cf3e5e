// A device that counts what goes over WebGPU's interface.

import type { FoundAdapter } from "../../../../tooling/software-gpu/src/adapter.ts";
import type { GpuAdapter, GpuBuffer, GpuDevice } from "../src/gpu.ts";

export interface Spied {
  readonly device: GpuDevice;
  /** Buffers that were created and not destroyed. */
  readonly live: Set<GpuBuffer>;
  readonly counts: Record<"created" | "writtenBytes" | "mappedBytes" | "submits" | "dispatches" | "compiled", number>;
  /** Called at each submit, before it. */
  onSubmit?: () => void;
  /** What the queue takes longer than it does, each time that it is asked. */
  slowMs: number;
  destroyed: boolean;
}

export async function spiedDevice({ gpu }: FoundAdapter, requiredFeatures: readonly string[] = []): Promise<Spied> {
  const adapter: GpuAdapter = await gpu.requestAdapter();
  const device = await adapter.requestDevice({ requiredLimits: {}, requiredFeatures });
  const counts = { created: 0, writtenBytes: 0, mappedBytes: 0, submits: 0, dispatches: 0, compiled: 0 };
  const live = new Set<GpuBuffer>();
  const spied: Spied = { device: undefined as unknown as GpuDevice, live, counts, slowMs: 0, destroyed: false };
  let slowed = Promise.resolve();
  const queue = over(device.queue, {
    writeBuffer: (buffer, at, data, ...range) => {
      counts.writtenBytes += range[1] ?? data.byteLength;
      device.queue.writeBuffer(buffer, at, data, ...range);
    },
    submit: (commands) => {
      spied.onSubmit?.();
      counts.submits++;
      device.queue.submit(commands);
    },
    onSubmittedWorkDone: async () => {
      const before = slowed;
      let leave = () => {};
      const own = new Promise<void>((resolve) => (leave = resolve));
      if (spied.slowMs > 0) slowed = own;
      await Promise.all([before, device.queue.onSubmittedWorkDone()]);
      if (spied.slowMs > 0) setTimeout(leave, spied.slowMs);
      if (spied.slowMs > 0) await own;
    },
  });
  const own = over(device, {
    createBuffer: (options) => {
      const buffer = device.createBuffer(options);
      counts.created++;
      live.add(buffer);
      const [destroy, mapAsync] = [buffer.destroy.bind(buffer), buffer.mapAsync.bind(buffer)];
      return Object.assign(buffer, {
        destroy: () => {
          live.delete(buffer);
          destroy();
        },
        mapAsync: (mode: number, offset?: number, size = buffer.size) => {
          counts.mappedBytes += size;
          return mapAsync(mode, offset, size);
        },
      });
    },
    createComputePipelineAsync: (options) => {
      counts.compiled++;
      return device.createComputePipelineAsync(options);
    },
    createCommandEncoder: () => {
      const encoder = device.createCommandEncoder();
      const begin = encoder.beginComputePass.bind(encoder);
      return Object.assign(encoder, {
        beginComputePass: (options?: Parameters<typeof begin>[0]) => {
          const pass = begin(options);
          const dispatch = pass.dispatchWorkgroups.bind(pass);
          return Object.assign(pass, {
            dispatchWorkgroups: (...groups: Parameters<typeof dispatch>) => {
              counts.dispatches++;
              dispatch(...groups);
            },
          });
        },
      });
    },
    destroy: () => {
      spied.destroyed = true;
      device.destroy();
    },
  });
  Object.assign(spied, { device: new Proxy(own, { get: (target, key) => (key === "queue" ? queue : Reflect.get(target, key)) }) });
  return spied;
}

/** The same object with some methods of its own. */
export function over<T extends object>(object: T, methods: Partial<T>): T {
  return new Proxy(object, {
    get(target, key) {
      const value = methods[key as keyof T] ?? target[key as keyof T];
      return typeof value === "function" && !(key in methods) ? value.bind(target) : value;
    },
  });
}
