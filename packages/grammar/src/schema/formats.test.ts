import { describe, expect, test } from "vitest";
import { knownFormats } from "./formats.ts";

const matches = (format: string, text: string) => new RegExp(`^(?:${knownFormats.get(format)})$`).test(text);

describe("formats of pydantic", () => {
  test.each([
    ["uuid4", ["3fa85f64-5717-4562-b3fc-2c963f66afa6"], ["3fa85f64-5717-1562-b3fc-2c963f66afa6", "3fa85f64-5717-4562-c3fc-2c963f66afa6"]],
    ["base64", ["", "YQ==", "YWI=", "YW+/"], ["YQ", "YW-_", "YQ==YQ=="]],
    ["base64url", ["", "YQ==", "YWI=", "YW-_"], ["YQ", "YW+/"]],
    ["ipv4interface", ["10.0.0.1", "10.0.0.1/8", "1.2.3.4/32"], ["10.0.0.1/33", "10.0.0.1/08"]],
    ["ipv6interface", ["::1", "fe80::1/64", "::/0"], ["::1/129", "::1/1/2"]],
    ["ipv6network", ["::/0", "2001:db8::/32", "::1/128", "fe80::1"], ["2001:db8::1/32", "2001:db8::/31"]],
  ])("%s", (format, good, bad) => {
    for (const text of good) expect([text, matches(format, text)]).toEqual([text, true]);
    for (const text of bad) expect([text, matches(format, text)]).toEqual([text, false]);
  });

  test("a network is an address whose bits behind its prefix are 0", () => {
    const dotted = (bits: number) => [24, 16, 8, 0].map((shift) => (bits >>> shift) & 255).join(".");
    const ones = 0xffffffff;
    for (let length = 0; length <= 32; length++) {
      const mask = length === 0 ? 0 : ones << (32 - length);
      expect([length, matches("ipv4network", `${dotted(mask)}/${length}`)]).toEqual([length, true]);
      expect([length, matches("ipv4network", `${dotted(0x0a5a3cc3 & mask)}/${length}`)]).toEqual([length, true]);
      if (length < 32) expect([length, matches("ipv4network", `${dotted(mask | 1)}/${length}`)]).toEqual([length, false]);
      if (length < 32) expect([length, matches("ipv4network", `${dotted(ones << (31 - length))}/${length}`)]).toEqual([length, false]);
    }
    expect(matches("ipv4network", "10.0.0.1")).toBe(true);
  });

  test("paths are any text", () => expect(knownFormats.get("path")).toBe(""));
});
