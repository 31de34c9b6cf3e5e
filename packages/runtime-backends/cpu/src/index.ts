export type { CpuLevel } from "./addon.ts";
export { type CpuOptions, type Limits, measureLimits, openCpuBackend } from "./open.ts";
