// What config.json would say of the model in a GGUF file, from metadata and, where metadata is silent or known to be wrong, from tensors.

import { JambaError, LoadError } from "@jamba/core";
import { quote } from "../source/untrusted.ts";
import type { GgufHeader, GgufValue } from "./header.ts";

const architecture = "jamba";
// The limit of model/config.ts, checked before lists of one value per layer are made: a damaged count would fill the memory.
const maxLayers = 4096;

/**
 * An object for `parseConfig`, in transformers' names. The kind of each layer is listed in `layers_block_type` and
 * `layers_num_experts`: the files have no periods.
 * @throws LoadError naming the key; JambaError UNSUPPORTED for another model family
 */
export function ggufConfig(header: GgufHeader): Record<string, unknown> {
  const { file, metadata, tensors } = header;
  const family = metadata.get("general.architecture");
  if (family === undefined) throw new LoadError(`${file}: metadata general.architecture: expected "${architecture}", found none`);
  if (family !== architecture) {
    throw new JambaError(
      "UNSUPPORTED",
      `${file}: metadata general.architecture: expected "${architecture}", found ${show(family)}; is it another model family?`,
    );
  }
  const read = reader(header);
  const nLayers = read.count("block_count");
  if (nLayers > maxLayers) read.fail("block_count", `at most ${maxLayers} layers`);
  const dModel = read.count("embedding_length");
  const nHeads = read.count("attention.head_count");
  const kvHeads = kvHeadsOf(header, nLayers);
  const kinds = kvHeads.map((count) => (count > 0 ? "attention" : "mamba"));
  for (const [layer, kind] of kinds.entries()) checkKind(header, layer, kind);

  const layers = Array.from({ length: nLayers }, (_, layer) => `blk.${layer}`);
  const rowsOf = (suffix: string) => first(layers, (at) => tensors.get(`${at}.${suffix}`)?.shape[0]);
  const has = (suffix: string) => layers.some((at) => tensors.has(`${at}.${suffix}`));
  const isMoe = (at: string) => tensors.has(`${at}.ffn_gate_inp.weight`) || tensors.has(`${at}.ffn_gate_exps.weight`);
  // Counted from tensors: the count in the metadata of dense models means nothing.
  const nExperts = rowsOf("ffn_gate_inp.weight") ?? rowsOf("ffn_gate_exps.weight") ?? 1;
  const queryRows = rowsOf("attn_q.weight");
  const tokens = metadata.get("tokenizer.ggml.tokens");

  return withoutUndefined({
    model_type: architecture,
    vocab_size: tensors.get("token_embd.weight")?.shape[0] ?? (Array.isArray(tokens) ? tokens.length : read.optional("vocab_size")),
    hidden_size: dModel,
    intermediate_size: read.count("feed_forward_length"),
    num_hidden_layers: nLayers,
    num_attention_heads: nHeads,
    num_key_value_heads: kvHeads.find((count) => count > 0) ?? nHeads,
    head_dim: read.optional("attention.key_length") ?? (queryRows && queryRows / nHeads),
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

/** KV heads of each layer, none for Mamba. One number for all layers says that there is no Mamba. */
function kvHeadsOf({ file, metadata }: GgufHeader, nLayers: number): number[] {
  const key = `${architecture}.attention.head_count_kv`;
  const found = metadata.get(key);
  const counts = isNumbers(found) ? found : typeof found === "number" ? new Array<number>(nLayers).fill(found) : [];
  const attention = counts.length === nLayers ? Array.from(counts).filter((count) => count !== 0) : [Number.NaN];
  if (!attention.every((count) => Number.isSafeInteger(count) && count > 0 && count === attention[0])) {
    const expected = `one number for each of ${nLayers} layers, 0 for Mamba and the same for all attention`;
    throw new LoadError(`${file}: metadata ${key}: expected ${expected}, found ${show(found)}`);
  }
  return Array.from(counts);
}

function checkKind({ file, tensors }: GgufHeader, layer: number, kind: "mamba" | "attention"): void {
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
  const count = (key: string, found = metadata.get(key)): number => {
    if (!Number.isSafeInteger(found) || (found as number) < 0) fail(key, "a count");
    return found as number;
  };
  const optional = (key: string) => (metadata.has(key) ? count(key) : undefined);
  const tokens = metadata.get("tokenizer.ggml.tokens");
  const ofModel = (key: string) => `${architecture}.${key}`;
  return {
    fail: (key: string, expected: string) => fail(ofModel(key), expected),
    count: (key: string) => count(ofModel(key)),
    optional: (key: string) => optional(ofModel(key)),
    number(key: string): number | undefined {
      const found = metadata.get(ofModel(key));
      if (found !== undefined && typeof found !== "number") fail(ofModel(key), "a number");
      return found as number | undefined;
    },
    token(name: string): number | undefined {
      const key = `tokenizer.ggml.${name}_token_id`;
      const id = metadata.get(key);
      // What means none, or the id of no token, is told where the tokenizer is read.
      const isNone = id === -1 || id === 2 ** 32 - 1 || (Array.isArray(tokens) && (id as number) >= tokens.length);
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

function isNumbers(value: GgufValue | undefined): value is number[] | Uint32Array | Int32Array {
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
