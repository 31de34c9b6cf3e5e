export type { CpuLevel } from "./addon.ts";
export { type CpuOptions, type Limits, measureLimits, openCpuBackend } from "./open.ts";
export type { WasmLevel } from "./wasm/modules.ts";
export { openWasmBackend, type WasmOptions } from "./wasm/open.ts";
