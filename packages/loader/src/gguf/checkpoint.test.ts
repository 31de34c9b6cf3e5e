// GGUF files as checkpoints: wherever they lie and however they are cut, they look like the safetensors of the same model.

import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DtypeError } from "@jamba/core";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Hub, startHub } from "../../../../tooling/hub/hub-server.ts";
import { type Entry, ggufFile, list, type Tensor, value } from "../../test/gguf-builder.ts";
import { openCheckpoint } from "../checkpoint.ts";
import { parseConfig } from "../model/config.ts";
import { modelSources, modelTensors } from "../model/tensors.ts";
import type { CheckpointSource } from "../open-folder.ts";

const [dModel, dFf, dInner, dState, dConv, dtRank, vocabSize, nExperts] = [32, 64, 64, 16, 4, 2, 40, 2];

const entries: Record<string, Entry> = {
  "general.architecture": value("text", "jamba"),
  "jamba.block_count": value("u32", 2),
  "jamba.context_length": value("u32", 4096),
  "jamba.embedding_length": value("u32", dModel),
  "jamba.feed_forward_length": value("u32", dFf),
  "jamba.attention.head_count": value("u32", 2),
  "jamba.attention.head_count_kv": list("i32", [0, 1]),
  "jamba.attention.layer_norm_rms_epsilon": value("f32", 1e-6),
  "jamba.ssm.conv_kernel": value("u32", dConv),
  "jamba.ssm.inner_size": value("u32", dInner),
  "jamba.ssm.state_size": value("u32", dState),
  "jamba.ssm.time_step_rank": value("u32", dtRank),
  "jamba.expert_count": value("u32", nExperts),
  "jamba.expert_used_count": value("u32", 1),
};

/** [name, shape, ggml type]; types 0 = F32, 2 = Q4_0, 8 = Q8_0, 16 = IQ2_XXS, which no kernel knows. */
const q8 = 8;
const shapes: [string, number[], number?][] = [
  ["token_embd.weight", [vocabSize, dModel], q8],
  ["output_norm.weight", [dModel]],
  ["blk.0.attn_norm.weight", [dModel]],
  ["blk.0.ssm_in.weight", [2 * dInner, dModel], q8],
  ["blk.0.ssm_conv1d.weight", [dInner, dConv]],
  ["blk.0.ssm_conv1d.bias", [dInner]],
  ["blk.0.ssm_x.weight", [dtRank + 2 * dState, dInner], q8],
  ["blk.0.ssm_dt.weight", [dInner, dtRank]],
  ["blk.0.ssm_dt.bias", [dInner]],
  ["blk.0.ssm_a", [dInner, dState]],
  ["blk.0.ssm_d", [dInner]],
  ["blk.0.ssm_dt_norm.weight", [dtRank]],
  ["blk.0.ssm_b_norm.weight", [dState]],
  ["blk.0.ssm_c_norm.weight", [dState]],
  ["blk.0.ssm_out.weight", [dModel, dInner], q8],
  ["blk.0.ffn_norm.weight", [dModel]],
  ["blk.0.ffn_gate.weight", [dFf, dModel], 2],
  ["blk.0.ffn_up.weight", [dFf, dModel], 2],
  ["blk.0.ffn_down.weight", [dModel, dFf], 2],
  ["blk.1.attn_norm.weight", [dModel]],
  ["blk.1.attn_q.weight", [dModel, dModel], q8],
  ["blk.1.attn_k.weight", [16, dModel], q8],
  ["blk.1.attn_v.weight", [16, dModel], q8],
  ["blk.1.attn_output.weight", [dModel, dModel], q8],
  ["blk.1.ffn_norm.weight", [dModel]],
  ["blk.1.ffn_gate_inp.weight", [nExperts, dModel]],
  ["blk.1.ffn_gate_exps.weight", [nExperts, dFf, dModel], q8],
  ["blk.1.ffn_up_exps.weight", [nExperts, dFf, dModel], q8],
  ["blk.1.ffn_down_exps.weight", [nExperts, dModel, dFf], q8],
];

const blockBytes: Record<number, [values: number, bytes: number]> = { 0: [1, 4], 2: [32, 18], 8: [32, 34], 16: [256, 66] };

const tensors = shapes.map(([name, shape, type = 0], i): Tensor => {
  const [values, bytes] = blockBytes[type];
  const size = (shape.reduce((a, b) => a * b, 1) / values) * bytes;
  return { name, type, ne: [...shape].reverse(), data: Uint8Array.from({ length: size }, (_, j) => (i * 31 + j * 7) & 127) };
});

const whole = ggufFile({ entries, tensors });
const parts = [tensors.slice(0, 10), tensors.slice(10, 20), tensors.slice(20)].map((some, no) =>
  ggufFile({
    entries: {
      ...(no === 0 && entries),
      "split.no": value("u16", no),
      "split.count": value("u16", 3),
      "split.tensors.count": value("i32", tensors.length),
    },
    tensors: some,
  }),
);
/** As Ollama's store names a file, and the hub's own without the first word. */
const hash = `sha256-${"0123456789abcdef".repeat(4)}`;
const partName = (no: number) => `model-0000${no + 1}-of-00003.gguf`;

let hub: Hub;
let root: string;
let server: ReturnType<typeof createServer>;
let origin: string;
beforeAll(async () => {
  hub = await startHub();
  hub.add("owner/store", { "0123456789abcdef": { bytes: whole, lfs: true }, "other.gguf": whole });
  root = await mkdtemp(join(tmpdir(), "jamba-gguf-"));
  await writeFile(join(root, "one.gguf"), whole);
  await mkdir(join(root, "split"));
  for (const [no, part] of parts.entries()) await writeFile(join(root, "split", partName(no)), part);
  await mkdir(join(root, "blobs"));
  await writeFile(join(root, "blobs", hash), whole);
  await writeFile(join(root, "blobs", `sha256-${"1".repeat(64)}`), '{ "num_ctx": 4096 }');
  await mkdir(join(root, "blobs", "empty"));
  await writeFile(join(root, "nameless"), whole);
  const files = new Map<string, Uint8Array>([
    ["/one.gguf", whole],
    [`/blobs/${hash}?signature=x`, whole],
    ...parts.map((part, no) => [`/split/${partName(no)}`, part] as const),
  ]);
  server = createServer((request, response) => {
    const bytes = files.get(request.url!);
    if (!bytes) return response.writeHead(404).end();
    const [first, last] = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range!)!.slice(1).map(Number);
    const end = Math.min(last, bytes.length - 1);
    return response.writeHead(206, { "content-range": `bytes ${first}-${end}/${bytes.length}` }).end(bytes.subarray(first, end + 1));
  });
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});
afterAll(async () => {
  server.close();
  await hub.close();
  await rm(root, { recursive: true });
});

const blob = (name: string, bytes: Uint8Array<ArrayBuffer>) => ({ name, blob: new Blob([bytes]) });

describe.each<[string, () => CheckpointSource]>([
  ["a file", () => join(root, "one.gguf")],
  ["the folder of one file", () => join(root, "split", "..", "split")],
  ["a split file", () => join(root, "split", partName(0))],
  ["a later part of a split file", () => join(root, "split", partName(2))],
  ["a URL", () => `${origin}/one.gguf`],
  ["the URL of a split file", () => `${origin}/split/${partName(1)}`],
  ["a blob", () => [blob("one.gguf", whole)]],
  ["a file that is named by its hash", () => join(root, "blobs", hash)],
  ["the folder of a store", () => join(root, "blobs")],
  ["a file without an extension", () => join(root, "nameless")],
  ["a URL that says nothing, with a query", () => `${origin}/blobs/${hash}?signature=x`],
  ["a blob that is named by its hash", () => [blob(hash, whole)]],
  ["a blob with a name for people", () => [blob("config.json", new Uint8Array()), blob("My model v1.5", whole)]],
  ["a blob of another extension", () => [blob("ggml-model.bin", whole)]],
  ["a file of the hub that is named by its hash", () => "owner/store:0123456789abcdef"],
  ["blobs of a split file", () => parts.map((part, no) => blob(partName(no), part))],
])("%s", (_, source) => {
  it("gives config, names, shapes and bytes", async () => {
    await using checkpoint = await openCheckpoint(source(), { endpoint: hub.endpoint });
    const config = parseConfig(checkpoint.config);
    expect(config).toMatchObject({
      dModel,
      dFf,
      dInner,
      dState,
      dConv,
      dtRank,
      vocabSize,
      nExperts,
      nActiveExperts: 1,
      nKvHeads: 1,
      headDim: 16,
    });
    expect([config.layerKinds, config.ffnKinds]).toEqual([
      ["mamba", "attention"],
      ["mlp", "moe"],
    ]);
    expect([config.tiedEmbeddings, config.contextLength]).toEqual([true, 4096]);
    const sources = modelSources(checkpoint, config);
    expect([...sources.keys()]).toEqual(modelTensors(config).map(({ name }) => name));
    const dtypes = Object.fromEntries([...sources].map(([name, { dtype }]) => [name, dtype]));
    expect(dtypes).toMatchObject({
      "model.embed_tokens.weight": "q8_0",
      "model.layers.0.feed_forward.up_proj.weight": "q4_0",
      "model.layers.1.feed_forward.experts.gate_proj": "q8_0",
      "model.layers.0.mamba.A": "f32",
    });
    const experts = sources.get("model.layers.1.feed_forward.experts.up_proj")!;
    const expected = tensors.find(({ name }) => name === "blk.1.ffn_up_exps.weight")!.data!;
    expect(Buffer.compare(await experts.read(0, nExperts * dFf), expected)).toBe(0);
    expect(Buffer.compare(await experts.read(3, 5), expected.subarray(3 * 34, 5 * 34))).toBe(0);
    const A = sources.get("model.layers.0.mamba.A")!;
    expect(Buffer.compare(await A.read(0, dInner), tensors.find(({ name }) => name === "blk.0.ssm_a")!.data!)).toBe(0);
  });
});

it("a name that says nothing is no promise", async () => {
  const other = join(root, "blobs", `sha256-${"1".repeat(64)}`);
  await expect(openCheckpoint(other)).rejects.toThrow(/expected a directory or a \.safetensors or \.gguf file, found another file$/);
  await expect(openCheckpoint([blob("x", whole.slice(0, 3))])).rejects.toThrow(/expected config\.json, found x/);
  await expect(openCheckpoint([blob(hash, whole), blob("other", whole)])).rejects.toThrow(/expected one model, found other, sha256-/);
  await expect(openCheckpoint(`${origin}/nowhere`)).rejects.toThrow(/expected config\.json, found none on the server/);
});

it("two models in a folder are told apart by name only", async () => {
  const both = [blob("a.gguf", whole), blob("b.gguf", whole)];
  await expect(openCheckpoint(both)).rejects.toThrow("expected one model, found a.gguf, b.gguf; name one of the files");
});

it("a missing part is named", async () => {
  const two = parts.slice(0, 2).map((part, no) => blob(partName(no), part));
  await expect(openCheckpoint(two)).rejects.toThrow(
    /expected the file model-00003-of-00003.gguf, as .* says, found none; is the download complete/,
  );
});

it("a type without a kernel is listed, and refused when it is used", async () => {
  const strange = tensors.map((tensor) =>
    tensor.name === "blk.0.ffn_up.weight" ? { ...tensor, ne: [256, (dFf * dModel) / 256], type: 16, data: new Uint8Array(8 * 66) } : tensor,
  );
  await using checkpoint = await openCheckpoint([blob("m.gguf", ggufFile({ entries, tensors: strange }))]);
  const name = "model.layers.0.feed_forward.up_proj.weight";
  expect(checkpoint.tensors.get(name)).toMatchObject({ dtype: "IQ2_XXS", sizeBytes: 8 * 66 });
  expect(() => checkpoint.weight(name)).toThrow(DtypeError);
  expect(() => checkpoint.weight(name)).toThrow(/found IQ2_XXS in m.gguf/);
});

it("another architecture is refused by name", async () => {
  const llama = ggufFile({ entries: { ...entries, "general.architecture": value("text", "llama") }, tensors });
  await expect(openCheckpoint([blob("m.gguf", llama)])).rejects.toMatchObject({
    code: "UNSUPPORTED",
    message: expect.stringContaining('"llama"'),
  });
});
