// publint and are-the-types-wrong on every package that is published, as it would be packed.

import { spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { checkPackage, createPackageFromTarballData } from "@arethetypeswrong/core";
import { publint } from "publint";
import { formatMessage } from "publint/utils";
import { packageFolders } from "./deps.mjs";

/** Kinds of are-the-types-wrong that say only that a package is ESM: all of ours are, on purpose. */
const esmOnly = new Set(["CJSResolvesToESM"]);
/** Resolution modes that predate `exports`, which no supported Node uses. */
const oldModes = new Set(["node10", "node16-cjs"]);

const root = fileURLToPath(new URL("../../", import.meta.url));

/** Published packages with the tarball that `pnpm pack` makes of each. */
export function packAll(to) {
  return packageFolders(root).flatMap((folder) => {
    const manifest = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
    if (manifest.private) return [];
    const before = new Set(readdirSync(to));
    const [command, ...prefix] = pnpm();
    const packed = spawnSync(command, [...prefix, "pack", "--pack-destination", to], { cwd: folder, encoding: "utf8" });
    if (packed.status !== 0) throw new Error(`pnpm pack in ${relative(root, folder)} failed:\n${packed.stdout}${packed.stderr}`);
    return [
      {
        folder,
        manifest,
        tarball: join(
          to,
          readdirSync(to).find((name) => !before.has(name)),
        ),
      },
    ];
  });
}

/** The pnpm that runs this, or one that npx finds. */
function pnpm() {
  const running = process.env.npm_execpath;
  if (running?.includes("pnpm")) return running.endsWith("js") ? [process.execPath, running] : [running];
  return ["npx", "-y", JSON.parse(readFileSync(join(root, "package.json"), "utf8")).packageManager];
}

async function check({ folder, manifest, tarball }) {
  const { messages } = await publint({ pkgDir: folder, strict: true });
  const problems = messages.map((message) => formatMessage(message, manifest, { color: false }));
  if (manifest.exports?.["."]?.types) {
    const { problems: found = [] } = await checkPackage(createPackageFromTarballData(new Uint8Array(readFileSync(tarball))));
    for (const problem of found) {
      if (!esmOnly.has(problem.kind) && !oldModes.has(problem.resolutionKind)) problems.push(`types: ${JSON.stringify(problem)}`);
    }
  }
  return problems.map((problem) => `${manifest.name}: ${problem}`);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const to = mkdtempSync(join(tmpdir(), "packed-"));
  const packages = packAll(to);
  const problems = [];
  for (const one of packages) problems.push(...(await check(one)));
  rmSync(to, { recursive: true });
  for (const problem of problems) console.error(problem);
  console.log(problems.length === 0 ? `${packages.length} packages are fit to publish` : `${problems.length} problems`);
  process.exitCode = problems.length === 0 ? 0 : 1;
}
