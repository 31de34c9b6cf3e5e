// Makes fixtures/<library>.json by the real libraries, which come from npm and PyPI into a temporary folder: node tooling/schema-shapes/make.mjs [library ...]

import { execFileSync } from "node:child_process";
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const here = fileURLToPath(new URL(".", import.meta.url));
const ajv = { ajv: "8.20.0", "ajv-formats": "3.0.1" };
const openai = { openai: "6.49.0" };
const clients = { ...openai, ai: "6.0.326", "@langchain/core": "1.4.0" };

/** Of each library: what npm installs. */
const packages = {
  zod3: { ...ajv, ...clients, zod: "3.25.76", "zod-to-json-schema": "3.25.2" },
  zod4: { ...ajv, ...clients, zod: "4.6.7" },
  valibot: { ...ajv, ...openai, valibot: "1.5.0", "@valibot/to-json-schema": "1.8.0", zod: "4.6.7" },
  typebox: { ...ajv, "@sinclair/typebox": "0.34.52" },
  pydantic: ajv,
};
const pip = ["pydantic==2.14.4", "openai==3.57.0", "email-validator==2.4.0"];

const asked = process.argv.slice(2);
for (const library of asked.length > 0 ? asked : Object.keys(packages)) {
  const folder = mkdtempSync(join(tmpdir(), `schema-shapes-${library}-`));
  const run = (program, ...args) => execFileSync(program, args, { cwd: folder, stdio: "inherit" });
  writeFileSync(join(folder, "package.json"), JSON.stringify({ type: "module", dependencies: packages[library] }));
  run("npm", "install", "--silent", "--no-audit", "--no-fund");
  if (library === "pydantic") {
    run("python3", "-m", "venv", "python");
    run("python/bin/pip", "install", "--quiet", ...pip);
  }
  for (const file of ["write.mjs", `${library}.mjs`, "shapes_pydantic.py"]) copyFileSync(join(here, file), join(folder, file));
  run("node", `${library}.mjs`);
  mkdirSync(join(here, "fixtures"), { recursive: true });
  copyFileSync(join(folder, `${library}.json`), join(here, "fixtures", `${library}.json`));
  rmSync(folder, { recursive: true });
}
