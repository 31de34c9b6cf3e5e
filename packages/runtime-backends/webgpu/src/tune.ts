import { rowLayout } from "@jamba/core";
// What can only be found out by trying on a device: how it takes halves, and which layout of matvecs is the fastest.

import type { PlannedCall } from "./dispatch.ts";
import type { GpuDevice } from "./gpu.ts";
import { GpuMemory } from "./gpu-memory.ts";
import { Kernels } from "./kernels.ts";
import { GpuProgram } from "./program.ts";
import { defaultSweep, type Sweep } from "./sweep.ts";

/** Whether unpack2x16float gives the smallest halves as they are, not 0. */
export function keepsHalves(gpu: GpuDevice): Promise<boolean> {
  return withMemory(gpu, async (memory) => {
    const run = await opened(gpu, memory, [
      { key: { name: "probe-halves" }, params: { halves: 0x83ff0001 }, buffers: {}, groups: [1, 1], op: "probe" },
    ]);
    await run();
    const { buffer } = await memory.fetch(() => [{ buffer: memory.none, at: 0, size: 8 }]);
    const [low, high] = new Float32Array(buffer);
    return low === 2 ** -24 && high === -1023 * 2 ** -24;
  });
}

/** Those worth trying: few threads a row for GPUs that have few, more and fewer rows a thread for those that many groups must keep busy. */
export const sweeps: readonly Sweep[] = [
  defaultSweep,
  { threads: 64, lanes: 32, rows: 4 },
  { threads: 64, lanes: 32, rows: 2 },
  { threads: 64, lanes: 64, rows: 2 },
  { threads: 64, lanes: 64, rows: 1 },
  { threads: 128, lanes: 16, rows: 4 },
  { threads: 128, lanes: 32, rows: 2 },
];
/** A square matrix of 3B, and how many of them lie in memory, so that caches help little. */
const width = 2560;
const nMatrices = 8;
/** What a layout must save to be taken for the one where nothing is known. */
const leastGain = 0.05;

interface Trial {
  /** Of which the first is the default. */
  readonly among?: readonly Sweep[];
  /** After which no other is tried. */
  readonly mostMs?: number;
  /** That are timed together. */
  readonly nProducts?: number;
  /** Milliseconds of what it runs. */
  readonly timeOf?: (run: () => Promise<void>) => Promise<number>;
}

/** The fastest on the device; the default where none is much faster. */
export async function fastestSweep(
  gpu: GpuDevice,
  { among = sweeps, mostMs = 600, nProducts = 64, timeOf = elapsed }: Trial = {},
): Promise<Sweep> {
  return withMemory(gpu, async (memory) => {
    const { blocks, dataBytes, scaleBytes } = rowLayout(width, "q4");
    const [data, scales] = [width * dataBytes, width * scaleBytes];
    const [weights, arena] = await memory.allocate("trying out matvecs", [nMatrices * (data + scales), 8 * width]);
    memory.atEnd.push(
      () => weights.destroy(),
      () => arena.destroy(),
    );
    const kernels = new Kernels(gpu);
    const from = performance.now();
    const keyOf = (sweep: Sweep): PlannedCall["key"] => ({ name: "matvec", weights: { weight: "q4" }, constants: { ...sweep } });
    await Promise.all(among.map((sweep) => kernels.get(keyOf(sweep))));
    let best = { sweep: among[0], ms: Number.POSITIVE_INFINITY };
    for (const sweep of among) {
      if (performance.now() - from > mostMs) break;
      const calls = Array.from({ length: nProducts }, (_, i): PlannedCall => {
        const at = i % nMatrices;
        const buffers = {
          arena: { buffer: arena },
          weight: { buffer: weights, offset: at * data, size: data },
          weightScales: { buffer: weights, offset: nMatrices * data + at * scales, size: scales },
        };
        const params = {
          columns: width,
          blocks,
          rows: width,
          firstRow: 0,
          x: 0,
          out: width,
          accumulate: 0,
          hasBias: 0,
          hasNorm: 0,
          eps: 0,
        };
        const groups = [width / (sweep.rows * (sweep.threads / sweep.lanes)), 1] as const;
        return { key: keyOf(sweep), params, buffers, groups, op: "matmul" };
      });
      const run = await opened(gpu, memory, calls, kernels);
      await run(); // drivers compile and pages come at the first run
      const ms = Math.min(await timeOf(run), await timeOf(run), await timeOf(run));
      if (ms < best.ms * (best.sweep === among[0] ? 1 - leastGain : 1) || best.ms === Number.POSITIVE_INFINITY) best = { sweep, ms };
    }
    return best.sweep;
  });
}

async function elapsed(run: () => Promise<void>): Promise<number> {
  const from = performance.now();
  await run();
  return performance.now() - from;
}

async function withMemory<T>(gpu: GpuDevice, work: (memory: GpuMemory) => Promise<T>): Promise<T> {
  const memory = new GpuMemory(gpu, gpu.limits.maxStorageBufferBindingSize, () => undefined);
  try {
    return await work(memory);
  } finally {
    memory.dispose();
  }
}

/** What runs calls that bind nothing of a step but the arena. */
async function opened(
  gpu: GpuDevice,
  memory: GpuMemory,
  calls: readonly PlannedCall[],
  kernels = new Kernels(gpu),
): Promise<() => Promise<void>> {
  const none = { buffer: memory.none };
  const program = await GpuProgram.open(kernels, memory, calls);
  memory.atEnd.push(() => program.release());
  return async () => {
    const encoder = gpu.createCommandEncoder();
    const pass = encoder.beginComputePass();
    for (const [i, { kernel, groups }] of program.calls.entries()) {
      pass.setPipeline(kernel.pipeline);
      pass.setBindGroup(0, program.group(i, { arena: none, bias: none, norm: none }, 0, undefined));
      pass.dispatchWorkgroups(...(groups as readonly [number, number]));
    }
    pass.end();
    gpu.queue.submit([encoder.finish()]);
    await gpu.queue.onSubmittedWorkDone();
  };
}

/** What was found out about an adapter before, where there is a place to keep it. */
export async function remembered(adapter: string, find: () => Promise<Sweep>): Promise<Sweep> {
  const key = `jamba webgpu matvec ${adapter}`;
  const kept = storage()?.getItem(key);
  const known = sweeps.find((sweep) => JSON.stringify(sweep) === kept);
  if (known) return known;
  const found = await find();
  storage()?.setItem(key, JSON.stringify(found));
  return found;
}

/** Of pages; workers have none, and who blocks cookies gets an error. */
function storage(): Storage | undefined {
  try {
    return (globalThis as { localStorage?: Storage }).localStorage;
  } catch {
    return undefined;
  }
}
