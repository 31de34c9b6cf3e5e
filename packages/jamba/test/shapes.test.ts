// Checkpoints of shapes that no golden has, with weights drawn here: any chunking gives one answer, and it is finite.

import { normal, randomChunks, seeded } from "@jamba/conformance";
import { writeSafetensors } from "@jamba/loader";
import { expect, test } from "vitest";
import { type HostState, loadModel, type ModelState, parseConfig } from "../src/index.ts";

const small = {
  model_type: "jamba",
  vocab_size: 97,
  hidden_size: 24,
  intermediate_size: 20,
  num_hidden_layers: 4,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  num_experts: 4,
  num_experts_per_tok: 2,
  attn_layer_period: 3,
  attn_layer_offset: 1,
};

/** What transformers would save for a config: names and shapes written out here once more, on purpose. */
function shapesOf(json: Record<string, unknown>): Record<string, number[]> {
  const c = parseConfig(json);
  const shapes: Record<string, number[]> = {
    "model.embed_tokens.weight": [c.vocabSize, c.dModel],
    "model.final_layernorm.weight": [c.dModel],
  };
  if (!c.tiedEmbeddings) shapes["lm_head.weight"] = [c.vocabSize, c.dModel];
  for (let i = 0; i < c.nLayers; i++) {
    const at = `model.layers.${i}`;
    const add = (name: string, shape: number[]) => {
      shapes[`${at}.${name}`] = shape;
    };
    add("input_layernorm.weight", [c.dModel]);
    add("pre_ff_layernorm.weight", [c.dModel]);
    if (c.layerKinds[i] === "attention") {
      add("self_attn.q_proj.weight", [c.nHeads * c.headDim, c.dModel]);
      add("self_attn.k_proj.weight", [c.nKvHeads * c.headDim, c.dModel]);
      add("self_attn.v_proj.weight", [c.nKvHeads * c.headDim, c.dModel]);
      add("self_attn.o_proj.weight", [c.dModel, c.nHeads * c.headDim]);
    } else {
      add("mamba.in_proj.weight", [2 * c.dInner, c.dModel]);
      add("mamba.conv1d.weight", [c.dInner, 1, c.dConv]);
      add("mamba.x_proj.weight", [c.dtRank + 2 * c.dState, c.dInner]);
      add("mamba.dt_proj.weight", [c.dInner, c.dtRank]);
      add("mamba.dt_proj.bias", [c.dInner]);
      add("mamba.A_log", [c.dInner, c.dState]);
      add("mamba.D", [c.dInner]);
      add("mamba.out_proj.weight", [c.dModel, c.dInner]);
      for (const [norm, width] of [
        ["dt", c.dtRank],
        ["b", c.dState],
        ["c", c.dState],
      ] as const)
        add(`mamba.${norm}_layernorm.weight`, [width]);
      if (c.convBias) add("mamba.conv1d.bias", [c.dInner]);
      if (c.projBias) add("mamba.in_proj.bias", [2 * c.dInner]);
      if (c.projBias) add("mamba.out_proj.bias", [c.dModel]);
    }
    const experts = c.ffnKinds[i] === "moe" ? Array.from({ length: c.nExperts }, (_, e) => `experts.${e}.`) : [""];
    if (c.ffnKinds[i] === "moe") add("feed_forward.router.weight", [c.nExperts, c.dModel]);
    for (const expert of experts) {
      add(`feed_forward.${expert}gate_proj.weight`, [c.dFf, c.dModel]);
      add(`feed_forward.${expert}up_proj.weight`, [c.dFf, c.dModel]);
      add(`feed_forward.${expert}down_proj.weight`, [c.dModel, c.dFf]);
    }
  }
  return shapes;
}

function checkpoint(json: Record<string, unknown>) {
  const random = seeded(9);
  const tensors = Object.entries(shapesOf(json)).map(([name, shape]) => {
    const values = Float32Array.from(
      { length: shape.reduce((a, b) => a * b, 1) },
      () => (name.includes("norm") ? 1 : 0) + normal(random) * 0.4,
    );
    return { name, dtype: "F32" as const, shape, bytes: new Uint8Array(values.buffer) };
  });
  const blob = (name: string, content: BlobPart) => ({ name, blob: new Blob([content]) });
  return [blob("config.json", JSON.stringify(json)), blob("model.safetensors", writeSafetensors(tensors) as BlobPart)];
}

test.each<[string, Record<string, unknown>]>([
  ["dConv 1: no window at all", { mamba_d_conv: 1 }],
  ["dConv 2, dState 1", { mamba_d_conv: 2, mamba_d_state: 1 }],
  ["dConv 6, dState 24, expand 1, dtRank 5", { mamba_d_conv: 6, mamba_d_state: 24, mamba_expand: 1, mamba_dt_rank: 5 }],
  [
    "top-1 of seven experts in every layer, attention first",
    { num_experts: 7, num_experts_per_tok: 1, expert_layer_period: 1, expert_layer_offset: 0, attn_layer_period: 2, attn_layer_offset: 0 },
  ],
  ["all of three experts", { num_experts: 3, num_experts_per_tok: 3 }],
  ["experts at offset 2 of 3", { expert_layer_period: 3, expert_layer_offset: 2 }],
  ["tied, biases in projections, none in the convolution", { tie_word_embeddings: true, mamba_proj_bias: true, mamba_conv_bias: false }],
  ["as many key-value heads as heads", { num_key_value_heads: null }],
  ["one key-value head, head_dim of its own", { num_key_value_heads: 1, head_dim: 10 }],
  ["no attention layer within reach", { attn_layer_period: 9, attn_layer_offset: 8 }],
  ["attention in every layer", { attn_layer_period: 1, attn_layer_offset: 0 }],
  ["one layer", { num_hidden_layers: 1 }],
])("%s", async (_, change) => {
  await using model = await loadModel(checkpoint({ ...small, ...change }));
  const random = seeded(4);
  const ids = Array.from({ length: 150 }, () => Math.floor(random() * 97));
  const whole = await model.forward(ids);
  let state: ModelState | HostState | undefined;
  let logits = whole.logits;
  let from = 0;
  for (const [i, size] of randomChunks(random, ids.length).entries()) {
    const next = await model.forward(ids.slice(from, from + size), { state });
    if (state && "dispose" in state) state.dispose();
    // Every other piece is handed on as tensors, as one that was saved would be.
    state = i % 2 === 0 ? await next.state.export() : next.state;
    if (state !== next.state) next.state.dispose();
    logits = next.logits;
    from += size;
  }
  const [found, expected] = [logits.data as Float32Array, whole.logits.data as Float32Array];
  expect(expected.every(Number.isFinite)).toBe(true);
  for (const [i, value] of expected.entries()) expect(Math.abs(found[i] - value)).toBeLessThan(1e-4);
});
