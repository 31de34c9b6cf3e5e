import { fileURLToPath } from "node:url";
import config from "../../vitest.config.ts";

// The slow ring: see CONTRIBUTING.md.
export default {
  ...config,
  root: fileURLToPath(new URL("../../", import.meta.url)),
  test: {
    ...config.test,
    dir: "tooling/browsers",
    include: ["**/*.slow.ts"],
    testTimeout: 900_000,
    hookTimeout: 900_000,
    fileParallelism: false,
  },
};
