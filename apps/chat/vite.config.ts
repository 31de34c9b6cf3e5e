import { createHash } from "node:crypto";
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
  configureServer({ middlewares }) {
    middlewares.use("/model/", ({ url = "" }, response, next) => {
      const name = modelFiles.find((one) => url === `/${one}`);
      if (name) response.end(readFileSync(modelFolder + name));
      else next();
    });
  },
  generateBundle() {
    for (const name of modelFiles) this.emitFile({ type: "asset", fileName: `model/${name}`, source: readFileSync(modelFolder + name) });
  },
};

const modelVersion = createHash("sha256")
  .update(readFileSync(`${modelFolder}model.safetensors`))
  .digest("hex")
  .slice(0, 12);

/**
 * The service worker at the page's root, with the names of all that it keeps: a page that was built anew has another one. The small model is
 * kept by who fetches it.
 */
const offline: Plugin = {
  name: "offline",
  generateBundle: {
    order: "post",
    handler(_, bundle) {
      const worker = bundle["service-worker.js"];
      if (worker?.type !== "chunk") throw new Error("expected the service worker among what is built");
      const names = Object.keys(bundle).filter((name) => name !== "service-worker.js" && !name.startsWith("model/"));
      const kept = [...names, "icon.svg", "manifest.webmanifest"].sort();
      worker.code = worker.code.replace(/["'`]KEPT_FILES["'`]/, JSON.stringify(JSON.stringify(kept)));
    },
  },
};

/** What is shown is asked for with the document, not by the program that starts the model. */
const preload: Plugin = {
  name: "preload",
  transformIndexHtml: {
    order: "post",
    handler(_, { bundle = {}, chunk: entry }) {
      const page = Object.values(bundle).find((one) => one.type === "chunk" && one.facadeModuleId?.endsWith("/page/show.tsx"));
      if (page?.type !== "chunk") return [];
      const files = [page.fileName, ...page.imports].filter((file) => !entry?.imports.includes(file));
      return files.map((file) => ({
        tag: "link",
        attrs: { rel: "modulepreload", href: `./${file}`, crossorigin: true },
        injectTo: "head",
      }));
    },
  },
};

/**
 * A quarter of all code that this page would never run. jamba and the AI SDK take schemas of zod and valibot: the page writes its own as JSON.
 * And the SDK checks with zod what a server sends: here there is none. Whatever of it is called after all throws, but for zod's builders, which
 * the SDK calls when it is loaded.
 */
const absent = (name: string) => `() => { throw new Error("${name} is not part of this page"); }`;
const unused: Readonly<Record<string, string>> = {
  "eventsource-parser/stream": `export const EventSourceParserStream = ${absent("what reads a server's events")};`,
  "zod/v3": "export const ZodFirstPartyTypeKind = {};",
  "zod/v4": `
    const build = new Proxy(() => build, { get: (_, name) => (/^(_zod|~standard|parse|safeParse|then$)/.test(String(name)) ? undefined : build) });
    export const z = build, toJSONSchema = ${absent("zod")}, safeParseAsync = ${absent("zod")};`,
  "zod/v4/core": `export const toJSONSchema = ${absent("zod")};`,
  "zod-to-json-schema": `export const ignoreOverride = Symbol(), zodToJsonSchema = ${absent("zod")};`,
  "@valibot/to-json-schema": `export const toJsonSchema = ${absent("valibot")};`,
};

const leaveOut: Plugin = {
  name: "leave-out",
  enforce: "pre",
  resolveId: (id) => (Object.hasOwn(unused, id) ? `\0left-out:${id}` : undefined),
  load: (id) => (id.startsWith("\0left-out:") ? unused[id.slice("\0left-out:".length)] : undefined),
};

/** The workspace's sources, not its builds. */
const conditions = ["source", "module", "browser", "import", "default"];

export default defineConfig({
  root: fileURLToPath(new URL("./", import.meta.url)),
  base: "./",
  plugins: [embedded, leaveOut, smallModel, preload, offline],
  define: { "import.meta.env.MODEL_VERSION": JSON.stringify(modelVersion) },
  resolve: { conditions, alias: { react: "preact/compat", "react-dom": "preact/compat" } },
  oxc: { jsx: { runtime: "automatic", importSource: "preact" } },
  worker: { format: "es", plugins: () => [embedded, leaveOut] },
  build: {
    target: "es2022",
    chunkSizeWarningLimit: 2000,
    modulePreload: { polyfill: false },
    rolldownOptions: {
      input: [fileURLToPath(new URL("index.html", import.meta.url)), fileURLToPath(new URL("src/service-worker.ts", import.meta.url))],
      output: {
        entryFileNames: ({ name }) => (name === "service-worker" ? "[name].js" : "assets/[name]-[hash].js"),
        // One file of what is shown at first, not one for each set of its parts that something else has too: small ones pack badly.
        codeSplitting: {
          groups: [
            { name: "start", test: /\/chat\/src\/(channel\/|page\/(store|settings)\.ts$)|preload-helper/ },
            {
              name: "page",
              test: /\/(preact|lucide-preact)\/|\/chat\/src\/(page\/(dialog|format|use-store|show)\.tsx?$|markdown\/(math|escaped)\.ts$)/,
            },
          ],
        },
      },
      // React's "use client" means nothing in a bundle.
      onwarn: (warning, warn) => warning.code === "MODULE_LEVEL_DIRECTIVE" || warn(warning),
    },
  },
  server: { headers: isolation },
  preview: { headers: isolation, host: "127.0.0.1" },
});
