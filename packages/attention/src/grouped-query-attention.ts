import type { AttentionState, Ops, Tensor, Weight } from "@jamba/core";

export interface AttentionWeights {
  /** [nHeads · headDim, dModel] */
  readonly qProj: Weight;
  /** [nKvHeads · headDim, dModel] */
  readonly kProj: Weight;
  readonly vProj: Weight;
  /** [dModel, nHeads · headDim] */
  readonly oProj: Weight;
}

/**
 * Causal attention in which several query heads share one key-value head (Ainslie et al. 2023, arXiv 2305.13245).
 * There is no positional term: the Mamba layers around it carry the order of tokens (Jamba §6.5).
 *
 * input [L, dModel]; this step's keys and values are appended to the pages of `state`.
 * addTo [L, dModel], overwritten with itself plus the result: the residual stream.
 *
 * @returns [L, dModel]; with addTo, addTo itself
 * @throws ShapeError when weights, input and state do not fit together
 */
export function groupedQueryAttention(
  ops: Ops,
  weights: AttentionWeights,
  input: Tensor,
  state: AttentionState,
  { addTo }: { addTo?: Tensor } = {},
): Tensor {
  const [q, k, v] = ops.matmul(input, [weights.qProj, weights.kProj, weights.vProj]);
  const y = ops.attention(q, k, v, state); // [L, nHeads · headDim]
  return ops.matmul(y, [weights.oProj], { addTo })[0];
}
