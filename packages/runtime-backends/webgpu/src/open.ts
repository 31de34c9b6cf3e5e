// A device from whatever adapter there is, or a caller's own.

import { type Backend, BackendError, type DeviceInfo, openDevice } from "@jamba/core";
import { WebGpuDriver } from "./driver.ts";
import { findGpu, isSoftware, nameOf } from "./find-gpu.ts";
import { type Gpu, type GpuAdapter, type GpuDevice, limitNames } from "./gpu.ts";
import { defaultSweep } from "./sweep.ts";
import { fastestSweep, keepsHalves, remembered } from "./tune.ts";

/** Times of ops, for profiles. No kernel needs a feature. */
const timestamps = "timestamp-query";
/** Dot products of bytes, which WGSL has rather than a device. */
const dots = "packed_4x8_integer_dot_product";
type UsefulFeature = typeof timestamps | typeof dots;

export interface WebGpuOptions {
  /** A GPUDevice of the caller's, such as onnxruntime-web's: it is shared, and goes on when the backend is disposed. */
  readonly device?: object;
  /** What adapters are asked of: `navigator.gpu`, or the npm package `webgpu` in Node, if not given. */
  readonly gpu?: object;
  readonly powerPreference?: "low-power" | "high-performance";
  /** Bytes of one weight or segment that are bound at a time; what the device can if not given. Tests make it small. */
  readonly mostBindingBytes?: number;
  /** Features that are left alone though the adapter has them. */
  readonly without?: readonly UsefulFeature[];
}

/** @throws BackendError where there is no adapter, with what to do */
export async function openWebGpuBackend(options: WebGpuOptions = {}): Promise<Backend> {
  return openDevice(await openDriver(options));
}

export async function openDriver(options: WebGpuOptions = {}): Promise<WebGpuDriver> {
  const gpu = (options.device as GpuDevice | undefined) ?? (await requestDevice(options));
  try {
    return await openOn(gpu, options);
  } catch (error) {
    if (!options.device) gpu.destroy();
    throw error;
  }
}

async function openOn(gpu: GpuDevice, options: WebGpuOptions): Promise<WebGpuDriver> {
  const { device, without = [] } = options;
  const { maxStorageBufferBindingSize, maxBufferSize } = gpu.limits;
  // Scales lie in the same buffer, and are a fourth of the data at most.
  const most = Math.min(maxStorageBufferBindingSize, 256 * Math.floor(((4 / 5) * maxBufferSize - 256) / 256));
  const mostBindingBytes = Math.min(options.mostBindingBytes ?? Number.POSITIVE_INFINITY, most);
  const hasDots = !without.includes(dots) && (await hasLanguage(options, dots));
  const info = deviceInfo(gpu, hasDots);
  const products = {
    hasDots,
    keepsHalves: await keepsHalves(gpu),
    sweep: isSoftware(gpu.adapterInfo) ? defaultSweep : await remembered(info.name, () => fastestSweep(gpu)),
  };
  return new WebGpuDriver(gpu, info, mostBindingBytes, !device, products);
}

/** WGSL is the same for all devices of whoever gives adapters. */
async function hasLanguage({ gpu, device }: WebGpuOptions, feature: string): Promise<boolean> {
  const own = (globalThis.navigator as { gpu?: Gpu } | undefined)?.gpu;
  const from = (gpu as Gpu | undefined) ?? own ?? (device ? undefined : await findGpu());
  return from?.wgslLanguageFeatures?.has(feature) ?? false;
}

export async function requestDevice({ gpu, powerPreference = "high-performance", without = [] }: WebGpuOptions): Promise<GpuDevice> {
  const adapter: GpuAdapter | null = await ((gpu as Gpu | undefined) ?? (await findGpu())).requestAdapter({ powerPreference });
  if (!adapter) throw new BackendError("webgpu: expected an adapter, found none: no GPU that WebGPU can use, or its driver is missing");
  return adapter.requestDevice({
    requiredLimits: Object.fromEntries(limitNames.map((name) => [name, adapter.limits[name]])),
    requiredFeatures: adapter.features.has(timestamps) && !without.includes(timestamps) ? [timestamps] : [],
  });
}

function deviceInfo(gpu: GpuDevice, hasDots: boolean): DeviceInfo {
  const info = gpu.adapterInfo;
  return {
    kind: "webgpu",
    name: nameOf(info),
    numerics: "webgpu-1",
    features: [`WGSL kernels${hasDots ? " with dot products of bytes" : ""}`, "tested on adapters in software only"],
    warnings: isSoftware(info)
      ? [
          `webgpu: ${nameOf(info)} is an adapter in software, many times slower than the cpu backend: leave out backend, or give the GPU its driver`,
        ]
      : undefined,
    threads: 1,
    weightDtypes: ["f32", "bf16", "f16", "q8", "q4", "q4_1", "q4_k"],
    kvDtypes: ["f16", "bf16", "f32"],
    chunkTokens: 256,
    stateStep: { slots: 4, pages: 64 },
    // Of long steps, once the two pieces that are under way have ended.
    interrupts: "commands",
  };
}
