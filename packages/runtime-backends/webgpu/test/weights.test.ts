// Weights that a device can't hold, or only in parts.

import { partsOf, sourceOf } from "@jamba/core";
import { expect, test, vi } from "vitest";
import type { GpuDevice } from "../src/gpu.ts";
import { openWebGpuBackend, type WebGpuOptions } from "../src/index.ts";
import { openDriver } from "../src/open.ts";
import { onAdapter } from "./adapter.ts";
import { over, spiedDevice } from "./spied-device.ts";

const source = (...shape: number[]) => sourceOf("w", shape, new Float32Array(shape.reduce((a, b) => a * b)).fill(0.5));

onAdapter((adapter) => {
  const open = async (options: WebGpuOptions = {}, replaced: (device: GpuDevice) => Partial<GpuDevice> = () => ({})) => {
    const { device } = await spiedDevice(adapter);
    return openWebGpuBackend({ ...options, gpu: adapter.gpu, device: over(device, replaced(device)) });
  };

  test("more buffers than a process may map are refused with OUT_OF_MEMORY, and what is let go of makes room", async () => {
    const backend = await open({ mostBindingBytes: 16 });
    const first = await backend.openWeight(source(10_000, 4), "f32");
    const refused = { code: "OUT_OF_MEMORY", message: expect.stringMatching(/^w: .*at most 16384 buffers.*mostBindingBytes/) };
    await expect(backend.openWeight(source(20_000, 4), "f32")).rejects.toMatchObject(refused);
    await expect(backend.openWeight(source(10_000, 4), "f32")).rejects.toMatchObject(refused);
    expect(backend.memory().weightBytes).toBe(160_000);
    first[Symbol.dispose]();
    (await backend.openWeight(source(10_000, 4), "f32"))[Symbol.dispose]();
    await backend.dispose();
  });

  test("where a buffer has no more than a binding, scales find room beside their rows", async () => {
    const limit = 2 ** 16;
    const { device } = await spiedDevice(adapter);
    const limits = over(device.limits, { maxBufferSize: limit, maxStorageBufferBindingSize: limit });
    const driver = await openDriver({ gpu: adapter.gpu, device: over(device, { limits }) });
    const { mostBindingBytes } = driver.memory;
    for (const dtype of driver.device.weightDtypes) {
      for (const columns of [256, 512, 1000, 10_000]) {
        const { parts } = partsOf({ shape: [700, columns], dtype }, mostBindingBytes);
        expect(parts.length).toBeGreaterThan(1);
        expect(Math.max(...parts.map(({ sizeBytes }) => sizeBytes)), `${dtype} ${columns}`).toBeLessThanOrEqual(limit);
      }
    }
    await driver.interrupt();
    await driver.dispose();
    device.destroy();
  });

  test("a row that no binding holds is refused before anything of it is read", async () => {
    const backend = await open({}, ({ limits }) => ({ limits: over(limits, { maxStorageBufferBindingSize: 2 ** 16 }) }));
    const read = vi.fn(source(2, 20_000).read);
    const counted = { ...source(2, 20_000), read };
    await expect(backend.openWeight(counted, "f32")).rejects.toMatchObject({ code: "OUT_OF_MEMORY" });
    expect(() => backend.weightBytes([2, 20_000], "f32")).toThrow(/rows of at most 65536 bytes, found 80000/);
    expect(read).not.toHaveBeenCalled();
    expect(backend.weightBytes([2, 20_000], "q8")).toBeGreaterThan(40_000);
    await backend.dispose();
  });

  test("what is known of its memory is said: the limits of buffers", async () => {
    const backend = await open({}, ({ limits }) => ({
      limits: over(limits, { maxBufferSize: 2 ** 28, maxStorageBufferBindingSize: 2 ** 27 }),
    }));
    expect(await backend.room()).toEqual({ said: expect.stringMatching(/256 MiB.*128 MiB/) });
    await backend.dispose();
  });
});
