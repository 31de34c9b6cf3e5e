export { type CudaOptions, openCudaBackend } from "./open.ts";
