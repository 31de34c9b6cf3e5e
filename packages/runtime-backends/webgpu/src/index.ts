export { findGpu, hasRealGpu } from "./find-gpu.ts";
export { openWebGpuBackend, type WebGpuOptions } from "./open.ts";
