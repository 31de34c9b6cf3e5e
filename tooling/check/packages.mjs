// publint and are-the-types-wrong on every package that is published, as it would be packed.

import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
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

/** Published packages, or those of the names given, with the tarball that `pnpm pack` makes of each in the folder `to`. */
export function packAll(to, names) {
  const packages = packageFolders(root)
    .map((folder) => ({ folder, manifest: JSON.parse(readFileSync(join(folder, "package.json"), "utf8")) }))
    .filter(({ manifest }) => !manifest.private && (names?.includes(manifest.name) ?? true));
  const unbuilt = packages.filter(({ folder, manifest }) => manifest.scripts?.build && !existsSync(join(folder, "dist")));
  if (unbuilt.length > 0) throw new Error(`${unbuilt.map(({ manifest }) => manifest.name).join(", ")}: expected dist; run \`pnpm build\``);
  const [command, ...prefix] = pnpm();
  const filters = packages.flatMap(({ manifest }) => ["--filter", manifest.name]);
  // One process for all: starting pnpm takes longer than packing.
  const packing = [...prefix, "-r", ...filters, "pack", "--json", "--pack-destination", to];
  const { status, stdout, stderr } = spawnSync(command, packing, { cwd: root, encoding: "utf8" });
  if (status !== 0) throw new Error(`pnpm pack failed:\n${stdout}${stderr}`);
  const tarballs = new Map(JSON.parse(stdout).map(({ name, filename }) => [name, filename]));
  return packages.map((one) => ({ ...one, tarball: tarballs.get(one.manifest.name) }));
}

/** The pnpm that runs this, or one that npx finds. */
export function pnpm() {
  const running = process.env.npm_execpath;
  if (running?.includes("pnpm")) return running.endsWith("js") ? [process.execPath, running] : [running];
  return ["npx", "-y", JSON.parse(readFileSync(join(root, "package.json"), "utf8")).packageManager];
}

async function check({ manifest, tarball }) {
  const bytes = new Uint8Array(readFileSync(tarball));
  const { messages } = await publint({ strict: true, pack: { tarball: bytes.buffer } });
  const problems = messages.map((message) => formatMessage(message, manifest, { color: false }));
  if (manifest.exports?.["."]) {
    const { types, problems: found = [] } = await checkPackage(createPackageFromTarballData(bytes));
    if (!types) problems.push("types: expected .d.ts files beside the exports, found none");
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
