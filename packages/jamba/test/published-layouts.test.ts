// Every member of the family in the layout it was published in: real configs, names, shapes and shards, and no weights (sparse
// files). Each must open, list and plan without one byte of a weight being read, from disk and over http.

import { mkdir, mkdtemp, open, rm, stat, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openCheckpoint, safetensorsHeader, type UnplacedTensor } from "@jamba/loader";
import { afterAll, beforeAll, beforeEach, describe, expect, test, vi } from "vitest";
import { loadModel, planMemory } from "../src/index.ts";
import { family } from "./family.ts";
import { cpuAbsent } from "./golden.ts";
import { type Json, savedTensors } from "./saved-tensors.ts";

const backend = cpuAbsent ? "reference" : "cpu";

/** transformers begins a new file before a tensor that would make one larger than this. */
const shardBytes = 5e9;

type Stored = Omit<UnplacedTensor, "sizeBytes"> & { readonly sizeBytes: number };

let root: string;
let notSparse: string | undefined;
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), "published-"));
  const file = join(root, "sparse");
  try {
    await sparse(file, new Uint8Array(1), 2 ** 33);
    const { blocks } = await stat(file);
    if (blocks * 512 > 2 ** 20) notSparse = `${root}: expected sparse files, found ${blocks} blocks for one byte`;
  } catch (error) {
    notSparse = `${root}: expected sparse files of 8 GiB, found ${(error as Error).message}`;
  }
  await rm(file, { force: true });
});
afterAll(() => rm(root, { recursive: true }));
beforeEach(({ skip }) => {
  if (notSparse) skip(notSparse);
});

async function sparse(path: string, head: Uint8Array, size: number): Promise<void> {
  const file = await open(path, "wx");
  try {
    await file.write(head);
    await file.truncate(size);
  } finally {
    await file.close();
  }
}

const bytesPer = { BF16: 2, F32: 4, F8_E4M3: 1 } as const;

function stored(json: Json, dtypeOf: (name: string) => keyof typeof bytesPer = () => "BF16"): Stored[] {
  return [...savedTensors(json)].map(([name, shape]) => {
    const dtype = dtypeOf(name);
    return { name, dtype, shape, sizeBytes: bytesPer[dtype] * shape.reduce((a, b) => a * b, 1) };
  });
}

/** @returns the folder, and the bytes of its JSON files and headers */
async function publish(
  name: string,
  json: Json,
  tensors: readonly Stored[],
): Promise<{ folder: string; readBytes: number; files: number }> {
  const folder = join(root, name);
  await mkdir(folder);
  const shards: Stored[][] = [[]];
  let size = 0;
  for (const tensor of tensors) {
    if (size + tensor.sizeBytes > shardBytes && size > 0) {
      shards.push([]);
      size = 0;
    }
    shards.at(-1)!.push(tensor);
    size += tensor.sizeBytes;
  }
  const number = (i: number) => String(i).padStart(5, "0");
  const fileOf = (i: number) =>
    shards.length === 1 ? "model.safetensors" : `model-${number(i + 1)}-of-${number(shards.length)}.safetensors`;
  let readBytes = 0;
  for (const [i, shard] of shards.entries()) {
    const sorted = shard.toSorted((a, b) => (a.name < b.name ? -1 : 1));
    const header = safetensorsHeader(sorted, { format: "pt" });
    readBytes += header.length;
    await sparse(
      join(folder, fileOf(i)),
      header,
      shard.reduce((sum, { sizeBytes }) => sum + sizeBytes, header.length),
    );
  }
  const documents: Record<string, unknown> = { "config.json": json, "generation_config.json": { bos_token_id: 1, eos_token_id: [2, 518] } };
  if (shards.length > 1) {
    const weightMap = shards.flatMap((shard, i) => shard.map(({ name }) => [name, fileOf(i)]));
    documents["model.safetensors.index.json"] = { metadata: { total_size: 0 }, weight_map: Object.fromEntries(weightMap) };
  }
  for (const [file, content] of Object.entries(documents)) {
    const text = JSON.stringify(content);
    readBytes += text.length;
    await writeFile(join(folder, file), text);
  }
  return { folder, readBytes, files: shards.length };
}

/** Bytes that `run` reads from files. */
async function bytesReadBy<T>(run: () => Promise<T>): Promise<{ result: T; bytes: number }> {
  const handle = await open(new URL(import.meta.url), "r");
  const read = vi.spyOn(Object.getPrototypeOf(handle) as typeof handle, "read");
  await handle.close();
  try {
    const result = await run();
    const each = (await Promise.all(read.mock.results.map(({ value }) => value))) as { bytesRead: number }[];
    return { result, bytes: each.reduce((sum, { bytesRead }) => sum + bytesRead, 0) };
  } finally {
    read.mockRestore();
  }
}

async function lookAt(folder: string, options: Parameters<typeof planMemory>[1] = {}) {
  await using checkpoint = await openCheckpoint(folder);
  const listed = [...checkpoint.tensors.values()];
  return { listed, plan: await planMemory(checkpoint, { backend, ...options }) };
}

describe.each(family)("$name", ({ name, config, tensors, files, parameters }) => {
  test("opens, lists and plans from headers alone", async () => {
    const all = stored(config);
    const published = await publish(name.replaceAll("/", "-"), config, all);
    const { result, bytes } = await bytesReadBy(() => lookAt(published.folder));
    const { listed, plan } = result;
    expect([listed.length, published.files]).toEqual([tensors, files ?? published.files]);
    const shapeOf = (list: readonly Pick<Stored, "name" | "shape">[]) => list.map(({ name, shape }) => `${name} [${shape}]`).sort();
    expect(shapeOf(listed)).toEqual(shapeOf(all));
    expect(Number((plan.parameters / 1e6).toPrecision(4))).toBe(parameters);
    expect(bytes).toBe(published.readBytes);
    // The same from the config alone.
    expect(await planMemory(config, { backend })).toMatchObject({ parameters: plan.parameters, weights: plan.weights, kv: plan.kv });
  });
});

const mini = family[0].config;
const large = family.find(({ name }) => name.includes("Large"))!.config;

/** transformers 5: all experts of a layer in two tensors, gate above up. */
function fused(tensors: readonly Stored[], { num_experts: E }: Json): Stored[] {
  const all: Stored[] = [];
  for (const tensor of tensors) {
    const [, at, expert, proj] = /^(.*\.experts)\.(\d+)\.(\w+)\.weight$/.exec(tensor.name) ?? [];
    if (!at) all.push(tensor);
    if (!at || expert !== "0" || proj === "up_proj") continue;
    const [rows, columns] = tensor.shape;
    const [name, shape] = proj === "gate_proj" ? ["gate_up_proj", [E as number, 2 * rows, columns]] : [proj, [E as number, rows, columns]];
    all.push({ ...tensor, name: `${at}.${name}`, shape: shape as number[], sizeBytes: 2 * (shape as number[]).reduce((a, b) => a * b, 1) });
  }
  return all;
}

const renamed = (tensors: readonly Stored[], ...changes: [RegExp, string][]) =>
  tensors.map((tensor) => ({ ...tensor, name: changes.reduce((name, [from, to]) => name.replace(from, to), tensor.name) }));

describe("other spellings take as much", () => {
  test.each<[string, Json, (tensors: readonly Stored[]) => readonly Stored[], number]>([
    ["fused experts", mini, (t) => fused(t, mini), 1251 - 16 * (48 - 2)],
    ["fused experts of Large", large, (t) => fused(t, large), 2811 - 36 * (48 - 2)],
    [
      "remote code of v0.1: a dense layer is a mixture of one expert",
      mini,
      (t) => renamed(t, [/feed_forward\.(gate|up|down)_proj/, "feed_forward.experts.0.$1_proj"]),
      1251,
    ],
    [
      "Mini-Jamba: .moe., pre_moe_layernorm, B and C in capitals",
      mini,
      (t) =>
        renamed(
          t,
          [/\.feed_forward\./, ".moe."],
          [/pre_ff_/, "pre_moe_"],
          [/\.b_layernorm/, ".B_layernorm"],
          [/\.c_layernorm/, ".C_layernorm"],
        ),
      1251,
    ],
  ])("%s", async (name, config, change, tensors) => {
    const { folder, readBytes } = await publish(name.replaceAll(/\W+/g, "-"), config, change(stored(config)));
    const { result, bytes } = await bytesReadBy(() => lookAt(folder));
    expect([result.listed.length, bytes]).toEqual([tensors, readBytes]);
    expect(result.plan.weights).toEqual((await planMemory(config, { backend })).weights);
  });

  test("A_log and D in f32", async () => {
    const { folder } = await publish(
      "wide-A",
      mini,
      stored(mini, (name) => (/A_log$|\.D$/.test(name) ? "F32" : "BF16")),
    );
    expect((await lookAt(folder)).plan.weights).toEqual((await planMemory(mini, { backend })).weights);
  });
});

describe("what can't be run is listed and refused by name", () => {
  test("FP8", async () => {
    const scale = (name: string) => ({ name: `${name}_scale`, dtype: "F32" as const, shape: [1], sizeBytes: 4 });
    const isFp8 = (name: string) => /self_attn|gate_proj|up_proj|down_proj/.test(name);
    const tensors = stored(mini, (name) => (isFp8(name) ? "F8_E4M3" : "BF16")).flatMap((t) => (isFp8(t.name) ? [t, scale(t.name)] : [t]));
    const config = { ...mini, quantization_config: { quant_method: "fp8", activation_scheme: "static" } };
    const { folder } = await publish("fp8", config, tensors);
    await using checkpoint = await openCheckpoint(folder);
    expect([...checkpoint.tensors.values()].filter(({ dtype }) => dtype === "F8_E4M3").length).toBe(4 * 4 + 16 * 3 + 16 * 48);
    await expect(planMemory(folder, { backend })).rejects.toThrow(
      expect.objectContaining({ code: "UNSUPPORTED", message: expect.stringContaining("quantization_config") }),
    );
  });

  test("a reward model, which has a score in place of the head", async () => {
    const config = family.find(({ name }) => name.includes("tiny-dev"))!.config;
    const tensors = stored(config).filter(({ name }) => name !== "lm_head.weight");
    const score = { name: "score.weight", dtype: "BF16" as const, shape: [3, 512], sizeBytes: 3072 };
    const { folder } = await publish("reward", config, [...tensors, score]);
    await using checkpoint = await openCheckpoint(folder);
    expect(checkpoint.tensors.get("score.weight")?.shape).toEqual([3, 512]);
    await expect(planMemory(checkpoint, { backend })).rejects.toThrow(
      expect.objectContaining({ code: "LOAD", message: expect.stringContaining("lm_head.weight") }),
    );
  });
});

test("over http a plan costs the JSON files and the first 64 KiB of each file", async () => {
  const { folder, files, readBytes } = await publish("served", mini, stored(mini));
  let served = 0;
  const server = createServer(async (request, response) => {
    const path = join(folder, decodeURIComponent(request.url!.slice(1)));
    const found = await stat(path).catch(() => undefined);
    if (!found?.isFile()) return response.writeHead(404).end();
    const [from, to] = /bytes=(\d+)-(\d+)/
      .exec(request.headers.range ?? "")!
      .slice(1)
      .map(Number);
    const end = Math.min(to, found.size - 1);
    const file = await open(path, "r");
    const { buffer } = await file.read({ buffer: Buffer.alloc(end - from + 1), position: from });
    await file.close();
    served += buffer.length;
    response.writeHead(206, { "content-range": `bytes ${from}-${end}/${found.size}` }).end(buffer);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  try {
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
    const plan = await planMemory(url, { backend });
    expect(plan.weights).toEqual((await planMemory(mini, { backend })).weights);
    expect(served).toBeGreaterThanOrEqual(readBytes);
    expect(served).toBeLessThanOrEqual(readBytes + files * 2 ** 16);
  } finally {
    server.close();
  }
});

describe("within the 4 GiB that WebAssembly has", () => {
  const { config } = family.find(({ name }) => name.includes("3B"))!;
  const wasmBytes = 2 ** 32;

  test("3B fits in q4 and in q8 with all of its context, and in bf16 not at all", async () => {
    const plan = await planMemory(config, { backend: "wasm", dtype: "q4" });
    expect(Math.max(plan.memory.totalBytes, plan.memory.freeBytes)).toBeLessThanOrEqual(wasmBytes);
    const inGigabytes = Object.fromEntries(plan.dtypes.map(({ dtype, totalBytes }) => [dtype, Number((totalBytes / 1e9).toFixed(1))]));
    expect(inGigabytes).toMatchObject({ q4: 2.2, q8: 3.7, bf16: 6.5 });
    // Of a machine that has the memory; here there may be less.
    const whole = await planMemory(config, { backend: "wasm", dtype: "q4", memoryBytes: wasmBytes });
    expect(whole).toMatchObject({ fits: true, contextLength: 262144, largestContext: 262144 });
    const fits = Object.fromEntries(whole.dtypes.map(({ dtype, fits }) => [dtype, fits]));
    expect(fits).toMatchObject({ q4: true, q4_k: true, q8: true, bf16: false, f16: false, f32: false });
    expect(await planMemory(config, { backend: "wasm", dtype: "bf16" })).toMatchObject({ fits: false, largestContext: 0 });
  });

  test("a load that takes more names the dtypes that fit", async () => {
    // An embedding that is 4.9 GB in f32.
    const wide = { ...family.find(({ name }) => name.includes("tiny-dev"))!.config, vocab_size: 2_400_000, tie_word_embeddings: true };
    const tensors = stored(wide, () => "F32").filter(({ name }) => name !== "lm_head.weight");
    const { folder } = await publish("wide", wide, tensors);
    await expect(loadModel(folder, { backend: "wasm", threads: 1 })).rejects.toMatchObject({
      code: "OUT_OF_MEMORY",
      message: expect.stringMatching(/of the \d\.\d\d GB of the wasm backend: weights would fit as .*q8 \(\d\.\d\d GB\)/),
    });
    await using again = await loadModel("tiny", { backend: "wasm", threads: 1 });
    expect((await again.generate("Once upon a time", { maxTokens: 3 })).text).not.toBe("");
  });
});
