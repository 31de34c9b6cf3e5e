// The names that llama.cpp's converter gives to Jamba's tensors, and those that the rest of the loader knows them by.

/** Within a layer: after `blk.N.` there, after `model.layers.N.` here. */
const layerNames: readonly (readonly [gguf: string, hf: string])[] = [
  ["attn_norm.weight", "input_layernorm.weight"],
  ["attn_q.weight", "self_attn.q_proj.weight"],
  ["attn_k.weight", "self_attn.k_proj.weight"],
  ["attn_v.weight", "self_attn.v_proj.weight"],
  ["attn_output.weight", "self_attn.o_proj.weight"],
  ["ssm_in.weight", "mamba.in_proj.weight"],
  ["ssm_in.bias", "mamba.in_proj.bias"],
  ["ssm_conv1d.weight", "mamba.conv1d.weight"],
  ["ssm_conv1d.bias", "mamba.conv1d.bias"],
  ["ssm_x.weight", "mamba.x_proj.weight"],
  ["ssm_dt.weight", "mamba.dt_proj.weight"],
  ["ssm_dt.bias", "mamba.dt_proj.bias"],
  // -exp(A_log), where transformers keeps A_log itself.
  ["ssm_a", "mamba.A"],
  ["ssm_d", "mamba.D"],
  ["ssm_dt_norm.weight", "mamba.dt_layernorm.weight"],
  ["ssm_b_norm.weight", "mamba.b_layernorm.weight"],
  ["ssm_c_norm.weight", "mamba.c_layernorm.weight"],
  ["ssm_out.weight", "mamba.out_proj.weight"],
  ["ssm_out.bias", "mamba.out_proj.bias"],
  ["ffn_norm.weight", "pre_ff_layernorm.weight"],
  ["ffn_gate_inp.weight", "feed_forward.router.weight"],
  ["ffn_gate_exps.weight", "feed_forward.experts.gate_proj"],
  ["ffn_up_exps.weight", "feed_forward.experts.up_proj"],
  ["ffn_down_exps.weight", "feed_forward.experts.down_proj"],
  ["ffn_gate.weight", "feed_forward.gate_proj.weight"],
  ["ffn_up.weight", "feed_forward.up_proj.weight"],
  ["ffn_down.weight", "feed_forward.down_proj.weight"],
  // One expert each, as files had it before experts were stacked; # is the expert.
  ["ffn_gate.#.weight", "feed_forward.experts.#.gate_proj.weight"],
  ["ffn_up.#.weight", "feed_forward.experts.#.up_proj.weight"],
  ["ffn_down.#.weight", "feed_forward.experts.#.down_proj.weight"],
];

const modelNames: readonly (readonly [gguf: string, hf: string])[] = [
  ["token_embd.weight", "model.embed_tokens.weight"],
  ["output_norm.weight", "model.final_layernorm.weight"],
  ["output.weight", "lm_head.weight"],
];

const turned = (names: typeof layerNames) => new Map(names.map(([gguf, hf]) => [hf, gguf]));
const toHf = { from: "blk.", to: "model.layers.", ofModel: new Map(modelNames), ofLayer: new Map(layerNames) };
const toGguf = { from: "model.layers.", to: "blk.", ofModel: turned(modelNames), ofLayer: turned(layerNames) };

/** The name under which `modelTensors` has a tensor of a GGUF file; undefined for one that Jamba lacks. */
export function hfNameOf(ggufName: string): string | undefined {
  return translate(ggufName, toHf);
}

/** What a GGUF file calls a tensor of `modelTensors`. */
export function ggufNameOf(hfName: string): string | undefined {
  return translate(hfName, toGguf);
}

function translate(name: string, { from, to, ofModel, ofLayer }: typeof toHf): string | undefined {
  if (!name.startsWith(from)) return ofModel.get(name);
  const [, layer, rest] = /^(0|[1-9]\d*)\.([^#]+)$/.exec(name.slice(from.length)) ?? [];
  const [inner, expert] = /\.(0|[1-9]\d*)\./.exec(rest) ?? [];
  const found = ofLayer.get(inner ? rest.replace(inner, ".#.") : rest);
  return found && `${to}${layer}.${found.replace("#", expert)}`;
}
