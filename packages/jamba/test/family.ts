// The published models: their configs, and what their checkpoints are known to consist of.

import type { Json } from "./saved-tensors.ts";

interface Member {
  readonly name: string;
  readonly config: Json;
  readonly tensors: number;
  /** Of its weights, where that is known. */
  readonly files?: number;
  /** Millions, in four digits. */
  readonly parameters: number;
}

const common = {
  architectures: ["JambaForCausalLM"],
  model_type: "jamba",
  attn_layer_offset: 4,
  attn_layer_period: 8,
  bos_token_id: 1,
  eos_token_id: 2,
  expert_layer_offset: 1,
  expert_layer_period: 2,
  hidden_act: "silu",
  mamba_conv_bias: true,
  mamba_d_conv: 4,
  mamba_d_state: 16,
  mamba_expand: 2,
  mamba_proj_bias: false,
  max_position_embeddings: 262144,
  num_experts: 16,
  num_experts_per_tok: 2,
  pad_token_id: 0,
  rms_norm_eps: 1e-6,
  tie_word_embeddings: false,
  torch_dtype: "bfloat16",
  use_cache: true,
  vocab_size: 65536,
};

const mini = {
  ...common,
  hidden_size: 4096,
  intermediate_size: 14336,
  mamba_dt_rank: 256,
  num_attention_heads: 32,
  num_hidden_layers: 32,
  num_key_value_heads: 8,
  num_logits_to_keep: 1,
  sliding_window: null,
  use_mamba_kernels: true,
};
const large = {
  ...mini,
  eos_token_id: [2, 518],
  hidden_size: 8192,
  intermediate_size: 24576,
  mamba_dt_rank: 512,
  num_attention_heads: 64,
  num_hidden_layers: 72,
};
const dense3b = {
  ...common,
  attn_layer_offset: 7,
  attn_layer_period: 14,
  eos_token_id: [2, 519],
  hidden_size: 2560,
  intermediate_size: 8192,
  mamba_dt_rank: 160,
  num_attention_heads: 20,
  num_experts: 1,
  num_experts_per_tok: 1,
  num_hidden_layers: 28,
  num_key_value_heads: 1,
  tie_word_embeddings: true,
};
const tinyDev = {
  ...common,
  hidden_size: 512,
  intermediate_size: 2048,
  mamba_dt_rank: 32,
  num_attention_heads: 8,
  num_experts: 8,
  num_hidden_layers: 16,
  num_key_value_heads: 2,
};

const sizes = {
  mini: { tensors: 1251, files: 21, parameters: 51570 },
  large: { tensors: 2811, parameters: 398600 },
  dense3b: { tensors: 462, files: 2, parameters: 3029 },
};

export const family: readonly Member[] = [
  {
    name: "Jamba-v0.1",
    config: {
      ...mini,
      architectures: ["JambaForCausalLM"],
      attention_dropout: 0,
      auto_map: { AutoConfig: "configuration_jamba.JambaConfig", AutoModelForCausalLM: "modeling_jamba.JambaForCausalLM" },
      calc_logits_for_entire_prompt: false,
      mamba_inner_layernorms: true,
      n_ctx: 262144,
      output_router_logits: false,
      router_aux_loss_coef: 0.001,
    },
    ...sizes.mini,
  },
  { name: "AI21-Jamba-1.5-Mini", config: { ...mini, eos_token_id: [2, 518] }, ...sizes.mini },
  { name: "AI21-Jamba-Mini-1.6", config: { ...mini, eos_token_id: [2, 518] }, ...sizes.mini },
  { name: "AI21-Jamba-Mini-1.7", config: { ...mini, eos_token_id: [2, 518] }, ...sizes.mini },
  { name: "AI21-Jamba2-Mini", config: { ...mini, eos_token_id: 519 }, ...sizes.mini },
  { name: "AI21-Jamba-1.5-Large", config: large, ...sizes.large },
  { name: "AI21-Jamba-Large-1.6", config: large, ...sizes.large },
  { name: "AI21-Jamba-Large-1.7", config: { ...large, mamba_dt_rank: "auto" }, ...sizes.large },
  { name: "AI21-Jamba-Reasoning-3B", config: dense3b, ...sizes.dense3b },
  { name: "AI21-Jamba2-3B", config: dense3b, ...sizes.dense3b },
  { name: "Jamba-tiny-dev", config: tinyDev, tensors: 435, files: 1, parameters: 318.7 },
  {
    name: "Jamba-tiny-random",
    config: {
      ...common,
      attn_layer_offset: 2,
      attn_layer_period: 4,
      hidden_size: 128,
      intermediate_size: 14336,
      mamba_dt_rank: 8,
      num_attention_heads: 2,
      num_experts: 4,
      num_hidden_layers: 8,
      num_key_value_heads: 1,
    },
    tensors: 163,
    files: 1,
    parameters: 127.7,
  },
  {
    name: "jamba-900M-v0.13-KIx2",
    config: {
      ...common,
      attn_layer_offset: 2,
      attn_layer_period: 4,
      bos_token_id: 0,
      eos_token_id: 0,
      hidden_size: 1024,
      intermediate_size: 4096,
      mamba_dt_rank: 256,
      num_attention_heads: 32,
      num_experts: 8,
      num_hidden_layers: 12,
      num_key_value_heads: 8,
      vocab_size: 65024,
    },
    tensors: 315,
    files: 1,
    parameters: 887.7,
  },
];
