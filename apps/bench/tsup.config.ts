import { defineConfig } from "tsup";
import { library } from "../../tooling/tsup/base.ts";

export default defineConfig({ ...library, entry: ["src/main.ts", "src/side.ts", "src/http-clients.ts"], platform: "node", dts: false });
