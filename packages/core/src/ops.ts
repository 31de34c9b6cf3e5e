// The dozen operations that Jamba is written in. Calls record; nothing computes until a backend runs the list.

import type { Routes, ScanArgs, StepShape, Tensor } from "./command.ts";
import type { AttentionStateSpec, MambaStateSpec } from "./device/state.ts";
import type { Weight } from "./device/weight.ts";

/** The state of one layer, for all sequences of the step. */
export type LayerState<Spec = MambaStateSpec | AttentionStateSpec> = Spec & { readonly layer: number };
export type MambaState = LayerState<MambaStateSpec>;
export type AttentionState = LayerState<AttentionStateSpec>;

export interface MatmulOptions {
  /** [N], added to every row. */
  bias?: Weight;
  /** [L, N], overwritten with itself plus the product: the residual stream. */
  addTo?: Tensor;
}

export interface ExpertArgs {
  /** [nExperts, dFf, dModel] */
  gateProj: Weight;
  upProj: Weight;
  /** [nExperts, dModel, dFf] */
  downProj: Weight;
}

/** Every method throws ShapeError or DtypeError when its arguments do not fit together. */
export interface Ops {
  readonly step: StepShape;
  readonly states: readonly LayerState[];

  /** A value that the caller gives with each run. */
  input(name: string, shape: readonly [rows: number, columns: number], dtype?: "f32" | "i32"): Tensor;

  /** Rows `ids` of `table` [vocabSize, dModel] -> [L, dModel]. */
  embed(table: Weight): Tensor;

  /** Columns `[from, to)` of `x`: a view, no command. */
  slice(x: Tensor, from: number, to: number): Tensor;

  /**
   *   y = weight · x / sqrt(mean(x²) + eps)          Zhang & Sennrich 2019, eq. 4 (arXiv 1910.07467)
   *
   * x [L, N]   weight [N]   @returns [L, N]
   */
  rmsNorm(x: Tensor, weight: Weight, eps: number): Tensor;

  /**
   *   y = x · weightᵀ (+ bias) (+ addTo)             one result per weight
   *
   * Several weights share one x (q, k, v; gate, up); bias and addTo need exactly one weight.
   *
   * x [L, K]   weight [N, K]   @returns [L, N] each; with addTo, addTo itself
   */
  matmul<const W extends readonly Weight[]>(x: Tensor, weights: W, options?: MatmulOptions): { [I in keyof W]: Tensor };

  /**
   *   c[t, d] = silu(bias[d] + Σ_k weight[d, k] x[t - (dConv - 1) + k, d])          Mamba §3.4, Figure 3
   *
   * A depthwise convolution over time, per sequence; before its first token x is 0. The last weight meets the current token.
   * The convolution window of `state` is read and moved on.
   *
   * x [L, dInner]   weight [dInner, dConv]   bias [dInner]   @returns [L, dInner]
   */
  causalConv(x: Tensor, weight: Weight, bias: Weight | undefined, state: MambaState): Tensor;

  /**
   * Advances the selective SSM over the tokens of each sequence and gates the result.
   *
   *   Δ    = softplus(dt + dtBias)
   *   h[t] = exp(Δ[t] A) h[t-1] + Δ[t] B[t] x[t]          Mamba eq. 2a, with Ā from eq. 4
   *   y[t] = (C[t] · h[t] + D x[t]) * silu(z[t])          Mamba eq. 2b, then the block's gate
   *
   * B̄ is the Euler step Δ·B, not eq. 4's exact form; the published kernels do the same.
   * The h of `state` is read and overwritten; h[-1] = 0 for a sequence that has seen nothing.
   *
   * x, z, dt [L, dInner]   B, C [L, dState]   A [dInner, dState], negative   D, dtBias [dInner]
   *
   * @returns y [L, dInner]
   */
  selectiveScan(args: ScanArgs, state: MambaState): Tensor;

  /**
   *   y[t] = softmax(q[t] · K[0…t]ᵀ / sqrt(headDim)) · V[0…t]          Vaswani et al. 2017, eq. 1 (arXiv 1706.03762)
   *
   * Causal, per sequence, over what `state` holds and this step's tokens; k and v are appended to `state` first.
   * Query head j reads key-value head floor(j · nKvHeads / nHeads). No positional term: Jamba has none (Jamba §6.5).
   *
   * q [L, nHeads · headDim]   k, v [L, nKvHeads · headDim]   @returns [L, nHeads · headDim]
   */
  attention(q: Tensor, k: Tensor, v: Tensor, state: AttentionState): Tensor;

  /** `silu(gate) * up`, elementwise (Shazeer 2020, arXiv 2002.05202). gate, up [L, dFf] -> [L, dFf] */
  swiglu(gate: Tensor, up: Tensor): Tensor;

  /**
   *   p = softmax(logits over all experts);  the nActive largest, best first, ties to the lower index
   *
   * The weights are not renormalised: they sum to less than 1, as in the published model (Jamba §2).
   *
   * logits [L, nExperts]   @returns experts [L, nActive] i32, weights [L, nActive]
   */
  route(logits: Tensor, nActive: number): Routes;

  /**
   *   y[t] = Σ_j routes.weights[t, j] · down_e (silu(gate_e x[t]) * up_e x[t]),   e = routes.experts[t, j]   (+ addTo)
   *
   * x [L, dModel]   @returns [L, dModel]; with addTo, addTo itself
   */
  experts(x: Tensor, routes: Routes, weights: ExpertArgs, options?: { addTo?: Tensor }): Tensor;

  /** The rows of `x` that the step's `rows` name -> [nRows, columns]. */
  gatherRows(x: Tensor): Tensor;

  /**
   * What a draw needs of each row of logits, over its finite values (NaN and infinities never count):
   *
   *   ids, values   the k largest logits, best first, ties to the lower id; -1 and -∞ where there are fewer
   *   sums          max,  Σ e^(l-max),  Σ e^(l-max) (max-l),  Σ e^((l-max)/T),  count          T: the row's temperature
   *   asked         the logits of the ids that the step asks for, whatever they are
   *
   * Read as `{name}.ids` [nRows, k] i32, `{name}.values` [nRows, k], `{name}.sums` [nRows, 5] (to a relative 1e-6) and `{name}.asked`,
   * one after another for all rows. Without a finite value the sums are -∞, 0, 0, 0, 0.
   *
   * logits [nRows, vocabSize]
   */
  top(name: string, logits: Tensor, k: number): void;

  /** Hands `x`, as it is at this point of the list, to the caller under `name`, with the step. */
  read(name: string, x: Tensor): void;

  /** The same for what is rarely wanted: it stays on the device, where `Step.read` can fetch rows of it until the submit after the next one. */
  keep(name: string, x: Tensor): void;
}
