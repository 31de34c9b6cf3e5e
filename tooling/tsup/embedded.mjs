// Files that become part of the code, so that no bundler has to find them: scripts for workers as texts, packed modules as bytes.

import { readFileSync } from "node:fs";
import { build } from "esbuild";

/** All that the module at `path` needs, as one script. */
async function textOf(path) {
  const { outputFiles } = await build({
    entryPoints: [path],
    bundle: true,
    write: false,
    minify: true,
    format: "iife",
    platform: "neutral",
    target: "es2022",
    conditions: ["source"],
    mainFields: ["module", "main"],
    external: ["node:*"],
  });
  return outputFiles[0].text;
}

/** For esbuild and tsup: `import code from "./other.ts?text"`. */
export const asText = {
  name: "as-text",
  setup({ onResolve, onLoad, resolve }) {
    onResolve({ filter: /\?text$/ }, async ({ path, ...from }) => ({
      path: (await resolve(path.replace(/\?text$/, ""), from)).path,
      namespace: "text",
    }));
    onLoad({ filter: /.*/, namespace: "text" }, async ({ path }) => ({ contents: await textOf(path), loader: "text" }));
  },
};

/** For pages and programs of the conformance suite, which imports vitest for what they do not call. */
export const noTests = {
  name: "no-tests",
  setup({ onResolve, onLoad }) {
    onResolve({ filter: /^vitest$/ }, () => ({ path: "vitest", namespace: "none" }));
    onLoad({ filter: /.*/, namespace: "none" }, () => ({ contents: "export let afterAll, beforeAll, describe, expect, test;" }));
  },
};

/** The same for vite and vitest, which read sources; and what esbuild's "binary" loader does with a packed module. */
export const embedded = {
  name: "embedded",
  enforce: "pre",
  async load(id) {
    if (id.endsWith("?text")) return `export default ${JSON.stringify(await textOf(id.slice(0, -5)))}`;
    if (id.endsWith(".wgsl")) return `export default ${JSON.stringify(readFileSync(id, "utf8"))}`;
    if (!id.endsWith(".wasm.gz")) return undefined;
    return `export default Uint8Array.from(atob("${readFileSync(id, "base64")}"), (char) => char.charCodeAt(0))`;
  },
};
