// The published models of the family: what is known of them without asking anybody, from the config.json and the sizes of the files of
// each repository at https://huggingface.co/ai21labs.

export interface Member {
  readonly id: string;
  readonly about: string;
  /** What its config.json says of its size, as far as memory needs it. */
  readonly config: Readonly<Record<string, unknown>>;
  /** As published, in bytes. */
  readonly fileBytes: number;
}

const common = {
  model_type: "jamba",
  attn_layer_offset: 4,
  attn_layer_period: 8,
  expert_layer_offset: 1,
  expert_layer_period: 2,
  mamba_d_conv: 4,
  mamba_d_state: 16,
  mamba_expand: 2,
  max_position_embeddings: 262144,
  num_experts: 16,
  num_experts_per_tok: 2,
  rms_norm_eps: 1e-6,
  tie_word_embeddings: false,
  torch_dtype: "bfloat16",
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
};
const large = {
  ...mini,
  hidden_size: 8192,
  intermediate_size: 24576,
  mamba_dt_rank: 512,
  num_attention_heads: 64,
  num_hidden_layers: 72,
};
const dense = {
  ...common,
  attn_layer_offset: 7,
  attn_layer_period: 14,
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
const tinyRandom = {
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
};

const member = (name: string, about: string, config: Member["config"], fileBytes: number): Member => ({
  id: `ai21labs/${name}`,
  about,
  config,
  fileBytes,
});

/** The newest first, the smaller of two before the larger. */
export const family: readonly Member[] = [
  member("AI21-Jamba2-3B", "3 B, dense; Apache 2.0", dense, 6.06e9),
  member("AI21-Jamba2-Mini", "52 B, 12 B active; Apache 2.0", mini, 103.1e9),
  member("AI21-Jamba-Reasoning-3B", "3 B, dense, thinks first; Apache 2.0", dense, 6.06e9),
  member("AI21-Jamba-Reasoning-3B-GGUF:Q4_K_M", "the same in 4 bits; Apache 2.0", dense, 1.93e9),
  member("AI21-Jamba-Mini-1.7", "52 B, 12 B active; gated", mini, 103.1e9),
  member("AI21-Jamba-Large-1.7", "399 B, 94 B active; gated", large, 797.1e9),
  member("AI21-Jamba-Mini-1.6", "52 B, 12 B active; gated", mini, 103.1e9),
  member("AI21-Jamba-Large-1.6", "399 B, 94 B active; gated", large, 797.1e9),
  member("AI21-Jamba-1.5-Mini", "52 B, 12 B active; gated", mini, 103.1e9),
  member("AI21-Jamba-1.5-Large", "399 B, 94 B active; gated", large, 797.1e9),
  member("Jamba-v0.1", "52 B, 12 B active, no chat; Apache 2.0", mini, 103.1e9),
  member("Jamba-tiny-dev", "319 M, for tests; Apache 2.0", tinyDev, 0.64e9),
  member("Jamba-tiny-random", "128 M, random weights, for tests; Apache 2.0", tinyRandom, 0.26e9),
];
