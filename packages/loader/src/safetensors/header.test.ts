import { DtypeError, LoadError, ShapeError } from "@jamba/core";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { openBlob } from "../source/blob-source.ts";
import { type NamedTensor, parseSafetensorsHeader, type SafetensorsDtype, safetensorsHeader, writeSafetensors } from "./header.ts";

const open = (bytes: Uint8Array) => openBlob(new Blob([bytes as Uint8Array<ArrayBuffer>]), "m.safetensors");
const parse = (bytes: Uint8Array) => parseSafetensorsHeader(open(bytes));

function fileOf(header: string | Uint8Array, dataBytes = 0, length?: bigint): Uint8Array {
  const json = typeof header === "string" ? new TextEncoder().encode(header) : header;
  const bytes = new Uint8Array(8 + json.length + dataBytes);
  new DataView(bytes.buffer).setBigUint64(0, length ?? BigInt(json.length), true);
  bytes.set(json, 8);
  return bytes;
}

const entry = (fields: Record<string, unknown>) => JSON.stringify({ dtype: "F32", shape: [2], data_offsets: [0, 8], ...fields });
const one = (fields: Record<string, unknown>) => `{"w":${entry(fields)}}`;
const two = (a: [number, number], b: [number, number]) =>
  `{"a":${entry({ shape: [(a[1] - a[0]) / 4], data_offsets: a })},"b":${entry({ shape: [(b[1] - b[0]) / 4], data_offsets: b })}}`;

const inTensor = (text: string) => `m.safetensors: tensor "w": expected ${text}`;

const hostile: [string, Uint8Array, string][] = [
  ["empty file", new Uint8Array(), "m.safetensors: expected at least 8 bytes, found 0"],
  ["seven bytes", new Uint8Array(7), "m.safetensors: expected at least 8 bytes, found 7"],
  ["length 0", fileOf("{}", 0, 0n), "expected a length from 2 to 2 bytes, found 0"],
  ["length 1", fileOf("{}", 0, 1n), "expected a length from 2 to 2 bytes, found 1"],
  ["length past the file", fileOf("{}", 0, 3n), "expected a length from 2 to 2 bytes, found 3"],
  ["length 2^64 - 1", fileOf("{}", 0, 2n ** 64n - 1n), "m.safetensors: header: expected a length"],
  ["git-lfs pointer", new TextEncoder().encode("version https://git-lfs.github.com/spec/v1\n"), "fetch the file with git lfs pull"],
  ["not UTF-8", fileOf(Uint8Array.of(0x7b, 0xff, 0x7d)), "m.safetensors: header: expected UTF-8"],
  ["byte order mark", fileOf("\ufeff{}"), 'expected "{" as the first character'],
  ["space before", fileOf(" {}"), 'expected "{" as the first character'],
  ["invalid JSON", fileOf("{]"), "m.safetensors: header: expected a string"],
  ["cut JSON", fileOf('{"w"'), 'expected ":", found its end'],
  ["cut after a backslash", fileOf('{"w\\'), "the end of a string, found its end"],
  ["line end in a name", fileOf('{"w\n":1}'), "expected the end of a string"],
  ["unknown escape", fileOf('{"\\x":1}'), "expected a string"],
  ["comma at the end", fileOf(`{"w":${entry({})},}`, 8), "m.safetensors: header: expected a string"],
  ["an array", fileOf("[]"), 'expected "{" as the first character'],
  ["something after it", fileOf("{}{}"), "expected nothing but white space after the last brace"],
  ["NUL padding", fileOf("{}\0"), "expected nothing but white space after the last brace"],
  ["two tensors of one name", fileOf(`{"w":${entry({})},"w":${entry({})}}`, 8), 'm.safetensors: header: expected one "w", found two'],
  ["one name spelt twice", fileOf(`{"w":${entry({})},"\\u0077":${entry({})}}`, 8), 'expected one "w", found two'],
  ["two dtypes", fileOf('{"w":{"dtype":"F32","dtype":"F32","shape":[],"data_offsets":[0,4]}}', 4), inTensor('one "dtype", found two')],
  ["__proto__ as a tensor", fileOf(`{"__proto__":${entry({})}}`, 8), 'found "__proto__"'],
  ["__proto__ in a tensor", fileOf('{"w":{"__proto__":{}}}'), inTensor('keys that are names, found "__proto__"')],
  ["a name of 5000 characters", fileOf(`{"${"n".repeat(5000)}":${entry({})}}`, 8), "expected keys of at most 4096 characters, found 5000"],
  ["deep brackets", fileOf(`{"w":${"[".repeat(1e6)}}`), inTensor('"{"')],
  ["unknown key", fileOf(one({ extra: 1 }), 8), inTensor('dtype, shape and data_offsets, found "extra"')],
  ["unknown dtype", fileOf(one({ dtype: "F33" }), 8), inTensor("one of the dtypes BOOL")],
  ["dtype of a prototype", fileOf(one({ dtype: "constructor" }), 8), 'found "constructor"'],
  ["dtype a number", fileOf(one({ dtype: 32 }), 8), inTensor("a string")],
  ["dtype missing", fileOf('{"w":{"shape":[2],"data_offsets":[0,8]}}', 8), inTensor("dtype, shape and two data_offsets, found only shape")],
  ["shape missing", fileOf('{"w":{"dtype":"F32","data_offsets":[0,8]}}', 8), inTensor("dtype, shape and two data_offsets")],
  ["data_offsets missing", fileOf('{"w":{"dtype":"F32","shape":[2]}}', 8), inTensor("dtype, shape and two data_offsets")],
  ["one data_offset", fileOf(one({ data_offsets: [0] }), 8), inTensor("dtype, shape and two data_offsets")],
  ["three data_offsets", fileOf(one({ data_offsets: [0, 8, 8] }), 8), inTensor("data_offsets to have at most 2 numbers")],
  ["shape a number", fileOf(one({ shape: 2 }), 8), inTensor("shape to be an array")],
  ["shape negative", fileOf(one({ shape: [-2] }), 8), inTensor("shape to hold integers from 0 to 2^53 - 1")],
  ["shape broken", fileOf(one({ shape: [2.5] }), 8), inTensor("shape to hold integers")],
  ["shape with an exponent", fileOf('{"w":{"dtype":"F32","shape":[1e1]}}'), inTensor("shape to hold integers")],
  ["shape with a leading zero", fileOf('{"w":{"dtype":"F32","shape":[02]}}'), inTensor("shape to hold integers")],
  ["shape null", fileOf(one({ shape: [null] }), 8), inTensor("shape to hold integers")],
  ["shape 2^53", fileOf('{"w":{"dtype":"F32","shape":[9007199254740992]}}'), inTensor("shape to hold integers")],
  ["nine axes", fileOf(one({ shape: [1, 1, 1, 1, 1, 1, 1, 1, 2] }), 8), inTensor("shape to have at most 8 numbers")],
  ["product past 2^53", fileOf(one({ shape: [2 ** 30, 2 ** 30] }), 8), inTensor("a whole number of bytes below 2^53")],
  ["product past 2^53, then 0", fileOf(one({ shape: [2 ** 30, 2 ** 30, 0] }), 8), inTensor("a whole number of bytes below 2^53")],
  ["half a byte", fileOf(one({ dtype: "F4", shape: [1], data_offsets: [0, 0] })), inTensor("a whole number of bytes")],
  ["begin after end", fileOf(one({ data_offsets: [8, 0] }), 8), inTensor("8 bytes for [2] F32, found data_offsets [8, 0]")],
  ["size unlike the shape", fileOf(one({ shape: [3] }), 8), inTensor("12 bytes for [3] F32, found data_offsets [0, 8]")],
  ["end past the file", fileOf(one({}), 7), inTensor("it to end within 69 bytes, found 70")],
  ["overlap", fileOf(two([0, 8], [4, 12]), 12), 'tensor "b": expected data_offsets to start at 8, after tensor "a", found an overlap'],
  ["hole", fileOf(two([0, 8], [12, 16]), 16), 'tensor "b": expected data_offsets to start at 8, after tensor "a", found a hole'],
  ["hole at the start", fileOf(one({ data_offsets: [4, 12] }), 12), inTensor("data_offsets to start at 0, after the header, found a hole")],
  ["bytes at the end", fileOf(one({}), 9), 'm.safetensors: expected the file to end after tensor "w" at 70 bytes, found 1 more'],
  ["metadata not an object", fileOf('{"__metadata__":[]}'), 'm.safetensors: __metadata__: expected "{"'],
  ["metadata that begins as null does", fileOf('{"__metadata__":nul}'), 'm.safetensors: __metadata__: expected "{"'],
  ["metadata not strings", fileOf('{"__metadata__":{"a":1}}'), "m.safetensors: __metadata__: expected a string"],
  ["metadata twice", fileOf('{"__metadata__":{},"__metadata__":{}}'), 'expected one "__metadata__", found two'],
];

it.each(hostile)("refuses a header with %s", async (_, bytes, message) => {
  const error = await parse(bytes).catch((e) => e);
  expect(error).toBeInstanceOf(LoadError);
  expect(error.message).toContain(message);
  expect(error.message).toContain("m.safetensors");
  expect(error.message.length).toBeLessThan(500);
});

it("refuses more members than any model has", async () => {
  const names = Array.from({ length: 100_001 }, (_, i) => `"${i}":""`);
  await expect(parse(fileOf(`{"__metadata__":{${names}}}`))).rejects.toThrow("__metadata__: expected at most 100000 members");
});

describe("accepts", () => {
  it("an empty header, white space at its end, and no tensors", async () => {
    expect((await parse(fileOf("{ } \n\t\r"))).tensors.size).toBe(0);
  });

  it("tensors out of order, scalars and empty tensors between others", async () => {
    const empty = '"none":{"dtype":"I64","shape":[0,5],"data_offsets":[8,8]}';
    const scalar = '"scalar":{"dtype":"BF16","shape":[],"data_offsets":[8,10]}';
    const { tensors } = await parse(fileOf(`{${scalar},${empty},"w":${entry({})}}`, 10));
    expect([...tensors.values()].map(({ name, offset, sizeBytes }) => [name, offset - tensors.get("w")!.offset, sizeBytes])).toEqual([
      ["scalar", 8, 2],
      ["none", 8, 0],
      ["w", 0, 8],
    ]);
  });

  it("dtypes that no weight has, and escapes in names", async () => {
    const { tensors } = await parse(fileOf('{"\\u00e9\\n":{"dtype":"F8_E4M3","shape":[3],"data_offsets":[0,3]}}', 3));
    expect(tensors.get("é\n")).toMatchObject({ dtype: "F8_E4M3", shape: [3], file: "m.safetensors", sizeBytes: 3 });
  });
});

describe("writer", () => {
  const sizes: [SafetensorsDtype, number][] = [
    ["F32", 4],
    ["BF16", 2],
    ["F16", 2],
    ["I64", 8],
    ["U8", 1],
    ["F8_E4M3", 1],
  ];
  const tensor = fc
    .record({
      name: fc.string({ unit: "grapheme", maxLength: 12 }).filter((name) => name !== "__proto__" && name !== "__metadata__"),
      kind: fc.constantFrom(...sizes),
      shape: fc.array(fc.integer({ min: 0, max: 5 }), { maxLength: 3 }),
      fill: fc.integer({ min: 0, max: 255 }),
    })
    .map(({ name, kind: [dtype, size], shape, fill }): NamedTensor => {
      const length = shape.reduce((a, b) => a * b, size);
      return { name, dtype, shape, bytes: Uint8Array.from({ length }, (_, i) => fill + i) };
    });
  const tensorList = fc.uniqueArray(tensor, { selector: ({ name }) => name, maxLength: 8 });

  it("what it writes is what the parser reads, and each tensor is aligned", async () => {
    await fc.assert(
      fc.asyncProperty(tensorList, fc.dictionary(fc.string(), fc.string(), { noNullPrototype: true }), async (tensors, metadata) => {
        fc.pre(!Object.hasOwn(metadata, "__proto__"));
        const source = open(writeSafetensors(tensors, metadata));
        const header = await parseSafetensorsHeader(source);
        expect(Object.fromEntries(header.metadata)).toEqual(metadata);
        expect(header.tensors.size).toBe(tensors.length);
        for (const { name, dtype, shape, bytes } of tensors) {
          const info = header.tensors.get(name)!;
          expect(info).toMatchObject({ name, dtype, shape });
          expect(await source.read(info.offset, info.sizeBytes)).toEqual(bytes);
          expect(info.offset % new Map(sizes).get(dtype)!).toBe(0);
        }
      }),
      { seed: 1, numRuns: 300 },
    );
  });

  it("a header of its own is aligned, and bytes that follow in order make a file", async () => {
    const tensors = [1, 64, 3].map((sizeBytes, i) => ({ name: `t${i}`, dtype: "U8" as const, shape: [sizeBytes], sizeBytes }));
    for (let length = 0; length < 70; length++) {
      const header = safetensorsHeader(tensors, { pad: "x".repeat(length) }, 64);
      expect(header.length % 64).toBe(0);
      const parsed = await parse(Uint8Array.from([...header, ...new Uint8Array(68)]));
      expect([...parsed.tensors.values()].map(({ offset }) => offset - header.length)).toEqual([0, 1, 65]);
    }
  });

  const w: NamedTensor = { name: "w", dtype: "F32", shape: [1], bytes: new Uint8Array(4) };
  it("refuses what could not be read back", () => {
    expect(() => writeSafetensors([w, w])).toThrow(LoadError);
    expect(() => writeSafetensors([{ ...w, name: "__metadata__" }])).toThrow(LoadError);
    expect(() => writeSafetensors([{ ...w, name: "__proto__" }])).toThrow(LoadError);
    expect(() => writeSafetensors([{ ...w, shape: [2] }])).toThrow(ShapeError);
    expect(() => writeSafetensors([{ ...w, shape: [-1, -1] }])).toThrow(ShapeError);
    expect(() => writeSafetensors([{ ...w, dtype: "F33" as "F32" }])).toThrow(DtypeError);
  });
});
