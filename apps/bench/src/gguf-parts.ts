// A GGUF v3 file of a Jamba with random weights, part by part: to write to a disk, or to keep in a page.

import type { JambaConfig } from "jamba";
import { type BlockName, blockFormats, blockOf, encodeBlocks } from "./blocks.ts";
import { type Format, sizeOf, type TensorSpec, tensorsOf, weightStd } from "./presets.ts";
import { fill, normals, type Random, randomFrom } from "./random.ts";

/** Random values from which tensors are cut; blocks of a prime number, so that no two rows of a matrix are alike. */
const poolValues = 2 ** 20;
const poolBlocks: Readonly<Record<number, number>> = { 1: 1048573, 32: 32749, 256: 4093 };

const alignment = 32;
const align = (n: number) => Math.ceil(n / alignment) * alignment;
const fileTypes: Readonly<Record<Format, number>> = { q4: 2, q8: 7, bf16: 32 };

export function* ggufParts(config: JambaConfig, format: Format, name: string): Generator<Uint8Array<ArrayBuffer>> {
  const random = randomFrom(1);
  const values = normals(random, poolValues, weightStd);
  const pools = new Map<BlockName, Uint8Array<ArrayBuffer>>();
  const specs = tensorsOf(config);
  const infos = specs.map((spec) => {
    const block = blockOf(spec, format);
    return { spec, block, bytes: (sizeOf(spec) / blockFormats[block].values) * blockFormats[block].bytes };
  });
  yield header(config, format, name, infos);
  for (const { spec, block, bytes } of infos) {
    if (!spec.matrix) yield encodeBlocks(fill(spec, random), block);
    else {
      const pool =
        pools.get(block) ?? encodeBlocks(values.subarray(0, poolBlocks[blockFormats[block].values] * blockFormats[block].values), block);
      pools.set(block, pool);
      yield* cut(pool, blockFormats[block].bytes, bytes, random);
    }
    yield new Uint8Array(align(bytes) - bytes);
  }
}

/** `bytes` of the pool, read round and round from a block that chance picks. */
function* cut(pool: Uint8Array<ArrayBuffer>, blockBytes: number, bytes: number, random: Random): Generator<Uint8Array<ArrayBuffer>> {
  let at = Math.floor((random() * pool.length) / blockBytes) * blockBytes;
  for (let left = bytes; left > 0; ) {
    const count = Math.min(left, pool.length - at);
    yield pool.subarray(at, at + count);
    left -= count;
    at = 0;
  }
}

type Info = { readonly spec: TensorSpec; readonly block: BlockName; readonly bytes: number };

function header(config: JambaConfig, format: Format, name: string, infos: readonly Info[]): Uint8Array<ArrayBuffer> {
  const pairs = metadata(config, format, name);
  const parts = [utf8("GGUF"), u32(3), u64(infos.length), u64(pairs.length), ...pairs];
  let offset = 0;
  for (const { spec, block, bytes } of infos) {
    const axes = spec.shape.filter((n) => n > 1).reverse(); // GGUF names the contiguous axis first
    parts.push(text(spec.gguf), u32(axes.length), ...axes.map(u64), u32(blockFormats[block].type), u64(offset));
    offset += align(bytes);
  }
  const bytes = joined(parts);
  return joined([bytes, new Uint8Array(align(bytes.length) - bytes.length)]);
}

function metadata(config: JambaConfig, format: Format, name: string): Bytes[] {
  const { pieces, types } = vocabulary(config.vocabSize);
  return [
    string("general.architecture", "jamba"),
    string("general.name", name),
    integer("general.file_type", fileTypes[format]),
    integer("general.quantization_version", 2),
    integer("jamba.block_count", config.nLayers),
    integer("jamba.context_length", config.contextLength),
    integer("jamba.embedding_length", config.dModel),
    integer("jamba.feed_forward_length", config.dFf),
    integer("jamba.attention.head_count", config.nHeads),
    array(
      "jamba.attention.head_count_kv",
      5,
      config.layerKinds.map((kind) => u32(kind === "attention" ? config.nKvHeads : 0)),
    ),
    float("jamba.attention.layer_norm_rms_epsilon", config.rmsNormEps),
    integer("jamba.vocab_size", config.vocabSize),
    integer("jamba.ssm.conv_kernel", config.dConv),
    integer("jamba.ssm.inner_size", config.dInner),
    integer("jamba.ssm.state_size", config.dState),
    integer("jamba.ssm.time_step_rank", config.dtRank),
    integer("jamba.expert_count", config.nExperts),
    integer("jamba.expert_used_count", config.nActiveExperts),
    string("tokenizer.ggml.model", "llama"),
    string("tokenizer.ggml.pre", "default"),
    array("tokenizer.ggml.tokens", 8, pieces.map(text)),
    array(
      "tokenizer.ggml.scores",
      6,
      pieces.map((_, id) => f32(-id)),
    ),
    array("tokenizer.ggml.token_type", 5, types.map(u32)),
    integer("tokenizer.ggml.bos_token_id", 1),
    integer("tokenizer.ggml.eos_token_id", 2),
    integer("tokenizer.ggml.unknown_token_id", 0),
    boolean("tokenizer.ggml.add_bos_token", true),
    boolean("tokenizer.ggml.add_eos_token", false),
    boolean("tokenizer.ggml.add_space_prefix", false),
    string("tokenizer.chat_template", chatTemplate),
  ];
}

/** Ids that are plain text, in every preset: what prompts are made of. */
export const firstTextId = 3 + 256;

/** Messages end to end. */
export const chatTemplate = "{{ bos_token }}{% for message in messages %}{{ message.content }}{% endfor %}";

/** Three control tokens, the bytes, then short strings, all different, as SentencePiece vocabularies have them. */
function vocabulary(size: number): { pieces: string[]; types: number[] } {
  const pieces = ["<unk>", "<s>", "</s>", ...Array.from({ length: 256 }, (_, i) => `<0x${i.toString(16).toUpperCase().padStart(2, "0")}>`)];
  const letters = "abcdefghijklmnopqrstuvwxyz";
  const spell = (n: number): string => (n < 0 ? "" : spell(Math.floor(n / 26) - 1) + letters[n % 26]);
  for (let n = 0; pieces.length < size; n++) pieces.push(`▁${spell(n - 1)}`);
  return { pieces, types: pieces.map((_, id) => (id === 0 ? 2 : id < 3 ? 3 : id < firstTextId ? 6 : 1)) };
}

type Bytes = Uint8Array<ArrayBuffer>;

function joined(parts: readonly Bytes[]): Bytes {
  const all = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

const number = (bytes: number, put: (view: DataView) => void): Bytes => {
  const buffer = new ArrayBuffer(bytes);
  put(new DataView(buffer));
  return new Uint8Array(buffer);
};
const utf8 = (s: string): Bytes => new TextEncoder().encode(s);
const u32 = (n: number) => number(4, (view) => view.setUint32(0, n, true));
const u64 = (n: number) => number(8, (view) => view.setBigUint64(0, BigInt(n), true));
const f32 = (n: number) => number(4, (view) => view.setFloat32(0, n, true));
const text = (s: string) => joined([u64(utf8(s).length), utf8(s)]);
const pair = (key: string, type: number, ...value: Bytes[]) => joined([text(key), u32(type), ...value]);
const string = (key: string, value: string) => pair(key, 8, text(value));
const integer = (key: string, value: number) => pair(key, 4, u32(value));
const float = (key: string, value: number) => pair(key, 6, f32(value));
const boolean = (key: string, value: boolean) => pair(key, 7, Uint8Array.of(value ? 1 : 0));
const array = (key: string, type: number, values: Bytes[]) => pair(key, 9, u32(type), u64(values.length), ...values);
