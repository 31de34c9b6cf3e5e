// Checkpoints of shapes that no golden has, with weights drawn here: any chunking gives one answer, and it is finite.

import { normal, randomChunks, seeded } from "@jamba/conformance";
import { writeSafetensors } from "@jamba/loader";
import { expect, test } from "vitest";
import { type HostState, loadModel, type ModelState } from "../src/index.ts";
import { savedTensors } from "./saved-tensors.ts";

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

function checkpoint(json: Record<string, unknown>) {
  const random = seeded(9);
  const tensors = [...savedTensors(json)].map(([name, shape]) => {
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
