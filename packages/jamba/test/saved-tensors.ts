// What transformers saves for a config, in the order of its modules: names and shapes written out once more, on purpose.

import { parseConfig } from "../src/index.ts";

export type Json = Readonly<Record<string, unknown>>;

export function savedTensors(json: Json): Map<string, number[]> {
  const c = parseConfig(json);
  const shapes = new Map<string, number[]>();
  shapes.set("model.embed_tokens.weight", [c.vocabSize, c.dModel]);
  for (let i = 0; i < c.nLayers; i++) {
    const add = (name: string, ...shape: number[]) => shapes.set(`model.layers.${i}.${name}`, shape);
    if (c.layerKinds[i] === "attention") {
      add("self_attn.q_proj.weight", c.nHeads * c.headDim, c.dModel);
      add("self_attn.k_proj.weight", c.nKvHeads * c.headDim, c.dModel);
      add("self_attn.v_proj.weight", c.nKvHeads * c.headDim, c.dModel);
      add("self_attn.o_proj.weight", c.dModel, c.nHeads * c.headDim);
    } else {
      add("mamba.A_log", c.dInner, c.dState);
      add("mamba.D", c.dInner);
      add("mamba.conv1d.weight", c.dInner, 1, c.dConv);
      if (c.convBias) add("mamba.conv1d.bias", c.dInner);
      add("mamba.in_proj.weight", 2 * c.dInner, c.dModel);
      if (c.projBias) add("mamba.in_proj.bias", 2 * c.dInner);
      add("mamba.x_proj.weight", c.dtRank + 2 * c.dState, c.dInner);
      add("mamba.dt_proj.weight", c.dInner, c.dtRank);
      add("mamba.dt_proj.bias", c.dInner);
      add("mamba.out_proj.weight", c.dModel, c.dInner);
      if (c.projBias) add("mamba.out_proj.bias", c.dModel);
      add("mamba.dt_layernorm.weight", c.dtRank);
      add("mamba.b_layernorm.weight", c.dState);
      add("mamba.c_layernorm.weight", c.dState);
    }
    const isMoe = c.ffnKinds[i] === "moe";
    if (isMoe) add("feed_forward.router.weight", c.nExperts, c.dModel);
    for (const expert of isMoe ? Array.from({ length: c.nExperts }, (_, e) => `experts.${e}.`) : [""]) {
      add(`feed_forward.${expert}gate_proj.weight`, c.dFf, c.dModel);
      add(`feed_forward.${expert}up_proj.weight`, c.dFf, c.dModel);
      add(`feed_forward.${expert}down_proj.weight`, c.dModel, c.dFf);
    }
    add("input_layernorm.weight", c.dModel);
    add("pre_ff_layernorm.weight", c.dModel);
  }
  shapes.set("model.final_layernorm.weight", [c.dModel]);
  if (!c.tiedEmbeddings) shapes.set("lm_head.weight", [c.vocabSize, c.dModel]);
  return shapes;
}
