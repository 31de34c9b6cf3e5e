import { readFileSync } from "node:fs";
import { defineConfig } from "vitest/config";
import { SumReporter } from "./tooling/check/sum-reporter.ts";
import { asTextInVite } from "./tooling/tsup/as-text.ts";

// Sources are tested, not builds: the `source` condition resolves workspace packages to their src/.
const conditions = ["source", "import", "module", "default"];

/** What builds do with a packed module: its bytes become part of the code. */
const packedModules = {
  name: "packed-modules",
  enforce: "pre" as const,
  load: (id: string) =>
    id.endsWith(".wasm.gz") ? `export default Buffer.from("${readFileSync(id).toString("base64")}", "base64")` : undefined,
};

export default defineConfig({
  plugins: [packedModules, asTextInVite],
  resolve: { conditions },
  ssr: { resolve: { conditions } },
  test: {
    include: ["**/*.test.ts"],
    exclude: ["**/node_modules/**", "**/dist/**"],
    testTimeout: 120_000,
    // Has a `source` condition of its own, which node would take the TypeScript of.
    server: { deps: { inline: [/eventsource-parser/, /@ai-sdk\//, /\/node_modules\/ai\//] } },
    reporters: ["default", new SumReporter()],
  },
});
