import { describe, expect, test } from "vitest";
import { parseConfig } from "./config.ts";

const named = { model_type: "jamba", num_hidden_layers: 4, num_experts: 4 };
const mixers = ["mamba", "attention", "attention", "mamba"];
const ffns = ["moe", "mlp", "mlp", "moe"];

function read(change: object) {
  const warnings: string[] = [];
  const { layerKinds, ffnKinds } = parseConfig({ ...named, ...change }, "here/config.json", (warning) => warnings.push(warning));
  return { layerKinds, ffnKinds, warnings };
}

describe("a list alone decides the pattern, which may have no period", () => {
  test.each<[object]>([
    [{ layers_block_type: mixers }],
    [{ layer_types: mixers }],
    [{ layer_types: ["linear_attention", "full_attention", "full_attention", "linear_attention"] }],
    [{ layers_block_type: ["mamba", "full_attention", "attention", "linear_attention"] }],
    [{ layers_block_type: mixers, layer_types: ["linear_attention", "full_attention", "full_attention", "linear_attention"] }],
    [{ layers_block_type: null, layer_types: mixers, attn_layer_period: null }],
  ])("of mixers: %j", (lists) => {
    expect(read(lists)).toEqual({ layerKinds: mixers, ffnKinds: ["mlp", "moe", "mlp", "moe"], warnings: [] });
  });

  test.each<[object]>([
    [{ layers_num_experts: [4, 1, 1, 4] }],
    [{ mlp_layer_types: ["sparse", "dense", "dense", "sparse"] }],
    [{ num_experts: undefined, num_local_experts: 4, layers_num_experts: [4, 1, 1, 4] }],
  ])("of experts: %j", (lists) => {
    expect(read(lists)).toEqual({ layerKinds: ["mamba", "mamba", "mamba", "mamba"], ffnKinds: ffns, warnings: [] });
  });

  test("and says how many layers there are, where nothing else does", () => {
    expect(parseConfig({ model_type: "jamba", layer_types: mixers })).toMatchObject({ nLayers: 4, layerKinds: mixers });
  });

  test("beside a period that says the same, too", () => {
    const same = { attn_layer_period: 3, attn_layer_offset: 1, layers_block_type: ["mamba", "attention", "mamba", "mamba"] };
    expect(read(same)).toMatchObject({ layerKinds: same.layers_block_type, warnings: [] });
  });

  test("and without experts, no list of them is read", () => {
    expect(read({ num_experts: 1, layers_num_experts: [1, 1, 1, 1] }).ffnKinds).toEqual(["mlp", "mlp", "mlp", "mlp"]);
    expect(read({ num_experts: 1, mlp_layer_types: ["dense", "dense", "dense", "dense"] }).ffnKinds).toEqual(["mlp", "mlp", "mlp", "mlp"]);
  });
});

describe("contradictions", () => {
  test.each<[object, string[], string[], RegExp]>([
    [
      { attn_layer_period: 8, attn_layer_offset: 4, layers_block_type: mixers },
      mixers,
      ["mlp", "moe", "mlp", "moe"],
      /^here\/config\.json: layers_block_type makes layer 1 a layer of attention, attn_layer_period and attn_layer_offset one of mamba;/,
    ],
    [
      { attn_layer_offset: 0, layer_types: mixers },
      mixers,
      ["mlp", "moe", "mlp", "moe"],
      /layer_types makes layer 0 a layer of mamba, attn_layer_period and attn_layer_offset one of attention;/,
    ],
    [
      { expert_layer_period: 2, layers_num_experts: [4, 1, 1, 4] },
      ["mamba", "mamba", "mamba", "mamba"],
      ffns,
      /layers_num_experts makes layer 0 a layer of moe, expert_layer_period and expert_layer_offset one of mlp;/,
    ],
    [
      { attn_layer_period: 4, attn_layer_offset: 0, layers_block_type: ["mamba"] },
      ["attention", "mamba", "mamba", "mamba"],
      ["mlp", "moe", "mlp", "moe"],
      /layers_block_type: expected 4 times .*, found something else; passed over, attn_layer_period counts/,
    ],
  ])("of a list and a period are told: %j", (change, layerKinds, ffnKinds, message) => {
    expect(read(change)).toEqual({ layerKinds, ffnKinds, warnings: [expect.stringMatching(message)] });
  });

  test.each<[object, RegExp]>([
    [{ layers_block_type: ["mamba"] }, /layers_block_type: expected 4 times mamba or/],
    [{ layers_block_type: [1, 2, 3, 4] }, /layers_block_type: expected 4 times/],
    [{ layer_types: "mamba" }, /layer_types: expected 4 times/],
    [{ layer_types: ["mamba", "sliding_attention", "mamba", "mamba"] }, /layer_types: expected 4 times .*found \[.*sliding_attention/],
    [{ layer_types: ["mamba", "constructor", "mamba", "mamba"] }, /layer_types: expected 4 times/],
    [{ layers_num_experts: [4, 1, 3, 1] }, /layers_num_experts: expected 4 times 1 or 4/],
    [{ mlp_layer_types: ["sparse", "dense", "sparse", "moe"] }, /mlp_layer_types: expected 4 times dense or sparse/],
    [
      { layers_block_type: mixers, layer_types: mixers.toReversed().with(0, "attention") },
      /layer_types: expected what layers_block_type says of layer 0, "mamba"/,
    ],
    [{ layers_block_type: mixers, attn_layer_period: 2, attn_layer_offset: 2 }, /attn_layer_offset: expected less than/],
  ])("within a list, or of two, are errors: %j", (change, message) => {
    expect(() => read(change)).toThrow(expect.objectContaining({ code: "LOAD", message: expect.stringMatching(message) }));
  });
});
