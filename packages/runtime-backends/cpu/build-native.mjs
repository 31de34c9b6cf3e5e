// Compiles the addon with the system's C++ compiler and npm's headers into prebuilds/<platform>-<arch>/. Without a compiler it says so and goes on.
// Options: --sanitize=address,undefined | --sanitize=thread: a build of its own in prebuilds/<platform>-<arch>-<sanitizer>/.
//          --arch=arm64: for another processor, with the compiler that CXX names.
//          --emulate: with the AVX-512 levels once more, emulated instruction by instruction (needs the headers of SIMDe).
import { execFile, execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { availableParallelism, tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

const run = promisify(execFile);
const require = createRequire(import.meta.url);
const here = dirname(fileURLToPath(import.meta.url));
const native = join(here, "native");

const sanitize = process.argv.find((a) => a.startsWith("--sanitize="))?.slice("--sanitize=".length);
const arch = process.argv.find((a) => a.startsWith("--arch="))?.slice("--arch=".length) ?? process.arch;
const emulate = process.argv.includes("--emulate");
const compiler = process.env.CXX ?? "c++";

/** Flags of each instruction set, by architecture. */
const levels = {
  x64: {
    portable: [],
    avx2: ["-mavx2", "-mfma", "-mf16c"],
    avx512: ["-mavx512f", "-mavx512bw", "-mavx512vl", "-mavx512dq", "-mavx512vnni", "-mfma", "-mf16c"],
    avx512bf16: ["-mavx512f", "-mavx512bw", "-mavx512vl", "-mavx512dq", "-mavx512vnni", "-mavx512bf16", "-mfma", "-mf16c"],
    ...(emulate && {
      avx512emulated: ["-DJAMBA_EMULATE_AVX512=1", "-mavx2", "-mfma", "-mf16c"],
      avx512bf16emulated: ["-DJAMBA_EMULATE_AVX512=2", "-mavx2", "-mfma", "-mf16c"],
    }),
  },
  arm64: { portable: ["-march=armv8-a"], neon: ["-march=armv8.2-a+dotprod+fp16"], i8mm: ["-march=armv8.2-a+dotprod+fp16+i8mm"] },
}[arch] ?? { portable: [] };

// -ffp-contract=off: a product and a sum that are fused in one copy of a loop and not in another would not give the same bits.
const flags = [
  "-std=c++20",
  "-O3",
  "-fPIC",
  "-ffp-contract=off",
  "-fno-math-errno",
  "-fvisibility=hidden",
  "-pthread",
  "-Wall",
  "-Wextra",
  "-Werror",
];
// The vector types of other units in signatures, and gcc's own headers (GCC bug 105593).
const quiet = [
  "-Wno-psabi",
  "-Wno-ignored-attributes",
  "-Wno-unknown-warning-option",
  "-Wno-maybe-uninitialized",
  "-Wno-uninitialized",
  "-Wno-unused-function",
];
const checked = sanitize ? [`-fsanitize=${sanitize}`, "-fno-omit-frame-pointer", "-g", "-O1"] : [];

function sources() {
  const read = (folder) =>
    readdirSync(folder, { withFileTypes: true }).flatMap((e) => {
      if (!e.isDirectory()) return join(folder, e.name);
      return e.name === "wasm" ? [] : read(join(folder, e.name));
    });
  return read(native).sort();
}

async function main() {
  const suffix = [sanitize?.split(",")[0], emulate && "emulated"]
    .filter(Boolean)
    .map((s) => `-${s}`)
    .join("");
  const folder = join(here, "prebuilds", `${process.platform}-${arch}${suffix}`);
  let version;
  try {
    version = execFileSync(compiler, ["--version"], { encoding: "utf8" });
  } catch {
    console.log(`@jamba/backend-cpu: no C++ compiler (${compiler}), so no native kernels; set CXX or install one, then build again`);
    return;
  }
  const hash = createHash("sha256").update(JSON.stringify([version, flags, quiet, checked, levels]));
  for (const file of [...sources(), fileURLToPath(import.meta.url)]) hash.update(readFileSync(file));
  const stamp = hash.digest("hex");
  const [target, stampFile] = [join(folder, "jamba.node"), join(folder, "stamp")];
  if (existsSync(target) && existsSync(stampFile) && readFileSync(stampFile, "utf8") === stamp) return;

  const work = mkdtempSync(join(tmpdir(), "jamba-native-"));
  const include = [
    `-I${require("node-api-headers").include_dir}`,
    `-I${dirname(require.resolve("node-addon-api"))}`,
    "-DNAPI_VERSION=8",
    "-DNAPI_CPP_EXCEPTIONS",
  ];
  const jobs = [
    ...Object.entries(levels).map(([level, own]) => ({
      name: `kernels-${level}`,
      source: "kernels.cc",
      own: [`-DJAMBA_LEVEL=${level}`, ...own],
    })),
    ...readdirSync(native)
      .filter((file) => file.endsWith(".cc") && file !== "kernels.cc")
      .map((file) => ({
        name: basename(file, ".cc"),
        source: file,
        own: [...(file.startsWith("addon") ? include : []), ...(emulate ? ["-DJAMBA_EMULATE"] : [])],
      })),
  ];
  const waiting = [...jobs];
  const compile = async () => {
    for (let job = waiting.shift(); job; job = waiting.shift()) {
      await run(compiler, [...flags, ...quiet, ...job.own, ...checked, "-c", join(native, job.source), "-o", join(work, `${job.name}.o`)]);
    }
  };
  await Promise.all(Array.from({ length: availableParallelism() }, compile));
  mkdirSync(folder, { recursive: true });
  const link = process.platform === "darwin" ? ["-Wl,-undefined,dynamic_lookup"] : ["-static-libstdc++", "-static-libgcc"];
  const objects = jobs.map((job) => join(work, `${job.name}.o`));
  await run(compiler, [
    "-shared",
    "-pthread",
    ...(sanitize ? [`-fsanitize=${sanitize}`] : link),
    // Node exports the standard library's inline functions, of another version and unseen by a sanitizer.
    ...(process.platform === "linux" ? ["-Wl,-Bsymbolic"] : []),
    ...objects,
    "-o",
    join(work, "jamba.node"),
  ]);
  // Renamed over the old one, which a running program may have mapped.
  writeFileSync(`${target}.new`, readFileSync(join(work, "jamba.node")));
  renameSync(`${target}.new`, target);
  writeFileSync(stampFile, stamp);
  rmSync(work, { recursive: true });
}

try {
  await main();
} catch (error) {
  console.error(error.stderr || error);
  process.exitCode = 1;
}
