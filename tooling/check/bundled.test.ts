// A program of ten lines that esbuild makes one file of, in a project that installed the packages: it runs on the native kernels, wherever
// it is started from, and where these are missing it says so.

import { execFile } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, realpathSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { build } from "esbuild";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { folders, needs } from "./needs.ts";
// @ts-expect-error plain JavaScript, so that it runs without a build
import { packAll, pnpm } from "./packages.mjs";

const run = promisify(execFile);
const direct = ["jamba", "@jamba/tiny-model"];
const names = [...new Set(direct.flatMap((name) => [...needs(name)]))];
const platform = `${process.platform}-${process.arch}`;

const program = `import { loadModel } from "jamba";

async function main() {
  const heard = [];
  const model = await loadModel("tiny", process.argv.includes("--listen") ? { onWarning: (warning) => heard.push(warning) } : {});
  const { text } = await model.generate("Once upon a time", { maxTokens: 8, temperature: 0 });
  console.log(JSON.stringify({ kind: model.device.kind, text, heard }));
  await model.dispose();
}
main();
`;
const text = ", a little girl named Ines lived near";

let work: string;
let tarballs: Map<string, string>;
/** What others wrote: linked from here, so that nothing is fetched. */
const foreign = new Map<string, string>();
beforeAll(() => {
  work = mkdtempSync(join(tmpdir(), "bundled-"));
  const to = join(work, "tarballs");
  mkdirSync(to);
  const packed: { manifest: { name: string }; tarball: string }[] = packAll(to, names);
  tarballs = new Map(packed.map(({ manifest, tarball }) => [manifest.name, `file:${tarball}`]));
  for (const [folder, { name, dependencies = {} }] of folders)
    for (const other of Object.keys(names.includes(name) ? dependencies : {}))
      if (!tarballs.has(other)) foreign.set(other, `file:${realpathSync(join(folder, "node_modules", other))}`);
}, 60_000);
afterAll(() => rmSync(work, { recursive: true }));

const installers = {
  /** Each package sees those alone that it names. */
  async pnpm(folder: string): Promise<void> {
    const overrides = Object.fromEntries([...tarballs, ...foreign]);
    const dependencies = Object.fromEntries(direct.map((name) => [name, tarballs.get(name)!]));
    writeFileSync(join(folder, "package.json"), JSON.stringify({ private: true, dependencies, pnpm: { overrides } }));
    const [command, ...prefix]: string[] = pnpm();
    await run(command, [...prefix, "install", "--offline", "--ignore-scripts"], { cwd: folder });
    expect(existsSync(join(folder, "node_modules/@jamba/backend-cpu"))).toBe(false);
  },
  /** All lie beside each other. */
  async npm(folder: string): Promise<void> {
    writeFileSync(
      join(folder, "package.json"),
      JSON.stringify({ private: true, dependencies: Object.fromEntries([...tarballs, ...foreign]) }),
    );
    await run("npm", ["install", "--offline", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"], { cwd: folder });
  },
};

describe.each(["pnpm", "npm"] as const)("installed by %s and bundled", (installer) => {
  let folder: string;
  beforeAll(async () => {
    folder = mkdtempSync(join(work, `${installer}-`));
    await installers[installer](folder);
    for (const format of ["esm", "cjs"] as const)
      await build({
        stdin: { contents: program, resolveDir: folder },
        outfile: fileOf(format),
        ...{ bundle: true, format, platform: "node", target: "node20", logLevel: "error" },
      });
  }, 60_000);

  const fileOf = (format: "esm" | "cjs") => join(folder, "out", format === "esm" ? "main.mjs" : "main.cjs");
  const prebuilds = () => {
    const modules = join(folder, "node_modules");
    const store = installer === "pnpm" && readdirSync(join(modules, ".pnpm")).find((name) => name.startsWith("@jamba+backend-cpu"));
    return join(store ? join(modules, ".pnpm", store, "node_modules") : modules, "@jamba/backend-cpu/prebuilds");
  };
  /** Started from a place where no package is in sight, nor by NODE_PATH, which pnpm sets. */
  const runs = async (format: "esm" | "cjs", ...args: string[]) => {
    const { stdout, stderr } = await run(process.execPath, [fileOf(format), ...args], {
      cwd: work,
      env: { ...process.env, NODE_PATH: "" },
    });
    return { ...JSON.parse(stdout), stderr };
  };

  test.for(["esm", "cjs"] as const)("%s runs on the native kernels", async (format, { skip }) => {
    if (!existsSync(join(prebuilds(), platform, "jamba.node"))) skip(`${platform}: no native kernels were built; is there a C++ compiler?`);
    expect(await runs(format)).toEqual({ kind: "cpu", text, heard: [], stderr: "" });
  });

  test("without them it runs on WebAssembly, and says why, what that costs and what to do, once", async () => {
    rmSync(prebuilds(), { recursive: true, force: true });
    const said =
      /^cpu can't be used: .* found none; build them with a C\+\+ compiler: .*; wasm runs instead, which takes about 2 to 3 times as long$/;
    const listened = await runs("esm", "--listen");
    expect(listened).toEqual({ kind: "wasm", text, heard: [expect.stringMatching(said)], stderr: "" });
    const { stderr, ...silent } = await runs("cjs");
    expect(silent).toEqual({ kind: "wasm", text, heard: [] });
    expect(stderr.trimEnd()).toMatch(said);
  });
});
