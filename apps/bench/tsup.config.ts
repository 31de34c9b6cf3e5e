import { defineConfig, type Options } from "tsup";
import { library } from "../../tooling/tsup/base.ts";
import { noTests } from "../../tooling/tsup/embedded.mjs";

const entry = {
  main: "src/main.ts",
  side: "src/side.ts",
  "http-clients": "src/http-clients.ts",
  structured: "src/structured/program.ts",
  "gaps-server": "src/gaps/server.ts",
  "wasm-side": "src/wasm/program.ts",
};
/** The cases of conformance are measured here as well, which come with tests. */
const withCases: Options = { esbuildPlugins: [noTests], loader: { ".wgsl": "text" } };
// Of pages: all that they need, as an app would bundle it.
const pages: Options = {
  ...library,
  outDir: "dist/page",
  platform: "browser",
  splitting: true,
  minify: true,
  noExternal: [/./],
  dts: false,
};
export default defineConfig([
  { ...library, ...withCases, entry, platform: "node", dts: false, clean: ["dist/*.js"], noExternal: ["@jamba/conformance"] },
  { ...pages, entry: { page: "src/wasm/page.ts" }, clean: false },
  { ...pages, entry: { "start-page": "src/wasm/start-page.ts" }, clean: false },
  { ...pages, entry: { "peers-page": "src/webgpu/peers-page.ts" }, clean: false },
  // A folder of its own: it goes to any web server as it is.
  { ...pages, ...withCases, outDir: "dist/webgpu-page", entry: { page: "src/webgpu/page.ts" }, clean: true },
]);
