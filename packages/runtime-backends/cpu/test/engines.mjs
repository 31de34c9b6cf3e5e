// The modules in every version of Node that there is: conformance on each with one, two and three threads, what only this door has, goldens and
// the small model's texts. `node packages/runtime-backends/cpu/test/engines.mjs [20 22 24]`: versions come from npm, and take some minutes each.
import { spawnSync } from "node:child_process";
import { root } from "./bundle.mjs";

const versions = process.argv.length > 2 ? process.argv.slice(2) : ["20", "22", "24"];
const suites = [
  { name: "conformance", dir: "packages/runtime-backends/cpu", file: "conformance.test.ts" },
  { name: "this door", dir: "packages/runtime-backends/cpu", file: "wasm.test.ts" },
  { name: "hostile calls", dir: "packages/runtime-backends/cpu", file: "wasm-hostile.test.ts" },
  { name: "goldens", dir: "packages/jamba/test", file: "goldens.test.ts" },
  { name: "texts", dir: "packages/jamba/test", file: "tiny-model.test.ts" },
  { name: "sessions", dir: "packages/jamba/test", file: "sessions.test.ts" },
  { name: "prepared", dir: "packages/jamba/test", file: "prepared.test.ts" },
];

const rows = [];
const skipped = new Set();
const failed = [];
for (const version of versions) {
  // Of what runs modules, only Node 20 needs to be told of relaxed SIMD; it computes dot products of four wrongly.
  const isOld = version.split(".")[0] === "20";
  const levels = ["simd128", "relaxed", ...(isOld ? [] : ["relaxed-dot"])];
  const flags = isOld ? ["--execArgv=--experimental-wasm-relaxed-simd"] : [];
  if (isOld) skipped.add(`Node ${version}: goldens and texts on relaxed-dot, whose dot products it computes wrongly`);
  for (const { name, dir, file } of suites) {
    const { status, stdout, stderr, error } = spawnSync(
      "npx",
      ["-y", "-p", `node@${version}`, "node", "node_modules/vitest/vitest.mjs", "run", "--dir", dir, file, ...flags],
      {
        cwd: root,
        encoding: "utf8",
        env: {
          ...process.env,
          NO_COLOR: "1",
          JAMBA_WASM_THREADS: "1,2,3",
          JAMBA_WASM_LEVELS: levels.join(","),
        },
        maxBuffer: 2 ** 30,
      },
    );
    const all = `${stdout}\n${stderr}`;
    const [, ...counts] = /^(\d+) passed, (\d+) failed, (\d+) skipped$/m.exec(all) ?? [];
    for (const [, why] of all.matchAll(/^skipped \d+: (.*)$/gm)) skipped.add(`Node ${version}, ${name}: ${why}`);
    if (counts.length === 0) failed.push(`Node ${version}, ${name}: no sum (status ${status}): ${error?.message ?? all.slice(-2000)}`);
    else if (status !== 0) failed.push(`Node ${version}, ${name}:\n${all.slice(all.indexOf("Failed Tests")).slice(0, 4000)}`);
    rows.push({ node: version, suite: name, passed: counts[0], failed: counts[1], skipped: counts[2] });
    console.log(`Node ${version}, ${name}: ${counts.length > 0 ? counts.join(", ") : "none"} passed, failed, skipped`);
  }
}
console.table(rows);
for (const line of skipped) console.log(`skipped: ${line}`);
for (const line of failed) console.error(`failed: ${line}`);
process.exitCode = failed.length > 0 ? 1 : 0;
