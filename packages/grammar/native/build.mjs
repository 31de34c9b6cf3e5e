// Makes module/grammar.wasm.gz from the crate, and module/manifest.json, which says what it was made of and with.
// `--check` makes it again and fails where it differs from what is committed.
//
// rustup's toolchains have no standard library for shared memory; Debian's bring its source:
//   apt-get install rustc-web cargo-web rust-web-src lld-22

import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { homedir, tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";

const here = fileURLToPath(new URL(".", import.meta.url));
const place = fileURLToPath(new URL("../module/", import.meta.url));
export const sources = ["Cargo.toml", "Cargo.lock", "lib.rs", "heap.rs", "build.mjs"];

const rustc = process.env.JAMBA_RUSTC ?? "/usr/bin/rustc";
const cargo = process.env.JAMBA_CARGO ?? "/usr/bin/cargo";
const linker = process.env.JAMBA_WASM_LD ?? "/usr/lib/llvm-22/bin/wasm-ld";
const binaryen = "binaryen@132.0.0";

const linked = [
  "--allow-undefined",
  "-zstack-size=2097152",
  "--shared-memory",
  "--import-memory",
  "--max-memory=536870912",
  ...["__stack_pointer", "__wasm_init_tls", "__tls_size", "__tls_align"].map((name) => `--export=${name}`),
];
const features = "+atomics,+bulk-memory,+simd128,+sign-ext,+nontrapping-fptoint,+mutable-globals";
const enabled = ["threads", "bulk-memory", "bulk-memory-opt", "simd", "sign-ext", "nontrapping-float-to-int", "mutable-globals"];

/** What JavaScript calls; llguidance's own interface for C goes. */
const exported =
  "__stack_pointer __wasm_init_tls __tls_size __tls_align again allow break_heap broken_by compile consume forced forced_text free give heap_owner is_accepting is_stopped mask name_thread rollback said_len said_ptr start stop_thread take used_bytes vocabulary work_left";
const imported = ["now", "encode", "memory"];

const sha256 = (bytes) => createHash("sha256").update(bytes).digest("hex");

/** @returns the compiler's version, or undefined where it is not at hand */
export function compilerVersion() {
  try {
    execFileSync(linker, ["--version"], { stdio: "ignore" });
    readFileSync(join(sysroot(), "lib/rustlib/src/rust/library/std/Cargo.toml"));
    return execFileSync(rustc, ["--version"], { encoding: "utf8" }).trim();
  } catch {
    return undefined;
  }
}

function sysroot() {
  return execFileSync(rustc, ["--print", "sysroot"], { encoding: "utf8" }).trim();
}

/** @returns the module's bytes */
export function build() {
  const target = mkdtempSync(join(tmpdir(), "jamba-grammar-"));
  try {
    const paths = [
      [here, "/crate/"],
      [process.env.CARGO_HOME ?? join(homedir(), ".cargo"), "/cargo"],
      [join(sysroot(), "lib/rustlib/src"), "/rust"],
      [target, "/target"],
    ];
    const flags = [
      ...linked.map((argument) => `-Clink-arg=${argument}`),
      `-Ctarget-feature=${features}`,
      ...paths.map(([from, to]) => `--remap-path-prefix=${from}=${to}`),
    ];
    const options = "build --release --locked -Zbuild-std=std,panic_abort -Zbuild-std-features= --target wasm32-unknown-unknown";
    execFileSync(cargo, options.split(" "), {
      cwd: here,
      stdio: ["ignore", "inherit", "inherit"],
      env: {
        ...process.env,
        RUSTC: rustc,
        RUSTC_BOOTSTRAP: "1",
        CARGO_TARGET_DIR: target,
        CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER: linker,
        CARGO_ENCODED_RUSTFLAGS: flags.join("\x1f"),
      },
    });
    return optimise(target, join(target, "wasm32-unknown-unknown/release/jamba_grammar.wasm"));
  } finally {
    rmSync(target, { recursive: true, force: true });
  }
}

function optimise(folder, whole) {
  const names = exported.split(" ");
  const graph = [
    { name: "root", root: true, reaches: [...names.map((name) => `to ${name}`), ...imported.map((name) => `from ${name}`)] },
    ...names.map((name) => ({ name: `to ${name}`, export: name })),
    ...imported.map((name) => ({ name: `from ${name}`, import: ["env", name] })),
  ];
  const [reached, used, small] = ["graph.json", "used.wasm", "small.wasm"].map((name) => join(folder, name));
  writeFileSync(reached, JSON.stringify(graph));
  const flags = enabled.map((name) => `--enable-${name}`);
  const run = (name, ...args) =>
    execFileSync("npx", ["-y", "-p", binaryen, name, ...args, ...flags], { stdio: ["ignore", "ignore", "inherit"] });
  run("wasm-metadce", whole, "--graph-file", reached, "-o", used);
  run("wasm-opt", used, "-O2", "--strip-producers", "-o", small);
  return readFileSync(small);
}

function main() {
  const version = compilerVersion();
  if (!version)
    throw new Error(`expected ${rustc} with the source of its library and ${linker}, found not all of them; see the top of this file`);
  const module = build();
  const manifest = {
    module: { sha256: sha256(module), bytes: module.length },
    compiler: version,
    optimiser: binaryen,
    sources: Object.fromEntries(sources.map((name) => [name, sha256(readFileSync(join(here, name)))])),
  };
  const text = `${JSON.stringify(manifest, null, 2)}\n`;
  if (process.argv.includes("--check")) {
    const committed = readFileSync(join(place, "manifest.json"), "utf8");
    if (committed !== text) throw new Error(`expected the committed module, found another:\n${committed}${text}`);
    return;
  }
  writeFileSync(join(place, "grammar.wasm.gz"), gzipSync(module, { level: 9 }));
  writeFileSync(join(place, "manifest.json"), text);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) main();
