// TypeScript into one file that plain node runs: sources, not builds. Tests that come along fall away.
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { asText, noTests } from "../../../../tooling/tsup/embedded.mjs";

export const folder = dirname(dirname(fileURLToPath(import.meta.url)));
export const root = join(folder, "../../..");

/** `contents` imports as a file of this package would. */
export async function bundle(contents, outfile) {
  const require = createRequire(createRequire(join(root, "package.json")).resolve("tsup"));
  await require("esbuild").build({
    stdin: { contents, resolveDir: folder, loader: "ts" },
    outfile,
    bundle: true,
    format: "esm",
    platform: "node",
    target: "node20",
    conditions: ["source"],
    loader: { ".gz": "binary" },
    plugins: [noTests, asText],
  });
}
