// A backend whose buffers stand before guards and whose memory is poison: what is written or read where it must not be is an error of the
// step, or NaN in its results. WebGPU lets nothing out of a binding, so each goes on into the guard of its buffer. What lies before a
// binding has a very large index: adapters that move it to the last element, as SwiftShader does, write to the guard; others drop it.

import { type Backend, openDevice, type Plan, roundUp, wordsOf } from "@jamba/core";
import type { FoundAdapter } from "../../../../tooling/software-gpu/src/adapter.ts";
import { type GpuAdapter, type GpuBinding, type GpuBuffer, type GpuDevice, usage } from "../src/gpu.ts";
import type { Place } from "../src/gpu-memory.ts";
import { openDriver, type WebGpuOptions } from "../src/open.ts";
import { over } from "./spied-device.ts";

const guardBytes = 256;
/** Between the values of a step. */
const gapWords = 16;

let longest = new Uint32Array(0);

/** Words that are NaN as f32 and as two f16 or bf16, and that differ from those beside them. */
function poison(bytes: number): Uint32Array {
  if (longest.byteLength < bytes) {
    const half = (i: number, step: number) => 0xff81 + ((i * step) % 127);
    longest = new Uint32Array(bytes / 4);
    for (let i = 0; i < longest.length; i++) longest[i] = (half(i, 37) << 16) | half(i, 53);
  }
  return longest.subarray(0, bytes / 4);
}

export interface Guarded {
  readonly device: GpuDevice;
  /** @throws where a kernel has written behind a buffer that there was since the last call */
  check(): Promise<void>;
}

/** @param deviceOf the same device, with faults planted in it */
export async function guardedDevice({ gpu }: FoundAdapter, deviceOf = (device: GpuDevice) => device): Promise<Guarded> {
  const adapter: GpuAdapter = await gpu.requestAdapter();
  const requiredLimits = { maxStorageBuffersPerShaderStage: adapter.limits.maxStorageBuffersPerShaderStage };
  const device = deviceOf(await adapter.requestDevice({ requiredLimits, requiredFeatures: [] }));
  const live = new Set<GpuBuffer>();
  /** Of buffers that are gone. */
  const ended: Promise<void>[] = [];
  const layouts = new WeakMap<object, readonly string[]>();

  /** Of all of them as they are once what was submitted before has run. */
  const expectGuards = async (buffers: readonly GpuBuffer[]) => {
    if (buffers.length === 0) return;
    const size = buffers.length * guardBytes;
    const staging = device.createBuffer({ size, usage: usage.mapRead | usage.copyDst });
    const encoder = device.createCommandEncoder();
    for (const [i, buffer] of buffers.entries()) encoder.copyBufferToBuffer(buffer, buffer.size, staging, i * guardBytes, guardBytes);
    device.queue.submit([encoder.finish()]);
    await staging.mapAsync(1);
    const found = new Uint32Array(staging.getMappedRange().slice(0));
    staging.destroy();
    for (const [i, buffer] of buffers.entries()) {
      const guard = found.subarray((i * guardBytes) / 4, ((i + 1) * guardBytes) / 4);
      expectPoison(`behind a buffer of ${buffer.size} bytes`, guard, poison(buffer.size + guardBytes).subarray(buffer.size / 4));
    }
  };

  const guarded: GpuDevice = over(device, {
    createBuffer: (options) => {
      if (!(options.usage & usage.storage)) return device.createBuffer(options);
      const size = roundUp(options.size, 4);
      const buffer = device.createBuffer({ ...options, size: size + guardBytes });
      device.queue.writeBuffer(buffer, 0, poison(size + guardBytes));
      Object.defineProperty(buffer, "size", { value: size });
      live.add(buffer);
      const destroy = buffer.destroy.bind(buffer);
      return Object.assign(buffer, {
        destroy: () => {
          if (live.delete(buffer)) ended.push(expectGuards([buffer]));
          ended.at(-1)?.catch(() => undefined);
          destroy();
        },
      });
    },
    createBindGroupLayout: (options) => {
      const layout = device.createBindGroupLayout(options);
      layouts.set(
        layout,
        options.entries.map(({ buffer }) => buffer.type),
      );
      return layout;
    },
    createBindGroup: ({ label, layout, entries }) => {
      const types = layouts.get(layout)!;
      /** To the end of the guard, or to what else is bound of the buffer if a kernel writes to either. */
      const widened = ({ buffer, offset = 0, size }: GpuBinding, i: number): GpuBinding => {
        if (!live.has(buffer)) return { buffer, offset, size };
        const others = entries.flatMap(({ resource }, j) =>
          resource.buffer === buffer && [types[i], types[j]].includes("storage") ? [resource.offset ?? 0] : [],
        );
        const end = Math.min(buffer.size + guardBytes, ...others.filter((other) => other > offset));
        return { buffer, offset, size: end - offset };
      };
      return device.createBindGroup({
        label,
        layout,
        entries: entries.map(({ binding, resource }, i) => ({ binding, resource: widened(resource, i) })),
      });
    },
  });
  return {
    device: guarded,
    check: async () => {
      const gone = ended.splice(0);
      await expectGuards([...live]);
      await Promise.all(gone);
    },
  };
}

function expectPoison(where: string, found: Uint32Array, expected: Uint32Array): void {
  const at = found.findIndex((word, i) => word !== expected[i]);
  if (at >= 0) throw new Error(`${where}: expected memory that nobody writes to, found word ${at} written: 0x${found[at].toString(16)}`);
}

/** Words [from, from + length). */
interface Words {
  readonly from: number;
  readonly length: number;
}

/** @throws for a word that was written outside of `own` */
function expectOnly(where: string, found: Uint32Array, own: readonly Words[]): void {
  const left = found.slice();
  const expected = poison(found.byteLength);
  for (const { from, length } of own) left.set(expected.subarray(from, from + length), from);
  expectPoison(where, left, expected);
}

/** The same plan with all its values apart from each other for good. */
function spaced(plan: Plan): Plan {
  let words = gapWords;
  const place = ({ length }: { length: number }) => {
    const offset = words;
    words += roundUp(length, 4) + gapWords;
    return { offset, length };
  };
  const [buffers, scratch] = [plan.buffers.map(place), plan.scratch.map(place)];
  return { ...plan, buffers, scratch, arenaBytes: 4 * words };
}

/** Each step begins on poison, and is looked at when it is done: its arena between its values, its results, and the guards of all buffers. */
export async function openGuarded(
  adapter: FoundAdapter,
  options: WebGpuOptions = {},
  deviceOf?: (device: GpuDevice) => GpuDevice,
): Promise<Backend> {
  const guarded = await guardedDevice(adapter, deviceOf);
  const driver = await openDriver({ ...options, device: guarded.device });
  const { memory, arena } = driver;
  const backend = openDevice(
    over(driver, {
      compile: (plan, ...rest) => driver.compile(spaced(plan), ...rest),
      submit: (program, states, inputs) => {
        const plan = program.plan!;
        const results = states.results[states.steps % 2];
        void memory.turns.take(async () => {
          for (const { buffer } of [arena, driver.words, results]) guarded.device.queue.writeBuffer(buffer, 0, poison(buffer.size));
        });
        const ticket = driver.submit(program, states, inputs);
        // The step may have put a larger buffer in the place.
        const wordsIn = async (place: Place) =>
          new Uint32Array((await memory.fetch(() => [{ buffer: place.buffer, at: 0, size: place.buffer.size }])).buffer);
        const look = async () => {
          const [values, found] = await Promise.all([wordsIn(arena), wordsIn(results)]);
          expectOnly(
            "between values",
            values,
            [...plan.buffers, ...plan.scratch].map(({ offset, length }) => ({ from: offset, length })),
          );
          const length = wordsOf(plan.kept) + inputs.outputs.reduce((sum, { length }) => sum + length, 0);
          expectOnly("behind the results", found, [{ from: 0, length }]);
          await guarded.check();
        };
        const looked = look();
        looked.catch(() => undefined); // a step that failed has its own error to tell
        return { ...ticket, done: ticket.done.then(() => looked) };
      },
    }),
  );
  return over(backend, {
    dispose: async () => {
      await backend.dispose();
      await guarded.check();
      guarded.device.destroy();
    },
  });
}
