import { defineConfig } from "vitest/config";
import { SumReporter } from "./tooling/check/sum-reporter.ts";

// Sources are tested, not builds: the `source` condition resolves workspace packages to their src/.
const conditions = ["source", "import", "module", "default"];

export default defineConfig({
  resolve: { conditions },
  ssr: { resolve: { conditions } },
  test: {
    include: ["**/*.test.ts"],
    exclude: ["**/node_modules/**", "**/dist/**"],
    testTimeout: 120_000,
    reporters: ["default", new SumReporter()],
  },
});
