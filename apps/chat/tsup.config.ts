import { defineConfig } from "tsup";
import { library } from "../../tooling/tsup/base.ts";

export default defineConfig({ ...library, entry: { index: "src/transport/index.ts" }, outDir: "lib" });
