import { LoadError, ShapeError } from "@jamba/core";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { byteSource } from "../source/byte-source.ts";
import { type GgufValue, parseGgufHeader } from "./header.ts";
import { placeGguf, type UnplacedGgufTensor } from "./write.ts";

async function readBack(metadata: ReadonlyMap<string, GgufValue>, tensors: readonly UnplacedGgufTensor[]) {
  const placed = placeGguf(metadata, tensors);
  const file = new Uint8Array(placed.sizeBytes);
  file.set(placed.header);
  const fill = async (target: Uint8Array, offset: number) => target.set(file.subarray(offset, offset + target.length));
  return { placed, header: await parseGgufHeader(byteSource({ name: "made.gguf", size: file.length, fill })) };
}

describe("metadata comes back as it was", () => {
  const values: [string, GgufValue][] = [
    ["text", "Zeile\n\u0000 und 🎉"],
    ["empty", ""],
    ["yes", true],
    ["no", false],
    ["zero", 0],
    ["u32", 2 ** 32 - 1],
    ["u64", 2 ** 53 - 1],
    ["negative", -5],
    ["big", 2n ** 63n],
    ["small", -(2n ** 63n)],
    ["half", 0.5],
    ["texts", ["a", "", "ü"]],
    ["no texts", []],
    ["numbers", [1, -2, 2 ** 53 - 1]],
    ["u8", Uint8Array.of(0, 255)],
    ["i16", Int16Array.of(-3, 3)],
    ["i32", Int32Array.of(-(2 ** 31), 7)],
    ["f32", Float32Array.of(-1e7, 0.1)],
    ["f64", Float64Array.of(Math.PI)],
    ["u64s", BigUint64Array.of(2n ** 64n - 1n)],
    ["part", Int32Array.of(1, 2, 3, 4).subarray(1, 3)],
  ];

  test.each(values)("%s", async (key, value) => {
    const { header } = await readBack(new Map([[key, value]]), []);
    const found = header.metadata.get(key);
    // 64-bit numbers are bigint, and arrays of safe ones plain numbers: that is the reader's choice.
    if (typeof found === "bigint") expect(found).toBe(BigInt(value as number | bigint));
    else expect(found).toEqual(value);
  });

  test("whole numbers are u32, as llama.cpp expects them, others f32", () => {
    const typeOf = (value: GgufValue) => new DataView(placeGguf(new Map([["k", value]]), []).header.buffer).getUint32(24 + 8 + 1, true);
    expect([7, 2 ** 32, -1, 1e-6, true, "x", [1]].map(typeOf)).toEqual([4, 10, 11, 6, 7, 8, 9]);
  });
});

describe("tensors", () => {
  const dtypes = ["f32", "f16", "bf16", "q4_0", "q5_0", "q8_0", "q4_k", "q6_k", "q2_k", "iq4_xs"] as const;

  test("of any shapes come back with names, shapes and dtypes, at aligned places that do not overlap", async () => {
    const tensor = fc.record({
      dtype: fc.constantFrom(...dtypes),
      outer: fc.array(fc.integer({ min: 1, max: 5 }), { maxLength: 2 }),
      blocks: fc.integer({ min: 1, max: 3 }),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(tensor, { maxLength: 12 }), fc.constantFrom(undefined, 32, 64, 4096), async (list, alignment) => {
        const tensors = list.map(({ dtype, outer, blocks }, i) => ({ name: `t${i}`, dtype, shape: [...outer, 256 * blocks] }));
        const metadata = new Map<string, GgufValue>(alignment === undefined ? [] : [["general.alignment", alignment]]);
        const { placed, header } = await readBack(metadata, tensors);
        expect(header.alignment).toBe(alignment ?? 32);
        expect([...header.tensors.values()].map(({ name, dtype, shape, offset }) => ({ name, dtype, shape, offset }))).toEqual(
          tensors.map((given, i) => ({ ...given, offset: placed.offsets[i] })),
        );
        expect(placed.sizeBytes % header.alignment).toBe(0);
      }),
    );
  });

  test("rows that are no whole blocks, and a name twice, are refused", () => {
    const place = (...tensors: UnplacedGgufTensor[]) => placeGguf(new Map(), tensors);
    expect(() => place({ name: "w", dtype: "q4_k", shape: [256, 32] })).toThrow(ShapeError);
    expect(() => place({ name: "w", dtype: "f32", shape: [1] }, { name: "w", dtype: "f32", shape: [2] })).toThrow(LoadError);
  });
});
