import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { defineConfig, type Plugin } from "vite";
import { embedded } from "../../tooling/tsup/embedded.mjs";

/** What a page needs to share memory between threads. */
export const isolation = { "Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Embedder-Policy": "require-corp" };

const modelFiles = ["config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"];
const modelFolder = fileURLToPath(new URL("../../packages/tiny-model/", import.meta.url));

/** The small model beside the page, as `model/`. */
const smallModel: Plugin = {
  name: "small-model",
  generateBundle() {
    for (const name of modelFiles) this.emitFile({ type: "asset", fileName: `model/${name}`, source: readFileSync(modelFolder + name) });
  },
};

/** The workspace's sources, not its builds. */
const conditions = ["source", "module", "browser", "import", "default"];

export default defineConfig({
  root: fileURLToPath(new URL("./", import.meta.url)),
  base: "./",
  plugins: [embedded, smallModel],
  resolve: { conditions, alias: { react: "preact/compat", "react-dom": "preact/compat" } },
  oxc: { jsx: { runtime: "automatic", importSource: "preact" } },
  worker: { format: "es", plugins: () => [embedded] },
  build: {
    target: "es2022",
    chunkSizeWarningLimit: 2000,
    modulePreload: { polyfill: false },
    // React's "use client" means nothing in a bundle.
    rolldownOptions: { onwarn: (warning, warn) => warning.code === "MODULE_LEVEL_DIRECTIVE" || warn(warning) },
  },
  server: { headers: isolation },
  preview: { headers: isolation, host: "127.0.0.1" },
});
