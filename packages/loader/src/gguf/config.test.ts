import { JambaError, LoadError } from "@jamba/core";
import { describe, expect, it } from "vitest";
import { type JambaConfig, parseConfig } from "../model/config.ts";
import { modelTensors } from "../model/tensors.ts";
import { ggufConfig } from "./config.ts";
import type { GgufHeader, GgufTensor, GgufValue } from "./header.ts";
import { ggufNameOf } from "./names.ts";

/** What a converter writes for a model, with changes; undefined takes an entry out. */
function headerOf(config: JambaConfig, changes: Record<string, GgufValue | undefined> = {}): GgufHeader {
  const kvHeads = config.layerKinds.map((kind) => (kind === "attention" ? config.nKvHeads : 0));
  const entries: Record<string, GgufValue | undefined> = {
    "general.architecture": "jamba",
    "jamba.block_count": config.nLayers,
    "jamba.context_length": config.contextLength,
    "jamba.embedding_length": config.dModel,
    "jamba.feed_forward_length": config.dFf,
    "jamba.attention.head_count": config.nHeads,
    "jamba.attention.head_count_kv": Int32Array.from(kvHeads),
    "jamba.attention.layer_norm_rms_epsilon": Math.fround(config.rmsNormEps),
    "jamba.ssm.conv_kernel": config.dConv,
    "jamba.ssm.inner_size": config.dInner,
    "jamba.ssm.state_size": config.dState,
    "jamba.ssm.time_step_rank": config.dtRank,
    "jamba.expert_count": config.nExperts,
    "jamba.expert_used_count": config.nActiveExperts,
    "tokenizer.ggml.bos_token_id": config.bosId,
    "tokenizer.ggml.eos_token_id": config.eosIds[0],
    "tokenizer.ggml.padding_token_id": config.padId,
    ...changes,
  };
  const tensors = modelTensors(config).map(({ name, shape }): GgufTensor => {
    const gguf = ggufNameOf(name)!;
    return { name: gguf, dtype: "f32", type: "F32", shape, file: "m.gguf", offset: 0, sizeBytes: 0 };
  });
  const metadata = new Map(Object.entries(entries).filter((entry): entry is [string, GgufValue] => entry[1] !== undefined));
  return {
    file: "m.gguf",
    version: 3,
    metadata,
    tensors: new Map(tensors.map((tensor) => [tensor.name, tensor])),
    alignment: 32,
    dataStart: 0,
  };
}

const mini = { num_hidden_layers: 32, num_attention_heads: 32, num_key_value_heads: 8 };
const models: Record<string, object> = {
  "Jamba Mini": mini,
  "Jamba Large": { hidden_size: 8192, num_hidden_layers: 72, intermediate_size: 24576, num_attention_heads: 64, num_key_value_heads: 8 },
  "Reasoning 3B": {
    ...{
      hidden_size: 2560,
      num_hidden_layers: 28,
      intermediate_size: 8192,
      num_attention_heads: 20,
      num_key_value_heads: 1,
      num_experts: 1,
    },
    ...{ attn_layer_period: 14, attn_layer_offset: 7, tie_word_embeddings: true },
  },
  "a model with its own head_dim and rank": { ...mini, head_dim: 64, mamba_dt_rank: 77, mamba_d_state: 64, mamba_expand: 3 },
  "a model without attention": { ...mini, layers_block_type: new Array(32).fill("mamba"), num_key_value_heads: 32 },
  "a model without Mamba": { ...mini, layers_block_type: new Array(32).fill("attention"), mamba_conv_bias: false },
  "a model without order": {
    ...{
      num_hidden_layers: 3,
      num_experts: 6,
      num_experts_per_tok: 3,
      rms_norm_eps: 1.5e-5,
      mamba_proj_bias: true,
      mamba_conv_bias: false,
    },
    ...{ layers_block_type: ["attention", "mamba", "attention"], layers_num_experts: [6, 6, 1], bos_token_id: null, pad_token_id: null },
  },
};

describe("the config of a GGUF file", () => {
  it.each(Object.entries(models))("says of %s what config.json says", (_, json) => {
    const config = parseConfig(json);
    expect(parseConfig(ggufConfig(headerOf(config)))).toEqual(config);
  });

  const config = parseConfig({ num_hidden_layers: 9, num_attention_heads: 8, hidden_size: 512 });
  const read = (changes: Record<string, GgufValue | undefined>) => parseConfig(ggufConfig(headerOf(config, changes)));

  it("trusts tensors where metadata is known to be wrong or silent", () => {
    expect(read({ "jamba.expert_count": 1 }).nExperts).toBe(16);
    expect(read({ "jamba.expert_count": undefined })).toEqual(config);
    expect(read({ "jamba.ssm.time_step_rank": 1 }).dtRank).toBe(config.dtRank);
    expect(read({ "jamba.attention.layer_norm_rms_epsilon": undefined })).toEqual(config);
    expect(read({ "jamba.context_length": undefined }).contextLength).toBe(262144);
    expect(read({ "jamba.vocab_size": 7 }).vocabSize).toBe(config.vocabSize);
    const dense = parseConfig({ num_hidden_layers: 6, num_experts: 1 });
    expect(parseConfig(ggufConfig(headerOf(dense, { "jamba.expert_count": 16, "jamba.expert_used_count": 2 })))).toEqual(dense);
  });

  it("counts experts that are not stacked", () => {
    const header = headerOf(config);
    const tensors = new Map([...header.tensors].filter(([name]) => !name.includes("_exps")));
    expect(parseConfig(ggufConfig({ ...header, tensors }))).toEqual(config);
  });

  it("ends a text with every end that the file names", () => {
    expect(read({ "tokenizer.ggml.eot_token_id": 518, "tokenizer.ggml.eos_token_id": 2 }).eosIds).toEqual([2, 518]);
    expect(read({ "tokenizer.ggml.eos_token_id": undefined }).eosIds).toEqual([]);
  });

  it("takes the vocabulary's size from the tokens when the embedding is elsewhere", () => {
    const header = headerOf(config, { "tokenizer.ggml.tokens": ["a", "b"] });
    const tensors = new Map(header.tensors);
    tensors.delete("token_embd.weight");
    expect(ggufConfig({ ...header, tensors }).vocab_size).toBe(2);
  });

  const each = (count: number, ofMamba = count) => config.layerKinds.map((kind) => (kind === "attention" ? count : ofMamba));
  const [ff, heads, kv] = ["jamba.feed_forward_length", "jamba.attention.head_count", "jamba.attention.head_count_kv"];
  const without = (key: string): Record<string, GgufValue | undefined> => ({ [key]: undefined });
  it.each<[string, Record<string, GgufValue | undefined>]>([
    ["widths for each layer", { [ff]: Int32Array.from(each(config.dFf)) }],
    ["widths for each layer, as 64 bits", { [ff]: each(config.dFf) }],
    ["widths for each layer, as floats", { [ff]: Float32Array.from(each(config.dFf)) }],
    ["heads for each layer", { [heads]: Uint32Array.from(each(8)) }],
    ["heads for each layer of attention", { [heads]: Int32Array.from(each(8, 0)) }],
    ["heads for each layer of attention, and one number of KV heads", { [heads]: Int32Array.from(each(8, 0)), [kv]: 8 }],
    ["one number of KV heads: tensors say which layers", { [kv]: 8 }],
    ["no number of KV heads: tensors say how many", without(kv)],
    ["KV heads as a list of 64 bits", { [kv]: each(8, 0) }],
    ["KV heads as u32", { [kv]: Uint32Array.from(each(8, 0)) }],
    ["KV heads as f32", { [kv]: Float32Array.from(each(8, 0)) }],
    ["KV heads as u8", { [kv]: Uint8Array.from(each(8, 0)) }],
    ["layers of attention as truth values: tensors say how many heads", { [kv]: Uint8Array.from(each(1, 0)) }],
    ["no width: tensors say it", without(ff)],
    ["a state size for each layer", { "jamba.ssm.state_size": Int32Array.from(each(config.dState)) }],
    ["an epsilon for each layer", { "jamba.attention.layer_norm_rms_epsilon": Float32Array.from(each(1e-6)) }],
  ])("may say %s", (_, changes) => {
    expect(read(changes)).toEqual(config);
  });

  it("may have one number of KV heads when every layer has attention or none has", () => {
    for (const name of ["a model without Mamba", "a model without attention"]) {
      const all = parseConfig(models[name]);
      const one = headerOf(all, { [kv]: all.layerKinds[0] === "mamba" ? 0 : 8 });
      expect(parseConfig(ggufConfig(one))).toEqual(all);
    }
  });

  const kvHeads = (...heads: number[]) => ({ "jamba.attention.head_count_kv": Int32Array.from(heads) });
  it.each<[string, Record<string, GgufValue | undefined>, RegExp]>([
    ["no architecture", { "general.architecture": undefined }, /general\.architecture: expected "jamba", found none/],
    ["no layers", { "jamba.block_count": undefined }, /jamba\.block_count: expected a count, found none/],
    ["too many layers", { "jamba.block_count": 2 ** 31 }, /jamba\.block_count: expected at most 4096 layers, found 2147483648/],
    ["a width in words", { "jamba.embedding_length": "4096" }, /jamba\.embedding_length: expected a count, found "4096"/],
    ["a negative width", { "jamba.feed_forward_length": -1 }, /feed_forward_length: expected a count, found -1/],
    ["half a head", { "jamba.attention.head_count": 0.5 }, /head_count: expected one count, or one for each of 9 layers, found 0\.5/],
    ["a long width", { "jamba.ssm.inner_size": 2n ** 60n }, /inner_size: expected a count, found 1152921504606846976/],
    ["an epsilon in words", { "jamba.attention.layer_norm_rms_epsilon": "small" }, /epsilon: expected a number, found "small"/],
    ["an id in words", { "tokenizer.ggml.eos_token_id": "</s>" }, /eos_token_id: expected a count/],
    ["no heads", { "jamba.attention.head_count": undefined }, /head_count: expected a count, found none/],
    [
      "widths that differ",
      { [ff]: Int32Array.from(each(config.dFf).with(3, 7)) },
      /feed_forward_length: .* same number for all layers, found 14336 for layer 0 and 7 for layer 3/,
    ],
    [
      "too few widths",
      { [ff]: Int32Array.of(8, 8) },
      /feed_forward_length: expected one number, or one for each of 9 layers, found a list of 2: "8 8"/,
    ],
    [
      "a width of none",
      { [ff]: Int32Array.from(each(config.dFf, 0)) },
      /feed_forward_length: .* found 0 for layer 0 and 14336 for layer 4/,
    ],
    [
      "heads that differ",
      { [kv]: Int32Array.from(each(8, 0).with(8, 8)), [heads]: Int32Array.from(each(8).with(8, 4)) },
      /head_count: expected the same count for all layers of attention, found 8 for layer 4 and 4 for layer 8/,
    ],
    [
      "attention without heads",
      { [heads]: Int32Array.from(each(8).with(4, 0)), [kv]: Int32Array.from(each(8, 0)) },
      /head_count: expected heads for layer 4, which has attention, found 0/,
    ],
    ["a layout in words", { "jamba.attention.head_count_kv": ["0"] }, /found a list of 1/],
    ["a short layout", kvHeads(0, 8), /head_count_kv: expected one count, or one for each of 9 layers, found a list of 2: "0 8"/],
    [
      "KV heads that differ",
      kvHeads(0, 0, 0, 0, 8, 0, 0, 0, 4),
      /expected the same count for all layers of attention, found 8 for layer 4 and 4 for layer 8/,
    ],
    ["negative KV heads", kvHeads(0, 0, 0, 0, -8, 0, 0, 0, 0), /one for each of 9 layers, found a list of 9: "0 0 0 0 -8/],
    ["attention in another place", kvHeads(0, 0, 0, 8, 0, 0, 0, 0, 0), /blk\.3: expected attn_q\.weight, .* found blk\.3\.ssm_in/],
    ["no attention though there is", kvHeads(0, 0, 0, 0, 0, 0, 0, 0, 0), /blk\.4: expected ssm_in\.weight, .* found blk\.4\.attn_q/],
  ])("is refused for %s", (_, changes, message) => {
    expect(() => read(changes)).toThrow(LoadError);
    expect(() => read(changes)).toThrow(message);
    expect(() => read(changes)).toThrow(/^m\.gguf: /);
  });

  it.each<[string, Record<string, GgufValue>, string]>([
    ["another family", { "general.architecture": "llama" }, 'general.architecture: expected "jamba", found "llama"; not a Jamba'],
    ["a related family", { "general.architecture": "granitehybrid" }, 'expected "jamba", found "granitehybrid"; not a Jamba'],
    ["an adapter", { "general.type": "adapter" }, 'general.type: expected "model", found "adapter"; merge it into its base model'],
    [
      "what sees for a model",
      { "general.type": "mmproj", "general.architecture": "clip" },
      'general.type: expected "model", found "mmproj"',
    ],
  ])("is refused as unsupported for %s", (_, changes, message) => {
    expect(() => read(changes)).toThrow(JambaError);
    expect(() => read(changes)).toThrow(expect.objectContaining({ code: "UNSUPPORTED", message: expect.stringContaining(message) }));
    expect(read({ "general.type": "model" })).toEqual(config);
  });
});
