// The kernels in every version of Node that there is: conformance, the driver's own tests, goldens and the small model's texts.
// `node packages/runtime-backends/webgpu/test/engines.mjs [20 22 24]`: versions come from npm. JAMBA_VULKAN names another adapter.
import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../../../../", import.meta.url));
const versions = process.argv.length > 2 ? process.argv.slice(2) : ["20", "22", "24"];
const suites = [
  { name: "this package", dir: "packages/runtime-backends/webgpu", files: [] },
  { name: "models", dir: "packages/jamba/test", files: ["webgpu.test.ts"] },
];

const rows = [];
const skipped = new Set();
const failed = [];
for (const version of versions) {
  for (const { name, dir, files } of suites) {
    const started = performance.now();
    const { status, stdout, stderr, error } = spawnSync(
      "npx",
      ["-y", "-p", `node@${version}`, "node", "node_modules/vitest/vitest.mjs", "run", "--dir", dir, ...files],
      { cwd: root, encoding: "utf8", env: { ...process.env, NO_COLOR: "1", JAMBA_WEBGPU_ALL: "1" }, maxBuffer: 2 ** 30 },
    );
    const all = `${stdout}\n${stderr}`;
    const [, ...counts] = /^(\d+) passed, (\d+) failed, (\d+) skipped$/m.exec(all) ?? [];
    for (const [, why] of all.matchAll(/^skipped \d+: (.*)$/gm)) skipped.add(`Node ${version}, ${name}: ${why}`);
    if (counts.length === 0) failed.push(`Node ${version}, ${name}: no sum (status ${status}): ${error?.message ?? all.slice(-2000)}`);
    else if (status !== 0) failed.push(`Node ${version}, ${name}:\n${all.slice(all.indexOf("Failed Tests")).slice(0, 4000)}`);
    const seconds = Math.round((performance.now() - started) / 1000);
    rows.push({ node: version, suite: name, passed: counts[0], failed: counts[1], skipped: counts[2], seconds });
    console.log(`Node ${version}, ${name}: ${counts.length > 0 ? counts.join(", ") : "none"} passed, failed, skipped`);
  }
}
console.table(rows);
for (const line of skipped) console.log(`skipped: ${line}`);
for (const line of failed) console.error(`failed: ${line}`);
process.exitCode = failed.length > 0 ? 1 : 0;
