// Shapes that are measured, and the tensors they consist of under the names of both file formats.

import { type JambaConfig, parseConfig } from "jamba";

const common = {
  model_type: "jamba",
  vocab_size: 65536,
  mamba_d_state: 16,
  mamba_d_conv: 4,
  expert_layer_period: 2,
  expert_layer_offset: 1,
};

/** config.json of each. */
export const presets = {
  /** AI21-Jamba-Reasoning-3B: dense, attention at 7 and 21 with one key-value head. */
  "3b": {
    ...common,
    hidden_size: 2560,
    intermediate_size: 8192,
    num_hidden_layers: 28,
    num_attention_heads: 20,
    num_key_value_heads: 1,
    attn_layer_period: 14,
    attn_layer_offset: 7,
    num_experts: 1,
    mamba_dt_rank: 160,
    tie_word_embeddings: true,
  },
  /** A mixture of experts of the size of Jamba-tiny-dev, whose own config was never published. */
  "tiny-dev": {
    ...common,
    hidden_size: 1024,
    intermediate_size: 1792,
    num_hidden_layers: 8,
    num_attention_heads: 16,
    num_key_value_heads: 8,
    attn_layer_period: 8,
    attn_layer_offset: 4,
    num_experts: 8,
    num_experts_per_tok: 2,
    mamba_dt_rank: 64,
    tie_word_embeddings: true,
  },
  /** The first 8 layers of Jamba-v0.1. */
  "mini-slice": {
    ...common,
    hidden_size: 4096,
    intermediate_size: 14336,
    num_hidden_layers: 8,
    num_attention_heads: 32,
    num_key_value_heads: 8,
    attn_layer_period: 8,
    attn_layer_offset: 4,
    num_experts: 16,
    num_experts_per_tok: 2,
    mamba_dt_rank: 256,
    tie_word_embeddings: false,
  },
  /** For tests. */
  nano: {
    ...common,
    vocab_size: 1024,
    hidden_size: 256,
    intermediate_size: 512,
    num_hidden_layers: 4,
    num_attention_heads: 4,
    num_key_value_heads: 2,
    attn_layer_period: 4,
    attn_layer_offset: 2,
    num_experts: 4,
    num_experts_per_tok: 2,
    mamba_dt_rank: 32,
    tie_word_embeddings: false,
  },
} as const;

export type PresetName = keyof typeof presets;

export function configOf(preset: PresetName): JambaConfig {
  return parseConfig(presets[preset], preset);
}

/** How the weights of both sides are stored; at the peer Q4_0, Q8_0 and BF16. */
export type Format = "q4" | "q8" | "bf16";

export interface TensorSpec {
  /** In safetensors; `*` stands for the expert where each has a tensor of its own. */
  readonly name: string;
  readonly gguf: string;
  /** Experts stacked, as GGUF has them. */
  readonly shape: readonly number[];
  /** `normal`: std 0.02. `spread`: `logitSpread` in logits. `A`: -1 … -dState in each row. `dtBias`: softplus⁻¹ of steps in [0.001, 0.1]. */
  readonly fill: "normal" | "ones" | "spread" | "uniform" | "A" | "dtBias";
  /** A matrix whose format is chosen; all else is f32. */
  readonly matrix: boolean;
  /** Turns the last hidden state into logits. */
  readonly head: boolean;
  /** The share of it that the step of one token reads. */
  readonly read: number;
}

export function tensorsOf(config: JambaConfig): TensorSpec[] {
  const { dModel, dFf, dInner, dState, dConv, dtRank, nExperts, vocabSize, headDim, tiedEmbeddings } = config;
  const kvWidth = config.nKvHeads * headDim;
  const all: TensorSpec[] = [];
  const matrix = (name: string, gguf: string, shape: number[], more: Partial<TensorSpec> = {}) =>
    all.push({ name, gguf, shape, fill: "normal", matrix: true, head: false, read: 1, ...more });
  const exact = (name: string, gguf: string, shape: number[], fill: TensorSpec["fill"] = "ones") =>
    all.push({ name, gguf, shape, fill, matrix: false, head: false, read: 1 });

  // One row of an embedding table is next to nothing; a tied one is read whole, as the head.
  const head = tiedEmbeddings ? { head: true } : { read: 0 };
  matrix("model.embed_tokens.weight", "token_embd.weight", [vocabSize, dModel], head);
  if (!tiedEmbeddings) matrix("lm_head.weight", "output.weight", [vocabSize, dModel], { head: true });
  exact("model.final_layernorm.weight", "output_norm.weight", [dModel], "spread");
  for (const [layer, kind] of config.layerKinds.entries()) {
    const [at, block] = [`model.layers.${layer}`, `blk.${layer}`];
    exact(`${at}.input_layernorm.weight`, `${block}.attn_norm.weight`, [dModel]);
    if (kind === "attention") {
      matrix(`${at}.self_attn.q_proj.weight`, `${block}.attn_q.weight`, [config.nHeads * headDim, dModel]);
      matrix(`${at}.self_attn.k_proj.weight`, `${block}.attn_k.weight`, [kvWidth, dModel]);
      matrix(`${at}.self_attn.v_proj.weight`, `${block}.attn_v.weight`, [kvWidth, dModel]);
      matrix(`${at}.self_attn.o_proj.weight`, `${block}.attn_output.weight`, [dModel, config.nHeads * headDim]);
    } else {
      matrix(`${at}.mamba.in_proj.weight`, `${block}.ssm_in.weight`, [2 * dInner, dModel]);
      exact(`${at}.mamba.conv1d.weight`, `${block}.ssm_conv1d.weight`, [dInner, 1, dConv], "uniform");
      exact(`${at}.mamba.conv1d.bias`, `${block}.ssm_conv1d.bias`, [dInner], "uniform");
      matrix(`${at}.mamba.x_proj.weight`, `${block}.ssm_x.weight`, [dtRank + 2 * dState, dInner]);
      exact(`${at}.mamba.dt_layernorm.weight`, `${block}.ssm_dt_norm.weight`, [dtRank]);
      exact(`${at}.mamba.b_layernorm.weight`, `${block}.ssm_b_norm.weight`, [dState]);
      exact(`${at}.mamba.c_layernorm.weight`, `${block}.ssm_c_norm.weight`, [dState]);
      matrix(`${at}.mamba.dt_proj.weight`, `${block}.ssm_dt.weight`, [dInner, dtRank]);
      exact(`${at}.mamba.dt_proj.bias`, `${block}.ssm_dt.bias`, [dInner], "dtBias");
      exact(`${at}.mamba.A_log`, `${block}.ssm_a`, [dInner, dState], "A");
      exact(`${at}.mamba.D`, `${block}.ssm_d`, [dInner]);
      matrix(`${at}.mamba.out_proj.weight`, `${block}.ssm_out.weight`, [dModel, dInner]);
    }
    exact(`${at}.pre_ff_layernorm.weight`, `${block}.ffn_norm.weight`, [dModel]);
    const ffn = `${at}.feed_forward`;
    if (config.ffnKinds[layer] === "moe") {
      exact(`${ffn}.router.weight`, `${block}.ffn_gate_inp.weight`, [nExperts, dModel], "normal");
      const routed = { read: config.nActiveExperts / nExperts };
      matrix(`${ffn}.experts.*.gate_proj.weight`, `${block}.ffn_gate_exps.weight`, [nExperts, dFf, dModel], routed);
      matrix(`${ffn}.experts.*.up_proj.weight`, `${block}.ffn_up_exps.weight`, [nExperts, dFf, dModel], routed);
      matrix(`${ffn}.experts.*.down_proj.weight`, `${block}.ffn_down_exps.weight`, [nExperts, dModel, dFf], routed);
    } else {
      matrix(`${ffn}.gate_proj.weight`, `${block}.ffn_gate.weight`, [dFf, dModel]);
      matrix(`${ffn}.up_proj.weight`, `${block}.ffn_up.weight`, [dFf, dModel]);
      matrix(`${ffn}.down_proj.weight`, `${block}.ffn_down.weight`, [dModel, dFf]);
    }
  }
  return all;
}

/** Of weights. */
export const weightStd = 0.02;

/**
 * Standard deviation of the logits, which the final norm makes so. What a sampler costs depends on it: a trained model's next token has
 * an entropy of a few nats, as this leaves it; a final norm of ones would leave nearly all of the vocabulary's ln 65536 = 11.1.
 */
export const logitSpread = 5;

export function sizeOf({ shape }: Pick<TensorSpec, "shape">): number {
  return shape.reduce((a, b) => a * b, 1);
}

/** What the steps of one model cost at least, given the bytes per value of each tensor. */
export function costsOf(config: JambaConfig, bytesPerValue: (spec: TensorSpec) => number) {
  const specs = tensorsOf(config);
  const sum = (of: (spec: TensorSpec) => number) => specs.reduce((total, spec) => total + of(spec), 0);
  const nMamba = config.layerKinds.filter((kind) => kind === "mamba").length;
  const stateBytes = nMamba * config.dInner * (config.dState + config.dConv - 1) * 4;
  // Both sides keep keys and values in 2 bytes.
  const kvBytes = (config.nLayers - nMamba) * 2 * config.nKvHeads * config.headDim * 2;
  return {
    parameters: sum(sizeOf),
    weightBytes: sum((spec) => sizeOf(spec) * bytesPerValue(spec)),
    stateBytes: (context: number) => stateBytes + kvBytes * context,
    /** Weights once, the recurrent state in and out, keys and values of the context. */
    decodeBytes: (context: number) => sum((spec) => sizeOf(spec) * spec.read * bytesPerValue(spec)) + 2 * stateBytes + kvBytes * context,
    /** Multiplications and additions of the matrices for a prompt of `tokens`, with the logits of its last token. */
    prefillOps: (tokens: number) => 2 * sum((spec) => (spec.matrix ? sizeOf(spec) * spec.read * (spec.head ? 1 : tokens) : 0)),
  };
}
