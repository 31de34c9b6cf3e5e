// What files are that hold no weights in safetensors or GGUF, by their names, and what to do with them.

interface Kind {
  readonly file: RegExp;
  readonly what: string;
  readonly todo: string;
}

const original = "take the safetensors of the model that it was made from";

export const mergeAdapter =
  "merge it into its base model (peft: PeftModel.from_pretrained(base, adapter).merge_and_unload().save_pretrained(folder)) and load that";

/** What says most comes first. */
const kinds: readonly Kind[] = [
  {
    file: /^adapter_(config\.json|model\.(safetensors|bin))$/,
    what: "an adapter (LoRA), which is no whole model",
    todo: mergeAdapter,
  },
  { file: /^model_index\.json$/, what: "a pipeline of diffusers", todo: "take a Jamba, such as ai21labs/AI21-Jamba-Reasoning-3B" },
  { file: /^(mlc-chat-config|ndarray-cache(-b16)?|tensor-cache)\.json$/, what: "a model that was compiled for MLC", todo: original },
  { file: /\.onnx(_data)?$|^onnx$/, what: "an ONNX export", todo: original },
  { file: /\.(ggml|ggjt)$|^ggml-.*\.bin$/, what: "a file of ggml from before GGUF", todo: "take the GGUF of the model" },
  {
    file: /\.(bin|pt|pth|ckpt|pkl)$/,
    what: "pickled PyTorch weights, which can run code and are not read",
    todo: "save them as safetensors (transformers: from_pretrained(folder).save_pretrained(other, safe_serialization=True))",
  },
  { file: /\.(h5|tflite)$|^saved_model\.pb$/, what: "TensorFlow weights", todo: original },
  { file: /\.msgpack$/, what: "Flax weights", todo: original },
  { file: /\.npz$/, what: "weights of an old MLX", todo: original },
  { file: /\.(mlpackage|mlmodelc?)$/, what: "a Core ML export", todo: original },
  { file: /^openvino_.*\.xml$/, what: "an OpenVINO export", todo: original },
  { file: /\.(engine|plan)$/, what: "a TensorRT engine", todo: original },
  { file: /\.nemo$/, what: "a NeMo archive", todo: original },
  { file: /^params\.json$/, what: "a model in Meta's or Mistral's own form", todo: original },
];

/** Where there is no config.json; beside one they belong to a model. */
const tokenizer: Kind = {
  file: /^(tokenizer(_config)?\.json|tokenizer\.model|vocab\.json|merges\.txt)$/,
  what: "a tokenizer without a model",
  todo: "download the whole model",
};

/** What `files` are, and what to do; undefined for names that say nothing. */
export function explainFiles(files: readonly string[] = []): string | undefined {
  const possible = files.includes("config.json") ? kinds : [...kinds, tokenizer];
  const kind = possible.find(({ file }) => files.some((name) => file.test(name)));
  return kind && `${kind.what}; ${kind.todo}`;
}

/** Whether a name says nothing of what the file holds: it has no extension, as in stores that name files by their hashes. */
export function isNameless(file: string): boolean {
  return !/\.[a-z]\w*$/i.test(file) || /^sha256[-:]/.test(file);
}
