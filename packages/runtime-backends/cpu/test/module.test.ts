// The committed modules are what native/ makes.

import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { gunzipSync } from "node:zlib";
import { describe, expect, test } from "vitest";
import { build, hasCompiler, sourceHashes } from "../build-wasm.mjs";
import { moduleNames } from "../src/wasm/modules.ts";

const folder = new URL("../module/", import.meta.url);
const manifest = JSON.parse(readFileSync(new URL("manifest.json", folder), "utf8"));
const sha256 = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");

test("they were made of the sources as they are: else node build-wasm.mjs in @jamba/backend-cpu makes them again", () => {
  expect(sourceHashes()).toEqual(manifest.sources);
});

describe.each(moduleNames)("the module %s", (level) => {
  const packed = readFileSync(new URL(`${level}.wasm.gz`, folder));

  test("is the one of the manifest", () => {
    const module = gunzipSync(packed);
    expect({ sha256: sha256(module), bytes: module.length }).toEqual(manifest.modules[level]);
  });

  test("is at most 100 KB to fetch", () => {
    expect(packed.length).toBeLessThanOrEqual(100_000);
  });
});

// One of the three, which differ by flags: a minute. `node build-wasm.mjs --check` makes all.
test("the compiler makes simd128 again, byte for byte", { timeout: 600_000 }, async ({ skip }) => {
  if (!hasCompiler) skip("the compiler was not fetched: node build-wasm.mjs --fetch in @jamba/backend-cpu");
  expect(sha256(await build("simd128"))).toBe(manifest.modules.simd128.sha256);
});
