// Checkpoints whose weights another program quantised: none of their formats is read here, and each is called by its name.

import { JambaError } from "@jamba/core";
import { isObject, quote } from "../source/untrusted.ts";

/** By `quant_method`, and by the words that other programs have for it. */
const names: Readonly<Record<string, string>> = {
  fp8: "FP8",
  fbgemm_fp8: "FP8 (FBGEMM)",
  gptq: "GPTQ",
  awq: "AWQ",
  bitsandbytes: "bitsandbytes",
  mxfp4: "MXFP4",
  mxfp8: "MXFP8",
  nvfp4: "NVFP4",
  "compressed-tensors": "compressed-tensors (LLM Compressor)",
  torchao: "torchao",
  "auto-round": "AutoRound",
  hqq: "HQQ",
  quanto: "Quanto",
  eetq: "EETQ",
  aqlm: "AQLM",
  vptq: "VPTQ",
  spqr: "SpQR",
  quark: "Quark",
  modelopt: "ModelOpt",
  bitnet: "BitNet",
};

const whatToDo =
  'take the release of this model in bf16 and let it be packed while it loads (dtype: "q8" or "q4", --dtype q8), or a GGUF file; where there is neither, transformers\' model.dequantize() and save_pretrained() make the first from this one';

function refusal(where: string, found: string, more = ""): JambaError {
  return new JambaError("UNSUPPORTED", `${where}: expected plain f32, bf16 or f16 weights, found ${found}; ${whatToDo}${more}`);
}

/** @throws JambaError UNSUPPORTED when config.json says that the weights are quantised */
export function expectUnquantised(config: Readonly<Record<string, unknown>>, file: string): void {
  for (const key of ["quantization_config", "compression_config", "quantization"]) {
    const found = config[key];
    if (found === undefined || found === null || found === false || (isObject(found) && Object.keys(found).length === 0)) continue;
    const said = isObject(found) ? methodOf(found, key === "quantization") : "a quantised checkpoint";
    throw refusal(`${file}: ${key}`, said, `; if its weights are plain all the same, take ${key} out of config.json`);
  }
}

/** The name of a method, with its bits and its variant where they are said. */
function methodOf(said: Readonly<Record<string, unknown>>, isMlx: boolean): string {
  const given = said.quant_method ?? said.quant_algo ?? said.format;
  const isBitsAndBytes = "load_in_4bit" in said || "load_in_8bit" in said;
  const isMlxCopy = isMlx || ("group_size" in said && "bits" in said && !("zero_point" in said));
  const method =
    typeof given === "string"
      ? (names[given.toLowerCase().replaceAll("_", "-")] ?? names[given.toLowerCase()] ?? quote(given))
      : isBitsAndBytes
        ? names.bitsandbytes
        : isMlxCopy
          ? "MLX"
          : "unnamed";
  const bits = said.load_in_4bit === true ? 4 : said.load_in_8bit === true ? 8 : (said.bits ?? said.w_bit);
  const detail = [said.quant_algo, said.quant_type, said.format].find((more) => typeof more === "string" && more !== given);
  return `${method} weights${typeof bits === "number" ? ` of ${bits} bits` : ""}${detail === undefined ? "" : ` (${quote(detail as string)})`}`;
}

/** What gives a method away where config.json is silent. The first that fits counts. */
const traces: readonly (readonly [method: string, name: RegExp, dtype?: RegExp])[] = [
  ["bitsandbytes", /\.(absmax|quant_map|nested_absmax|SCB|quant_state\.bitsandbytes__\w+)$/],
  ["gptq", /\.g_idx$/],
  ["awq", /\.qzeros$/],
  ["aqlm", /\.codebooks$/],
  ["vptq", /\.centroids\.weight$/],
  ["hqq", /\.W_q$/],
  ["quanto", /\.weight\._(data|scale)$/],
  ["mxfp4", /_(blocks|scales)$/, /^U8$/],
  ["mxfp4", /./, /^F4$/],
  ["nvfp4", /\.weight_scale_2$/],
  ["compressed-tensors", /\.(weight_packed|weight_shape)$/],
  ["torchao", /(:|_weight_)(qdata|scale|zero_point)$/],
  ["fp8", /./, /^F8_E[45]M[23]/],
  ["compressed-tensors", /\.(weight|input)_scale$/],
];

/** @throws JambaError UNSUPPORTED when names or dtypes of `tensors` are those of quantised weights */
export function expectPlainTensors(tensors: ReadonlyMap<string, { readonly file: string; readonly dtype?: string }>, where: string): void {
  const all = [...tensors];
  for (const [method, name, dtype] of traces) {
    const found = all.filter(([tensor, info]) => name.test(tensor) && (dtype === undefined || dtype.test(info.dtype ?? "")));
    if (found.length > 0) throw refusal(where, `${names[method]} weights: ${some(found)}`);
  }
  // Packed in u32, with a scale and a bias for each group.
  const mlx = all.filter(([tensor]) => tensor.endsWith(".scales") && tensors.has(tensor.replace(/scales$/, "biases")));
  if (mlx.length > 0) throw refusal(where, `MLX weights: ${some(mlx)}`);
}

function some(found: readonly (readonly [tensor: string, info: { readonly dtype?: string; readonly file: string }])[]): string {
  const [[tensor, { dtype, file }]] = found;
  return `${quote(tensor)}${dtype ? ` (${dtype})` : ""} in ${file}${found.length > 1 ? ` and ${found.length - 1} more such tensors` : ""}`;
}
