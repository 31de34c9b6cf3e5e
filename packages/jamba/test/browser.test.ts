// What a bundler makes of the package for a page. That it runs there is for a test in a browser.

import { fileURLToPath } from "node:url";
import { build } from "vite";
import { expect, test } from "vitest";
import { embedded } from "../../../tooling/tsup/embedded.mjs";

test("a bundle for browsers loads no backend before it is asked for, and takes no native addon along", async () => {
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
});
