// What is committed is what the sources say, and what ptxas said of it stays within what occupancy needs.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { gunzipSync } from "node:zlib";
import { expect, test } from "vitest";
import { hashOf, modules, paramsOf, sourcesOf } from "../modules.mjs";

const folder = fileURLToPath(new URL("../ptx", import.meta.url));
const manifest = JSON.parse(readFileSync(join(folder, "manifest.json"), "utf8"));
const targets = ["sm_75", "sm_80", "sm_90"];

test("the kernels are those of these sources: else node build-ptx.mjs makes them again", () => {
  expect(sourcesOf()).toEqual(manifest.sources);
  expect(Object.keys(manifest.modules).sort()).toEqual(
    modules()
      .map(({ name }) => name)
      .sort(),
  );
  for (const stem of new Set(modules().map((one) => one.stem))) expect(paramsOf(stem), stem).toEqual(manifest.params[stem]);
});

test.each(modules().map(({ name }) => name))("%s is the text of its hash, for drivers of CUDA 10 on", (name) => {
  const text = gunzipSync(readFileSync(join(folder, `${name}.ptx.gz`))).toString("utf8");
  expect(hashOf(text)).toBe(manifest.modules[name].sha256);
  expect(text).toMatch(/^\.version 6\.3\n\.target sm_75\n/);
});

test("registers leave room for 512 threads of a multiprocessor, shared memory for two blocks, and next to nothing is spilt", () => {
  for (const { kernels } of Object.values<{ kernels: Record<string, Record<string, Taken>> }>(manifest.modules))
    for (const [kernel, taken] of Object.entries(kernels))
      for (const target of targets) {
        const { registers, sharedBytes, spillBytes } = taken[target];
        expect(registers, `${kernel} on ${target}`).toBeLessThanOrEqual(128);
        expect(sharedBytes, `${kernel} on ${target}`).toBeLessThanOrEqual(24576);
        // Attention on keys of f32 keeps two words for later.
        expect(spillBytes, `${kernel} on ${target}`).toBeLessThanOrEqual(kernel.startsWith("attention_") ? 16 : 0);
      }
});

interface Taken {
  readonly registers: number;
  readonly sharedBytes: number;
  readonly spillBytes: number;
}
