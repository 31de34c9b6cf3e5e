// Code that is to run elsewhere, such as in a worker, as a text of the code that starts it: no bundler has to find a file.

import { build, type Plugin } from "esbuild";

/** All that the module at `path` needs, as one script. */
async function textOf(path: string): Promise<string> {
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
export const asText: Plugin = {
  name: "as-text",
  setup({ onResolve, onLoad, resolve }) {
    onResolve({ filter: /\?text$/ }, async ({ path, ...from }) => ({
      path: (await resolve(path.replace(/\?text$/, ""), from)).path,
      namespace: "text",
    }));
    onLoad({ filter: /.*/, namespace: "text" }, async ({ path }) => ({ contents: await textOf(path), loader: "text" }));
  },
};

/** The same for vite and vitest. */
export const asTextInVite = {
  name: "as-text",
  enforce: "pre" as const,
  load: async (id: string) => (id.endsWith("?text") ? `export default ${JSON.stringify(await textOf(id.slice(0, -5)))}` : undefined),
};
