import { defineConfig } from "tsup";
import { library } from "../../../tooling/tsup/base.ts";

// Kernels go into the build as texts: no bundler has to find a file.
export default defineConfig({ ...library, external: [/^node:/, "webgpu"], loader: { ".wgsl": "text" } });
