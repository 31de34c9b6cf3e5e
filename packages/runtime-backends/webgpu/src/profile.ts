// How dispatches are put into passes: all in one, or each in its own between two readings of the device's clock.

import type { OpProfile } from "@jamba/core";
import { type GpuBuffer, type GpuDevice, type GpuEncoder, type GpuPass, type GpuQuerySet, usage } from "./gpu.ts";
import type { GpuMemory } from "./gpu-memory.ts";

export interface Passes {
  /** Where the next dispatch of this op goes. */
  next(op: string): GpuPass;
  /** @returns what takes the times after the submit, if there are any */
  end(): (() => Promise<void>) | undefined;
}

export function inOne(encoder: GpuEncoder): Passes {
  const pass = encoder.beginComputePass();
  return {
    next: () => pass,
    end() {
      pass.end();
      return undefined;
    },
  };
}

/** What WebGPU allows in one set. */
const mostQueries = 4096;

export class Profile {
  isOn = false;
  readonly #times = new Map<string, { ms: number; calls: number }>();

  constructor(
    readonly gpu: GpuDevice,
    readonly memory: GpuMemory,
  ) {}

  /** What was measured since the last call, the longest first; the first call begins to measure. */
  take(): OpProfile[] {
    this.isOn = true;
    const found = [...this.#times].map(([op, time]) => ({ op, ...time })).sort((a, b) => b.ms - a.ms);
    this.#times.clear();
    return found;
  }

  begin(encoder: GpuEncoder): Passes {
    const querySet = this.gpu.createQuerySet({ type: "timestamp", count: mostQueries });
    const ops: string[] = [];
    let pass: GpuPass | undefined;
    return {
      next: (op) => {
        pass?.end();
        const at = 2 * ops.length;
        const timestampWrites = { querySet, beginningOfPassWriteIndex: at, endOfPassWriteIndex: at + 1 };
        pass = encoder.beginComputePass(at < mostQueries ? { timestampWrites } : {});
        ops.push(op);
        return pass;
      },
      end: () => {
        pass?.end();
        const measured = ops.slice(0, mostQueries / 2);
        if (measured.length === 0) return undefined;
        const bytes = 16 * measured.length;
        const resolved = this.memory.buffer(bytes, usage.queryResolve | usage.copySrc);
        const staging = this.memory.staging(bytes);
        encoder.resolveQuerySet(querySet, 0, 2 * measured.length, resolved, 0);
        encoder.copyBufferToBuffer(resolved, 0, staging, 0, bytes);
        return () => this.#add(measured, staging, [querySet, resolved]);
      },
    };
  }

  async #add(ops: readonly string[], staging: GpuBuffer, used: readonly (GpuQuerySet | GpuBuffer)[]): Promise<void> {
    const { buffer } = await this.memory.map(staging, 16 * ops.length).finally(() => {
      for (const one of used) one.destroy();
    });
    const nanoseconds = new BigUint64Array(buffer);
    for (const [i, op] of ops.entries()) {
      const time = this.#times.get(op) ?? { ms: 0, calls: 0 };
      this.#times.set(op, { ms: time.ms + Number(nanoseconds[2 * i + 1] - nanoseconds[2 * i]) / 1e6, calls: time.calls + 1 });
    }
  }
}
