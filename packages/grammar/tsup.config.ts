import { defineConfig } from "tsup";
import { asText } from "../../tooling/tsup/as-text.ts";
import { library } from "../../tooling/tsup/base.ts";

// The module and the code of its threads go into the build: no bundler has to find a file.
export default defineConfig({ ...library, loader: { ".gz": "binary" }, esbuildPlugins: [asText] });
