import type { MambaState, Ops, Tensor, Weight } from "@jamba/core";

export interface MambaWeights {
  /** [2 · dInner, dModel]: x, then z */
  readonly inProj: Weight;
  readonly inProjBias?: Weight;
  /** [dInner, dConv] */
  readonly convWeight: Weight;
  /** [dInner] */
  readonly convBias?: Weight;
  /** [dtRank + 2 · dState, dInner]: dt, B, C */
  readonly xProj: Weight;
  /** [dInner, dtRank] */
  readonly dtProj: Weight;
  /** [dInner] */
  readonly dtBias: Weight;
  /** [dInner, dState], negative: -exp(A_log) */
  readonly A: Weight;
  /** [dInner] */
  readonly D: Weight;
  /** [dtRank] */
  readonly dtNorm: Weight;
  /** [dState] */
  readonly bNorm: Weight;
  readonly cNorm: Weight;
  /** [dModel, dInner] */
  readonly outProj: Weight;
  readonly outProjBias?: Weight;
}

export interface MambaOptions {
  readonly rmsNormEps: number;
  /** [L, dModel], overwritten with itself plus the result: the residual stream. */
  readonly addTo?: Tensor;
}

/**
 * The Mamba-1 block with Jamba's three inner norms.
 *
 *   x, z     = inProj(input);   x = silu(conv(x))              Mamba §3.4, Figure 3
 *   dt, B, C = rmsNorm of each part of xProj(x)                Jamba §6.4: what keeps training stable at scale
 *   result   = outProj(selectiveScan(x, dtProj(dt), B, C) * silu(z))
 *
 * input [L, dModel]; the convolution window and h of `state` are read and moved on.
 *
 * @returns [L, dModel]; with addTo, addTo itself
 * @throws ShapeError when weights, input and state do not fit together
 */
export function mambaMixer(ops: Ops, weights: MambaWeights, input: Tensor, state: MambaState, options: MambaOptions): Tensor {
  const { dInner, dState } = state;
  const dtRank = weights.dtProj.shape[1];
  const { rmsNormEps, addTo } = options;

  const [xz] = ops.matmul(input, [weights.inProj], { bias: weights.inProjBias }); // [L, 2 dInner]
  const x = ops.causalConv(ops.slice(xz, 0, dInner), weights.convWeight, weights.convBias, state);
  const z = ops.slice(xz, dInner, 2 * dInner);

  const [dtBC] = ops.matmul(x, [weights.xProj]); // [L, dtRank + 2 dState]
  const dtLow = ops.rmsNorm(ops.slice(dtBC, 0, dtRank), weights.dtNorm, rmsNormEps);
  const B = ops.rmsNorm(ops.slice(dtBC, dtRank, dtRank + dState), weights.bNorm, rmsNormEps);
  const C = ops.rmsNorm(ops.slice(dtBC, dtRank + dState, dtRank + 2 * dState), weights.cNorm, rmsNormEps);
  const [dt] = ops.matmul(dtLow, [weights.dtProj]); // [L, dInner]

  const y = ops.selectiveScan({ x, z, dt, B, C, A: weights.A, D: weights.D, dtBias: weights.dtBias }, state);
  return ops.matmul(y, [weights.outProj], { bias: weights.outProjBias, addTo })[0];
}
