import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { parseConfig } from "./config.ts";

const v01 = { model_type: "jamba" };

describe("parseConfig", () => {
  test("defaults are Jamba-v0.1's", () => {
    const config = parseConfig(v01);
    expect(config).toMatchObject({
      dModel: 4096,
      dFf: 14336,
      dInner: 8192,
      dtRank: 256,
      nHeads: 32,
      nKvHeads: 8,
      headDim: 128,
      nExperts: 16,
      nActiveExperts: 2,
    });
    expect(config.layerKinds.flatMap((kind, i) => (kind === "attention" ? [i] : []))).toEqual([4, 12, 20, 28]);
    expect(config.ffnKinds.flatMap((kind, i) => (kind === "moe" ? [i] : []))).toEqual(Array.from({ length: 16 }, (_, i) => 2 * i + 1));
    expect(config).toMatchObject({ tiedEmbeddings: false, convBias: true, projBias: false, contextLength: 262144, eosIds: [2], bosId: 1 });
  });

  test("the 3B layout is dense, with attention at 7 and 21", () => {
    const config = parseConfig({
      ...v01,
      num_hidden_layers: 28,
      num_experts: 1,
      attn_layer_period: 14,
      attn_layer_offset: 7,
      hidden_size: 2560,
      num_attention_heads: 20,
      num_key_value_heads: 1,
    });
    expect(config.layerKinds.flatMap((kind, i) => (kind === "attention" ? [i] : []))).toEqual([7, 21]);
    expect(new Set(config.ffnKinds)).toEqual(new Set(["mlp"]));
    expect(config.nActiveExperts).toBe(1);
  });

  test("legacy keys are read or ignored", () => {
    const legacy = {
      n_ctx: 4096,
      sliding_window: null,
      use_mamba_kernels: true,
      use_mambapy: false,
      use_associative_scan: true,
      num_logits_to_keep: 1,
      calc_logits_for_entire_prompt: false,
      mamba_inner_layernorms: true,
      attention_dropout: 0,
      router_aux_loss_coef: 0.001,
      output_router_logits: false,
      attn_layer_period: 8,
      layers_block_type: ["mamba"],
      auto_map: {},
    };
    expect(parseConfig({ ...v01, ...legacy })).toEqual({ ...parseConfig(v01), contextLength: 4096 });
  });

  test.each(["silu", "swish", "SiLU", "Swish", null, undefined])("hidden_act %j is silu", (hidden_act) => {
    expect(parseConfig({ ...v01, hidden_act })).toEqual(parseConfig(v01));
  });

  test.each([-1, null])("pad_token_id %j is none", (pad_token_id) => {
    expect(parseConfig({ ...v01, pad_token_id }).padId).toBeUndefined();
  });

  test("dtRank may be given, and differ from dModel / 16", () => {
    expect(parseConfig({ ...v01, mamba_dt_rank: 9 }).dtRank).toBe(9);
    expect(parseConfig({ ...v01, mamba_dt_rank: "auto", hidden_size: 4128, head_dim: 128 }).dtRank).toBe(258);
  });

  test("null key-value heads mean as many as query heads; absent means 8", () => {
    expect(parseConfig({ ...v01, num_key_value_heads: null }).nKvHeads).toBe(32);
    expect(parseConfig(v01).nKvHeads).toBe(8);
  });

  test("head_dim wins over dModel / nHeads", () => {
    expect(parseConfig({ ...v01, head_dim: 96 }).headDim).toBe(96);
  });

  test("eos may be a list", () => {
    expect(parseConfig({ ...v01, eos_token_id: [2, 518] }).eosIds).toEqual([2, 518]);
    expect(parseConfig({ ...v01, eos_token_id: null }).eosIds).toEqual([]);
  });

  test.each([
    ["another family", { model_type: "llama" }, "model_type"],
    ["a list of layers that is too short", { layers_block_type: ["mamba"], num_hidden_layers: 2 }, "layers_block_type"],
    ["an offset that is its period", { attn_layer_offset: 8 }, "attn_layer_offset"],
    ["an expert offset beyond its period", { expert_layer_offset: 5 }, "expert_layer_offset"],
    ["a period of 0", { attn_layer_period: 0 }, "attn_layer_period"],
    ["more active experts than experts", { num_experts_per_tok: 17 }, "num_experts_per_tok"],
    ["no active expert", { num_experts_per_tok: 0 }, "num_experts_per_tok"],
    ["another activation", { hidden_act: "gelu" }, "hidden_act"],
    ["a sliding window", { sliding_window: 4096 }, "sliding_window"],
    ["a width as text", { hidden_size: "4096" }, "hidden_size"],
    ["a width with a fraction", { hidden_size: 0.5 }, "hidden_size"],
    ["layers beyond reason", { num_hidden_layers: 1e9 }, "num_hidden_layers"],
    ["heads that do not divide", { num_attention_heads: 30 }, "num_key_value_heads"],
    ["a flag as number", { tie_word_embeddings: 1 }, "tie_word_embeddings"],
    ["an eps of 0", { rms_norm_eps: 0 }, "rms_norm_eps"],
    ["a dtRank as text", { mamba_dt_rank: "full" }, "mamba_dt_rank"],
  ])("%s is refused, naming the key", (_, change, key) => {
    expect(() => parseConfig({ ...v01, ...change }, "here/config.json")).toThrow(
      expect.objectContaining({ code: "LOAD", message: expect.stringMatching(`here/config.json: ${key}`) }),
    );
  });

  const deep = `${"[".repeat(1e5)}${"]".repeat(1e5)}`;
  test.each([
    ["model_type", deep],
    ["hidden_size", deep],
    ["hidden_act", '{ "toString": 1, "valueOf": 1 }'],
    ["layer_types", '[{ "toString": 1, "valueOf": 1 }]'],
  ])("a %s that JavaScript can't print is refused like any other value", (key, value) => {
    const json = JSON.parse(`{ "model_type": "jamba", "${key}": ${value} }`);
    expect(() => parseConfig(json)).toThrow(
      expect.objectContaining({ code: "LOAD", message: expect.stringMatching(`^config.json: ${key}: expected .*, found`) }),
    );
  });

  test.each([null, [], "jamba", 7])("%j is no config", (json) => {
    expect(() => parseConfig(json)).toThrow(expect.objectContaining({ code: "LOAD" }));
  });
});

test("10,000 mutated configs end in a config or a typed error", () => {
  const text = readFileSync(new URL("../../../tiny-model/config.json", import.meta.url), "utf8");
  const values = [null, -1, 0, 1, 1e9, 1e300, 0.5, "auto", "x", [], [2], {}, true, false, Number.MAX_SAFE_INTEGER];
  const keys = Object.keys(JSON.parse(text));
  let refused = 0;
  for (let i = 0; i < 10_000; i++) {
    const json = JSON.parse(text);
    // Multiplying by a large prime walks through keys and values in a scattered order.
    for (let j = 0; j <= i % 3; j++) json[keys[(i * 7919 + j * 104729) % keys.length]] = values[(i * 31 + j * 17) % values.length];
    try {
      expect(parseConfig(json).layerKinds.length).toBeLessThanOrEqual(4096);
    } catch (error) {
      expect(error).toMatchObject({ code: expect.stringMatching(/^(LOAD|UNSUPPORTED)$/) });
      refused++;
    }
  }
  expect(refused).toBeGreaterThan(1000);
});
