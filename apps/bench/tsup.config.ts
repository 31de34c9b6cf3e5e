import { defineConfig } from "tsup";
import { library } from "../../tooling/tsup/base.ts";

const entry = {
  main: "src/main.ts",
  side: "src/side.ts",
  "http-clients": "src/http-clients.ts",
  structured: "src/structured/program.ts",
  "gaps-server": "src/gaps/server.ts",
};
export default defineConfig({ ...library, entry, platform: "node", dts: false });
