// Models of one active size in one engine that differ in how they remember: plain configs of the loader.

import { type JambaConfig, parseConfig } from "jamba";
import { sizeOf, tensorsOf } from "../presets.ts";

/**
 * `jamba`: attention in one layer of eight (Lieber et al. 2024, §3.1). `attention`: in all of them, with grouped queries, as Mixtral has it.
 * `multi-query`: the same with one head of keys and values. `mamba`: in none.
 */
export const twins = ["jamba", "attention", "multi-query", "mamba"] as const;
export type Twin = (typeof twins)[number];

type Json = Readonly<Record<string, number | string | boolean>>;

const common = {
  model_type: "jamba",
  mamba_d_state: 16,
  mamba_d_conv: 4,
  expert_layer_period: 2,
  expert_layer_offset: 1,
  num_experts_per_tok: 2,
  tie_word_embeddings: true,
  // What was never trained reads any length.
  max_position_embeddings: 2 ** 24,
} as const;

/** Of the jamba among them. */
export const shapes = {
  /** 0.16 billion active parameters: weights are read faster than the keys and values of some ten thousand tokens. */
  small: {
    ...common,
    vocab_size: 32_768,
    hidden_size: 1024,
    intermediate_size: 1792,
    num_hidden_layers: 16,
    num_attention_heads: 16,
    num_key_value_heads: 4,
    num_experts: 8,
    mamba_dt_rank: 64,
  },
  /** For tests. */
  nano: {
    ...common,
    vocab_size: 512,
    hidden_size: 128,
    intermediate_size: 256,
    num_hidden_layers: 8,
    num_attention_heads: 4,
    num_key_value_heads: 2,
    num_experts: 4,
    mamba_dt_rank: 8,
  },
} as const satisfies Record<string, Json>;
export type ShapeName = keyof typeof shapes;

/** Values of a block of packed weights. */
const blockColumns = 32;

/** Parameters that the step of one token reads. */
export function activeParameters(config: JambaConfig): number {
  return tensorsOf(config).reduce((sum, spec) => sum + sizeOf(spec) * spec.read, 0);
}

/** config.json of each. What one has less of in its mixers it has more of in its MLPs, so that all read as many parameters for a token. */
export function configsOf(shape: ShapeName): Readonly<Record<Twin, Json>> {
  const jamba = { ...shapes[shape], attn_layer_period: 8, attn_layer_offset: 4 };
  const everywhere = { ...jamba, attn_layer_period: 1, attn_layer_offset: 0 };
  // An offset beyond the last layer: a layer has attention where its index has this rest.
  const nowhere = { ...jamba, attn_layer_period: jamba.num_hidden_layers + 1, attn_layer_offset: jamba.num_hidden_layers };
  const wanted = activeOf(jamba);
  const sized = (json: Json): Json => {
    const width = jamba.intermediate_size;
    const perColumn = activeOf({ ...json, intermediate_size: width + 1 }) - activeOf({ ...json, intermediate_size: width });
    const columns = width + (wanted - activeOf(json)) / perColumn;
    return { ...json, intermediate_size: blockColumns * Math.round(columns / blockColumns) };
  };
  return { jamba, attention: sized(everywhere), "multi-query": sized({ ...everywhere, num_key_value_heads: 1 }), mamba: sized(nowhere) };
}

function activeOf(json: Json): number {
  return activeParameters(parseConfig(json, "twin"));
}
