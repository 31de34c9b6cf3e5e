import type { Ops, Routes, Tensor, Weight } from "@jamba/core";

export interface MoeWeights {
  /** [nExperts, dModel] */
  readonly router: Weight;
  /** [nExperts, dFf, dModel] */
  readonly gateProj: Weight;
  readonly upProj: Weight;
  /** [nExperts, dModel, dFf] */
  readonly downProj: Weight;
}

export interface MoeOptions {
  readonly nActiveExperts: number;
  /** [L, dModel], overwritten with itself plus the result: the residual stream. */
  readonly addTo?: Tensor;
}

/**
 *   result = Σ_j p_j · expert_j(input) over the nActiveExperts largest p = softmax(router(input))          Jamba §2
 *
 * Each expert is a SwiGLU MLP. The chosen p are used as they are and sum to less than 1.
 *
 * input [L, dModel]
 *
 * @returns result [L, dModel] (with addTo, addTo itself) and the routes, for whoever wants to see them
 * @throws ShapeError when weights and input do not fit together
 */
export function mixtureOfExperts(ops: Ops, weights: MoeWeights, input: Tensor, options: MoeOptions): { result: Tensor; routes: Routes } {
  const [logits] = ops.matmul(input, [weights.router]); // [L, nExperts]
  const routes = ops.route(logits, options.nActiveExperts);
  return { result: ops.experts(input, routes, weights, { addTo: options.addTo }), routes };
}
