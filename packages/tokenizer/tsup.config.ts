import { defineConfig } from "tsup";
import { library } from "../../tooling/tsup/base.ts";
import { asText } from "../../tooling/tsup/embedded.mjs";

// The code of workers goes into the build: no bundler has to find a file.
export default defineConfig({ ...library, esbuildPlugins: [asText] });
