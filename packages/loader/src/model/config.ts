// Reads config.json. Hugging Face's names end here; everything after uses ours.

import { JambaError, LoadError } from "@jamba/core";

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

/** Far beyond any Jamba (72 layers, 2^18 positions), near enough that a damaged number can't exhaust memory. */
const limits = { layers: 4096, width: 2 ** 24, tokens: 2 ** 32 };

type Json = Readonly<Record<string, unknown>>;

/**
 * Accepts the keys of transformers' `JambaConfig` with their defaults, and the historic ones that still occur.
 * @throws LoadError naming the key; JambaError UNSUPPORTED for what the file asks for and this package lacks
 */
export function parseConfig(json: unknown, file = "config.json"): JambaConfig {
  if (typeof json !== "object" || json === null || Array.isArray(json)) {
    throw new LoadError(
      `${file}: expected a JSON object, found ${json === null ? "null" : Array.isArray(json) ? "an array" : typeof json}`,
    );
  }
  const read = reader(json as Json, file);
  read.only("model_type", "jamba", "is this the checkpoint of another model family?");
  read.only("hidden_act", "silu");
  read.only("mamba_inner_layernorms", true, "Jamba without norms on dt, B and C was never published");
  read.only("sliding_window", null, "Jamba's attention sees every earlier token");
  if (read.has("quantization_config")) {
    throw new JambaError(
      "UNSUPPORTED",
      `${file}: quantization_config: expected plain f32, bf16 or f16 weights, found a quantised checkpoint`,
    );
  }

  const dModel = read.integer("hidden_size", 4096, 1, limits.width);
  const nLayers = read.integer("num_hidden_layers", 32, 1, limits.layers);
  const nHeads = read.integer("num_attention_heads", 32, 1, limits.width);
  const nKvHeads = read.has("num_key_value_heads")
    ? read.integer("num_key_value_heads", nHeads, 1, nHeads)
    : "num_key_value_heads" in (json as Json)
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
  const nExperts = read.integer("num_experts", 16, 1, limits.layers);
  // What is read from GGUF files names each layer; where a file has periods, they count, as in transformers.
  const kinds = read.has("attn_layer_period")
    ? undefined
    : read.list<"mamba" | "attention">("layers_block_type", nLayers, (k) => k === "mamba" || k === "attention", `"mamba" or "attention"`);
  const experts = read.has("expert_layer_period")
    ? undefined
    : read.list<number>("layers_num_experts", nLayers, (n) => n === 1 || n === nExperts, `1 or num_experts = ${nExperts}`);
  const isAttention = kinds ? undefined : read.every("attn_layer", 8, 4);
  const isMoe = experts ? undefined : read.every("expert_layer", 2, 1);
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
    layerKinds: Array.from({ length: nLayers }, (_, layer) => kinds?.[layer] ?? (isAttention?.(layer) ? "attention" : "mamba")),
    ffnKinds: Array.from({ length: nLayers }, (_, layer) =>
      nExperts > 1 && (experts ? experts[layer] > 1 : isMoe?.(layer)) ? "moe" : "mlp",
    ),
    contextLength: read.integer(read.has("max_position_embeddings") ? "max_position_embeddings" : "n_ctx", 262144, 1, limits.tokens),
    bosId: read.ids("bos_token_id", [1])[0],
    eosIds: read.ids("eos_token_id", [2]),
    padId: read.ids("pad_token_id", [0])[0],
  };
}

/** Reads values by key, and names the key of one that is wrong. @throws LoadError */
export function reader(json: Json, file: string) {
  const value = (key: string): unknown => (Object.hasOwn(json, key) ? json[key] : undefined);
  const has = (key: string) => value(key) !== undefined && value(key) !== null;
  const fail = (key: string, expected: string): never => {
    const text = JSON.stringify(value(key)) ?? "nothing";
    throw new LoadError(`${file}: ${key}: expected ${expected}, found ${text.length > 80 ? `${text.slice(0, 80)}…` : text}`);
  };
  const integer = (key: string, fallback: number, min: number, max: number): number => {
    const found = has(key) ? value(key) : fallback;
    if (!Number.isSafeInteger(found) || (found as number) < min || (found as number) > max) fail(key, `an integer in [${min}, ${max}]`);
    return found as number;
  };
  return {
    value,
    has,
    integer,
    optionalInteger: (key: string, min: number, max: number) => (has(key) ? integer(key, 0, min, max) : undefined),
    within(key: string, min: number, max: number): number | undefined {
      const found = value(key);
      if (!has(key)) return undefined;
      if (!(typeof found === "number" && found >= min && found <= max)) fail(key, `a number in [${min}, ${max}]`);
      return found as number;
    },
    positive(key: string, fallback: number): number {
      const found = has(key) ? value(key) : fallback;
      if (typeof found !== "number" || !(found > 0 && found < 1)) fail(key, "a number between 0 and 1");
      return found as number;
    },
    boolean(key: string, fallback: boolean): boolean {
      const found = has(key) ? value(key) : fallback;
      if (typeof found !== "boolean") fail(key, "true or false");
      return found as boolean;
    },
    only(key: string, expected: unknown, hint = ""): void {
      if (has(key) && value(key) !== expected) fail(key, `${JSON.stringify(expected)}${hint && ` (${hint})`}`);
    },
    ids(key: string, fallback: readonly number[]): readonly number[] {
      if (value(key) === undefined) return fallback;
      const found = [value(key) ?? []].flat();
      if (!found.every((id) => Number.isSafeInteger(id) && (id as number) >= 0 && (id as number) < limits.width))
        fail(key, "a token id or a list of them");
      return found as number[];
    },
    /** One text or a list of them. */
    texts(key: string): readonly string[] {
      const found = [value(key) ?? []].flat();
      if (!found.every((text) => typeof text === "string")) fail(key, "a text or a list of them");
      return found as string[];
    },
    /** One value for each layer, if the file has the list. */
    list<T>(key: string, length: number, valid: (value: unknown) => boolean, expected: string): readonly T[] | undefined {
      if (!has(key)) return undefined;
      const found = value(key);
      if (!Array.isArray(found) || found.length !== length || !found.every(valid)) fail(key, `${length} times ${expected}`);
      return found as T[];
    },
    /** Which layers a period and an offset name: those whose index leaves `offset` when divided by `period`. */
    every(key: "attn_layer" | "expert_layer", period: number, offset: number): (layer: number) => boolean {
      const every = integer(`${key}_period`, period, 1, limits.layers);
      const start = integer(`${key}_offset`, offset, 0, limits.layers);
      if (start >= every) fail(`${key}_offset`, `less than ${key}_period = ${every}`);
      return (layer) => layer % every === start;
    },
  };
}
