// Reads config.json. Hugging Face's names end here; everything after uses ours.

import { LoadError } from "@jamba/core";
import type { Warn } from "../source/untrusted.ts";
import { configReader, limits } from "./config-reader.ts";
import { expectRunnable } from "./family.ts";
import { layersOf } from "./layers.ts";

export interface JambaConfig {
  readonly vocabSize: number;
  readonly dModel: number;
  readonly dFf: number;
  readonly nLayers: number;
  readonly nHeads: number;
  readonly nKvHeads: number;
  readonly headDim: number;
  readonly nExperts: number;
  readonly nActiveExperts: number;
  readonly dInner: number;
  readonly dState: number;
  readonly dConv: number;
  readonly dtRank: number;
  readonly rmsNormEps: number;
  readonly convBias: boolean;
  readonly projBias: boolean;
  readonly tiedEmbeddings: boolean;
  readonly layerKinds: readonly ("mamba" | "attention")[];
  readonly ffnKinds: readonly ("mlp" | "moe")[];
  /** Tokens; a limit of training and memory, not of the architecture. */
  readonly contextLength: number;
  readonly bosId: number | undefined;
  readonly eosIds: readonly number[];
  readonly padId: number | undefined;
}

/**
 * Accepts the keys of transformers' `JambaConfig` with their defaults, and the historic ones that still occur.
 * @param warn hears of what contradicts itself and was decided
 * @throws LoadError naming the key; JambaError UNSUPPORTED for what the file asks for and this package lacks
 */
export function parseConfig(json: unknown, file = "config.json", warn: Warn = () => undefined): JambaConfig {
  const read = configReader(json, file);
  expectRunnable(json, file);
  const activation = read.value("hidden_act") ?? "silu";
  if (typeof activation !== "string" || !/^(silu|swish)$/i.test(activation)) read.fail("hidden_act", '"silu", also called "swish"');
  read.only("mamba_inner_layernorms", true, "Jamba without norms on dt, B and C was never published");
  read.only("sliding_window", null, "Jamba's attention sees every earlier token");

  const dModel = read.integer("hidden_size", 4096, 1, limits.width);
  const { nLayers, nExperts, layerKinds, ffnKinds } = layersOf(read, warn);
  const nHeads = read.integer("num_attention_heads", 32, 1, limits.width);
  const nKvHeads = read.has("num_key_value_heads")
    ? read.integer("num_key_value_heads", nHeads, 1, nHeads)
    : read.value("num_key_value_heads") === null
      ? nHeads
      : 8;
  if (nHeads % nKvHeads !== 0) {
    throw new LoadError(`${file}: num_key_value_heads: expected a divisor of num_attention_heads = ${nHeads}, found ${nKvHeads}`);
  }
  if (!read.has("head_dim") && dModel % nHeads !== 0) {
    throw new LoadError(
      `${file}: num_attention_heads: expected a divisor of hidden_size = ${dModel} (there is no head_dim), found ${nHeads}`,
    );
  }
  const dtRank = read.value("mamba_dt_rank") === "auto" ? undefined : read.optionalInteger("mamba_dt_rank", 1, limits.width);

  return {
    vocabSize: read.integer("vocab_size", 65536, 1, limits.width),
    dModel,
    dFf: read.integer("intermediate_size", 14336, 1, limits.width),
    nLayers,
    nHeads,
    nKvHeads,
    headDim: read.integer("head_dim", dModel / nHeads, 1, limits.width),
    nExperts,
    nActiveExperts: nExperts === 1 ? 1 : read.integer("num_experts_per_tok", 2, 1, nExperts),
    dInner: dModel * read.integer("mamba_expand", 2, 1, 256),
    dState: read.integer("mamba_d_state", 16, 1, limits.layers),
    dConv: read.integer("mamba_d_conv", 4, 1, limits.layers),
    dtRank: dtRank ?? Math.ceil(dModel / 16),
    rmsNormEps: read.positive("rms_norm_eps", 1e-6),
    convBias: read.boolean("mamba_conv_bias", true),
    projBias: read.boolean("mamba_proj_bias", false),
    tiedEmbeddings: read.boolean("tie_word_embeddings", false),
    layerKinds,
    ffnKinds,
    contextLength: read.integer(read.has("max_position_embeddings") ? "max_position_embeddings" : "n_ctx", 262144, 1, limits.tokens),
    bosId: read.ids("bos_token_id", [1])[0],
    eosIds: read.ids("eos_token_id", [2]),
    // Where there is no such token, many configs say -1.
    padId: read.value("pad_token_id") === -1 ? undefined : read.ids("pad_token_id", [0])[0],
  };
}
