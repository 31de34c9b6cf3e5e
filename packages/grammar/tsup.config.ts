import { defineConfig } from "tsup";
import { library } from "../../tooling/tsup/base.ts";

// The module goes into the build as it is packed: no bundler has to find a file.
export default defineConfig({ ...library, loader: { ".gz": "binary" } });
