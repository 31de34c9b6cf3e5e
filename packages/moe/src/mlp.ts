import type { Ops, Tensor, Weight } from "@jamba/core";

export interface MlpWeights {
  /** [dFf, dModel] */
  readonly gateProj: Weight;
  readonly upProj: Weight;
  /** [dModel, dFf] */
  readonly downProj: Weight;
}

/**
 *   result = downProj(silu(gateProj(input)) * upProj(input))          Shazeer 2020 (arXiv 2002.05202)
 *
 * input [L, dModel]; addTo [L, dModel] is overwritten with itself plus the result: the residual stream.
 *
 * @returns [L, dModel]; with addTo, addTo itself
 * @throws ShapeError when weights and input do not fit together
 */
export function mlp(ops: Ops, weights: MlpWeights, input: Tensor, { addTo }: { addTo?: Tensor } = {}): Tensor {
  const [gate, up] = ops.matmul(input, [weights.gateProj, weights.upProj]);
  return ops.matmul(ops.swiglu(gate, up), [weights.downProj], { addTo })[0];
}
