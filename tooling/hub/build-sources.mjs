// TypeScript sources as modules that plain Node runs, for processes that tests and checks start.

import { basename, join } from "node:path";
import { build } from "vite";
import { embedded } from "../tsup/embedded.mjs";

const conditions = ["source", "import", "module", "default"];

/** @returns the path of the module, in `outDir` */
export async function buildSource(entry, outDir) {
  const name = `${basename(entry, ".ts")}.mjs`;
  await build({
    configFile: false,
    logLevel: "error",
    plugins: [embedded],
    resolve: { conditions },
    ssr: { noExternal: true, resolve: { conditions } },
    build: { ssr: entry, outDir, emptyOutDir: false, minify: false, rollupOptions: { output: { entryFileNames: name } } },
  });
  return join(outDir, name);
}
