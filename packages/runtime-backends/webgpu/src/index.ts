export { openWebGpuBackend, type WebGpuOptions } from "./open.ts";
