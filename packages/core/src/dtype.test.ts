import { describe, expect, test } from "vitest";
import { decodeFloats, fromBf16, fromF16, roundFloats, toBf16, toF16 } from "./dtype.ts";

const all = Array.from({ length: 65536 }, (_, bits) => bits);

describe("f16 and bf16", () => {
  test("every value survives the way through f32", () => {
    for (const bits of all) {
      for (const [from, to] of [
        [fromF16, toF16],
        [fromBf16, toBf16],
      ] as const) {
        const value = from(bits);
        if (Number.isNaN(value)) expect(from(to(value))).toBeNaN();
        else expect(to(value)).toBe(bits);
      }
    }
  });

  test("a value between two neighbours goes to the nearer, a tie to the even one", () => {
    for (const [from, to, last] of [
      [fromF16, toF16, 0x7bff],
      [fromBf16, toBf16, 0x7f7f],
    ] as const) {
      for (let bits = 0; bits < last; bits += 13) {
        const [low, high] = [from(bits), from(bits + 1)];
        expect(to((low + high) / 2)).toBe(bits % 2 === 0 ? bits : bits + 1);
        expect(to(low + (high - low) * 0.25)).toBe(bits);
        expect(to(-(low + (high - low) * 0.75))).toBe((bits + 1) | 0x8000);
      }
    }
  });

  test("beyond the largest lies infinity", () => {
    expect([toF16(65519), toF16(65520), toF16(1e9), toF16(-1e9)]).toEqual([0x7bff, 0x7c00, 0x7c00, 0xfc00]);
    expect(fromBf16(toBf16(3.4e38))).toBe(Number.POSITIVE_INFINITY);
  });
});

test("bytes at any address decode, a broken value is refused", () => {
  const bytes = new Uint8Array([9, 0x00, 0x3c, 0x00, 0xc0]).subarray(1);
  expect([...decodeFloats(bytes, "f16")]).toEqual([1, -2]);
  expect([...decodeFloats(new Uint8Array([0x80, 0x3f]), "bf16")]).toEqual([1]);
  expect([...decodeFloats(new Uint8Array(new Float32Array([0.1]).buffer), "f32")]).toEqual([Math.fround(0.1)]);
  expect(() => decodeFloats(bytes.subarray(1), "f16")).toThrow(expect.objectContaining({ code: "DTYPE" }));
});

test("roundFloats leaves f32 alone and rounds the others in place", () => {
  const values = Float32Array.of(1 / 3, 1e-9);
  roundFloats(values, "f32");
  expect([...values]).toEqual([Math.fround(1 / 3), Math.fround(1e-9)]);
  roundFloats(values, "f16");
  expect([...values]).toEqual([fromF16(toF16(1 / 3)), 0]);
});
