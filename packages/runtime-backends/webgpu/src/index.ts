export { findGpu, isSoftware, whyNoRealGpu } from "./find-gpu.ts";
export { openWebGpuBackend, type WebGpuOptions } from "./open.ts";
