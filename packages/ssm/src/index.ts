export { type MambaOptions, type MambaWeights, mambaMixer } from "./mamba-mixer.ts";
