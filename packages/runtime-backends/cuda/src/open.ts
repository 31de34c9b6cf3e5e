// A device of NVIDIA's driver, which is looked for when it is asked for.

import { type Backend, type DeviceInfo, openDevice } from "@jamba/core";
import { type DeviceFound, loadAddon, toJambaError } from "./addon.ts";
import { CudaDriver } from "./driver.ts";
import { Kernels } from "./kernels.ts";
import { CudaMemory } from "./memory.ts";

export interface CudaOptions {
  /** Which GPU, in the driver's order; the first if not given. */
  readonly device?: number;
  /** A file in place of the system's `libcuda.so.1` or `nvcuda.dll`. Tests take one that computes on the processor. */
  readonly driver?: string;
}

/** @throws BackendError where there is no driver, no GPU or no addon, with what to do */
export async function openCudaBackend({ device = 0, driver = "" }: CudaOptions = {}): Promise<Backend> {
  const { addon, folder } = await loadAddon();
  const native = new addon.Device();
  try {
    const found = await native.open(driver, device);
    const memory = new CudaMemory(native, await Kernels.open(native, folder), found.totalBytes);
    return openDevice(await CudaDriver.open(deviceInfo(found), memory));
  } catch (error) {
    await native.close();
    throw toJambaError(error);
  }
}

function deviceInfo({ name, major, minor, driverVersion, multiprocessors }: DeviceFound): DeviceInfo {
  const cuda = `${Math.floor(driverVersion / 1000)}.${Math.floor((driverVersion % 1000) / 10)}`;
  return {
    kind: "cuda",
    name,
    numerics: "cuda-1",
    features: [
      `CUDA kernels on ${multiprocessors} multiprocessors of compute capability ${major}.${minor}, by a driver of CUDA ${cuda}`,
      "not yet run on hardware: tested behind a stand-in for the driver, on a processor",
    ],
    warnings: ["cuda: not yet run on hardware: compare its answers with those of another backend"],
    threads: 1,
    weightDtypes: ["f32", "bf16", "f16", "q8", "q4", "q4_1", "q4_k"],
    kvDtypes: ["f16", "bf16", "f32"],
    chunkTokens: 256,
    stateStep: { slots: 4, pages: 64 },
    interrupts: "steps",
  };
}
