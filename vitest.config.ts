import { availableParallelism } from "node:os";
import { defineConfig } from "vitest/config";
import { SumReporter } from "./tooling/check/sum-reporter.ts";
import { embedded } from "./tooling/tsup/embedded.mjs";

// Sources are tested, not builds: the `source` condition resolves workspace packages to their src/.
const conditions = ["source", "import", "module", "default"];

// pnpm's scripts put all packages of the workspace where the programs that tests start would find them, and users' programs do not.
// biome-ignore lint/suspicious/noUndeclaredEnvVars: it is taken away, not read
delete process.env.NODE_PATH;

export default defineConfig({
  plugins: [embedded],
  resolve: { conditions },
  ssr: { resolve: { conditions } },
  test: {
    include: ["**/*.test.ts"],
    exclude: ["**/node_modules/**", "**/dist/**"],
    testTimeout: 120_000,
    // Many load a model before their first test, which takes longer than the ten seconds of vitest's own where much runs beside it.
    hookTimeout: 120_000,
    // Left to itself vitest keeps one processor free, which of two is half; much here waits for servers, files and children.
    maxWorkers: availableParallelism(),
    // Has a `source` condition of its own, which node would take the TypeScript of.
    server: { deps: { inline: [/eventsource-parser/, /@ai-sdk\//, /\/node_modules\/ai\//] } },
    reporters: ["default", new SumReporter()],
  },
});
