// Damaged GGUF files end in a header that holds together or in a typed error, with no more memory than their bytes need.
// JAMBA_FUZZ_FILES says how many (the full count is 100000).

import { JambaError } from "@jamba/core";
import { expect, it } from "vitest";
import { type Entry, type Gguf, ggufFile, joined, list, memorySource, type Tensor, u32, u64, value } from "../../test/gguf-builder.ts";
import { parseConfig } from "../model/config.ts";
import { ggufConfig } from "./config.ts";
import { parseGgufHeader } from "./header.ts";
import { ggufTokenizer } from "./tokenizer.ts";

const rounds = Number(process.env.JAMBA_FUZZ_FILES ?? 14_000);

const entries: Record<string, Entry> = {
  "general.architecture": value("text", "jamba"),
  "general.alignment": value("u32", 32),
  "jamba.block_count": value("u32", 2),
  "jamba.embedding_length": value("u32", 4),
  "jamba.feed_forward_length": value("u64", 8),
  "jamba.attention.head_count": value("u16", 2),
  "jamba.attention.head_count_kv": list("i32", [0, 1]),
  "jamba.ssm.conv_kernel": value("u8", 4),
  "jamba.ssm.inner_size": value("i64", 8),
  "jamba.ssm.state_size": value("u32", 2),
  "jamba.ssm.time_step_rank": value("u32", 1),
  "jamba.attention.layer_norm_rms_epsilon": value("f32", 1e-6),
  "tokenizer.ggml.model": value("text", "llama"),
  "tokenizer.ggml.tokens": list("text", ["<|a|>", "<0x00>", "▁", "a", "▁a"]),
  "tokenizer.ggml.scores": list("f32", [0, 0, -3, -2, -1]),
  "tokenizer.ggml.token_type": list("i32", [3, 6, 1, 1, 1]),
  "tokenizer.ggml.bos_token_id": value("u32", 0),
  "tokenizer.ggml.add_bos_token": value("bool", true),
};
const tensors: Tensor[] = [
  { name: "token_embd.weight", type: 0, ne: [4, 5], data: new Uint8Array(80) },
  { name: "blk.0.ssm_in.weight", type: 8, ne: [32, 2], data: new Uint8Array(68) },
  { name: "blk.1.ffn_gate_exps.weight", type: 1, ne: [4, 2, 2], data: new Uint8Array(32) },
];
const parts: Gguf = { entries, tensors };
const valid = ggufFile(parts);
const headerBytes = valid.length - 96 - 96 - 32;

let state = 1;
/** mulberry32: an integer in [0, n). */
function random(n: number): number {
  state = (state + 0x6d2b79f5) | 0;
  let t = Math.imul(state ^ (state >>> 15), 1 | state);
  t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
  return ((t ^ (t >>> 14)) >>> 0) % n;
}
const pick = <T>(some: readonly T[]): T => some[random(some.length)];

const hostileNumbers = [
  0n,
  1n,
  2n,
  3n,
  33n,
  255n,
  2n ** 16n,
  2n ** 31n,
  2n ** 32n - 1n,
  2n ** 40n,
  2n ** 53n - 1n,
  2n ** 53n,
  2n ** 63n,
  2n ** 64n - 1n,
];
const hostileEntries: Entry[] = [
  value("bool", true),
  value("f64", Number.NaN),
  value("f32", Number.POSITIVE_INFINITY),
  value("i32", -1),
  value("u32", 2 ** 32 - 1),
  value("u64", 2n ** 64n - 1n),
  value("text", "llama"),
  value("text", ""),
  list("text", []),
  list("text", ["", "", "a", "aa"]),
  list("f32", [Number.NaN, 0, 0, 0, 0]),
  list("bool", [true, false, true, true, false]),
  list("i64", [2n ** 62n, 0]),
  list("u8", [0, 3]),
  { type: 9, bytes: joined([u32(9), u64(1), u32(9), u64(1), u32(9), u64(1)]) },
  { type: 9, bytes: joined([u32(8), u64(2n ** 60n)]) },
  { type: 9, bytes: joined([u32(5), u64(2n ** 61n)]) },
  { type: 77, bytes: u64(0) },
];

function changedTensor(tensor: Tensor): Tensor {
  const number = pick(hostileNumbers);
  return pick([
    { ...tensor, offset: number },
    { ...tensor, offset: random(8) * 32 },
    { ...tensor, ne: [number, ...tensor.ne.slice(1)] },
    { ...tensor, ne: [...tensor.ne, number] },
    { ...tensor, ne: [...tensor.ne].reverse() },
    { ...tensor, type: random(44) },
    {
      ...tensor,
      name: pick(["blk.1.ssm_in.weight", "blk.0.attn_q.weight", "blk.0.ffn_gate_inp.weight", "", "\0", "__proto__", "token_embd.weight"]),
    },
  ]);
}

const overwritten = (at: number, bytes: Uint8Array) => {
  const file = valid.slice();
  file.set(bytes.subarray(0, file.length - at), at);
  return file;
};
const spliced = (at: number, deleted: number, inserted = new Uint8Array()) =>
  joined([valid.subarray(0, at), inserted, valid.subarray(at + deleted)]);

const mutations: Record<string, () => Uint8Array<ArrayBuffer>> = {
  "flipped bits": () => {
    const file = valid.slice();
    for (let times = 1 + random(3); times > 0; times--) file[random(headerBytes)] ^= 1 << random(8);
    return file;
  },
  "numbers replaced by others": () =>
    overwritten(random(headerBytes), pick([u32(Number(pick(hostileNumbers) & 0xffffffffn)), u64(pick(hostileNumbers))])),
  "counts that lie": () => ggufFile({ ...parts, [pick(["nTensors", "nEntries"])]: pick([...hostileNumbers, BigInt(random(20))]) }),
  "bytes inserted, deleted and repeated": () => {
    const [at, from] = [random(headerBytes), random(headerBytes)];
    const noise = Uint8Array.from({ length: random(9) }, () => random(256));
    return pick([spliced(at, 0, noise), spliced(at, 1 + random(40)), spliced(at, random(40), valid.subarray(from, from + random(80)))]);
  },
  "a cut or a tail": () => pick([valid.slice(0, random(valid.length)), joined([valid, new Uint8Array(random(100))])]),
  "other entries": () => {
    const changed = { ...entries };
    for (let times = 1 + random(3); times > 0; times--) {
      const key = pick(Object.keys(entries));
      if (random(4) === 0) delete changed[key];
      else changed[key] = pick(random(2) ? hostileEntries : Object.values(entries));
    }
    return ggufFile({ ...parts, entries: changed });
  },
  "other tensors": () => ggufFile({ ...parts, tensors: tensors.map((tensor) => (random(2) ? changedTensor(tensor) : tensor)) }),
};

async function readOrRefuse(file: Uint8Array): Promise<boolean> {
  const source = memorySource(file);
  const header = await typed(() => parseGgufHeader(source));
  expect(source.reads.reduce((sum, [, length]) => sum + length, 0)).toBeLessThanOrEqual(file.length);
  if (!header) return false;
  for (const { offset, sizeBytes, shape } of header.tensors.values()) {
    expect(offset).toBeGreaterThanOrEqual(header.dataStart);
    expect(offset + sizeBytes).toBeLessThanOrEqual(file.length);
    expect(shape.every(Number.isSafeInteger)).toBe(true);
  }
  for (const found of header.metadata.values()) if (typeof found === "object") expect(found.length).toBeLessThanOrEqual(file.length);
  await typed(async () => parseConfig(ggufConfig(header)));
  await typed(async () => ggufTokenizer(header.metadata));
  return true;
}

async function typed<T>(run: () => Promise<T>): Promise<T | undefined> {
  try {
    return await run();
  } catch (error) {
    if (!(error instanceof JambaError)) throw error;
    return undefined;
  }
}

const each = Math.ceil(rounds / Object.keys(mutations).length);
it.each(Object.entries(mutations))(`${each} files with %s are read or refused with a typed error`, async (_, mutate) => {
  state = 20261125;
  let accepted = 0;
  for (let i = 0; i < each; i++) accepted += Number(await readOrRefuse(mutate()));
  // Else the mutation would test nothing but the first check.
  expect(accepted).toBeGreaterThan(0);
  expect(accepted).toBeLessThan(each);
});

it("the file that was mutated is a model", async () => {
  const header = await parseGgufHeader(memorySource(valid));
  expect(header.dataStart).toBe(headerBytes);
  expect(parseConfig(ggufConfig(header))).toMatchObject({
    nLayers: 2,
    nExperts: 2,
    layerKinds: ["mamba", "attention"],
    ffnKinds: ["mlp", "moe"],
  });
  expect(ggufTokenizer(header.metadata)?.tokenizer).toMatchObject({ model: { merges: [["▁", "a"]] } });
});
