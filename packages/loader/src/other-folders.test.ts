// Folders that are no Jamba, whatever their files: each is told what it is, and what to do.

import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { openCheckpoint } from "./checkpoint.ts";
import { parseConfig } from "./model/config.ts";
import { writeSafetensors } from "./safetensors/header.ts";

let root: string;
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), "other-folders-"));
});
afterAll(() => rm(root, { recursive: true }));

let count = 0;
async function folderOf(files: Record<string, string | Uint8Array | object>): Promise<string> {
  const folder = join(root, String(count++));
  await mkdir(folder);
  for (const [name, content] of Object.entries(files)) {
    await mkdir(dirname(join(folder, name)), { recursive: true });
    await writeFile(join(folder, name), typeof content === "string" || content instanceof Uint8Array ? content : JSON.stringify(content));
  }
  return folder;
}

const llama = { model_type: "llama", architectures: ["LlamaForCausalLM"] };
const jamba = { model_type: "jamba" };
const weights = writeSafetensors([{ name: "w", dtype: "F32", shape: [1], bytes: new Uint8Array(4) }]);
const tokenizer = { "tokenizer.json": {}, "tokenizer_config.json": {} };
const pickle = "\x80\x02";

describe("a folder of another family is told that it is not a Jamba, with", () => {
  test.each<[string, Record<string, string | Uint8Array | object>]>([
    ["pickled weights", { "pytorch_model.bin": pickle }],
    ["no weights", {}],
    ["a tokenizer and no weights", tokenizer],
    ["damaged weights", { "model.safetensors": weights.slice(1) }],
    ["a download that stopped", { "model.safetensors.index.json": { weight_map: { w: "1.safetensors" } } }],
    ["two models", { "a.safetensors": weights, "b.safetensors": weights }],
    ["an index that is none", { "model.safetensors.index.json": [] }],
    ["a broken generation config", { "generation_config.json": "{", "model.safetensors": weights }],
    ["a broken tokenizer", { "tokenizer.json": "no", "model.safetensors": weights }],
    ["an ONNX export", { "onnx/model.onnx": "" }],
    ["TensorFlow's weights", { "tf_model.h5": "" }],
  ])("%s", async (_, files) => {
    const folder = await folderOf({ "config.json": llama, ...files });
    await expect(openCheckpoint(folder)).rejects.toMatchObject({
      code: "LOAD",
      message: expect.stringMatching(
        /config\.json: model_type: expected "jamba", found "llama" \(LlamaForCausalLM\); not a Jamba: .* may run this one$/,
      ),
    });
  });

  test("whole weights, when it is run: it may be looked at", async () => {
    await using checkpoint = await openCheckpoint(await folderOf({ "config.json": llama, "model.safetensors": weights }));
    expect([...checkpoint.tensors.keys()]).toEqual(["w"]);
    expect(() => parseConfig(checkpoint.config)).toThrow(/not a Jamba/);
  });
});

describe("a folder without a config is told what it is:", () => {
  test.each<[Record<string, string | Uint8Array | object>, RegExp]>([
    [
      { "adapter_config.json": { base_model_name_or_path: "ai21labs/AI21-Jamba2-3B" }, "adapter_model.safetensors": weights },
      /not a Jamba, but an adapter \(LoRA\), which is no whole model; merge .*; its base model is "ai21labs\/AI21-Jamba2-3B"$/,
    ],
    [{ "adapter_config.json": [], "adapter_model.bin": pickle }, /but an adapter \(LoRA\).*load that$/],
    [{ "pytorch_model-00001-of-00002.bin": pickle }, /but pickled PyTorch weights.*safe_serialization=True/],
    [{ "consolidated.00.pth": pickle, "params.json": { dim: 1 } }, /but pickled PyTorch weights/],
    [{ "params.json": { dim: 1 }, "tokenizer.model": "" }, /but a model in Meta's or Mistral's own form; take the safetensors/],
    [tokenizer, /but a tokenizer without a model; download the whole model/],
    [{ "model.onnx": "", "tokenizer.json": {} }, /but an ONNX export; take the safetensors/],
    [{ "onnx/model_q4.onnx": "" }, /but an ONNX export/],
    [{ "mlc-chat-config.json": {}, "params_shard_0.bin": "" }, /but a model that was compiled for MLC/],
    [{ "model_index.json": {}, "unet/config.json": {} }, /but a pipeline of diffusers/],
    [{ "flax_model.msgpack": "" }, /but Flax weights/],
    [{ "ggml-model-q4_0.bin": "" }, /but a file of ggml from before GGUF; take the GGUF/],
    [{ "weights.npz": "" }, /but weights of an old MLX/],
    [{ "README.md": "" }, /expected config\.json, found README\.md; is it the directory of a model\?/],
  ])("%j", async (files, message) => {
    await expect(openCheckpoint(await folderOf(files))).rejects.toMatchObject({ code: "LOAD", message: expect.stringMatching(message) });
  });
});

test("a quantised Jamba is told by whom, whatever its files", async () => {
  const config = { ...jamba, quantization_config: { quant_method: "torchao" } };
  await expect(openCheckpoint(await folderOf({ "config.json": config, "pytorch_model.bin": pickle }))).rejects.toMatchObject({
    code: "UNSUPPORTED",
    message: expect.stringMatching(/quantization_config: .* found torchao weights/),
  });
});

test.each<[Record<string, string>, RegExp]>([
  [{ "pytorch_model.bin": pickle }, /expected model\.safetensors .* found config\.json, pytorch_model\.bin; pickled PyTorch weights/],
  [{ "model.onnx": "" }, /an ONNX export; take the safetensors of the model/],
  [{ "tokenizer.json": "{}" }, /; is the download complete\?$/],
])("a Jamba whose weights are in another form is told in which: %j", async (files, message) => {
  await expect(openCheckpoint(await folderOf({ "config.json": jamba, ...files }))).rejects.toThrow(message);
});

test.each([
  ["pytorch_model.bin", /found another file: pickled PyTorch weights/],
  ["model.onnx", /found another file: an ONNX export/],
  ["notes.txt", /found another file$/],
])("so is a file: %s", async (name, message) => {
  await expect(openCheckpoint(join(await folderOf({ [name]: "some text" }), name))).rejects.toThrow(message);
});
