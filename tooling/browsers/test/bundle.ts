// Pages of this folder as a bundler makes them, of sources: nothing needs a build.

import { fileURLToPath } from "node:url";
import { build, type Plugin } from "esbuild";
import { asText } from "../../tsup/embedded.mjs";
import type { Files } from "./site.ts";

/** The conformance suite imports vitest for what a page does not call. */
const noTests: Plugin = {
  name: "no-tests",
  setup({ onResolve, onLoad }) {
    onResolve({ filter: /^vitest$/ }, () => ({ path: "vitest", namespace: "none" }));
    onLoad({ filter: /.*/, namespace: "none" }, () => ({ contents: "export let afterAll, beforeAll, describe, expect, test;" }));
  },
};

/** What goes wrong where nobody awaits it, for whoever drives the page. */
const errors = `<script>errors = []; onerror = (message) => void errors.push(String(message)); onunhandledrejection = ({ reason }) => void errors.push(String(reason?.stack ?? reason));</script>`;

/** `page/NAME.ts` as a site: `NAME.html` loads it. */
export async function bundlePages(names: readonly string[]): Promise<Files> {
  const { outputFiles } = await build({
    entryPoints: names.map((name) => fileURLToPath(new URL(`page/${name}.ts`, import.meta.url))),
    outdir: "/",
    write: false,
    bundle: true,
    splitting: true,
    minify: true,
    format: "esm",
    platform: "browser",
    target: "es2022",
    conditions: ["source"],
    loader: { ".gz": "binary" },
    plugins: [asText, noTests],
  });
  const files = new Map(outputFiles.map(({ path, contents }) => [path.slice(1), contents]));
  const html = (name: string) =>
    `<!doctype html><meta charset="utf-8"><title>${name}</title>${errors}<script type="module" src="${name}.js"></script>`;
  for (const name of names) files.set(`${name}.html`, new TextEncoder().encode(html(name)));
  return (path) => files.get(path);
}
