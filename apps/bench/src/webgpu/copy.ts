// How fast the adapter copies: by a kernel and by its own command, whichever is faster. Shares are of this.

import code from "./copy.wgsl";
import type { Adapter, Buffer, Device, Encoder } from "./gpu.ts";

const usage = 4 + 8 + 128; // COPY_SRC, COPY_DST, STORAGE
const threadBytes = 64;
const groupBytes = 256 * threadBytes;
const wantedMs = 50;
const rounds = 5;

/** @returns bytes read and written per second, in 10^9 */
export async function measureCopy(adapter: Adapter, sizeBytes: number): Promise<number> {
  const device = await adapter.requestDevice();
  try {
    const [from, to] = [0, 1].map(() => device.createBuffer({ size: sizeBytes, usage }));
    const kernel = await copyKernel(device, from, to, sizeBytes);
    const byCommand = (encoder: Encoder) => encoder.copyBufferToBuffer(from, 0, to, 0, sizeBytes);
    let best = 0;
    for (const copy of [kernel, byCommand]) best = Math.max(best, await speedOf(device, copy, sizeBytes));
    for (const buffer of [from, to]) buffer.destroy();
    return best;
  } finally {
    device.destroy();
  }
}

async function copyKernel(device: Device, from: Buffer, to: Buffer, sizeBytes: number): Promise<(encoder: Encoder) => void> {
  const module = device.createShaderModule({ code });
  const pipeline = await device.createComputePipelineAsync({ layout: "auto", compute: { module } });
  const entries = [from, to].map((buffer, binding) => ({ binding, resource: { buffer } }));
  const group = device.createBindGroup({ layout: pipeline.getBindGroupLayout(0), entries });
  const groups = sizeBytes / groupBytes;
  return (encoder) => {
    const pass = encoder.beginComputePass();
    pass.setPipeline(pipeline);
    pass.setBindGroup(0, group);
    pass.dispatchWorkgroups(Math.min(groups, 1024), Math.ceil(groups / 1024));
    pass.end();
  };
}

async function speedOf(device: Device, copy: (encoder: Encoder) => void, sizeBytes: number): Promise<number> {
  const msOf = async (times: number) => {
    const start = performance.now();
    const encoder = device.createCommandEncoder();
    for (let i = 0; i < times; i++) copy(encoder);
    device.queue.submit([encoder.finish()]);
    await device.queue.onSubmittedWorkDone();
    return performance.now() - start;
  };
  await msOf(1);
  let times = 1;
  while ((await msOf(times)) < wantedMs && times < 1024) times *= 2;
  let least = Number.POSITIVE_INFINITY;
  for (let round = 0; round < rounds; round++) least = Math.min(least, await msOf(times));
  return (2 * times * sizeBytes) / least / 1e6;
}
