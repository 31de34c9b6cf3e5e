// What a plan says against what a model takes after it ran, and against what was published.

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openCpuBackend } from "@jamba/backend-cpu";
import { type Backend, openReference } from "@jamba/core";
import { openCheckpoint, quantize, writeSafetensors } from "@jamba/loader";
import fc from "fast-check";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import type { Sequence } from "../src/engine/advance.ts";
import { candidates } from "../src/engine/evidence.ts";
import { Runner } from "../src/engine/runner.ts";
import {
  type LoadDtype,
  loadModel,
  type MemoryPlan,
  type ModelSource,
  type PlanOptions,
  parseConfig,
  planMemory,
  preparedOf,
  prepareModel,
} from "../src/index.ts";
import { checkpointOpener, loadWeights } from "../src/load/open-weights.ts";
import { preparedOpener } from "../src/load/prepared.ts";
import { openSource } from "../src/load/source.ts";
import { family } from "./family.ts";
import { advance, backends, cpuAbsent, cpuLevels, goldenCases, goldenFolder } from "./golden.ts";
import { type Json, savedTensors } from "./saved-tensors.ts";

/** A checkpoint of zeros in bf16: what numbers are does not matter here. */
function zeros(json: Json): ModelSource {
  const tensors = [...savedTensors(json)].map(([name, shape]) => ({
    name,
    dtype: "BF16" as const,
    shape,
    bytes: new Uint8Array(2 * shape.reduce((a, b) => a * b, 1)),
  }));
  const blob = (name: string, content: BlobPart) => ({ name, blob: new Blob([content]) });
  return [blob("config.json", JSON.stringify(json)), blob("model.safetensors", writeSafetensors(tensors) as BlobPart)];
}

async function openRunner(backend: Backend, source: ModelSource, dtype: LoadDtype, plan: MemoryPlan) {
  await using checkpoint = await openSource(source);
  const config = parseConfig(checkpoint.config);
  const prepared = preparedOf(checkpoint);
  const opener = prepared
    ? preparedOpener(checkpoint, prepared, backend, dtype, () => undefined)
    : checkpointOpener(checkpoint, config, backend, dtype);
  const weights = await loadWeights(config, opener);
  const { contextLength, kv } = plan;
  return { config, runner: await Runner.open(backend, config, weights, { contextLength, kvDtype: kv.dtype }) };
}

type Case = Omit<PlanOptions, "backend"> & { contextLength: number };

/**
 * Every number of the plan against the device's own, after `batch` sequences have come to `contextLength` tokens together. The
 * device is opened for this alone: it keeps what it needed for others.
 */
async function expectMeasured(open: () => Backend | Promise<Backend>, source: ModelSource, { batch = 1, ...given }: Case): Promise<void> {
  const backend = await open();
  await using _ = { [Symbol.asyncDispose]: () => backend.dispose() };
  const plan = await planMemory(source, { ...given, batch, backend });
  const { runner, config } = await openRunner(backend, source, given.dtype ?? "auto", plan);
  const { contextLength } = plan;
  const ids = Array.from({ length: contextLength }, (_, i) => i % config.vocabSize);
  // As answers do.
  const reads = { top: Math.min(candidates, config.vocabSize), logits: "keep" } as const;
  const read = async (length: number) => {
    const sequence = await runner.newSequence();
    const { chunkTokens } = backend.device;
    for (let from = 0; from < length; from += chunkTokens)
      await advance(runner, [{ sequence, ids: ids.slice(from, Math.min(length, from + chunkTokens)), rows: 1 }], reads);
    return sequence;
  };
  runner.release(await read(contextLength));
  const sequences: Sequence[] = [];
  for (let i = 0; i < batch; i++) sequences.push(await read(Math.max(0, contextLength - 2)));
  // Twice, since what a step keeps is there until the next one ends.
  for (let step = 0; step < 2; step++) {
    for (const [i, sequence] of sequences.entries()) {
      if (sequence.seen < contextLength) continue;
      runner.release(sequence);
      sequences[i] = await runner.newSequence();
    }
    await advance(
      runner,
      sequences.map((sequence) => ({ sequence, ids: [0], rows: 1 })),
      reads,
    );
  }
  const found = backend.memory();
  expect(found.mappedBytes ?? 0).toBe(plan.weights.mappedBytes);
  const pairs = {
    weights: [plan.weights.bytes, found.weightBytes],
    states: [plan.kv.bytes + plan.state.bytes, found.stateBytes],
    workspace: [plan.workspace.bytes, found.arenaBytes],
    all: [plan.totalBytes, found.weightBytes + found.stateBytes + found.arenaBytes],
  };
  for (const [name, [planned, measured]] of Object.entries(pairs))
    expect(Math.abs(planned / measured - 1), `${name}: ${planned} planned, ${measured} measured`).toBeLessThanOrEqual(0.02);
}

describe.each(backends)("a plan is within 2 % of what $name takes", ({ name, absent, open }) => {
  beforeEach(({ skip }) => {
    if (absent) skip(absent);
  });

  // The small model takes plain loops seconds.
  const sources = name === "cpu" ? ([...goldenCases, "tiny"] as const) : goldenCases;
  test.each(sources)("for %s, two sequences", async (source) => {
    await expectMeasured(open, source === "tiny" ? source : goldenFolder(source), { contextLength: 80, batch: 2 });
  });

  const kvDtypes = ["f16", "bf16", "f32"] as const;
  const dtypes: readonly LoadDtype[] = name === "cpu" ? ["f32", "bf16", "f16", "q8", "q4_1", "q4_k", "q4", "experts-int8"] : ["bf16"];
  test.each(dtypes)("for every golden as %s", async (dtype) => {
    for (const [i, source] of goldenCases.entries())
      await expectMeasured(open, goldenFolder(source), {
        dtype,
        kvDtype: kvDtypes[i % kvDtypes.length],
        contextLength: 70 + i,
        batch: 1 + (i % 4),
      });
  });

  test("for shapes drawn at random", async () => {
    const shape = fc.record({
      model_type: fc.constant("jamba"),
      vocab_size: fc.integer({ min: 3, max: 200 }),
      head_dim: fc.integer({ min: 1, max: 40 }),
      hidden_size: fc.integer({ min: 1, max: 150 }),
      intermediate_size: fc.integer({ min: 1, max: 200 }),
      num_hidden_layers: fc.integer({ min: 1, max: 6 }),
      num_attention_heads: fc.constantFrom(4, 8),
      num_key_value_heads: fc.constantFrom(1, 2, 4),
      num_experts: fc.integer({ min: 1, max: 7 }),
      num_experts_per_tok: fc.constant(1),
      attn_layer_period: fc.integer({ min: 2, max: 7 }),
      attn_layer_offset: fc.integer({ min: 0, max: 1 }),
      expert_layer_period: fc.integer({ min: 2, max: 3 }),
      expert_layer_offset: fc.integer({ min: 0, max: 1 }),
      mamba_d_state: fc.constantFrom(1, 16, 17),
      mamba_d_conv: fc.integer({ min: 1, max: 5 }),
      mamba_expand: fc.integer({ min: 1, max: 3 }),
      mamba_dt_rank: fc.constantFrom("auto", 3, 20),
      mamba_proj_bias: fc.boolean(),
      tie_word_embeddings: fc.boolean(),
    });
    const options = fc.record({
      dtype: fc.constantFrom("auto" as const, ...dtypes),
      kvDtype: fc.constantFrom(undefined, ...kvDtypes),
      batch: fc.integer({ min: 1, max: 6 }),
      contextLength: name === "cpu" ? fc.integer({ min: 1, max: 1500 }) : fc.integer({ min: 1, max: 70 }),
    });
    await fc.assert(
      fc.asyncProperty(shape, options, async (json, options) => expectMeasured(open, zeros(json), options)),
      { seed: 7, numRuns: name === "cpu" ? 40 : 15 },
    );
  });
});

/** The proportions of the published ones, narrower. */
const middle: readonly [string, Json][] = [
  [
    "a mixture of experts",
    {
      ...family[0].config,
      hidden_size: 256,
      intermediate_size: 896,
      num_hidden_layers: 8,
      mamba_dt_rank: 16,
      num_experts: 8,
      vocab_size: 16384,
    },
  ],
  [
    "dense, one key-value head",
    {
      ...family.find(({ name }) => name.includes("3B"))!.config,
      hidden_size: 320,
      intermediate_size: 1024,
      num_attention_heads: 5,
      num_hidden_layers: 14,
      attn_layer_period: 7,
      attn_layer_offset: 3,
      mamba_dt_rank: 20,
      vocab_size: 16384,
    },
  ],
];
describe.each(middle)("a plan is within 2 % of what cpu takes for %s", (_, config) => {
  beforeEach(({ skip }) => {
    if (cpuAbsent) skip(cpuAbsent);
  });

  test.each<[LoadDtype, number, number]>([
    ["auto", 1100, 1],
    ["q8", 520, 2],
    ["q4", 513, 1],
    ["experts-int8", 40, 4],
  ])("%s, %i tokens, %i sequences", async (dtype, contextLength, batch) => {
    await expectMeasured(openCpuBackend, zeros(config), { dtype, contextLength, batch });
  });
});

test.for(cpuLevels.flatMap((level) => [1, 3].map((threads) => ({ level, threads }))))(
  "a plan is within 2 % at $level on $threads threads",
  async (cpu) => {
    // A chunk of 512 and a rest.
    for (const dtype of ["auto", "q8"] as const) await expectMeasured(() => openCpuBackend(cpu), "tiny", { dtype, contextLength: 520 });
  },
);

test.each(["auto", "f32"] as const)("a model that writes takes what was planned for its prompt and answer, as %s", async (dtype) => {
  const contextLength = 600;
  const { kv, state, workspace, weights } = await planMemory("tiny", { dtype, contextLength });
  await using model = await loadModel("tiny", { dtype, contextLength, cache: { bytes: 0 } });
  const prompt = Array.from({ length: 560 }, (_, i) => i + 40);
  await model.generate(prompt, { maxTokens: 41, ignoreEos: true });
  expect(model.memory()).toMatchObject({ weightBytes: weights.bytes, stateBytes: kv.bytes + state.bytes, arenaBytes: workspace.bytes });
});

describe("files that quantise and prepare write", () => {
  let root: string;
  beforeAll(async () => {
    root = await mkdtemp(join(tmpdir(), "memory-"));
  });
  afterAll(() => rm(root, { recursive: true }));

  test.each(["q8", "q4", "q4_k_m", "experts-int8"] as const)("a GGUF file of %s", async (dtype) => {
    const small = { hidden_size: 256, intermediate_size: 256, num_hidden_layers: 5, num_experts: 2, mamba_dt_rank: 16, vocab_size: 64 };
    const config = { ...family[0].config, ...small };
    const file = join(root, `${dtype}.gguf`);
    await quantize(await openCheckpoint(zeros(config)), file, { dtype });
    for (const { absent, open } of backends) if (!absent) await expectMeasured(open, file, { contextLength: 20, batch: 2 });
  });

  test("a prepared folder is mapped, as it was prepared", async ({ skip }) => {
    if (cpuAbsent) skip(cpuAbsent);
    const folder = join(root, "tiny");
    await prepareModel("tiny", folder, { dtype: "q4" });
    await expectMeasured(openCpuBackend, folder, { contextLength: 100 });
    const { dtype, dtypes, weights } = await planMemory(folder);
    expect([dtype, dtypes.map((d) => d.dtype), weights.mappedBytes]).toEqual(["auto", ["q4"], weights.bytes]);
    await expect(planMemory(folder, { dtype: "q8" })).rejects.toThrow(expect.objectContaining({ code: "OPTION" }));
    await expect(planMemory(folder, { backend: "reference" })).rejects.toThrow(expect.objectContaining({ code: "BACKEND" }));
  });
});

describe("published figures from configs alone", () => {
  const GiB = 2 ** 30;
  const of = (name: string) => family.find((member) => member.name === name)!.config;
  const [mini, large] = [of("Jamba-v0.1"), of("AI21-Jamba-1.5-Large")];
  const transformer = (dModel: number, dFf: number, nLayers: number, nHeads: number, nKvHeads: number, more: Json = {}): Json => ({
    model_type: "llama",
    vocab_size: 32000,
    hidden_size: dModel,
    intermediate_size: dFf,
    num_hidden_layers: nLayers,
    num_attention_heads: nHeads,
    num_key_value_heads: nKvHeads,
    torch_dtype: "float16",
    ...more,
  });
  const llama70b = transformer(8192, 28672, 80, 64, 8);
  const experts = { model_type: "mixtral", num_local_experts: 8, num_experts_per_tok: 2, torch_dtype: "bfloat16" };
  const mixtral = transformer(4096, 14336, 32, 32, 8, experts);

  // Table 1 of both papers (arXiv 2403.19887 and 2408.12570).
  test.each<[string, Json, number]>([
    ["Jamba-v0.1", mini, 4],
    ["Jamba-1.5-Mini", of("AI21-Jamba-1.5-Mini"), 4],
    ["Jamba-1.5-Large", large, 9],
    ["Llama-2 7B", transformer(4096, 11008, 32, 32, 32), 128],
    ["Mistral 7B", transformer(4096, 14336, 32, 32, 8, { model_type: "mistral" }), 32],
    ["Mixtral 8x7B", mixtral, 32],
    ["Mixtral 8x22B", transformer(6144, 16384, 56, 48, 8, experts), 56],
    ["Llama 3.1 8B", transformer(4096, 14336, 32, 32, 8), 32],
    ["Llama 3.1 70B", llama70b, 80],
    ["Llama 3.1 405B, as its first config had it", transformer(16384, 53248, 126, 128, 16), 252],
    ["Mistral Large 2", transformer(12288, 28672, 88, 96, 8, { model_type: "mistral" }), 88],
  ])("keys and values of %s at 256K", async (_, config, expected) => {
    expect((await planMemory(config, { backend: "paper", contextLength: 2 ** 18 })).kv.bytes).toBe(expected * GiB);
  });

  test.for<[string, Json, number]>([
    ["Mini", mini, 4],
    ["Large", large, 9],
  ])("and of %s on the cpu, in f16", async ([, config, expected], { skip }) => {
    if (cpuAbsent) skip(cpuAbsent);
    const { kv } = await planMemory(config, { backend: "cpu" });
    expect(kv).toEqual({ bytes: expected * GiB, bytesPerToken: (expected * GiB) / 2 ** 18, dtype: "f16" });
  });

  // Billions: the files of bf16, and ExpertsInt8 with experts alone in 8 bits.
  test.each<[string, LoadDtype, number, Json]>([
    ["Mini", "auto", 103.1, mini],
    ["Large", "auto", 797.1, large],
    ["3B", "auto", 6.06, of("AI21-Jamba-Reasoning-3B")],
    ["Mini", "experts-int8", 58.0, mini],
    ["Large", "experts-int8", 449.2, large],
    ["Mixtral 8x7B", "q8", 46.7, mixtral],
    ["Llama-2 70B", "q8", 68.98, llama70b],
  ])("weights of %s as %s", async (_, dtype, expected, config) => {
    const { weights } = await planMemory(config, { backend: "paper", dtype });
    expect(weights.bytes / 1e9 / expected).toBeCloseTo(1, 2);
  });

  // The announcement's comparison on one GPU of 80 GB with int8 weights, and the card of 1.5 Mini with its experts in int8.
  test.each<[string, LoadDtype, number, Json]>([
    ["Jamba", "q8", 140_000, mini],
    ["Mixtral 8x7B", "q8", 64 * 1024, mixtral],
    ["Llama-2 70B", "q8", 16 * 1024, llama70b],
    ["Jamba 1.5 Mini", "experts-int8", 100_000, mini],
  ])("the longest context of %s as %s within 80 GB", async (_, dtype, expected, config) => {
    const plan = await planMemory(config, { backend: "paper", dtype, memoryBytes: 80e9 });
    expect(Math.abs(plan.largestContext / expected - 1), `${plan.largestContext}`).toBeLessThan(0.1);
    expect(plan.assumptions.join("\n")).toMatch(/whole prompt at once/);
  });

  test("a plain transformer is planned on paper alone, and says so", async () => {
    const plan = await planMemory(mixtral, { contextLength: 1000 });
    expect(plan).toMatchObject({
      modelType: "mixtral",
      backend: "paper",
      assumptions: ["mixtral: not run by this package", ...plan.assumptions.slice(1)],
    });
    await expect(planMemory(mixtral, { backend: "reference" })).rejects.toThrow(expect.objectContaining({ code: "UNSUPPORTED" }));
    await expect(planMemory({ ...mixtral, hidden_size: undefined })).rejects.toThrow(
      /hidden_size: expected a positive integer, found nothing/,
    );
    for (const backend of ["paper", "reference"] as const)
      await expect(planMemory({ model_type: "gpt2" }, { backend })).rejects.toThrow(/model_type/);
  });
});

describe("what fits", () => {
  test("the largest context fits, and one token more does not", async () => {
    const backend = openReference();
    for (const memoryBytes of [1e6, 29e6, 30e6, 50e6, 100e6]) {
      const { largestContext } = await planMemory("tiny", { backend, memoryBytes, batch: 2 });
      const at = (contextLength: number) => planMemory("tiny", { backend, memoryBytes, batch: 2, contextLength });
      if (largestContext > 0)
        expect(await at(largestContext)).toMatchObject({ fits: true, memory: { totalBytes: memoryBytes, freeBytes: memoryBytes } });
      if (largestContext < 262144) expect((await at(largestContext + 1)).fits).toBe(false);
    }
    expect((await planMemory("tiny", { backend, memoryBytes: 1e6 })).largestContext).toBe(0);
    expect((await planMemory("tiny", { backend, memoryBytes: 1e12 })).largestContext).toBe(262144);
  });

  test("dtypes come with what they would take, the largest first", async ({ skip }) => {
    if (cpuAbsent) skip(cpuAbsent);
    const { dtypes } = await planMemory("tiny", { backend: "cpu", memoryBytes: 20e6, contextLength: 700 });
    expect(dtypes.map(({ totalBytes }) => totalBytes)).toEqual(dtypes.map(({ totalBytes }) => totalBytes).sort((a, b) => b - a));
    for (const { dtype, totalBytes, fits } of dtypes) {
      expect(fits).toBe(totalBytes <= 20e6);
      expect((await planMemory("tiny", { backend: "cpu", dtype, contextLength: 700 })).totalBytes).toBe(totalBytes);
    }
    expect(new Set(dtypes.map(({ dtype }) => dtype))).toEqual(new Set(["f32", "bf16", "f16", "q8", "q4_1", "q4_k", "q4", "experts-int8"]));
  });

  test("this machine's memory is counted when none is given, and the plan is plain data", async () => {
    const plan = await planMemory("tiny", { backend: "reference" });
    expect(plan.memory.freeBytes).toBeGreaterThan(0);
    expect(plan.memory.totalBytes).toBeGreaterThanOrEqual(plan.memory.freeBytes);
    expect(plan).toMatchObject({ fits: plan.totalBytes <= plan.memory.freeBytes, contextLength: 262144 });
    expect(JSON.parse(JSON.stringify(plan))).toEqual(plan);
  });
});

test.each<[PlanOptions, string, RegExp]>([
  [{ batch: 0 }, "OPTION", /batch: expected a positive integer, found 0/],
  [{ memoryBytes: 1.5 }, "OPTION", /memoryBytes/],
  [{ contextLength: 262145 }, "OPTION", /at most the model's 262144/],
  [{ dtype: "int8" as never }, "OPTION", /dtype/],
  [{ dtype: "q4", backend: "reference" }, "DTYPE", /f32, bf16, f16/],
  [{ backend: "gpu" as never }, "OPTION", /backend/],
  [{ backend: "cuda" }, "BACKEND", /expected cuda to be usable here, found: cuda: cuda/],
  [{ contextlength: 5 } as never, "OPTION", /contextLength/],
])("%j is refused", async (options, code, message) => {
  await expect(planMemory("tiny", options)).rejects.toThrow(expect.objectContaining({ code, message: expect.stringMatching(message) }));
});

test("a format of keys and values that the device does not keep is refused", async () => {
  const backend = openReference();
  const device = { ...backend.device, kvDtypes: ["f32"] as const };
  const plan = planMemory("tiny", { kvDtype: "f16", backend: Object.defineProperty(backend, "device", { value: device }) });
  await expect(plan).rejects.toThrow(expect.objectContaining({ code: "DTYPE", message: expect.stringMatching(/kvDtype/) }));
});

test("an aborted signal ends a plan with its reason", async () => {
  const reason = new Error("enough");
  await expect(planMemory("tiny", { signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
});
