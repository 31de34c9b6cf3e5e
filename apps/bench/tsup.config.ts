import { defineConfig, type Options } from "tsup";
import { library } from "../../tooling/tsup/base.ts";

const entry = {
  main: "src/main.ts",
  side: "src/side.ts",
  "http-clients": "src/http-clients.ts",
  structured: "src/structured/program.ts",
  "gaps-server": "src/gaps/server.ts",
  "wasm-side": "src/wasm/program.ts",
};
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
  { ...library, entry, platform: "node", dts: false, clean: ["dist/*.js"] },
  { ...pages, entry: { page: "src/wasm/page.ts" }, clean: false },
  { ...pages, entry: { "start-page": "src/wasm/start-page.ts" }, clean: false },
]);
