import { LoadError } from "@jamba/core";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type Entry, type Gguf, ggufFile, list, memorySource, type Tensor, types, u32, u64, value } from "../../test/gguf-builder.ts";
import { byteSource } from "../source/byte-source.ts";
import { parseGgufHeader } from "./header.ts";

const parse = (file: Gguf) => parseGgufHeader(memorySource(ggufFile(file)));
const f32 = (name: string, n = 8): Tensor => ({ name, type: 0, ne: [n], data: new Uint8Array(4 * n) });

describe("metadata", () => {
  const entries: Record<string, [Entry, unknown]> = {
    u8: [value("u8", 255), 255],
    i8: [value("i8", -128), -128],
    u16: [value("u16", 65535), 65535],
    i16: [value("i16", -2), -2],
    u32: [value("u32", 4294967295), 4294967295],
    i32: [value("i32", -3), -3],
    f32: [value("f32", 1e-6), Math.fround(1e-6)],
    yes: [value("bool", true), true],
    no: [value("bool", false), false],
    text: [value("text", "▁é🎉\0\uFEFF"), "▁é🎉\0\uFEFF"],
    bom: [value("text", "\uFEFF"), "\uFEFF"],
    "no text": [value("text", ""), ""],
    u64: [value("u64", 2 ** 53 - 1), 2 ** 53 - 1],
    "long u64": [value("u64", 2n ** 64n - 1n), 2n ** 64n - 1n],
    "negative i64": [value("i64", -5), -5],
    "long i64": [value("i64", -(2n ** 60n)), -(2n ** 60n)],
    f64: [value("f64", Math.PI), Math.PI],
    texts: [list("text", ["a", "", "▁b"]), ["a", "", "▁b"]],
    "no texts": [list("text", []), []],
    i32s: [list("i32", [0, 8, -1]), Int32Array.of(0, 8, -1)],
    f32s: [list("f32", [-1000, 0.5]), Float32Array.of(-1000, 0.5)],
    bools: [list("bool", [true, false]), Uint8Array.of(1, 0)],
    u64s: [list("u64", [1, 2]), [1, 2]],
    "long i64s": [list("i64", [1, 2n ** 60n]), BigInt64Array.of(1n, 2n ** 60n)],
    __proto__x: [value("u8", 1), 1],
  };
  const file = Object.fromEntries(Object.entries(entries).map(([key, [entry]]) => [key, entry]));

  it.each([2, 3])("of every type is read from version %i", async (version) => {
    const header = await parse({ version, entries: file });
    expect(header.version).toBe(version);
    expect([...header.metadata]).toEqual(Object.entries(entries).map(([key, [, expected]]) => [key, expected]));
  });

  it("of any number and any texts comes back", async () => {
    const numbers = fc.array(fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 }));
    const texts = fc.array(fc.string({ unit: "binary" }).map((text) => text.toWellFormed()));
    await fc.assert(
      fc.asyncProperty(fc.dictionary(fc.string({ unit: "grapheme-ascii", minLength: 1 }), fc.oneof(numbers, texts)), async (some) => {
        const { metadata } = await parse({
          entries: Object.fromEntries(
            Object.entries(some).map(([key, found]) => [key, list(typeof found[0] === "number" ? "i32" : "text", found)]),
          ),
        });
        for (const [key, found] of Object.entries(some)) expect(Array.from(metadata.get(key) as ArrayLike<unknown>)).toEqual(found);
        expect(metadata.size).toBe(Object.keys(some).length);
      }),
      { seed: 1, numRuns: 200 },
    );
  });
});

describe("tensors", () => {
  it.each([
    [0, "F32", "f32", 256, 1024],
    [1, "F16", "f16", 256, 512],
    [30, "BF16", "bf16", 256, 512],
    [2, "Q4_0", "q4_0", 256, 144],
    [3, "Q4_1", "q4_1", 256, 160],
    [6, "Q5_0", "q5_0", 256, 176],
    [7, "Q5_1", "q5_1", 256, 192],
    [8, "Q8_0", "q8_0", 256, 272],
    [10, "Q2_K", "q2_k", 256, 84],
    [11, "Q3_K", "q3_k", 256, 110],
    [12, "Q4_K", "q4_k", 256, 144],
    [13, "Q5_K", "q5_k", 256, 176],
    [14, "Q6_K", "q6_k", 256, 210],
    [20, "IQ4_NL", "iq4_nl", 256, 144],
    [23, "IQ4_XS", "iq4_xs", 256, 136],
    [9, "Q8_1", undefined, 256, 288],
    [15, "Q8_K", undefined, 256, 292],
    [16, "IQ2_XXS", undefined, 256, 66],
    [17, "IQ2_XS", undefined, 256, 74],
    [18, "IQ3_XXS", undefined, 256, 98],
    [19, "IQ1_S", undefined, 256, 50],
    [21, "IQ3_S", undefined, 256, 110],
    [22, "IQ2_S", undefined, 256, 82],
    [29, "IQ1_M", undefined, 256, 56],
    [34, "TQ1_0", undefined, 256, 54],
    [35, "TQ2_0", undefined, 256, 66],
    [39, "MXFP4", undefined, 256, 136],
    [40, "NVFP4", undefined, 256, 144],
    [41, "Q1_0", undefined, 256, 36],
    [24, "I8", undefined, 256, 256],
    [25, "I16", undefined, 256, 512],
    [26, "I32", undefined, 256, 1024],
    [27, "I64", undefined, 256, 2048],
    [28, "F64", undefined, 256, 2048],
  ])("of type %i are %s", async (number, type, dtype, columns, rowBytes) => {
    const tensor = { name: "t", type: number, ne: [columns, 3, 2], data: new Uint8Array(6 * rowBytes) };
    const { tensors, dataStart } = await parse({ tensors: [tensor] });
    expect(tensors.get("t")).toEqual({
      name: "t",
      dtype,
      type,
      shape: [2, 3, columns],
      file: "m.gguf",
      offset: dataStart,
      sizeBytes: 6 * rowBytes,
    });
  });

  it.each([1, 8, 32, 4096])("lie at multiples of %i bytes", async (alignment) => {
    const entries = { "general.alignment": value("u32", alignment) };
    const header = await parse({
      alignment,
      entries,
      tensors: [f32("a", 3), { name: "scalar", type: 0, ne: [], data: new Uint8Array(4) }, f32("b", 5)],
    });
    expect(header.alignment).toBe(alignment);
    expect([...header.tensors.values()].map(({ offset }) => offset % alignment)).toEqual([0, 0, 0]);
    expect(header.tensors.get("scalar")!.shape).toEqual([]);
    expect(header.tensors.get("a")!.offset).toBe(header.dataStart);
  });

  it("may be empty, and the last one needs no padding", async () => {
    const bytes = ggufFile({ tensors: [{ name: "none", type: 0, ne: [0, 3] }, f32("b", 3)] });
    const { tensors } = await parseGgufHeader(memorySource(bytes.subarray(0, bytes.length - 20)));
    expect([...tensors.values()].map(({ sizeBytes }) => sizeBytes)).toEqual([0, 12]);
  });
});

describe("reading", () => {
  const tokens = Array.from({ length: 40_000 }, (_, i) => `▁token${i}`);
  const entries = { "tokenizer.ggml.tokens": list("text", tokens), last: value("u8", 7) };
  const bytes = ggufFile({ entries, tensors: [f32("a", 2 ** 20), f32("b")] });

  it("fetches each byte of the header once and little of the tensors", async () => {
    const source = memorySource(bytes);
    const { metadata, dataStart } = await parseGgufHeader(source);
    expect(metadata.get("tokenizer.ggml.tokens")).toEqual(tokens);
    expect(metadata.get("last")).toBe(7);
    expect(source.reads[0]).toEqual([0, 2 ** 16]);
    let end = 0;
    for (const [offset, length] of source.reads) {
      expect(offset).toBe(end);
      end += length;
    }
    expect(end).toBeLessThan(2 * dataStart);
    expect(source.reads.length).toBeLessThan(8);
  });

  it("does not depend on where the first read ends", async () => {
    // Puts every byte of a header with all kinds of parts on both sides of the border.
    const rest = { list: list("text", ["ab", "cd"]), numbers: list("i32", [1, 2]), flag: value("bool", true) };
    for (let before = 2 ** 16 - 330; before < 2 ** 16 + 10; before++) {
      const padding = "x".repeat(before);
      const { metadata, tensors } = await parse({
        entries: { padding: value("text", padding), ...rest },
        tensors: [f32("a"), f32("b", 2)],
      });
      expect([...metadata.values()]).toEqual([padding, ["ab", "cd"], Int32Array.of(1, 2), true]);
      expect([...tensors.keys()]).toEqual(["a", "b"]);
    }
  });

  it("ends with the signal's reason when it is aborted on the way", async () => {
    const abort = new AbortController();
    const fill = async (target: Uint8Array, offset: number) => {
      target.set(bytes.subarray(offset, offset + target.length));
      if (offset > 0) abort.abort(new Error("enough"));
    };
    await expect(parseGgufHeader(byteSource({ name: "m.gguf", size: bytes.length, fill }), abort.signal)).rejects.toThrow("enough");
  });

  it("refuses a file that was cut anywhere", async () => {
    const whole = ggufFile({ entries: { a: list("text", ["x", "y"]), b: value("u64", 1) }, tensors: [f32("t"), f32("u")] });
    await parseGgufHeader(memorySource(whole));
    for (let length = 0; length < whole.length; length++) {
      const error = await parseGgufHeader(memorySource(whole.subarray(0, length))).catch((e) => e);
      expect(error, `${length} bytes`).toBeInstanceOf(LoadError);
    }
  });
});

describe("refused, with the place and what was expected:", () => {
  const tensor = (change: Partial<Tensor>): Gguf => ({ tensors: [{ ...f32("t", 32), ...change }] });
  const entry = (type: number, bytes: Uint8Array): Gguf => ({ entries: { key: { type, bytes } } });
  const array = (type: number, count: number | bigint) => entry(9, Uint8Array.from([...u32(type), ...u64(count), ...new Uint8Array(64)]));
  const huge = 2n ** 63n;

  it.each<[string, Gguf, RegExp]>([
    ["big-endian files", { version: 0x03000000 }, /version 2 or 3, found a big-endian file/],
    ["turned magic", { magic: "FUGG" }, /found a big-endian file/],
    ["version 1", { version: 1 }, /version 2 or 3, found version 1/],
    ["version 4", { version: 4 }, /version 2 or 3, found version 4/],
    ["git-lfs pointers", { magic: "version https://git-lfs" }, /git lfs pull/],
    ["web pages", { magic: "<!DOCTYPE html>" }, /web page/],
    ["other files", { magic: "PK\x03\x04" }, /expected "GGUF", found .*is it a GGUF file/],
    ["too many tensors", { nTensors: huge }, /at most 100000 tensors/],
    ["too many entries", { nEntries: 100_001 }, /at most 100000 tensors/],
    ["more entries than bytes", { nEntries: 1, tensors: [], alignment: 1 }, /download complete/],
    ["long texts", entry(8, u64(huge)), /metadata "key": expected 9223372036854776000 bytes/],
    ["text that is not UTF-8", entry(8, Uint8Array.from([...u64(1), 255])), /metadata "key": expected UTF-8/],
    ["long lists of texts", array(8, huge), /metadata "key": expected .* bytes/],
    ["long lists of numbers", array(12, huge), /metadata "key": expected .* bytes/],
    ["lists of lists", array(9, 1), /array of plain values, found an array of arrays/],
    ["unknown types of entries", entry(13, u64(0)), /from 0 to 12, found 13/],
    ["unknown types of lists", array(99, 1), /from 0 to 12, found 99/],
    ["booleans of 2", entry(7, Uint8Array.of(2)), /booleans 0 and 1/],
    ["keys without a name", { entries: { "": value("u8", 1) } }, /name of 1 to 4096 bytes, found 0/],
    ["long keys", { entries: { ["k".repeat(4097)]: value("u8", 1) } }, /name of 1 to 4096 bytes, found 4097/],
    ["alignment 0", { entries: { "general.alignment": value("u32", 0) } }, /power of two/],
    ["alignment 24", { entries: { "general.alignment": value("u32", 24) } }, /power of two/],
    ["alignment 2^21", { entries: { "general.alignment": value("u32", 2 ** 21) } }, /power of two/],
    ["alignment 0.5", { entries: { "general.alignment": value("f32", 0.5) } }, /power of two/],
    ["an alignment that is text", { entries: { "general.alignment": value("text", "32") } }, /power of two/],
    ["a tensor twice", { tensors: [f32("t"), f32("t")] }, /tensor "t": expected a name that no other tensor has/],
    ["five axes", tensor({ ne: [1, 1, 1, 1, 1] }), /at most 4 axes, found 5/],
    ["axes beyond 2^53", tensor({ ne: [huge] }), /fewer than 2\^53 bytes/],
    ["a product beyond 2^53", tensor({ ne: [2 ** 30, 2 ** 30] }), /fewer than 2\^53 bytes/],
    ["an axis beyond 2^53 beside a zero", tensor({ ne: [huge, 0] }), /fewer than 2\^53 bytes/],
    ["parts of blocks", tensor({ type: 12, ne: [128, 2] }), /rows of whole blocks of 256 values for Q4_K, found \[2, 128\]/],
    ["types that were removed", tensor({ type: 4 }), /one of the types F32 .* found number 4/],
    ["types of the future", tensor({ type: 4294967295 }), /found number 4294967295/],
    ["odd offsets", tensor({ offset: 4 }), /offset that is a multiple of 32, found 4/],
    ["offsets beyond 2^53", tensor({ offset: huge }), /offset that is a multiple of 32/],
    ["tensors beyond the end", tensor({ offset: 2 ** 40 }), /tensor "t": expected it to end within .* download complete/],
    ["tensors longer than the file", tensor({ ne: [64] }), /tensor "t": expected it to end within .* download complete/],
    ["overlaps", { tensors: [f32("a", 16), { ...f32("b"), offset: 32 }] }, /tensor "b": expected it to start after tensor "a"/],
  ])("%s", async (_, file, message) => {
    const error = await parse(file).catch((e) => e);
    expect(error).toBeInstanceOf(LoadError);
    expect(error.message).toMatch(message);
    expect(error.message).toMatch(/^models\/m\.gguf: /);
  });

  it("a key twice", async () => {
    const bytes = ggufFile({ entries: { ab: value("u8", 1), ac: value("u8", 2) } });
    // "ac" becomes "ab".
    const at = bytes.lastIndexOf(0x63);
    bytes[at] = 0x62;
    await expect(parseGgufHeader(memorySource(bytes))).rejects.toThrow('metadata "ab": expected a key that no other entry has');
  });

  it("a header without end, without reading it whole", async () => {
    // A file of 2^40 bytes whose one text claims most of them.
    const start = ggufFile({ entries: { a: { type: types.text, bytes: u64(2 ** 39) } } });
    const source = memorySource(start, "m.gguf", 2 ** 40);
    await expect(parseGgufHeader(source)).rejects.toThrow("header of at most 100000000 bytes");
    expect(source.reads).toEqual([[0, 2 ** 16]]);
  });
});
