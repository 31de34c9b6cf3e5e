// What config.json would say of the model in a GGUF file, from metadata and, where metadata is silent or known to be wrong, from tensors.

import { JambaError, LoadError } from "@jamba/core";
import { limits } from "../model/config-reader.ts";
import { otherFamily } from "../model/family.ts";
import type { LayerKind } from "../model/layers.ts";
import { quote } from "../source/untrusted.ts";
import type { GgufHeader, GgufValue } from "./header.ts";
import { isNoId } from "./token-types.ts";

const architecture = "jamba";

/**
 * An object for `parseConfig`, in transformers' names. The kind of each layer is listed in `layers_block_type` and
 * `layers_num_experts`: the files have no periods.
 * @throws LoadError naming the key; JambaError UNSUPPORTED for another model family
 */
export function ggufConfig(header: GgufHeader): Record<string, unknown> {
  const { metadata, tensors } = header;
  expectModel(header);
  const read = reader(header);
  const nLayers = read.count("block_count");
  // Before lists of one value per layer are made: a damaged count would fill the memory.
  if (nLayers > limits.layers) read.fail("block_count", `at most ${limits.layers} layers`);
  const dModel = read.count("embedding_length");
  const { kinds, nHeads, nKvHeads } = attentionOf(header, nLayers);
  for (const [layer, kind] of kinds.entries()) checkKind(header, layer, kind);

  const layers = Array.from({ length: nLayers }, (_, layer) => `blk.${layer}`);
  const rowsOf = (suffix: string, axis = 0) => first(layers, (at) => tensors.get(`${at}.${suffix}`)?.shape[axis]);
  const has = (suffix: string) => layers.some((at) => tensors.has(`${at}.${suffix}`));
  const isMoe = (at: string) => tensors.has(`${at}.ffn_gate_inp.weight`) || tensors.has(`${at}.ffn_gate_exps.weight`);
  // Counted from tensors: the count in the metadata of dense models means nothing.
  const nExperts = rowsOf("ffn_gate_inp.weight") ?? rowsOf("ffn_gate_exps.weight") ?? 1;
  const queryRows = rowsOf("attn_q.weight");
  const headDim = read.optional("attention.key_length") ?? (queryRows && queryRows / nHeads);
  const tokens = metadata.get("tokenizer.ggml.tokens");
  const ffRows = rowsOf("ffn_up.weight") ?? rowsOf("ffn_up_exps.weight", 1) ?? rowsOf("ffn_up.0.weight");
  const keyRows = rowsOf("attn_k.weight");

  return withoutUndefined({
    model_type: architecture,
    vocab_size: tensors.get("token_embd.weight")?.shape[0] ?? (Array.isArray(tokens) ? tokens.length : read.optional("vocab_size")),
    hidden_size: dModel,
    intermediate_size: read.optional("feed_forward_length") ?? ffRows ?? read.count("feed_forward_length"),
    num_hidden_layers: nLayers,
    num_attention_heads: nHeads,
    num_key_value_heads: nKvHeads ?? (keyRows && headDim ? keyRows / headDim : nHeads),
    head_dim: headDim,
    mamba_d_conv: read.count("ssm.conv_kernel"),
    mamba_d_state: read.count("ssm.state_size"),
    mamba_expand: read.count("ssm.inner_size") / dModel,
    mamba_dt_rank: first(layers, (at) => tensors.get(`${at}.ssm_dt.weight`)?.shape[1]) ?? read.count("ssm.time_step_rank"),
    mamba_conv_bias: has("ssm_conv1d.bias"),
    mamba_proj_bias: has("ssm_in.bias"),
    rms_norm_eps: shortened(read.number("attention.layer_norm_rms_epsilon") ?? 1e-6),
    num_experts: nExperts,
    num_experts_per_tok: nExperts > 1 ? read.optional("expert_used_count") : 1,
    layers_block_type: kinds,
    layers_num_experts: layers.map((at) => (isMoe(at) ? nExperts : 1)),
    max_position_embeddings: read.optional("context_length"),
    tie_word_embeddings: !tensors.has("output.weight"),
    bos_token_id: read.token("bos") ?? null,
    // Some files name the token that ends a turn under a key of its own.
    eos_token_id: ["eos", "eot", "eom"].flatMap((name) => read.token(name) ?? []),
    pad_token_id: read.token("padding") ?? null,
  });
}

function expectModel({ file, metadata }: GgufHeader): void {
  const refuse = (key: string, expected: string, hint: string) =>
    new JambaError("UNSUPPORTED", `${file}: metadata ${key}: expected "${expected}", found ${show(metadata.get(key))}; ${hint}`);
  const type = metadata.get("general.type");
  if (type === "adapter") throw refuse("general.type", "model", "merge it into its base model (llama-export-lora) and load that");
  if (type !== undefined && type !== "model") throw refuse("general.type", "model", "it goes beside a model and is none");
  const family = metadata.get("general.architecture");
  if (family === undefined) throw new LoadError(`${file}: metadata general.architecture: expected "${architecture}", found none`);
  if (family !== architecture) throw refuse("general.architecture", architecture, otherFamily);
}

/**
 * Which layers have attention, and heads of how many. Lists say which: 0 is for Mamba. Where there is one number for all, tensors do.
 * @returns nKvHeads undefined where only tensors tell it
 */
function attentionOf(header: GgufHeader, nLayers: number): { kinds: LayerKind[]; nHeads: number; nKvHeads?: number } {
  const { file, metadata, tensors } = header;
  const key = { heads: "attention.head_count", kvHeads: "attention.head_count_kv" };
  const read = reader(header);
  const heads = read.perLayer(key.heads, nLayers) ?? read.fail(key.heads, "a count");
  const kvHeads = read.perLayer(key.kvHeads, nLayers);
  const isList = (name: string) => typeof metadata.get(`${architecture}.${name}`) === "object";
  const layout = isList(key.kvHeads) ? kvHeads : isList(key.heads) && heads.includes(0) ? heads : undefined;
  const kinds = heads.map((_, layer): LayerKind => {
    if (layout) return layout[layer] > 0 ? "attention" : "mamba";
    return kvHeads?.[layer] === 0 || tensors.has(`blk.${layer}.ssm_in.weight`) ? "mamba" : "attention";
  });
  const ofAttention = (name: string, counts: readonly number[]): number | undefined => {
    const at = kinds.flatMap((kind, layer) => (kind === "attention" ? [layer] : []));
    const other = at.find((layer) => counts[layer] !== counts[at[0]] || counts[layer] === 0);
    if (other === undefined) return counts[at[0]];
    const expected =
      counts[other] === 0
        ? `heads for layer ${other}, which has attention, found 0`
        : `the same count for all layers of attention, found ${counts[at[0]]} for layer ${at[0]} and ${counts[other]} for layer ${other}`;
    throw new LoadError(`${file}: metadata ${architecture}.${name}: expected ${expected}`);
  };
  // Of truth values the file says which layers, not how many heads.
  const isFlags = metadata.get(`${architecture}.${key.kvHeads}`) instanceof Uint8Array && kvHeads?.every((count) => count <= 1);
  return {
    kinds,
    nHeads: ofAttention(key.heads, heads) ?? (heads.find((count) => count > 0) || 1),
    nKvHeads: kvHeads && !isFlags ? ofAttention(key.kvHeads, kvHeads) : undefined,
  };
}

function checkKind({ file, tensors }: GgufHeader, layer: number, kind: LayerKind): void {
  const [own, other] = kind === "mamba" ? ["ssm_in", "attn_q"] : ["attn_q", "ssm_in"];
  const found = `blk.${layer}.${other}.weight`;
  if (!tensors.has(found)) return;
  throw new LoadError(
    `${file}: blk.${layer}: expected ${own}.weight, since ${architecture}.attention.head_count_kv makes it a layer of ${kind}, found ${found}`,
  );
}

function reader({ file, metadata }: GgufHeader) {
  const fail = (key: string, expected: string): never => {
    throw new LoadError(`${file}: metadata ${key}: expected ${expected}, found ${show(metadata.get(key))}`);
  };
  const isCount = (found: unknown): found is number => Number.isSafeInteger(found) && (found as number) >= 0;
  /** Of numbers that converters may write for each layer, the one that all share. */
  const shared = (key: string): GgufValue | undefined => {
    const found = metadata.get(key);
    if (!isNumbers(found)) return found;
    const nLayers = metadata.get(`${architecture}.block_count`);
    if (found.length !== nLayers) fail(key, `one number, or one for each of ${String(nLayers)} layers`);
    const other = Array.from(found).findIndex((value) => value !== found[0]);
    if (other < 0) return found[0];
    throw new LoadError(
      `${file}: metadata ${key}: expected the same number for all layers, found ${found[0]} for layer 0 and ${found[other]} for layer ${other}`,
    );
  };
  const count = (key: string): number => {
    const found = shared(key);
    return isCount(found) ? found : fail(key, "a count");
  };
  const optional = (key: string) => (metadata.has(key) ? count(key) : undefined);
  const tokens = metadata.get("tokenizer.ggml.tokens");
  const ofModel = (key: string) => `${architecture}.${key}`;
  return {
    fail: (key: string, expected: string) => fail(ofModel(key), expected),
    count: (key: string) => count(ofModel(key)),
    optional: (key: string) => optional(ofModel(key)),
    /** A count for each layer, from a list of them or one number for all. */
    perLayer(key: string, nLayers: number): number[] | undefined {
      const found = metadata.get(ofModel(key));
      if (found === undefined) return undefined;
      const counts = isNumbers(found) ? Array.from(found) : new Array<GgufValue>(nLayers).fill(found);
      if (counts.length !== nLayers || !counts.every(isCount)) fail(ofModel(key), `one count, or one for each of ${nLayers} layers`);
      return counts as number[];
    },
    number(key: string): number | undefined {
      const found = shared(ofModel(key));
      if (found !== undefined && typeof found !== "number") fail(ofModel(key), "a number");
      return found as number | undefined;
    },
    token(name: string): number | undefined {
      const key = `tokenizer.ggml.${name}_token_id`;
      const id = metadata.get(key);
      // What means none, or the id of no token, is told where the tokenizer is read.
      const isNone = isNoId(id) || (Array.isArray(tokens) && (id as number) >= tokens.length);
      return isNone ? undefined : optional(key);
    },
  };
}

/** Metadata has f32: the decimal that was meant is the shortest one that rounds to it. */
function shortened(value: number): number {
  for (let digits = 1; digits <= 9; digits++) {
    const short = Number(value.toPrecision(digits));
    if (Math.fround(short) === value) return short;
  }
  return value;
}

function first<T, R>(list: readonly T[], find: (item: T) => R | undefined): R | undefined {
  for (const item of list) {
    const found = find(item);
    if (found !== undefined) return found;
  }
  return undefined;
}

function isNumbers(value: GgufValue | undefined): value is number[] | Uint32Array {
  return (Array.isArray(value) || ArrayBuffer.isView(value)) && typeof (value as ArrayLike<unknown>)[0] === "number";
}

function withoutUndefined(object: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(object).filter(([, value]) => value !== undefined));
}

function show(value: GgufValue | undefined): string {
  if (value === undefined) return "none";
  if (typeof value === "string") return quote(value);
  return typeof value === "object"
    ? `a list of ${value.length}: ${quote(Array.from<unknown>(value.slice(0, 20)).join(" "))}`
    : String(value);
}
