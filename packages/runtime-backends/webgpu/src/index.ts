export { findGpu, hasRealGpu, isSoftware } from "./find-gpu.ts";
export { openWebGpuBackend, type WebGpuOptions } from "./open.ts";
