import { expect, test } from "vitest";
import { linesOf, type Report, rowsOf } from "./figures.ts";
import { plain } from "./gpu.ts";

const report: Report = {
  format: "jamba-webgpu-1",
  date: "2026-12-01T00:00:00.000Z",
  agent: "Node 24.0.0",
  adapter: { vendor: "acme", architecture: "", description: "Acme 9000" },
  features: ["clip-distances", "subgroups"],
  languageFeatures: ["packed_4x8_integer_dot_product", "pointer_composite_access"],
  limits: { maxBufferSize: 1 },
  device: { name: "Acme 9000", numerics: "webgpu-1", features: ["with subgroups"] },
  isSmall: false,
  copyGBPerSecond: 400,
  conformance: { cases: 10, faults: ["f32, matmul: wrong"] },
  ops: [
    { what: "q4 with one token", perSecond: 300, unit: "GB/s" },
    { what: "q4 with 64 tokens", perSecond: 5000, unit: "GFLOP/s" },
  ],
  models: [{ what: "tiny-dev q4, after it", tokensPerSecond: 1000, bytes: 1e8 }],
  failures: ["f16: no room"],
};

test("what reads weights once is shown as a share of copying", () => {
  expect(rowsOf(report)).toEqual([
    ["copying, read and written bytes", "400 GB/s", ""],
    ["q4 with one token", "300 GB/s", "75 %"],
    ["q4 with 64 tokens", "5000 GFLOP/s", ""],
    ["tiny-dev q4, after it", "1000 tokens/s", "25 %"],
  ]);
});

test("what was wrong or not measured is said above the figures", () => {
  expect(linesOf(report)).toEqual([
    "adapter: acme, Acme 9000",
    "backend: Acme 9000, webgpu-1; with subgroups",
    "has: subgroups, packed_4x8_integer_dot_product",
    "in: Node 24.0.0",
    "conformance: 9 of 10 cases as the reference has them",
    "wrong: f32, matmul: wrong",
    "not measured: f16: no room",
  ]);
});

test("what an interface has as getters is made plain", () => {
  class Limits {
    get most() {
      return 5;
    }
    get name() {
      return "five";
    }
    method() {}
  }
  expect(plain(new Limits())).toEqual({ most: 5, name: "five" });
});
