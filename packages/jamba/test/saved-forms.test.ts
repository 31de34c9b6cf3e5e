// Checkpoints as training tools and old libraries leave them: the same model under other names, or the reason why it is none.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { type NamedTensor, openCheckpoint, writeSafetensors } from "@jamba/loader";
import { describe, expect, test } from "vitest";
import { loadModel } from "../src/index.ts";
import { type GoldenCase, goldenFolder, openGolden } from "./golden.ts";

interface Form {
  readonly of?: GoldenCase;
  readonly config?: object;
  readonly name?: (name: string) => string | undefined;
  readonly more?: readonly NamedTensor[];
  /** Of the whole weights file. */
  readonly bytes?: (bytes: Uint8Array) => Uint8Array;
}

/** The files of a golden's checkpoint, changed. */
async function savedAs({ of = "one-token", config = {}, name = (n) => n, more = [], bytes = (b) => b }: Form) {
  await using checkpoint = await openCheckpoint(goldenFolder(of));
  const tensors: NamedTensor[] = [...more];
  for (const { name: plain, dtype, shape } of checkpoint.tensors.values()) {
    const changed = name(plain);
    if (changed !== undefined)
      tensors.push({ name: changed, dtype: dtype as NamedTensor["dtype"], shape, bytes: await checkpoint.read(plain) });
  }
  const json = { ...JSON.parse(readFileSync(join(goldenFolder(of), "config.json"), "utf8")), ...config };
  return [
    { name: "config.json", blob: new Blob([JSON.stringify(json)]) },
    { name: "model.safetensors", blob: new Blob([bytes(writeSafetensors(tensors)) as BlobPart]) },
  ];
}

async function logitsOf(source: Parameters<typeof loadModel>[0], of: GoldenCase): Promise<unknown> {
  await using model = await loadModel(source, { backend: "reference" });
  expect(model.warnings).toEqual([]);
  const { logits, state } = await model.forward((await openGolden(of)).ids.slice(0, 4));
  state.dispose();
  return logits.data;
}

const buffer = (name: string): NamedTensor => ({ name, dtype: "F32", shape: [4], bytes: new Uint8Array(16) });
const bare = (name: string) => name.replace(/^model\./, "");

/** A header that says `"__metadata__": null`, as some writers do. */
function withNullMetadata(bytes: Uint8Array): Uint8Array {
  const length = Number(new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0, true));
  const header = new TextEncoder().encode(new TextDecoder().decode(bytes.subarray(8, 8 + length)).replace("{", '{"__metadata__":null,'));
  const all = new Uint8Array(8 + header.length + bytes.length - 8 - length);
  new DataView(all.buffer).setBigUint64(0, BigInt(header.length), true);
  all.set(header, 8);
  all.set(bytes.subarray(8 + length), 8 + header.length);
  return all;
}

describe("the same model", () => {
  test.each<[string, Form]>([
    ["a base model that was saved alone, whose embeddings are the head", { of: "dense-tied", name: bare }],
    ["a base model with a head beside it", { name: bare }],
    ["compiled as a whole", { name: (name) => `_orig_mod.${name}` }],
    ["compiled layer by layer", { name: (name) => name.replace(/(layers\.\d+)\./, "$1._orig_mod.") }],
    ["compiled base model", { of: "dense-tied", name: (name) => `_orig_mod.${bare(name)}` }],
    ["trained in parallel", { name: (name) => `module.${name}` }],
    ["trained in parallel, then compiled", { name: (name) => `_orig_mod.module.${name}` }],
    [
      "sharded while it was trained",
      { name: (name) => `_fsdp_wrapped_module.${name.replace(/(\d)\./, "$1._checkpoint_wrapped_module.")}` },
    ],
    ["an adapter that was merged, in its wrapper", { name: (name) => `base_model.model.${name}` }],
    ["a module of Lightning", { name: (name) => `model.${name}` }],
    ["a part of something larger", { name: (name) => `policy.llm.${name}` }],
    ["the base model of something larger", { of: "dense-tied", name: (name) => `encoder.${bare(name)}` }],
    ["an adapter that was merged, in the layers that it changed", { name: (name) => name.replace("q_proj.", "q_proj.base_layer.") }],
    [
      "buffers that were saved along",
      {
        more: ["model.layers.1.self_attn.rotary_emb.inv_freq", "model.rotary_emb.inv_freq", "model.layers.1.self_attn.masked_bias"].map(
          buffer,
        ),
      },
    ],
    ["metadata that is null", { bytes: withNullMetadata }],
    ["silu by its other name", { config: { hidden_act: "swish" } }],
    [
      "layers by a list alone",
      { config: { attn_layer_period: undefined, attn_layer_offset: undefined, layer_types: ["mamba", "full_attention", "mamba"] } },
    ],
    [
      "all of it",
      { name: (name) => `_orig_mod.${bare(name)}`, more: [buffer("layers.1.self_attn.rotary_emb.inv_freq")], bytes: withNullMetadata },
    ],
  ])("%s", async (_, form) => {
    const { of = "one-token" } = form;
    expect(await logitsOf(await savedAs(form), of)).toEqual(await logitsOf(goldenFolder(of), of));
  });
});

describe("none", () => {
  const adapter = (name: string) => ({
    code: "UNSUPPORTED",
    message: expect.stringMatching(`found "[^"]*${name}[^"]*" of an adapter .* merge`),
  });
  test.each<[string, Form, object]>([
    [
      "an adapter beside its base",
      { name: (name) => `base_model.model.${name}`, more: [buffer("base_model.model.model.layers.0.mamba.in_proj.lora_A.default.weight")] },
      adapter("lora_A"),
    ],
    [
      "an adapter alone",
      { name: () => undefined, more: [buffer("base_model.model.model.layers.0.mamba.x_proj.lora_B.weight")] },
      adapter("lora_B"),
    ],
    ["a module that an adapter copied", { more: [buffer("lm_head.modules_to_save.default.weight")] }, adapter("modules_to_save")],
    [
      "one tensor twice",
      { more: [buffer("_orig_mod.lm_head.weight")] },
      { code: "LOAD", message: expect.stringContaining("expected one tensor lm_head.weight, found it as") },
    ],
    [
      "a base model without a head, whose embeddings are none",
      { name: (name) => (name === "lm_head.weight" ? undefined : bare(name)) },
      { code: "LOAD", message: expect.stringMatching(/lm_head\.weight: .*found no such tensor.* saved alone \(JambaModel\)/) },
    ],
    [
      "a tensor that no config asks for, by the name that the file has",
      { name: (name) => `module.${name}`, more: [buffer("module.model.layers.0.self_attn.q_proj.weight")] },
      { code: "LOAD", message: expect.stringContaining("module.model.layers.0.self_attn.q_proj.weight: expected only tensors that") },
    ],
  ])("%s", async (_, form, error) => {
    await expect(loadModel(await savedAs(form), { backend: "reference" })).rejects.toMatchObject(error);
  });
});
