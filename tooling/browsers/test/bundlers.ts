// One page of ten lines, through each way to the browser that packages take.

import { execFile } from "node:child_process";
import { copyFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { gzipSync } from "node:zlib";
import { expect } from "vitest";
import type { Page } from "./driver.ts";
import { expectedTexts } from "./expected.ts";
import { modulesTold } from "./pages.ts";
import { type Files, filesOf, type Site } from "./site.ts";

const run = promisify(execFile);
const bundled = fileURLToPath(new URL("bundled/", import.meta.url));
const modules = fileURLToPath(new URL("../../../packages/runtime-backends/cpu/module/", import.meta.url));

/** A piece of each module as text in base64, which no bundler changes. */
const marks = ["relaxed-dot", "relaxed", "simd128"].map(
  (level) =>
    [
      level,
      readFileSync(join(modules, `${level}.wasm.gz`))
        .subarray(3000, 3090)
        .toString("base64"),
    ] as const,
);

const textOf = async (files: Files, path: string) => Buffer.from((await files(path)) ?? []).toString("latin1");

/** Modules of the CPU backend in the files that a page asked for. */
export async function modulesAsked(files: Files, asked: readonly string[]): Promise<string[]> {
  const found: string[] = [];
  for (const path of asked.filter((path) => /\.m?js$/.test(path))) {
    const text = await textOf(files, path);
    found.push(...marks.flatMap(([level, mark]) => (text.includes(mark) ? [level] : [])));
  }
  return found;
}

/** Bytes, gzipped, of what a page fetches for the backend beside the rest: its glue with the code of workers, and the module. */
export async function backendBytes(files: Files, asked: readonly string[]): Promise<{ glue: number; module: number }> {
  const sizes = { glue: 0, module: 0 };
  for (const path of asked.filter((path) => /\.m?js$/.test(path))) {
    const text = await textOf(files, path);
    const bytes = gzipSync(text, { level: 9 }).length;
    if (marks.some(([, mark]) => text.includes(mark))) sizes.module += bytes;
    else if (text.includes("expected a module that this engine computes rightly")) sizes.glue += bytes;
  }
  return sizes;
}

/** What `answer` of bundled/answer.js came to, as it must. */
export async function expectAnswer(page: Page, site: Site, files: Files): Promise<string> {
  await page.goto(site.url);
  const isThere = "new Promise((go) => { const look = () => (globalThis.answer ? go(true) : setTimeout(look, 20)); look(); })";
  await page.evaluate(isThere);
  const { text, features, warnings } = await page.evaluate<{ text: string; features: string[]; warnings: string[] }>("answer");
  expect(expectedTexts[0].text.startsWith(text) && text.length > 20, text).toBe(true);
  expect(warnings).toEqual([]);
  expect(await modulesAsked(files, site.asked)).toEqual(modulesTold(features));
  expect(await page.evaluate("document.body.textContent")).toContain(text);
  const { glue, module } = await backendBytes(files, site.asked);
  return `${features[0]}; gzipped: module ${(module / 1024).toFixed(1)} KiB, its glue ${glue ? `${(glue / 1024).toFixed(1)} KiB` : "among other code"}`;
}

/** What bundlers warn of is an error here: a user would see it. */
export async function byVite(): Promise<Files> {
  const { build, createLogger } = await import("vite");
  const warnings: string[] = [];
  const customLogger = {
    ...createLogger("silent"),
    warn: (text: string) => void warnings.push(text),
    warnOnce: (text: string) => void warnings.push(text),
  };
  const output = await build({ root: bundled, configFile: false, customLogger, build: { write: false, chunkSizeWarningLimit: 10_000 } });
  expect(warnings).toEqual([]);
  const files = new Map(
    [output]
      .flat()
      .flatMap((one) => ("output" in one ? one.output : []))
      .map((file) => [file.fileName, Buffer.from("code" in file ? file.code : file.source)]),
  );
  return (path) => files.get(path);
}

export async function byEsbuild(): Promise<Files> {
  const { build } = await import("esbuild");
  const { outputFiles, warnings } = await build({
    entryPoints: [join(bundled, "answer.js")],
    outdir: "/",
    write: false,
    bundle: true,
    splitting: true,
    minify: true,
    format: "esm",
    logLevel: "silent",
  });
  // Said of packages outside node_modules alone, as these are here.
  expect(warnings.filter(({ id }) => id !== "ignored-bare-import")).toEqual([]);
  const files = new Map(outputFiles.map(({ path, contents }) => [path.slice(1), contents]));
  files.set("index.html", readFileSync(join(bundled, "index.html")));
  return (path) => files.get(path);
}

/** Sources, by path, whose code a page has before it loads anything: the entry and whatever that imports at once. */
export async function sourcesAtOnce(): Promise<string[]> {
  const { build } = await import("esbuild");
  const entry = join(bundled, "answer.js");
  const { metafile } = await build({
    ...{ entryPoints: [entry], outdir: "/", write: false, bundle: true, splitting: true, format: "esm", logLevel: "silent" },
    metafile: true,
  });
  const outputs = Object.entries(metafile.outputs);
  const needed = outputs.filter(([, { entryPoint }]) => entryPoint?.endsWith("bundled/answer.js")).map(([path]) => path);
  for (const path of needed)
    for (const one of metafile.outputs[path].imports)
      if (one.kind === "import-statement" && !one.external && !needed.includes(one.path)) needed.push(one.path);
  return needed.flatMap((path) =>
    Object.entries(metafile.outputs[path].inputs).flatMap(([source, { bytesInOutput }]) => (bytesInOutput > 0 ? [source] : [])),
  );
}

/** In `folder`, where jamba and the bundler are installed as users have them. */
export const installed: Readonly<Record<string, { packages: Record<string, string>; build(folder: string): Promise<Files> }>> = {
  "vite 8": { packages: { vite: "8.4.0" }, build: (folder) => byCommand(folder, "vite", ["build"], "dist") },
  "webpack 5": {
    packages: { webpack: "5.113.0" },
    build: async (folder) => {
      const config = `{ mode: "production", entry: "./answer.js", output: { path: process.cwd() + "/packed", filename: "answer.js" }, performance: false }`;
      const script = `
import webpack from "webpack";
webpack(${config}, (error, stats) => {
  const { warnings = [], errors = [] } = stats?.toJson() ?? {};
  const said = [error, ...errors, ...warnings].filter(Boolean);
  for (const one of said) console.error(one.message ?? one);
  process.exitCode = said.length ? 1 : 0;
});`;
      writeFileSync(join(folder, "webpack.mjs"), script);
      const files = await byNode(folder, ["webpack.mjs"], "packed");
      return withIndex(files, '<!doctype html><meta charset="utf-8"><body><script src="answer.js"></script></body>');
    },
  },
  "Next 16, Turbopack": next("--turbopack"),
  "Next 16, webpack": next("--webpack"),
  "no bundler: an import map": {
    packages: {},
    build: async (folder) => {
      const imports = importMap(folder);
      const html = `<!doctype html><meta charset="utf-8"><script type="importmap">${JSON.stringify({ imports })}</script><body><script type="module" src="answer.js"></script></body>`;
      return withIndex(filesOf(folder), html);
    },
  },
};

function next(flag: string) {
  return {
    packages: { next: "16.4.6", react: "19.3.1", "react-dom": "19.3.1" },
    build: async (folder: string) => {
      mkdirSync(join(folder, "app"), { recursive: true });
      writeFileSync(join(folder, "next.config.mjs"), `export default { output: "export" };`);
      writeFileSync(join(folder, "app/layout.jsx"), "export default ({ children }) => <html><body>{children}</body></html>;");
      // As a component of a client has it: imported by the server too, which renders it first.
      writeFileSync(
        join(folder, "app/page.jsx"),
        `"use client";
import { loadModel } from "jamba";
import { useEffect, useState } from "react";
${readFileSync(join(bundled, "answer.js"), "utf8").replace(/^(import|globalThis).*\n|^.*body\.append.*\n/gm, "")}
export default function Page() {
  const [said, setSaid] = useState("");
  useEffect(() => {
    globalThis.answer ??= answer().then(async (found) => {
      setSaid(found.text);
      await new Promise((resolve) => setTimeout(resolve, 50));
      return found;
    });
  }, []);
  return <p>{said}</p>;
}
`,
      );
      return byCommand(folder, "next", ["build", flag], "out");
    },
  };
}

/** A bare specifier for each package below node_modules: what a page without a bundler needs. */
function importMap(folder: string): Record<string, string> {
  const map: Record<string, string> = {};
  const add = (name: string) => {
    const at = join(folder, "node_modules", name);
    if (map[name] || !existsSync(join(at, "package.json"))) return;
    const {
      exports,
      module,
      main = "index.js",
      dependencies = {},
      peerDependencies = {},
    } = JSON.parse(readFileSync(join(at, "package.json"), "utf8"));
    const entry = entryOf(exports?.["."] ?? exports) ?? module ?? main;
    map[name] = `/${relative(folder, join(at, entry))}`;
    for (const other of Object.keys({ ...dependencies, ...peerDependencies })) add(other);
  };
  add("jamba");
  return map;
}

type Exports = string | { readonly [condition: string]: Exports } | undefined;

function entryOf(exports: Exports): string | undefined {
  if (typeof exports !== "object") return exports;
  const condition = Object.keys(exports).find((name) => ["browser", "import", "default"].includes(name));
  return condition && entryOf(exports[condition]);
}

function withIndex(files: Files, html: string): Files {
  return (path) => (path === "index.html" ? new TextEncoder().encode(html) : files(path));
}

async function byCommand(folder: string, name: string, args: readonly string[], out: string): Promise<Files> {
  return byNode(folder, [join("node_modules/.bin", name), ...args], out);
}

async function byNode(folder: string, args: readonly string[], out: string): Promise<Files> {
  const { stdout, stderr } = await run(process.execPath, [...args], {
    cwd: folder,
    timeout: 600_000,
    env: { ...process.env, NODE_ENV: "production", NEXT_TELEMETRY_DISABLED: "1", CI: "1" },
  });
  const warned = `${stdout}\n${stderr}`
    .split("\n")
    .filter((line) => !/chunkSizeWarningLimit/.test(line) && /warn|externalized|can't resolve/i.test(line));
  expect(warned).toEqual([]);
  return filesOf(join(folder, out));
}

/** The page in a folder of its own. */
export function copyPage(folder: string): void {
  for (const name of ["answer.js", "index.html"]) copyFileSync(join(bundled, name), join(folder, name));
}

/** Whether the packages were built. */
export const isBuilt = existsSync(join(dirname(dirname(modules)), "cpu/dist/index.js"));
