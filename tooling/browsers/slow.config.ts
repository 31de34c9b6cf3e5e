import { fileURLToPath } from "node:url";
import { defineConfig } from "vitest/config";

// The slow ring: see CONTRIBUTING.md.
export default defineConfig({
  root: fileURLToPath(new URL("../../", import.meta.url)),
  test: {
    dir: "tooling/browsers",
    include: ["**/*.slow.ts"],
    testTimeout: 900_000,
    hookTimeout: 900_000,
    fileParallelism: false,
  },
});
