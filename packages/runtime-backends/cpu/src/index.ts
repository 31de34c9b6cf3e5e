export type { CpuLevel } from "./addon.ts";
export type { CpuBackend, OpProfile } from "./backend.ts";
export { type CpuOptions, type Limits, measureLimits, openCpuBackend } from "./open.ts";
