// Known advisories of what our packages bring along when they run, as the registry tells them. Fails for a high or critical one; where the
// registry does not answer it says so and passes, so that no network makes a run fail.

import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";

const timeoutMs = 30_000;

/**
 * @param output what `pnpm audit --json` printed
 * @returns the lines to print, and whether they are a failure
 */
export function judge(output) {
  let found;
  try {
    found = JSON.parse(output);
  } catch {
    found = undefined;
  }
  const counts = found?.metadata?.vulnerabilities;
  if (typeof found?.advisories !== "object" || found.advisories === null || counts === undefined) {
    const reason = found?.error?.message ?? (output.trim().split("\n").at(-1) || "nothing");
    return { fails: false, lines: [`advisories: skipped, since the registry gave no report: ${String(reason).slice(0, 200)}`] };
  }
  const all = Object.values(found.advisories);
  const lines = all.map(
    ({ severity, module_name: name, vulnerable_versions: versions, title, url }) => `${severity}: ${name} ${versions}: ${title} (${url})`,
  );
  const fails = all.some(({ severity }) => severity === "high" || severity === "critical");
  return { fails, lines: lines.length > 0 ? lines : ["no known advisories of what runs"] };
}

function audit() {
  const pnpm = process.env.npm_execpath?.includes("pnpm") ? [process.execPath, process.env.npm_execpath] : ["npx", "-y", "pnpm@10.34.8"];
  const [command, ...args] = [...pnpm, "audit", "--prod", "--json"];
  const cwd = fileURLToPath(new URL("../../", import.meta.url));
  const { stdout, stderr, error } = spawnSync(command, args, {
    cwd,
    encoding: "utf8",
    timeout: timeoutMs,
    shell: process.platform === "win32",
  });
  return stdout || stderr || error?.message || "";
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { fails, lines } = judge(audit());
  for (const line of lines) console.log(line);
  process.exitCode = fails ? 1 : 0;
}
