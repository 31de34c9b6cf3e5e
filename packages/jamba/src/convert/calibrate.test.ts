import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { decodeStored, matrixOf, sourceOf } from "@jamba/core";
import { type Checkpoint, modelSources, modelTensors, openCheckpoint, parseConfig, quantize } from "@jamba/loader";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { listDevices, loadModel, quantizeModel } from "../index.ts";
import { calibrate } from "./calibrate.ts";

const tiny = fileURLToPath(new URL("../../../tiny-model", import.meta.url));
const text = "Once upon a time, a little girl named Ines lived near the farm. She had a friend, and her friend was called Alice.";
/** The tokens of all experts that each expert's own are averaged with. */
const priorTokens = 16;
/** What an expert's own f32 sums may be off, relative. */
const near = 1e-4;

let root: string;
/** The tiny model, but the last layer's mixer adds nothing: what its experts read is then known from outside. */
let mute: string;
let weights: Map<string, Float32Array>;

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), "calibrate-"));
  mute = join(root, "mute.gguf");
  await using checkpoint = await openCheckpoint(tiny);
  weights = new Map();
  for (const [name, { shape, dtype, read }] of modelSources(checkpoint, parseConfig(checkpoint.config))) {
    weights.set(name, decodeStored(await read(0, matrixOf(shape).rows), dtype));
    if (name === "model.layers.7.mamba.out_proj.weight") weights.get(name)!.fill(0);
  }
  const tensors = modelTensors(parseConfig(checkpoint.config)).map(({ name, shape }) => ({
    name,
    shape,
    dtype: "F32",
    file: "",
    offset: 0,
    sizeBytes: 0,
  }));
  const shapeOf = new Map(tensors.map((tensor) => [tensor.name, tensor]));
  const muted: Checkpoint = {
    ...checkpoint,
    tensors: shapeOf,
    pathOf: undefined,
    weight: (name) => sourceOf(name, shapeOf.get(name)!.shape, weights.get(name)!),
  };
  await quantize(muted, mute, { dtype: "f32" });
});
afterAll(() => rm(root, { recursive: true }));

const cpuAbsent = (await listDevices()).find(({ backend }) => backend === "cpu")!.reason;

describe.each([
  ["reference", undefined],
  ["cpu", cpuAbsent],
] as const)("on %s", (backend, absent) => {
  let importance: Map<string, Float32Array>;
  beforeAll(async () => {
    if (!absent) importance = await calibrate(mute, text, { backend });
  });
  const on = (name: string, run: () => Promise<void>) =>
    test(name, async ({ skip }) => {
      if (absent) skip(absent);
      await run();
    });

  on("every weight that is multiplied with has a number for each column, of each expert", async () => {
    await using checkpoint = await openCheckpoint(mute);
    const expected = modelTensors(parseConfig(checkpoint.config)).filter(
      ({ name, role }) => (role !== "exact" || /router/.test(name)) && !/embed/.test(name),
    );
    expect([...importance.keys()].sort()).toEqual(expected.map(({ name }) => name).sort());
    for (const { name, shape } of expected) {
      const found = importance.get(name)!;
      expect(found.length, name).toBe(shape.at(-1)! * (shape.length === 3 ? shape[0] : 1));
      expect(found.every((v) => v >= 0 && Number.isFinite(v)) && found.some((v) => v > 0), name).toBe(true);
    }
  });

  on("of the head and of the first projection it is the mean square of what they read", async () => {
    await using model = await loadModel(mute, { backend });
    const ids = model.tokenizer.encode(text, { addBos: true });
    const { hidden, state } = await model.forward(ids, { hidden: true });
    state.dispose();
    const rows = (i: number) => hidden![i].data as Float32Array;
    expectNear(importance.get("lm_head.weight")!, meanSquares(rows(8), 192));
    const normed = rmsNorm(rows(0), weights.get("model.layers.0.input_layernorm.weight")!);
    expectNear(importance.get("model.layers.0.mamba.in_proj.weight")!, meanSquares(normed, 192));
  });

  on("of experts it is that of the tokens they were given, drawn a little towards all experts'", async () => {
    await using model = await loadModel(mute, { backend });
    const ids = model.tokenizer.encode(text, { addBos: true });
    const { hidden, routes, state } = await model.forward(ids, { hidden: true, routes: true });
    state.dispose();
    const at = "model.layers.7";
    const x = rmsNorm(hidden![7].data as Float32Array, weights.get(`${at}.pre_ff_layernorm.weight`)!);
    const chosen = routes![7]!.experts.data as Int32Array;
    const [inputs, outputs] = [new Float64Array(8 * 192), new Float64Array(8 * 192)];
    const tokens = new Float64Array(8);
    for (const [i, expert] of chosen.entries()) {
      const row = x.subarray(192 * (i >> 1), 192 * (i >> 1) + 192); // two experts for each token
      const of = (proj: string) =>
        product(weights.get(`${at}.feed_forward.experts.${proj}`)!.subarray(192 * 192 * expert, 192 * 192 * (expert + 1)), row);
      const [gate, up] = [of("gate_proj"), of("up_proj")];
      for (let j = 0; j < 192; j++) {
        inputs[192 * expert + j] += row[j] ** 2;
        outputs[192 * expert + j] += ((gate[j] / (1 + Math.exp(-gate[j]))) * up[j]) ** 2;
      }
      tokens[expert]++;
    }
    const drawn = (sums: Float64Array) => {
      const all = (j: number) => tokens.reduce((sum, _, expert) => sum + sums[192 * expert + j], 0) / chosen.length;
      return Float64Array.from(sums, (sum, i) => (sum + priorTokens * all(i % 192)) / (tokens[Math.floor(i / 192)] + priorTokens));
    };
    expectNear(importance.get(`${at}.feed_forward.experts.gate_proj`)!, drawn(inputs));
    expectNear(importance.get(`${at}.feed_forward.experts.up_proj`)!, drawn(inputs));
    expectNear(importance.get(`${at}.feed_forward.experts.down_proj`)!, drawn(outputs));
  });
});

function expectNear(found: Float32Array, expected: ArrayLike<number>): void {
  expect(found.length).toBe(expected.length);
  for (const [i, v] of found.entries()) expect(Math.abs(v - expected[i])).toBeLessThanOrEqual(near * expected[i] + 1e-9);
}

function meanSquares(rows: Float32Array, columns: number): Float64Array {
  const means = new Float64Array(columns);
  for (const [i, v] of rows.entries()) means[i % columns] += (v * v * columns) / rows.length;
  return means;
}

function rmsNorm(rows: Float32Array, weight: Float32Array): Float32Array {
  const columns = weight.length;
  return rows.map((v, i) => {
    const row = rows.subarray(i - (i % columns), i - (i % columns) + columns);
    return (v * weight[i % columns]) / Math.sqrt(row.reduce((sum, u) => sum + u * u, 0) / columns + 1e-6);
  });
}

function product(matrix: Float32Array, x: Float32Array): Float64Array {
  return Float64Array.from({ length: matrix.length / x.length }, (_, row) =>
    x.reduce((sum, v, i) => sum + v * matrix[row * x.length + i], 0),
  );
}

test("a long text is read in windows, each a step, and progress rises to its end", async ({ skip }) => {
  if (cpuAbsent) skip(cpuAbsent);
  const seen: number[] = [];
  const long = Array(60).fill(text).join(" ");
  const onProgress = ({ phase, doneBytes, totalBytes }: { phase: string; doneBytes: number; totalBytes: number }) => {
    if (phase === "calibrate") seen.push(doneBytes / totalBytes);
  };
  await calibrate("tiny", long, { onProgress });
  expect(seen.length).toBeGreaterThan(2);
  expect(seen).toEqual([...seen].sort((a, b) => a - b));
  expect(seen.at(-1)).toBe(1);
});

test("an empty text is refused, and an abort ends it with its reason", async () => {
  await expect(calibrate("tiny", "")).rejects.toMatchObject({ code: "OPTION" });
  const stop = new AbortController();
  const onProgress = ({ phase }: { phase: string }) => phase === "calibrate" && stop.abort(new Error("enough"));
  await expect(calibrate("tiny", Array(60).fill(text).join(" "), { signal: stop.signal, onProgress })).rejects.toThrow("enough");
});

describe("quantizeModel", () => {
  test("with a text that it is calibrated to, a model stays nearer to itself on it", async ({ skip }) => {
    if (cpuAbsent) skip(cpuAbsent);
    await using exact = await loadModel("tiny", { dtype: "f32" });
    const ids = exact.tokenizer.encode(text, { addBos: true });
    const expected = (await exact.forward(ids, { logits: "all" })).logits.data as Float32Array;
    const errorOf = async (name: string, calibrate?: string) => {
      await quantizeModel("tiny", join(root, name), { dtype: "q4", calibrate });
      await using model = await loadModel(join(root, name), { dtype: "f32" });
      const { logits } = await model.forward(ids, { logits: "all" });
      return (logits.data as Float32Array).reduce((sum, v, i) => sum + (v - expected[i]) ** 2, 0);
    };
    expect(await errorOf("calibrated.gguf", text)).toBeLessThan(await errorOf("plain.gguf"));
  });

  test("what can't be written is refused before anything is loaded, and an abort while it reads leaves nothing", async () => {
    const before = await readdir(root);
    const refuse = (out: string, options: object) => quantizeModel("tiny", out, { dtype: "q8", ...options });
    await expect(refuse(mute, { calibrate: text, onProgress: () => expect.unreachable() })).rejects.toMatchObject({ code: "OPTION" });
    await expect(refuse(join(root, "x.gguf"), { dtype: "bf16", calibrate: text })).rejects.toThrow(/no scales to choose/);
    await expect(refuse(join(root, "x.gguf"), { dtpye: "q4" })).rejects.toThrow(/did you mean dtype/);
    const stop = new AbortController();
    const onProgress = ({ phase }: { phase: string }) => phase === "calibrate" && stop.abort(new Error("enough"));
    await expect(refuse(join(root, "x.gguf"), { calibrate: text, signal: stop.signal, onProgress })).rejects.toThrow("enough");
    expect(await readdir(root)).toEqual(before);
  });
});
