// Jamba, top to bottom: embedding, layers of mixer and feed-forward, norm, head (Jamba §2, arXiv 2403.19887).

import { groupedQueryAttention } from "@jamba/attention";
import type { AttentionState, FloatDtype, LayerState, MambaState, Ops, Routes, StateSpec, Tensor } from "@jamba/core";
import type { JambaConfig } from "@jamba/loader";
import { mixtureOfExperts, mlp } from "@jamba/moe";
import { mambaMixer } from "@jamba/ssm";
import type { LayerWeights, ModelWeights } from "./weights.ts";

/** What a step gives beside the states that it moves. */
export interface ForwardReads {
  /** Of the rows that want any: "read" comes with the step, "keep" can be fetched after it. */
  readonly logits?: "read" | "keep";
  /** What a draw needs of each row, under the name "top": so many candidates. */
  readonly top?: number;
  /** "all": the residual stream before each layer and after finalNorm; "final": only the last of these. */
  readonly hidden?: "all" | "final";
  readonly routes?: boolean;
  /** Hidden states and routes can be fetched after the step, instead of coming with it. */
  readonly keeps?: boolean;
}

/**
 * Records one step of the whole model. Names of what it gives: `logits` [nRows, vocabSize], `top`, `hidden.{i}` [L, dModel], and
 * `experts.{i}`, `routeWeights.{i}` [L, nActiveExperts].
 */
export function forward(ops: Ops, config: JambaConfig, weights: ModelWeights, reads: ForwardReads): void {
  const { logits: whole, top, hidden, routes, keeps } = reads;
  const { rmsNormEps, nLayers } = config;
  const give = (name: string, value: Tensor) => (keeps ? ops.keep(name, value) : ops.read(name, value));
  const x = ops.embed(weights.embedding); // [L, dModel], the residual stream: every layer adds to it in place
  for (const [i, layer] of weights.layers.entries()) {
    if (hidden === "all") give(`hidden.${i}`, x);
    mixer(ops, config, layer, ops.rmsNorm(x, layer.mixerNorm, rmsNormEps), ops.states[i], x);
    const chosen = feedForward(ops, config, layer, ops.rmsNorm(x, layer.ffnNorm, rmsNormEps), x);
    if (routes && chosen) {
      give(`experts.${i}`, chosen.experts);
      give(`routeWeights.${i}`, chosen.weights);
    }
  }
  if (hidden) give(`hidden.${nLayers}`, ops.rmsNorm(x, weights.finalNorm, rmsNormEps));
  if (!whole && top === undefined) return;
  const last = ops.rmsNorm(ops.gatherRows(x), weights.finalNorm, rmsNormEps); // [nRows, dModel]
  const [logits] = ops.matmul(last, [weights.lmHead]);
  if (top !== undefined) ops.top("top", logits, top);
  if (whole) ops[whole]("logits", logits);
}

function mixer(ops: Ops, { rmsNormEps }: JambaConfig, { mixer }: LayerWeights, input: Tensor, state: LayerState, x: Tensor): void {
  if (mixer.kind === "mamba") mambaMixer(ops, mixer, input, state as MambaState, { rmsNormEps, addTo: x });
  else groupedQueryAttention(ops, mixer, input, state as AttentionState, { addTo: x });
}

function feedForward(ops: Ops, { nActiveExperts }: JambaConfig, { ffn }: LayerWeights, input: Tensor, x: Tensor): Routes | undefined {
  if (ffn.kind === "moe") return mixtureOfExperts(ops, ffn, input, { nActiveExperts, addTo: x }).routes;
  mlp(ops, ffn, input, { addTo: x });
  return undefined;
}

/** What each layer of `config` remembers of a sequence. */
export function stateSpec(config: JambaConfig, pageTokens: number, kvDtype: FloatDtype): StateSpec {
  const { dInner, dState, dConv, nKvHeads, headDim } = config;
  return {
    pageTokens,
    kvDtype,
    layers: config.layerKinds.map((kind) => (kind === "mamba" ? { kind, dInner, dState, dConv } : { kind, nKvHeads, headDim })),
  };
}
