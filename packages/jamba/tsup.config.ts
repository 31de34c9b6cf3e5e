import { readFileSync } from "node:fs";
import { defineConfig, type Options } from "tsup";
import { library } from "../../tooling/tsup/base.ts";

/** Of zod 3 its converter needs the names of the kinds alone; the rest is a fifth of this package, and nothing else shakes it off. */
const kindsOfZod3: NonNullable<Options["esbuildPlugins"]>[number] = {
  name: "kinds-of-zod-3",
  setup({ onLoad }) {
    onLoad({ filter: /\/zod\/v3\/index\.js$/ }, ({ path }) => {
      const types = readFileSync(path.replace(/index\.js$/, "types.js"), "utf8");
      const [kinds] = /^export var ZodFirstPartyTypeKind;$[\s\S]*?^\}\)\(ZodFirstPartyTypeKind .*$/m.exec(types) ?? [];
      if (kinds === undefined) throw new Error(`${path}: expected ZodFirstPartyTypeKind in types.js beside it, found none`);
      return { contents: kinds };
    });
  },
};

export default defineConfig({ ...library, esbuildPlugins: [kindsOfZod3] });
