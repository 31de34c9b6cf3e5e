// The module that is committed is the one that its sources make.

import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { gunzipSync } from "node:zlib";
import { expect, test } from "vitest";
import { compilerVersion, sources } from "../native/build.mjs";

const file = (name: string) => new URL(`../${name}`, import.meta.url);
const manifest = JSON.parse(readFileSync(file("module/manifest.json"), "utf8"));
const sha256 = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");

test("its manifest names the sources that lie beside it, and the module", () => {
  expect(manifest.sources).toEqual(Object.fromEntries(sources.map((name) => [name, sha256(readFileSync(file(`native/${name}`)))])));
  const packed = readFileSync(file("module/grammar.wasm.gz"));
  expect(manifest.module.sha256).toBe(sha256(gunzipSync(packed)));
  expect(packed.length).toBeLessThan(650_000);
});

test("made again it is the same", ({ skip }) => {
  const version = compilerVersion();
  skip(version !== manifest.compiler, `${manifest.compiler} with the source of its library is not at hand, found ${version ?? "none"}`);
  execFileSync(process.execPath, [fileURLToPath(file("native/build.mjs")), "--check"], { stdio: "pipe" });
}, 900_000);
