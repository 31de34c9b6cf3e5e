// What a bundler makes of the package for a page. That it runs there: tooling/browsers.

import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { build } from "vite";
import { expect, test } from "vitest";
import { embedded } from "../../../tooling/tsup/embedded.mjs";

const levels = ["relaxed-dot", "relaxed", "simd128"];
/** A piece of each of the CPU backend's modules, as it stands in code. */
const marks = levels.map((level) =>
  readFileSync(new URL(`../../runtime-backends/cpu/module/${level}.wasm.gz`, import.meta.url))
    .subarray(3000, 3090)
    .toString("base64"),
);

test("a bundle for browsers loads no backend before it is asked for, one module at most then, and nothing of Node's", async () => {
  const bundle = await build({
    configFile: false,
    logLevel: "silent",
    plugins: [embedded],
    resolve: { conditions: ["source"] },
    build: {
      write: false,
      rolldownOptions: { input: fileURLToPath(new URL("../src/index.ts", import.meta.url)), preserveEntrySignatures: "strict" },
    },
  });
  const files = [bundle].flat().flatMap((one) => ("output" in one ? one.output : []));
  const chunks = files.filter((file) => file.type === "chunk");
  expect(files.filter((file) => !chunks.includes(file as never)).map(({ fileName }) => fileName)).toEqual([]);
  // Static imports only: a page must be able to load these.
  const entry = chunks.find(({ isEntry }) => isEntry)!;
  expect(entry.imports.filter((name) => !chunks.some(({ fileName }) => fileName === name))).toEqual([]);
  const withCpu = chunks.filter(({ code }) => code.includes("JAMBA_CPU_LEVEL"));
  expect(withCpu.map(({ isDynamicEntry }) => isDynamicEntry)).toEqual([true]);
  const modules = marks.map((mark) => chunks.filter(({ code }) => code.includes(mark)));
  expect(modules.map((some) => some.map(({ isDynamicEntry }) => isDynamicEntry))).toEqual([[true], [true], [true]]);
  expect(new Set(modules.flat()).size).toBe(levels.length);
  // What a page that runs one fetches for it.
  const gzipped = ([{ code }]: typeof chunks) => gzipSync(code, { level: 9 }).length;
  for (const module of modules) expect(gzipped(module) + gzipped(withCpu)).toBeLessThanOrEqual(110 * 1024);
  for (const { code, imports, dynamicImports } of chunks) {
    expect(code).not.toMatch(/\bimport\s*\(\s*["'`]node:|\bfrom\s*["'`]node:/);
    expect([...imports, ...dynamicImports].filter((name) => !chunks.some(({ fileName }) => fileName === name))).toEqual([]);
  }
});
