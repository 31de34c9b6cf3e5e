export { type MoeOptions, type MoeWeights, mixtureOfExperts } from "./mixture-of-experts.ts";
export { type MlpWeights, mlp } from "./mlp.ts";
