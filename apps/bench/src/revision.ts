// Which commit is measured.

import { execFileSync } from "node:child_process";

/** @param cwd a checkout; this one if not given */
export function revision(cwd?: string): string {
  try {
    return `jamba ${execFileSync("git", ["describe", "--always", "--dirty"], { cwd, encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] }).trim()}`;
  } catch {
    return "jamba";
  }
}
