import { describe, expect, test } from "vitest";
import { parseConfig } from "./config.ts";
import { expectPlainTensors } from "./quantised.ts";

const v01 = { model_type: "jamba" };
const refused = (found: string) =>
  expect.objectContaining({
    code: "UNSUPPORTED",
    message: expect.stringMatching(new RegExp(`expected plain f32, bf16 or f16 weights, found ${found}.* take the release .*bf16`)),
  });

describe("config.json names who quantised the weights", () => {
  test.each<[object, string]>([
    [{ quant_method: "fp8", activation_scheme: "static" }, "FP8 weights;"],
    [{ quant_method: "fbgemm_fp8" }, "FP8 \\(FBGEMM\\) weights;"],
    [{ quant_method: "gptq", bits: 4, group_size: 128 }, "GPTQ weights of 4 bits"],
    [{ quant_method: "awq", bits: 4, zero_point: true }, "AWQ weights of 4 bits"],
    [{ quant_method: "AWQ", w_bit: 4 }, "AWQ weights of 4 bits"],
    [{ quant_method: "bitsandbytes", load_in_4bit: true, load_in_8bit: false }, "bitsandbytes weights of 4 bits"],
    [{ load_in_8bit: true }, "bitsandbytes weights of 8 bits"],
    [{ quant_method: "mxfp4" }, "MXFP4 weights"],
    [
      { quant_method: "compressed-tensors", format: "float-quantized" },
      'compressed-tensors \\(LLM Compressor\\) weights \\("float-quantized"\\)',
    ],
    [{ quant_method: "compressed_tensors" }, "compressed-tensors"],
    [{ quant_method: "torchao", quant_type: "int4_weight_only" }, "torchao weights"],
    [{ quant_method: "auto-round", bits: 4 }, "AutoRound weights of 4 bits"],
    [{ quant_method: "hqq" }, "HQQ weights"],
    [{ quant_method: "modelopt", quant_algo: "NVFP4" }, "ModelOpt weights"],
    [{ quant_algo: "NVFP4" }, "NVFP4 weights"],
    [{ group_size: 64, bits: 4 }, "MLX weights of 4 bits"],
    [{ quant_method: "tomorrow's" }, '"tomorrow\'s" weights'],
    [{ modules_to_not_convert: [] }, "unnamed weights"],
  ])("quantization_config: %j", (quantization_config, found) => {
    expect(() => parseConfig({ ...v01, quantization_config }, "x/config.json")).toThrow(refused(found));
    expect(() => parseConfig({ ...v01, quantization_config }, "x/config.json")).toThrow(/^x\/config\.json: quantization_config: /);
  });

  test("under other keys too", () => {
    expect(() => parseConfig({ ...v01, quantization: { group_size: 64, bits: 4 } })).toThrow(refused("MLX weights of 4 bits"));
    expect(() => parseConfig({ ...v01, compression_config: { format: "pack-quantized" } })).toThrow(refused('"pack-quantized" weights'));
  });

  test("and nothing where there is nothing", () => {
    expect(parseConfig({ ...v01, quantization_config: null, quantization: {}, compression_config: false })).toEqual(parseConfig(v01));
  });
});

describe("tensors give it away where config.json is silent", () => {
  const q = "model.layers.4.self_attn.q_proj";
  test.each<[string, Record<string, string>]>([
    ["FP8", { [`${q}.weight`]: "F8_E4M3", [`${q}.weight_scale`]: "F32" }],
    ["FP8", { [`${q}.weight`]: "F8_E5M2" }],
    ["GPTQ", { [`${q}.qweight`]: "I32", [`${q}.qzeros`]: "I32", [`${q}.scales`]: "F16", [`${q}.g_idx`]: "I32" }],
    ["AWQ", { [`${q}.qweight`]: "I32", [`${q}.qzeros`]: "I32", [`${q}.scales`]: "F16" }],
    ["bitsandbytes", { [`${q}.weight`]: "U8", [`${q}.weight.absmax`]: "U8", [`${q}.weight.quant_state.bitsandbytes__nf4`]: "U8" }],
    ["bitsandbytes", { [`${q}.weight`]: "I8", [`${q}.SCB`]: "F32" }],
    [
      "MXFP4",
      { "model.layers.1.feed_forward.experts.gate_up_proj_blocks": "U8", "model.layers.1.feed_forward.experts.gate_up_proj_scales": "U8" },
    ],
    ["MXFP4", { [`${q}.weight`]: "F4", [`${q}.weight_scale`]: "F8_E8M0" }],
    ["NVFP4", { [`${q}.weight`]: "U8", [`${q}.weight_scale`]: "F8_E4M3", [`${q}.weight_scale_2`]: "F32" }],
    ["compressed-tensors", { [`${q}.weight_packed`]: "I32", [`${q}.weight_scale`]: "BF16", [`${q}.weight_shape`]: "I64" }],
    ["compressed-tensors", { [`${q}.weight`]: "I8", [`${q}.weight_scale`]: "BF16" }],
    ["torchao", { [`${q}.weight:qdata`]: "I8", [`${q}.weight:scale`]: "BF16" }],
    ["torchao", { [`${q}._weight_qdata`]: "I8", [`${q}._weight_scale`]: "BF16" }],
    ["HQQ", { [`${q}.W_q`]: "U8" }],
    ["Quanto", { [`${q}.weight._data`]: "I8", [`${q}.weight._scale`]: "BF16" }],
    ["AQLM", { [`${q}.codes`]: "I16", [`${q}.codebooks`]: "F16" }],
    ["MLX", { [`${q}.weight`]: "U32", [`${q}.scales`]: "BF16", [`${q}.biases`]: "BF16" }],
  ])("%s: %j", (found, dtypes) => {
    const tensors = new Map(
      Object.entries({ "model.norm.weight": "BF16", ...dtypes }).map(([name, dtype]) => [name, { dtype, file: "m" }]),
    );
    expect(() => expectPlainTensors(tensors, "x")).toThrow(refused(`${found}[^:;]* weights: "model.layers`));
  });

  test("those of plain models do not", () => {
    const names = ["model.layers.0.mamba.A_log", "model.layers.0.mamba.dt_proj.bias", "model.layers.1.feed_forward.experts.gate_up_proj"];
    expectPlainTensors(new Map(names.map((name) => [name, { dtype: "BF16", file: "m" }])), "x");
  });
});
