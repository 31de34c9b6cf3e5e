import { describe, expect, it } from "vitest";
import { parseConfig } from "../model/config.ts";
import { modelTensors } from "../model/tensors.ts";
import { ggufNameOf, hfNameOf } from "./names.ts";

describe("names of tensors", () => {
  const config = parseConfig({ num_hidden_layers: 12, mamba_proj_bias: true, num_experts: 4 });

  it("of every weight of a model lead to GGUF's and back, each to its own", () => {
    const names = modelTensors(config).map(({ name }) => name);
    const there = names.map((name) => ggufNameOf(name)!);
    expect(there).not.toContain(undefined);
    expect(new Set(there).size).toBe(names.length);
    expect(there.map(hfNameOf)).toEqual(names);
  });

  // The list of llama.cpp's converter (gguf-py's tensor_mapping.py, architecture jamba).
  it.each([
    ["token_embd.weight", "model.embed_tokens.weight"],
    ["output_norm.weight", "model.final_layernorm.weight"],
    ["output.weight", "lm_head.weight"],
    ["blk.0.attn_norm.weight", "model.layers.0.input_layernorm.weight"],
    ["blk.0.ffn_norm.weight", "model.layers.0.pre_ff_layernorm.weight"],
    ["blk.4.attn_q.weight", "model.layers.4.self_attn.q_proj.weight"],
    ["blk.4.attn_k.weight", "model.layers.4.self_attn.k_proj.weight"],
    ["blk.4.attn_v.weight", "model.layers.4.self_attn.v_proj.weight"],
    ["blk.4.attn_output.weight", "model.layers.4.self_attn.o_proj.weight"],
    ["blk.3.ssm_in.weight", "model.layers.3.mamba.in_proj.weight"],
    ["blk.3.ssm_conv1d.weight", "model.layers.3.mamba.conv1d.weight"],
    ["blk.3.ssm_conv1d.bias", "model.layers.3.mamba.conv1d.bias"],
    ["blk.3.ssm_x.weight", "model.layers.3.mamba.x_proj.weight"],
    ["blk.3.ssm_dt.weight", "model.layers.3.mamba.dt_proj.weight"],
    ["blk.3.ssm_dt.bias", "model.layers.3.mamba.dt_proj.bias"],
    ["blk.3.ssm_dt_norm.weight", "model.layers.3.mamba.dt_layernorm.weight"],
    ["blk.3.ssm_b_norm.weight", "model.layers.3.mamba.b_layernorm.weight"],
    ["blk.3.ssm_c_norm.weight", "model.layers.3.mamba.c_layernorm.weight"],
    ["blk.3.ssm_a", "model.layers.3.mamba.A"],
    ["blk.3.ssm_d", "model.layers.3.mamba.D"],
    ["blk.3.ssm_out.weight", "model.layers.3.mamba.out_proj.weight"],
    ["blk.71.ffn_gate.weight", "model.layers.71.feed_forward.gate_proj.weight"],
    ["blk.71.ffn_up.weight", "model.layers.71.feed_forward.up_proj.weight"],
    ["blk.71.ffn_down.weight", "model.layers.71.feed_forward.down_proj.weight"],
    ["blk.1.ffn_gate_inp.weight", "model.layers.1.feed_forward.router.weight"],
    ["blk.1.ffn_gate_exps.weight", "model.layers.1.feed_forward.experts.gate_proj"],
    ["blk.1.ffn_up_exps.weight", "model.layers.1.feed_forward.experts.up_proj"],
    ["blk.1.ffn_down_exps.weight", "model.layers.1.feed_forward.experts.down_proj"],
    ["blk.1.ffn_gate.15.weight", "model.layers.1.feed_forward.experts.15.gate_proj.weight"],
    ["blk.1.ffn_up.0.weight", "model.layers.1.feed_forward.experts.0.up_proj.weight"],
    ["blk.1.ffn_down.7.weight", "model.layers.1.feed_forward.experts.7.down_proj.weight"],
  ])("%s is %s", (gguf, hf) => {
    expect(hfNameOf(gguf)).toBe(hf);
    expect(ggufNameOf(hf)).toBe(gguf);
  });

  it.each([
    "rope_freqs.weight",
    "blk.0.rope_freqs.weight",
    "blk.00.ssm_a",
    "blk.x.ssm_a",
    "blk.0.ssm_a.weight",
    "blk.0.output.weight",
    "blk.0.ffn_gate.#.weight",
    "blk.0.ffn_gate.01.weight",
    "blk.0.",
    "blk.0",
    "blk.",
    "",
    "ssm_a",
    "model.embed_tokens.weight",
    "toString",
  ])("%j is none of Jamba's", (name) => {
    expect(hfNameOf(name)).toBeUndefined();
  });

  it.each(["model.layers.0.mamba.A_log", "model.norm.weight", "token_embd.weight", "model.layers.0.lm_head.weight"])(
    "%s has no place in GGUF",
    (name) => {
      expect(ggufNameOf(name)).toBeUndefined();
    },
  );
});
