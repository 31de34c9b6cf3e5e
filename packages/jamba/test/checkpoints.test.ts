// One model under every spelling that checkpoints of the family have had, and under mistakes.

import { readFileSync } from "node:fs";
import { decodeFloats, openReference, toBf16, toF16 } from "@jamba/core";
import { type NamedTensor, openCheckpoint, writeSafetensors } from "@jamba/loader";
import { describe, expect, test } from "vitest";
import { type JambaModel, type LoadOptions, type LoadProgress, loadModel } from "../src/index.ts";
import { type GoldenCase, goldenFolder, logitTolerance, openGolden, worst } from "./golden.ts";

type Tensors = Map<string, NamedTensor>;
type Config = Record<string, unknown>;
type Change = (tensors: Tensors, config: Config) => void;

async function read(name: GoldenCase): Promise<{ tensors: Tensors; config: Config }> {
  const file = await openCheckpoint(goldenFolder(name));
  const tensors: Tensors = new Map();
  for (const [tensor, { dtype, shape }] of file.tensors)
    tensors.set(tensor, { name: tensor, dtype: dtype as NamedTensor["dtype"], shape, bytes: await file.read(tensor) });
  await file.close();
  return { tensors, config: JSON.parse(readFileSync(`${goldenFolder(name)}/config.json`, "utf8")) };
}

const blob = (name: string, content: Uint8Array | string) => ({ name, blob: new Blob([content as BlobPart]) });

async function load(name: GoldenCase, change: Change, options?: LoadOptions) {
  const { tensors, config } = await read(name);
  change(tensors, config);
  const files = [blob("config.json", JSON.stringify(config)), blob("model.safetensors", writeSafetensors(tensors.values()))];
  return loadModel(files, options);
}

async function errorOf(name: GoldenCase, change: Change, options?: LoadOptions): Promise<number> {
  const golden = await openGolden(name);
  await using model = await load(name, change, options);
  const { logits } = await model.forward(golden.ids, { logits: "all" });
  return worst(logits.data as Float32Array, golden.floats("logits"), golden.rows).error;
}

function rename(tensors: Tensors, from: RegExp, to: string): void {
  const matching = [...tensors.keys()].filter((name) => from.test(name));
  expect(matching.length).toBeGreaterThan(0);
  for (const name of matching) {
    const renamed = name.replace(from, to);
    tensors.set(renamed, { ...tensors.get(name)!, name: renamed });
    tensors.delete(name);
  }
}

function concat(parts: readonly Uint8Array[]): Uint8Array {
  const out = new Uint8Array(parts.reduce((n, part) => n + part.length, 0));
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}

/** As transformers 5 holds experts in memory: all in one tensor, gate above up. */
function fuseExperts(tensors: Tensors, config: Config): void {
  const nExperts = config.num_experts as number;
  const routers = [...tensors.keys()].filter((name) => name.endsWith("router.weight"));
  for (const router of routers) {
    const at = router.replace("router.weight", "experts");
    const take = (expert: number, proj: string) => {
      const name = `${at}.${expert}.${proj}.weight`;
      const tensor = tensors.get(name)!;
      tensors.delete(name);
      return tensor;
    };
    const experts = Array.from({ length: nExperts }, (_, expert) => ({
      gate: take(expert, "gate_proj"),
      up: take(expert, "up_proj"),
      down: take(expert, "down_proj"),
    }));
    const { dtype, shape } = experts[0].gate;
    const [dFf, dModel] = shape;
    const put = (name: string, shape: number[], parts: Uint8Array[]) => tensors.set(name, { name, dtype, shape, bytes: concat(parts) });
    put(
      `${at}.gate_up_proj`,
      [nExperts, 2 * dFf, dModel],
      experts.flatMap(({ gate, up }) => [gate.bytes, up.bytes]),
    );
    put(
      `${at}.down_proj`,
      [nExperts, dModel, dFf],
      experts.map(({ down }) => down.bytes),
    );
  }
}

function convert(tensors: Tensors, names: RegExp, dtype: "F32" | "BF16" | "F16"): void {
  for (const [name, tensor] of tensors) {
    if (!names.test(name)) continue;
    const values = decodeFloats(tensor.bytes, tensor.dtype === "BF16" ? "bf16" : "f32");
    const bits = dtype === "F32" ? values : Uint16Array.from(values, dtype === "BF16" ? toBf16 : toF16);
    tensors.set(name, { ...tensor, dtype, bytes: new Uint8Array(bits.buffer) });
  }
}

describe("a checkpoint gives the golden's logits", () => {
  test.each<[string, GoldenCase, Change]>([
    ["with fused experts", "base", fuseExperts],
    ["with fused experts of odd widths", "odd", fuseExperts],
    ["with .moe. for .feed_forward.", "base", (t) => rename(t, /\.feed_forward\./, ".moe.")],
    ["with pre_moe_layernorm", "base", (t) => rename(t, /pre_ff_layernorm/, "pre_moe_layernorm")],
    [
      "with B_layernorm and C_layernorm",
      "base",
      (t) => {
        rename(t, /\.b_layernorm/, ".B_layernorm");
        rename(t, /\.c_layernorm/, ".C_layernorm");
      },
    ],
    [
      "with dense layers as experts.0",
      "dense-tied",
      (t) => rename(t, /feed_forward\.(gate|up|down)_proj/, "feed_forward.experts.0.$1_proj"),
    ],
    [
      "with all historic names at once",
      "base",
      (t) => {
        rename(t, /feed_forward\.(gate|up|down)_proj/, "feed_forward.experts.0.$1_proj");
        rename(t, /\.feed_forward\./, ".moe.");
        rename(t, /pre_ff_layernorm/, "pre_moe_layernorm");
        rename(t, /\.b_layernorm/, ".B_layernorm");
      },
    ],
    [
      "tied, with an lm_head that must be ignored",
      "dense-tied",
      (t) => {
        const table = t.get("model.embed_tokens.weight")!;
        t.set("lm_head.weight", { ...table, name: "lm_head.weight", bytes: new Uint8Array(table.bytes.length) });
      },
    ],
    ["with part of its bf16 tensors widened to f32", "bf16-loud", (t) => convert(t, /mamba|experts\.1|lm_head/, "F32")],
    [
      "with a tensor that is not the model's beside it",
      "base",
      (t) => t.set("score.weight", { name: "score.weight", dtype: "F32", shape: [1], bytes: new Uint8Array(4) }),
    ],
  ])("%s", async (_, name, change) => {
    expect(await errorOf(name, change, { dtype: "f32" })).toBeLessThanOrEqual(logitTolerance);
  });

  test("in three shards", async () => {
    const { tensors, config } = await read("odd");
    const all = [...tensors.values()];
    const names = ["model-00001-of-00003.safetensors", "model-00002-of-00003.safetensors", "model-00003-of-00003.safetensors"];
    const shards = names.map((_, i) => all.filter((_, j) => j % 3 === i));
    const weight_map = Object.fromEntries(shards.flatMap((shard, i) => shard.map(({ name }) => [name, names[i]])));
    const golden = await openGolden("odd");
    await using model = await loadModel([
      blob("config.json", JSON.stringify(config)),
      blob("model.safetensors.index.json", JSON.stringify({ metadata: { total_size: 0 }, weight_map })),
      ...shards.map((shard, i) => blob(names[i], writeSafetensors(shard))),
    ]);
    const { logits } = await model.forward(golden.ids, { logits: "all" });
    expect(worst(logits.data as Float32Array, golden.floats("logits"), golden.rows).error).toBeLessThanOrEqual(logitTolerance);
  });
});

test("f16 weights are read as what they are", async () => {
  // Rounding to 11 bits moves these logits by less than a hundredth of their size.
  const error = await errorOf("base", (t) => convert(t, /proj|embed|lm_head/, "F16"));
  expect(error).toBeGreaterThan(0);
  expect(error).toBeLessThan(0.3);
});

test("dtype rounds matrices and leaves norms, A and the router alone", async () => {
  const golden = await openGolden("base");
  const rounded = await errorOf("base", (t) =>
    convert(t, /in_proj|x_proj|dt_proj\.weight|out_proj|[qkvo]_proj|gate_proj|up_proj|down_proj|embed|lm_head/, "BF16"),
  );
  await using model = await loadModel(goldenFolder("base"), { dtype: "bf16" });
  const { logits } = await model.forward(golden.ids, { logits: "all" });
  expect(worst(logits.data as Float32Array, golden.floats("logits"), golden.rows).error).toBeCloseTo(rounded, 6);
});

describe("a mistake is refused, naming tensor, expected and found", () => {
  const first = /^model\.layers\.0\.mamba\.in_proj/;
  test.each<[string, Change, string, RegExp]>([
    [
      "a missing tensor",
      (t) => t.delete("model.layers.0.mamba.D"),
      "LOAD",
      /model\.layers\.0\.mamba\.D: expected \[96\], found no such tensor/,
    ],
    ["a shape", (t) => rename(t, /layers\.4\.self_attn\.q_proj/, "layers.4.self_attn.k_proj"), "LOAD", /layers\.4\.self_attn/],
    [
      "a config of another width",
      (_, c) => Object.assign(c, { hidden_size: 60 }),
      "LOAD",
      /embed_tokens\.weight: expected \[320, 60\], found \[320, 48\]/,
    ],
    ["a config of fewer layers", (_, c) => Object.assign(c, { num_hidden_layers: 6 }), "LOAD", /model\.layers\.[67]/],
    [
      "a config of more layers",
      (_, c) => Object.assign(c, { num_hidden_layers: 9 }),
      "LOAD",
      /model\.layers\.8\.input_layernorm\.weight: expected/,
    ],
    [
      "a config of more experts",
      (_, c) => Object.assign(c, { num_experts: 5 }),
      "LOAD",
      /router\.weight: expected \[5, 48\], found \[4, 48\]/,
    ],
    ["no lm_head without a tie", (t) => t.delete("lm_head.weight"), "LOAD", /tie_word_embeddings/],
    [
      "a dtype that is no float",
      (t) => {
        for (const [name, tensor] of t) if (first.test(name)) t.set(name, { ...tensor, dtype: "I32" });
      },
      "DTYPE",
      /in_proj/,
    ],
    ["another family", (_, c) => Object.assign(c, { model_type: "mamba" }), "LOAD", /model_type/],
  ])("%s", async (_, change, code, message) => {
    await expect(load("base", change)).rejects.toMatchObject({ code, message: expect.stringMatching(message) });
  });

  test("a missing config.json, a missing folder, a GGUF file, a hub id", async () => {
    await expect(loadModel([blob("model.safetensors", writeSafetensors([]))])).rejects.toMatchObject({
      code: "LOAD",
      message: expect.stringMatching(/config\.json/),
    });
    await expect(loadModel("./nowhere")).rejects.toMatchObject({ code: "LOAD" });
    await expect(loadModel("model.gguf")).rejects.toMatchObject({ code: "LOAD" });
    await expect(loadModel("ai21labs/AI21-Jamba2-3B", { offline: true, cacheDir: "./nowhere" })).rejects.toMatchObject({
      code: "LOAD",
      message: expect.stringMatching(/ai21labs.*expected main in the cache, found none/),
    });
  });

  test.each([
    [{ backend: "cuda" }, "BACKEND", /reference: usable/],
    [{ backend: "gpu" }, "OPTION", /"gpu"/],
    [{ dtype: "q4", backend: "reference" }, "DTYPE", /found q4/],
    [{ dtype: "experts-int8", backend: "reference" }, "DTYPE", /found experts-int8/],
    [{ kvDtype: "q8" }, "OPTION", /kvDtype/],
    [{ dtype: "int4" }, "OPTION", /int4/],
    [{ contextLength: 0 }, "OPTION", /contextLength/],
    [{ contextLength: 1e9 }, "OPTION", /262144/],
    [{ threads: 8, backend: "reference" }, "OPTION", /threads: expected 1/],
    [{ threads: 0 }, "OPTION", /threads/],
    [{ revision: "main" }, "OPTION", /revision: expected it with a hub id/],
    [{ contextlength: 5 }, "OPTION", /did you mean contextLength/],
  ])("%j", async (options, code, message) => {
    await expect(loadModel(goldenFolder("one-token"), options as never)).rejects.toMatchObject({
      code,
      message: expect.stringMatching(message),
    });
  });

  test("a format of keys and values that the device does not keep", async () => {
    const backend = openReference();
    Object.defineProperty(backend, "device", { value: { ...backend.device, kvDtypes: ["f32"] } });
    await expect(loadModel(goldenFolder("one-token"), { kvDtype: "f16", backend })).rejects.toMatchObject({
      code: "DTYPE",
      message: expect.stringMatching(/kvDtype: expected one of f32, found f16/),
    });
    await backend.dispose();
  });

  test("an abort, with the signal's reason", async () => {
    const reason = new Error("enough");
    await expect(loadModel(goldenFolder("base"), { signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
    const controller = new AbortController();
    const loading = loadModel(goldenFolder("base"), { signal: controller.signal, onProgress: () => controller.abort(reason) });
    await expect(loading).rejects.toBe(reason);
  });
});

describe("generation_config.json", () => {
  const modelWith = async (generation: object) => {
    const { tensors, config } = await read("base");
    return loadModel([
      blob("config.json", JSON.stringify(config)),
      blob("generation_config.json", JSON.stringify(generation)),
      blob("model.safetensors", writeSafetensors(tensors.values())),
    ]);
  };
  const answer = (model: JambaModel, options: object) =>
    model.generate([1, 2, 3], { maxTokens: 12, seed: 5, ignoreEos: true, ...options }).then((result) => result.ids);

  test("an option given as undefined leaves the checkpoint's own sampling in force", async () => {
    await using model = await modelWith({ do_sample: true, temperature: 50, top_k: 300 });
    const sampled = await answer(model, {});
    expect(await answer(model, { temperature: undefined, topK: undefined })).toEqual(sampled);
    expect(await answer(model, { temperature: 0 })).not.toEqual(sampled);
  });

  test("what it says is what the same options say, and a call that says otherwise counts more", async () => {
    await using plain = await modelWith({});
    const greedy = await answer(plain, {});
    for (const [generation, options] of [
      [{ repetition_penalty: 0.2 }, { repetitionPenalty: 0.2 }],
      [
        { do_sample: true, temperature: 40, min_p: 0.01, typical_p: 0.99 },
        { temperature: 40, minP: 0.01, typicalP: 0.99 },
      ],
      [{ do_sample: true }, { temperature: 1 }],
      [{ max_new_tokens: 5 }, { maxTokens: 5 }],
    ] as const) {
      await using model = await modelWith(generation);
      expect(model.defaults).toEqual(options);
      const found = await model.generate([1, 2, 3], {
        maxTokens: undefined,
        seed: 5,
        ignoreEos: true,
        ...("max_new_tokens" in generation ? {} : { maxTokens: 12 }),
      });
      expect(found.ids).toEqual(await answer(plain, options));
      expect(found.ids).not.toEqual(greedy);
      expect(await answer(model, { temperature: 0, repetitionPenalty: 1, maxTokens: 12 })).toEqual(greedy);
    }
    await using draws = await modelWith({ do_sample: false, temperature: 40 });
    expect(await answer(draws, {})).toEqual(greedy);
    expect(draws.defaults).toEqual({ temperature: 0 });
  });
});

test("progress runs to all bytes, those of tensors that the model ignores too, by pieces of a tensor", async () => {
  const { tensors, config } = await read("odd");
  const name = "score.weight";
  tensors.set(name, { name, dtype: "F32", shape: [1], bytes: new Uint8Array(4) });
  const seen: LoadProgress[] = [];
  const files = [blob("config.json", JSON.stringify(config)), blob("model.safetensors", writeSafetensors(tensors.values()))];
  const model = await loadModel(files, { onProgress: (progress) => seen.push(progress) });
  await model.dispose();
  const experts = [...tensors.keys()].filter((tensor) => tensor.includes(".experts."));
  expect(seen.length).toBeGreaterThan(tensors.size - experts.length);
  expect(seen.at(-1)!.doneBytes).toBe(seen[0].totalBytes);
  expect(new Set(seen.map(({ phase }) => phase))).toEqual(new Set(["load"]));
  expect(seen.every(({ doneBytes }, i) => i === 0 || doneBytes >= seen[i - 1].doneBytes)).toBe(true);
});

test("a model without tokenizer takes ids, and says what it needs for text", async () => {
  const golden = await openGolden("base");
  await using model = await loadModel(goldenFolder("base"));
  const result = await model.generate(golden.ids, { maxTokens: golden.greedy.length, ignoreEos: true });
  expect(result).toMatchObject({ text: "", ids: golden.greedy });
  await expect(model.generate("text")).rejects.toMatchObject({
    code: "TOKENIZER",
    message: expect.stringMatching(/tokenizer\.json/),
  });
});
