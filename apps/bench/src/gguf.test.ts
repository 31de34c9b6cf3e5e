import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fromBf16, fromF16 } from "@jamba/core";
import { describe, expect, test } from "vitest";
import { type BlockName, blockFormats, blockOf, encodeBlocks } from "./blocks.ts";
import { writeGguf } from "./gguf.ts";
import { configOf, type Format, presets, sizeOf, tensorsOf } from "./presets.ts";
import { normals, randomFrom } from "./random.ts";
import { syntheticCheckpoint } from "./synthetic.ts";

// Reads what the formats' definitions in ggml say, not what the encoders do.
const decoders: Record<BlockName, (view: DataView, at: (i: number) => number) => number[]> = {
  F32: (view) => [view.getFloat32(0, true)],
  BF16: (view) => [fromBf16(view.getUint16(0, true))],
  Q8_0: (view) => Array.from({ length: 32 }, (_, i) => fromF16(view.getUint16(0, true)) * view.getInt8(2 + i)),
  Q4_0: (view, at) => {
    const d = fromF16(view.getUint16(0, true));
    return Array.from({ length: 32 }, (_, i) => d * ((i < 16 ? at(2 + i) & 15 : at(2 + i - 16) >> 4) - 8));
  },
  Q6_K: (view, at) => {
    const d = fromF16(view.getUint16(208, true));
    return Array.from({ length: 256 }, (_, i) => {
      const [half, quarter, l] = [i >> 7, (i >> 5) & 3, i & 31];
      const low = (at(64 * half + 32 * (quarter & 1) + l) >> (quarter < 2 ? 0 : 4)) & 15;
      const high = (at(128 + 32 * half + l) >> (2 * quarter)) & 3;
      return d * view.getInt8(192 + (i >> 4)) * ((low | (high << 4)) - 32);
    });
  },
};

function decode(bytes: Uint8Array, name: BlockName): number[] {
  const size = blockFormats[name].bytes;
  return Array.from({ length: bytes.length / size }, (_, block) => {
    const view = new DataView(bytes.buffer, bytes.byteOffset + block * size, size);
    return decoders[name](view, (i) => view.getUint8(i));
  }).flat();
}

test.each([
  ["F32", 0],
  ["BF16", 0.0017],
  ["Q8_0", 0.0054],
  ["Q6_K", 0.019],
  ["Q4_0", 0.086],
] as const)("%s loses a share of %f of normal values", (name, expected) => {
  const values = normals(randomFrom(7), 256 * 64, 0.02);
  const decoded = decode(encodeBlocks(values, name), name);
  expect(decoded.length).toBe(values.length);
  const squares = (of: (i: number) => number) => values.reduce((sum, _, i) => sum + of(i) ** 2, 0);
  const lost = Math.sqrt(squares((i) => decoded[i] - values[i]) / squares((i) => values[i]));
  expect(Math.abs(lost - expected)).toBeLessThanOrEqual(0.05 * expected);
});

test.each(Object.keys(decoders) as BlockName[])("%s keeps zeros", (name) => {
  for (const value of decode(encodeBlocks(new Float32Array(256), name), name)) expect(value).toBeCloseTo(0);
});

describe.each(["q4", "q8", "bf16"] as Format[])("a nano file of %s", (format) => {
  const config = configOf("nano");
  const folder = mkdtempSync(join(tmpdir(), "bench-"));
  const path = join(folder, "nano.gguf");
  writeGguf(path, config, format, "nano");
  const bytes = readFileSync(path);
  rmSync(folder, { recursive: true });
  const { metadata, tensors, dataStart } = readHeader(bytes);

  test("says what the model is", () => {
    expect(metadata.get("general.architecture")).toBe("jamba");
    expect(metadata.get("jamba.attention.head_count_kv")).toEqual([0, 0, 2, 0]);
    expect(metadata.get("jamba.ssm.inner_size")).toBe(512);
    expect(new Set(metadata.get("tokenizer.ggml.tokens") as string[]).size).toBe(config.vocabSize);
  });

  test("has every tensor, contiguous axis first, and ends with the last one", () => {
    const specs = tensorsOf(config);
    expect([...tensors.keys()]).toEqual(specs.map(({ gguf }) => gguf));
    expect(tensors.get("blk.1.ffn_down_exps.weight")).toMatchObject({ axes: [512, 256, 4] });
    expect(tensors.get("blk.0.ssm_conv1d.weight")).toMatchObject({ axes: [4, 512], type: 0 });
    let end = 0;
    for (const spec of specs) {
      const { type, values, bytes } = blockFormats[blockOf(spec, format)];
      expect(tensors.get(spec.gguf)).toMatchObject({ type, offset: end });
      end = Math.ceil((end + (sizeOf(spec) / values) * bytes) / 32) * 32;
    }
    expect(bytes.length - dataStart).toBe(end);
  });

  test("has the same final norm as the checkpoint, which spreads the logits", async () => {
    const start = dataStart + tensors.get("output_norm.weight")!.offset;
    const { buffer, byteOffset } = await syntheticCheckpoint("nano", presets.nano).read("model.final_layernorm.weight");
    expect(decode(bytes.subarray(start, start + 256 * 4), "F32")).toEqual([
      ...new Float32Array(buffer.slice(byteOffset, byteOffset + 1024)),
    ]);
  });

  test("has A negative and rising to -1 … -16", () => {
    const start = dataStart + tensors.get("blk.0.ssm_a")!.offset;
    expect(decode(bytes.subarray(start, start + 16 * 4), "F32")).toEqual(Array.from({ length: 16 }, (_, i) => -1 - i));
  });
});

function readHeader(bytes: Buffer) {
  let at = 24;
  const take = (n: number) => {
    at += n;
    return at - n;
  };
  const u32 = () => bytes.readUInt32LE(take(4));
  const u64 = () => Number(bytes.readBigUInt64LE(take(8)));
  const text = () => {
    const length = u64();
    return bytes.toString("utf8", take(length), at);
  };
  const readers: Record<number, () => unknown> = {
    4: u32,
    5: () => bytes.readInt32LE(take(4)),
    6: () => bytes.readFloatLE(take(4)),
    7: () => bytes[take(1)] === 1,
    8: text,
    9: () => {
      const read = readers[u32()];
      return Array.from({ length: u64() }, read);
    },
  };
  expect([bytes.toString("latin1", 0, 4), bytes.readUInt32LE(4)]).toEqual(["GGUF", 3]);
  const nTensors = Number(bytes.readBigUInt64LE(8));
  const metadata = new Map<string, unknown>();
  for (let left = Number(bytes.readBigUInt64LE(16)); left > 0; left--) metadata.set(text(), readers[u32()]());
  const tensors = new Map<string, { axes: number[]; type: number; offset: number }>();
  for (let left = nTensors; left > 0; left--) tensors.set(text(), { axes: Array.from({ length: u32() }, u64), type: u32(), offset: u64() });
  return { metadata, tensors, dataStart: Math.ceil(at / 32) * 32 };
}
