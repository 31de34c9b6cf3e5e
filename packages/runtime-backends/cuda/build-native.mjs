// Compiles the addon with the system's C++ compiler and npm's headers into prebuilds/<platform>-<arch>/. Without a compiler it says so and goes on.
// --stand-in: instead a library in place of NVIDIA's driver whose device is this processor, for tests, into prebuilds/stand-in/ (Linux on x64).
import { execFile, execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { availableParallelism, tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { modules, native } from "./modules.mjs";

const run = promisify(execFile);
const require = createRequire(import.meta.url);
const here = dirname(fileURLToPath(import.meta.url));
const compiler = process.env.CXX ?? "c++";
const isStandIn = process.argv.includes("--stand-in");

const flags = ["-std=c++20", "-fPIC", "-fvisibility=hidden", "-pthread", "-Wall", "-Wextra", "-Werror"];

/** What each object is made of: a file, or a text beside it. */
function addonJobs() {
  const include = [
    `-I${require("node-api-headers").include_dir}`,
    `-I${dirname(require.resolve("node-addon-api"))}`,
    "-DNAPI_VERSION=8",
    "-DNAPI_CPP_EXCEPTIONS",
  ];
  return ["addon.cc", "driver.cc"].map((file) => ({ source: join(native, file), own: ["-O2", ...include] }));
}

function standInJobs(work) {
  // All kernels of one format as one text, which takes a fraction of the time of a text each.
  const byFormat = new Map();
  for (const { stem, defines } of modules()) {
    const key = JSON.stringify(defines);
    byFormat.set(key, [...(byFormat.get(key) ?? []), stem]);
  }
  const texts = [...byFormat].map(([key, stems], i) => {
    const source = join(work, `kernels-${i}.cc`);
    const defines = Object.entries(JSON.parse(key)).map(([name, value]) => `#define ${name} ${value}`);
    const headers = ["sweep.h", "kv.h", "shares.h"].map((name) => `#include "${join(native, name)}"`);
    // Their templates are other ones for each format, and must not be taken for each other when all are linked.
    const kernels = stems.map(
      (stem) => `namespace of_${i}_${stem.replaceAll("-", "_")} {\n#include "${join(native, "kernels", `${stem}.cu`)}"\n}`,
    );
    writeFileSync(source, [...defines, ...headers, ...kernels].join("\n"));
    return source;
  });
  const own = ["-O1", "-DJAMBA_ON_CPU", `-I${native}`, "-Wno-unknown-pragmas"];
  return [...texts, join(native, "shim", "cuda-on-cpu.cc"), join(native, "stand-in", "libcuda.cc")].map((source) => ({ source, own }));
}

function sources(folder = native) {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath ?? entry.path, entry.name))
    .sort();
}

async function main() {
  const folder = join(here, "prebuilds", isStandIn ? "stand-in" : `${process.platform}-${process.arch}`);
  const target = join(folder, isStandIn ? "libcuda.so.1" : "jamba-cuda.node");
  let version;
  try {
    version = execFileSync(compiler, ["--version"], { encoding: "utf8" });
  } catch {
    console.log(`@jamba/backend-cuda: no C++ compiler (${compiler}), so no addon; set CXX or install one, then build again`);
    return;
  }
  const hash = createHash("sha256").update(JSON.stringify([version, flags, isStandIn]));
  for (const file of [...sources(), fileURLToPath(import.meta.url)]) hash.update(readFileSync(file));
  const stamp = hash.digest("hex");
  const stampFile = join(folder, "stamp");
  if (existsSync(target) && existsSync(stampFile) && readFileSync(stampFile, "utf8") === stamp) return;

  const work = mkdtempSync(join(tmpdir(), "jamba-cuda-"));
  const jobs = (isStandIn ? standInJobs(work) : addonJobs()).map((job, i) => ({ ...job, object: join(work, `${i}.o`) }));
  const waiting = [...jobs];
  const compile = async () => {
    for (let job = waiting.shift(); job; job = waiting.shift())
      await run(compiler, [...flags, ...job.own, "-c", job.source, "-o", job.object]);
  };
  await Promise.all(Array.from({ length: availableParallelism() }, compile));
  mkdirSync(folder, { recursive: true });
  const link = process.platform === "darwin" ? ["-Wl,-undefined,dynamic_lookup"] : ["-static-libstdc++", "-static-libgcc", "-ldl"];
  // Node exports the standard library's inline functions, of another version.
  const bound = process.platform === "linux" ? ["-Wl,-Bsymbolic"] : [];
  await run(compiler, ["-shared", "-pthread", ...bound, ...jobs.map(({ object }) => object), ...link, "-o", join(work, "built")]);
  // Renamed over the old one, which a running program may have mapped.
  writeFileSync(`${target}.${process.pid}`, readFileSync(join(work, "built")));
  renameSync(`${target}.${process.pid}`, target);
  writeFileSync(stampFile, stamp);
  rmSync(work, { recursive: true });
}

try {
  await main();
} catch (error) {
  console.error(error.stderr || error);
  process.exitCode = 1;
}
