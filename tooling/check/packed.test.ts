// Every package as a stranger gets it: packed, installed by npm into an empty folder, its README's example run under plain node.

import { execFile } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Manifest, manifests, needs } from "./needs.ts";
// @ts-expect-error plain JavaScript, so that it runs without a build
import { packAll } from "./packages.mjs";

const root = fileURLToPath(new URL("../../", import.meta.url));
const run = promisify(execFile);
let tarballs: Map<string, { folder: string; tarball: string }>;
let work: string;
beforeAll(() => {
  work = mkdtempSync(join(tmpdir(), "installed-"));
  const tarballFolder = join(work, "tarballs");
  mkdirSync(tarballFolder);
  tarballs = new Map(
    packAll(tarballFolder).map((packed: { folder: string; manifest: Manifest; tarball: string }) => [packed.manifest.name, packed]),
  );
}, 60_000); // beside busy tests, packing takes several times its 3 s
afterAll(() => rmSync(work, { recursive: true }));

async function install(name: string): Promise<string> {
  const folder = mkdtempSync(join(work, "app-"));
  const dependencies = Object.fromEntries([...needs(name)].map((one) => [one, `file:${tarballs.get(one)!.tarball}`]));
  writeFileSync(join(folder, "package.json"), JSON.stringify({ private: true, dependencies }));
  await run("npm", ["install", "--no-audit", "--no-fund", "--prefer-offline", "--loglevel=error"], { cwd: folder });
  return folder;
}

/** The ```js blocks of a README, and the ```text block right after each, if any. */
function examples(readme: string): { code: string; output?: string }[] {
  return [...readme.matchAll(/```js\n([\s\S]*?)```(?:\s*```text\n([\s\S]*?)```)?/g)].map(([, code, output]) => ({ code, output }));
}

async function runExamples(folder: string, readme: string): Promise<number> {
  const found = examples(readme);
  for (const [i, { code, output }] of found.entries()) {
    const file = join(folder, `example-${i}.mjs`);
    writeFileSync(file, code);
    const { stdout, stderr } = await run(process.execPath, [file], { cwd: folder });
    expect(stderr).toBe("");
    if (output !== undefined) expect(stdout.trim()).toBe(output.trim());
  }
  return found.length;
}

const libraries = manifests.filter(({ name, bin }) => !bin && name !== "@jamba/tiny-model").map(({ name }) => name);

describe("packed and installed into an empty folder", () => {
  test.for(libraries)("%s works alone and its README's example runs", async (name, { skip }) => {
    const source = tarballs.get(name)!.folder;
    const addon = join(source, "prebuilds", `${process.platform}-${process.arch}`);
    if (name === "@jamba/backend-cpu" && !existsSync(addon)) skip(`${addon}: no native kernels were built; is there a C++ compiler?`);
    const folder = await install(name);
    expect(await runExamples(folder, readFileSync(join(source, "README.md"), "utf8"))).toBeGreaterThan(0);
  });

  test("the example of the repository's README runs beside jamba and the small model", async () => {
    expect(await runExamples(await install("jamba"), readFileSync(join(root, "README.md"), "utf8"))).toBeGreaterThan(0);
  });

  test("@jamba/tiny-model holds a whole model", async () => {
    const folder = await install("@jamba/tiny-model");
    for (const file of ["config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"]) {
      expect(existsSync(join(folder, "node_modules/@jamba/tiny-model", file)), file).toBe(true);
    }
  });

  test("the jamba command writes text from the small model", async () => {
    const folder = await install("@jamba/cli");
    const { stdout } = await run(
      join(folder, "node_modules/.bin/jamba"),
      ["run", "tiny", "Once upon a time", "--max-tokens", "8", "--temperature", "0", "--json"],
      { cwd: folder },
    );
    expect(JSON.parse(stdout)).toMatchObject({ text: ", a little girl named Ines lived near", finishReason: "length" });
  });
});
