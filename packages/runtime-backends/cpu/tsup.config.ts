import { defineConfig } from "tsup";
import { library } from "../../../tooling/tsup/base.ts";
import { asText } from "../../../tooling/tsup/embedded.mjs";

// The modules and the code of their threads go into the build: no bundler has to find a file.
export default defineConfig({ ...library, loader: { ".gz": "binary" }, esbuildPlugins: [asText] });
