import { expect, it } from "vitest";
import { chooseFiles } from "./choose-files.ts";

const choose = (files: string[], wanted?: string, index: unknown = {}) =>
  chooseFiles(
    {
      name: "owner/model",
      sizes: new Map(files.map((file) => [file, 3e9])),
      readText: async () => (typeof index === "string" ? index : JSON.stringify(index)),
    },
    wanted,
  );

it("takes configs and tokenizer, and of the weights the single safetensors file, as transformers does", async () => {
  const others = [
    "README.md",
    "pytorch_model.bin",
    "model.pth",
    "onnx/model.onnx",
    "original/model.safetensors",
    "tf_model.h5",
    "additional_chat_templates/README.md",
    "additional_chat_templates/old/a.jinja",
    "examples/a.jinja",
    "m.gguf",
    "model.safetensors.index.json",
  ];
  const wanted = [
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
    "special_tokens_map.json",
    "additional_chat_templates/rag.jinja",
    "additional_chat_templates/tool_use.jinja",
    "model.safetensors",
  ];
  expect(await choose([...others, ...wanted.toReversed()])).toEqual({ files: wanted });
});

it("takes one safetensors file of any name, but not one of two", async () => {
  expect(await choose(["config.json", "weights.safetensors", "sub/other.safetensors"])).toEqual({
    files: ["config.json", "weights.safetensors"],
  });
  await expect(choose(["a.safetensors", "b.safetensors"])).rejects.toThrow(
    /expected one model without model\.safetensors\.index\.json, found a\.safetensors \(3\.0 GB\), b/,
  );
  expect(await choose(["a.safetensors", "b.safetensors", "config.json"], "b.safetensors")).toEqual({
    files: ["config.json", "b.safetensors"],
    file: "b.safetensors",
  });
});

it.each([
  ["no JSON", "{", /expected JSON/],
  ["no map", {}, /expected a weight_map/],
  ["an empty map", { weight_map: {} }, /expected a weight_map/],
  ["a list", [], /expected a weight_map/],
  ["a path", { weight_map: { a: "../x.safetensors" } }, /same directory, found "\.\.\/x\.safetensors"/],
  ["a pickle", { weight_map: { a: "x.bin" } }, /found "x\.bin"/],
  ["a number", { weight_map: { a: 1 } }, /found number/],
  [
    "a file that is not there",
    { weight_map: { a: "x.safetensors" } },
    /expected the file "x\.safetensors", found none; the model is incomplete there/,
  ],
])("refuses an index with %s", async (_, index, message) => {
  await expect(choose(["model.safetensors.index.json", "config.json"], undefined, index)).rejects.toThrow(message);
});

const quants = [
  "m-Q4_K_M.gguf",
  "m-Q4_K_S.gguf",
  "m-IQ4_XS.gguf",
  "m-UD-Q4_K_XL.gguf",
  "m-Q8_0-00001-of-00002.gguf",
  "m-Q8_0-00002-of-00002.gguf",
  "BF16/m-00001-of-00001.gguf",
  "old.Q5_1.gguf",
  "under_Q6_K.gguf",
];
it.each([
  ["m-Q4_K_M.gguf", "m-Q4_K_M.gguf"],
  ["m-Q4_K_M", "m-Q4_K_M.gguf"],
  ["Q4_K_M", "m-Q4_K_M.gguf"],
  ["q4_k_xl", "m-UD-Q4_K_XL.gguf"],
  ["IQ4_XS", "m-IQ4_XS.gguf"],
  ["Q8_0", "m-Q8_0-00001-of-00002.gguf"],
  ["m-Q8_0-00002-of-00002.gguf", "m-Q8_0-00001-of-00002.gguf"],
  ["BF16", "BF16/m-00001-of-00001.gguf"],
  ["Q5_1", "old.Q5_1.gguf"],
  ["Q6_K", "under_Q6_K.gguf"],
])("%s means %s", async (wanted, file) => {
  expect(await choose(quants, wanted)).toMatchObject({ file });
});

it.each([
  ["Q4_K", /expected a \.gguf file for "Q4_K", found .*m-Q4_K_M\.gguf \(3\.0 GB\).*m-Q8_0-00001-of-00002\.gguf \(6\.0 GB\)/],
  ["Q4_XS", /expected a \.gguf file/],
  [".*", /expected a \.gguf file/],
  ["m", /expected one model for "m", found/],
  ["none.gguf", /expected a \.gguf file/],
])("%s means no file alone", async (wanted, message) => {
  await expect(choose(quants, wanted)).rejects.toThrow(message);
});

it("takes a file whose name says nothing, if it is named", async () => {
  const hash = `sha256-${"a".repeat(64)}`;
  expect(await choose([hash, "m.gguf", "config.json"], hash)).toEqual({ files: [hash], file: hash });
  await expect(choose(["config.json", "m.gguf"], "config.json")).rejects.toThrow(/expected a \.gguf file for "config\.json"/);
});

it("says of another family, and of other weights, what they are", async () => {
  await expect(choose(["config.json", "pytorch_model.bin"], undefined, { model_type: "llama" })).rejects.toThrow(
    /^owner\/model: config\.json: model_type: expected "jamba", found "llama"; not a Jamba/,
  );
  await expect(choose(["config.json"], undefined, "{")).rejects.toThrow(/found none of them; is it a model\?/);
  await expect(choose(["tokenizer.json"])).rejects.toThrow(/a tokenizer without a model; download the whole model/);
});

it("refuses a split model that lacks a file, and a repository without weights", async () => {
  await expect(choose(["m-00001-of-00002.gguf"])).rejects.toThrow(/expected the file "m-00002-of-00002\.gguf", found none/);
  await expect(choose(["m-00002-of-00002.gguf"])).rejects.toThrow(/expected the file "m-00001-of-00002\.gguf", found none/);
  await expect(choose(["config.json", "pytorch_model.bin"])).rejects.toThrow(/found none of them; pickled PyTorch weights/);
  await expect(choose(["config.json"], "Q4_0")).rejects.toThrow(/found no \.gguf file at all/);
});
