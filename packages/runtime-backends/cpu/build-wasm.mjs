// Makes module/<level>.wasm.gz from native/, and module/manifest.json, which says what they were made of and with.
// `--check` makes them again and fails where they differ from what is committed. The compiler comes from npm, 100 MB, into a folder for
// temporary files; it is WebAssembly itself, and gives the same bytes on every machine. `--only=<level>` makes one and writes no manifest;
// `--fetch` only fetches the compiler.

import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { isMainThread, parentPort, Worker, workerData } from "node:worker_threads";
import { gunzipSync, gzipSync } from "node:zlib";

const here = fileURLToPath(new URL(".", import.meta.url));
const native = join(here, "native");
const place = join(here, "module");
const compiler = "@yowasp/clang@22.0.0-git20542-10";

const levels = {
  simd128: [],
  relaxed: ["-mrelaxed-simd"],
  "relaxed-dot": ["-mrelaxed-simd", "-DJAMBA_DOT_OF_FOUR"],
};

/** Of native/: what needs no operating system, and what stands in for one. */
const compiled = ["kernels", "wasm/door", "wasm/heap", "wasm/libc", "checks", "machine", "pool", "program", "states", "weights"];

// -ffp-contract=off as in build-native.mjs.
const flags =
  "-std=c++20 -O3 -ffp-contract=off -fno-math-errno -fno-exceptions -fno-rtti --target=wasm32-wasip1 -msimd128 -matomics -mbulk-memory -mmutable-globals -isystem /usr/include/c++/v1 -isystem /usr/include/wasm32-wasip1 -Inative -Inative/wasm -D_LIBCPP_DISABLE_EXTERN_TEMPLATE -fno-threadsafe-statics -Wall -Wextra -Werror -Wno-unused-function";
const linked =
  "--no-entry --import-memory --shared-memory --max-memory=4294967296 --initial-memory=4194304 --stack-first -z stack-size=262144 --export=__stack_pointer --export=__wasm_call_ctors --strip-all --gc-sections --error-limit=0";

const sha256 = (bytes) => createHash("sha256").update(bytes).digest("hex");

function sources() {
  const read = (folder, prefix) =>
    readdirSync(folder, { withFileTypes: true }).flatMap((e) =>
      e.isDirectory() ? read(join(folder, e.name), `${prefix}${e.name}/`) : `${prefix}${e.name}`,
    );
  const isUsed = (file) => file.endsWith(".h") || compiled.includes(file.replace(/\.cc$/, ""));
  return read(native, "").filter(isUsed).sort();
}

/** What the modules are made of, by hash. */
export function sourceHashes() {
  const hashes = Object.fromEntries(sources().map((file) => [file, sha256(readFileSync(join(native, file)))]));
  return { ...hashes, "build-wasm.mjs": sha256(readFileSync(join(here, "build-wasm.mjs"))) };
}

/** A file and all that it includes. */
function reached(file, seen = new Set()) {
  if (seen.has(file)) return [];
  seen.add(file);
  const names = [...readFileSync(join(native, file), "utf8").matchAll(/^#include "(?:\.\.\/)?(.+)"$/gm)].map(([, name]) => name);
  for (const name of names) {
    const found = [name, join(dirname(file), name), join("simd", name), join("wasm", name)].find((path) => existsSync(join(native, path)));
    reached(found, seen);
  }
  return [...seen].sort();
}

const folder = join(tmpdir(), `jamba-${compiler.replaceAll(/[^\w.-]/g, "-")}`);
/** Whether the compiler was fetched. */
export const hasCompiler = existsSync(join(folder, "node_modules/@yowasp/clang/package.json"));

function fetchCompiler() {
  if (!hasCompiler) {
    mkdirSync(folder, { recursive: true });
    execFileSync("npm", ["install", "--prefix", folder, "--no-audit", "--no-fund", "--no-save", "--ignore-scripts", compiler], {
      stdio: ["ignore", "ignore", "inherit"],
    });
  }
}

/** @returns the module's bytes */
export async function build(level) {
  const require = createRequire(join(folder, "package.json"));
  const { runClang, runLLVM } = await import(pathToFileURL(require.resolve("@yowasp/clang")).href);
  // The compiler's file system knows no "..".
  const text = (file) => readFileSync(join(native, file), "utf8").replaceAll('#include "../', '#include "');
  const tree = {};
  for (const file of sources()) {
    const parts = file.split("/");
    let at = tree;
    for (const part of parts.slice(0, -1)) at = at[part] ??= {};
    at[parts.at(-1)] = text(file);
  }
  const said = [];
  const run = async (command, args, files) => {
    const stderr = (bytes) => bytes && said.push(new TextDecoder().decode(bytes));
    try {
      return await command(args, files, { stdout: stderr, stderr });
    } catch {
      throw new Error(`${args.join(" ")}: ${said.join("")}`);
    }
  };
  const name = level.replace("-", "_");
  const objects = {};
  for (const source of compiled) {
    const output = `${source.replace("/", "-")}.o`;
    const size = source === "kernels" ? [] : ["-Os"];
    const own = [`-DJAMBA_LEVEL=${name}`, ...levels[level], ...size, ...(source.endsWith("libc") ? ["-fno-builtin"] : [])];
    const args = ["clang++", ...flags.split(" "), ...own, "-c", `native/${source}.cc`, "-o", output];
    // A compile takes half a minute: what came of the same texts is kept.
    const kept = join(folder, `${sha256(JSON.stringify([args, reached(`${source}.cc`).map(text)]))}.o`);
    if (!existsSync(kept)) writeFileSync(kept, (await run(runClang, args, { native: tree }))[output]);
    objects[output] = new Uint8Array(readFileSync(kept));
  }
  const args = ["wasm-ld", ...linked.split(" "), ...Object.keys(objects), "-o", "module.wasm"];
  return (await run(runLLVM, args, objects))["module.wasm"];
}

async function main() {
  const only = process.argv.find((argument) => argument.startsWith("--only="))?.slice("--only=".length);
  const wanted = Object.keys(levels).filter((level) => !only || only.split(",").includes(level));
  fetchCompiler();
  if (process.argv.includes("--fetch")) return;
  const made = await Promise.all(
    wanted.map(
      (level) =>
        new Promise((resolve, reject) => {
          const worker = new Worker(fileURLToPath(import.meta.url), { workerData: { level } });
          worker.once("message", (bytes) => resolve([level, Buffer.from(bytes)]));
          worker.once("error", reject);
        }),
    ),
  );
  const manifest = {
    modules: Object.fromEntries(made.map(([level, bytes]) => [level, { sha256: sha256(bytes), bytes: bytes.length }])),
    compiler,
    sources: sourceHashes(),
  };
  const text = `${JSON.stringify(manifest, null, 2)}\n`;
  if (process.argv.includes("--check")) {
    const committed = readFileSync(join(place, "manifest.json"), "utf8");
    if (committed !== text) throw new Error(`expected the committed modules, found others:\n${committed}${text}`);
    for (const [level, bytes] of made) {
      if (!gunzipSync(readFileSync(join(place, `${level}.wasm.gz`))).equals(bytes))
        throw new Error(`${level}: expected the same bytes, found others`);
    }
    return;
  }
  mkdirSync(place, { recursive: true });
  for (const [level, bytes] of made) {
    const packed = gzipSync(bytes, { level: 9 });
    writeFileSync(join(place, `${level}.wasm.gz`), packed);
    console.log(`${level}: ${bytes.length} bytes, ${packed.length} gzipped`);
  }
  if (!only) writeFileSync(join(place, "manifest.json"), text);
}

if (!isMainThread) build(workerData.level).then((bytes) => parentPort.postMessage(bytes));
else if (process.argv[1] === fileURLToPath(import.meta.url)) await main();
