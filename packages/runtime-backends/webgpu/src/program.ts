// A list made ready: its dispatches with compiled kernels, their parameters in one buffer, and bind groups that are made when first used.

import type { DriverProgram, Plan } from "@jamba/core";
import type { PlannedCall } from "./dispatch.ts";
import type { GpuBinding, GpuBuffer } from "./gpu.ts";
import type { GpuMemory, Place } from "./gpu-memory.ts";
import type { Kernel, Kernels } from "./kernels.ts";
import type { Rate } from "./pace.ts";
import { expectNone, scoped } from "./scoped.ts";
import type { Segment } from "./states.ts";

export interface Call extends PlannedCall {
  readonly kernel: Kernel;
}

/** What parameters lie apart by: WebGPU's limit for offsets of uniforms. */
const paramBytes = 256;

export class GpuProgram implements DriverProgram {
  /** Of its last run: how long a group of threads takes. */
  readonly rate: Rate = {};
  /** By call and turn, then by segment. */
  #groups: Map<Segment | undefined, object>[] = [];
  #version = "";
  #users = 0;
  #isReleased = false;

  private constructor(
    readonly memory: GpuMemory,
    readonly calls: readonly Call[],
    readonly params: GpuBuffer,
    readonly plan: Plan | undefined,
  ) {
    this.renew("new");
  }

  static async open(kernels: Kernels, memory: GpuMemory, planned: readonly PlannedCall[], plan?: Plan): Promise<GpuProgram> {
    const compiled = await Promise.all(planned.map(({ key }) => kernels.get(key)));
    const calls = planned.map((call, i) => ({ ...call, kernel: compiled[i] }));
    const words = new Uint32Array((Math.max(1, calls.length) * paramBytes) / 4);
    for (const [i, { kernel, params }] of calls.entries()) words.set(wordsOf(kernel, params), (i * paramBytes) / 4);
    const { value, found } = scoped(memory.gpu, () => memory.uniform(words));
    expectNone(await found);
    return new GpuProgram(memory, calls, value, plan);
  }

  /** Bind groups name buffers: those made at another version are of no use. */
  renew(version: string): void {
    if (version !== this.#version) this.#groups = this.calls.flatMap(() => [new Map(), new Map()]);
    this.#version = version;
  }

  /** What a call binds, in one segment of its pool if it has one. With a caller's `tensor` it is made anew: that may be gone next time. */
  group(index: number, own: Readonly<Record<string, Place>>, turn: number, segment: Segment | undefined, tensor?: GpuBuffer): object {
    const groups = this.#groups[2 * index + turn];
    const known = tensor ? undefined : groups.get(segment);
    if (known) return known;
    const { kernel, buffers } = this.calls[index];
    const given: Readonly<Record<string, GpuBinding>> = {
      p: { buffer: this.params, offset: index * paramBytes, size: paramBytes },
      ...own,
      ...(segment && { segment: { buffer: segment.info }, slots: segment, pageData: segment, units: segment }),
      ...(tensor && { tensor: { buffer: tensor } }),
      ...buffers,
    };
    const entries = kernel.bindings.map(({ at, name }) => {
      const { buffer, offset, size } = given[name];
      return { binding: at, resource: { buffer, offset, size } };
    });
    const group = this.memory.gpu.createBindGroup({ label: kernel.name, layout: kernel.layout, entries });
    if (!tensor) groups.set(segment, group);
    return group;
  }

  /** While a step waits that uses it, its parameters stay. */
  async use<T>(work: () => Promise<T>): Promise<T> {
    this.#users++;
    try {
      return await work();
    } finally {
      this.#users--;
      this.#letGo();
    }
  }

  release(): void {
    this.#isReleased = true;
    this.#letGo();
  }

  #letGo(): void {
    if (this.#isReleased && this.#users === 0) this.params.destroy();
  }
}

/** Parameters in the order of the kernel's struct. @throws where one is missing or too many: a fault of calls.ts */
function wordsOf({ name, params }: Kernel, values: Readonly<Record<string, number>>): Uint32Array {
  const [expected, found] = [params.map((field) => field.name), Object.keys(values)];
  if (expected.length !== found.length || expected.some((field) => !(field in values)))
    throw new Error(`${name}: expected the parameters ${expected.join(", ")}, found ${found.join(", ")}`);
  const words = new Uint32Array(params.length);
  const floats = new Float32Array(words.buffer);
  for (const [i, field] of params.entries()) {
    if (field.type === "f32") floats[i] = values[field.name];
    else words[i] = values[field.name];
  }
  return words;
}
