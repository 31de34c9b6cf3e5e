import { expect, test } from "vitest";
import { parseConfig } from "./config.ts";

const hybrids = ["mamba", "mamba2", "falcon_mamba", "bamba", "zamba", "zamba2", "granitemoehybrid", "nemotron_h", "falcon_h1", "lfm2"];
const others = ["llama", "mixtral", "qwen3_next", "gpt2", "bert", "llava", ...hybrids];

test.each(others)("a %s is not a Jamba, and is called what it is", (model_type) => {
  expect(() => parseConfig({ model_type, architectures: ["SomeForCausalLM"] }, "x/config.json")).toThrow(
    expect.objectContaining({
      code: "LOAD",
      message: expect.stringMatching(
        new RegExp(`^x/config\\.json: model_type: expected "jamba", found "${model_type}" \\(SomeForCausalLM\\); not a Jamba: .* may run`),
      ),
    }),
  );
});

test.each<[string, object, RegExp]>([
  [
    "only architectures",
    { architectures: ["LlamaForCausalLM"] },
    /architectures: expected "JambaForCausalLM", found \(LlamaForCausalLM\); not a/,
  ],
  ["a number for a family", { model_type: 7 }, /model_type: expected "jamba", found 7; not a Jamba/],
  [
    "state-spaces' own Mamba",
    { d_model: 768, n_layer: 24, ssm_cfg: {}, rms_norm: true },
    /found none, and the keys ssm_cfg, d_model of other/,
  ],
  ["GPT-2's form", { n_embd: 768, n_head: 12 }, /the keys n_embd of other models; not a Jamba/],
  ["Meta's form", { dim: 4096, n_layers: 32 }, /the keys dim of other models; not a Jamba/],
  ["diffusers", { _class_name: "UNet2DConditionModel" }, /the keys _class_name of other models; not a Jamba/],
  ["a Jamba within another model", { model_type: "llava", text_config: { model_type: "jamba" } }, /found "llava"; not a Jamba/],
])("%s is not a Jamba", (_, json, message) => {
  expect(() => parseConfig(json)).toThrow(expect.objectContaining({ code: "LOAD", message: expect.stringMatching(message) }));
});

test.each<object>([
  {},
  { architectures: ["JambaForCausalLM"] },
  { model_type: "jamba", architectures: ["JambaForSequenceClassification"] },
  { model_type: null, architectures: null, hidden_size: 64, num_attention_heads: 2, num_key_value_heads: 1, dim: 1 },
])("%j is one as far as it says", (json) => {
  expect(parseConfig(json).nLayers).toBe(32);
});
