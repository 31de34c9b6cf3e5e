import { defineConfig } from "vitest/config";
import base from "./vitest.config.ts";

// What takes too long for every run, apart from tooling/browsers: see CONTRIBUTING.md.
export default defineConfig({
  ...base,
  test: {
    ...base.test,
    include: ["**/*.slow.ts"],
    exclude: ["**/node_modules/**", "**/dist/**", "tooling/browsers/**"],
    testTimeout: 900_000,
    hookTimeout: 900_000,
    fileParallelism: false,
  },
});
