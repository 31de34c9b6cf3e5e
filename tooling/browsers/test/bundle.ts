// Pages of this folder as a bundler makes them, of sources: nothing needs a build.

import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { asText, noTests } from "../../tsup/embedded.mjs";
import type { Files } from "./site.ts";

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
    loader: { ".gz": "binary", ".wgsl": "text" },
    plugins: [asText, noTests],
  });
  const files = new Map(outputFiles.map(({ path, contents }) => [path.slice(1), contents]));
  const html = (name: string) =>
    `<!doctype html><meta charset="utf-8"><title>${name}</title>${errors}<script type="module" src="${name}.js"></script>`;
  for (const name of names) files.set(`${name}.html`, new TextEncoder().encode(html(name)));
  return (path) => files.get(path);
}
