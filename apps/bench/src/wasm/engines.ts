// Versions of Node, and the peer, as npm has them: nothing of either is a dependency.

import { execFile, execFileSync } from "node:child_process";
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import type { Job, Told } from "./sides.ts";

export const wllamaVersion = "3.13.0";

export interface Node {
  readonly path: string;
  /** "24.21.0" */
  readonly version: string;
}

/** The newest of a major version: this one, or one that npm fetches once. */
export function findNode(major: number): Node {
  if (process.versions.node.startsWith(`${major}.`)) return { path: process.execPath, version: process.versions.node };
  const script = "process.stdout.write(JSON.stringify({ path: process.execPath, version: process.versions.node }))";
  return JSON.parse(execFileSync("npx", ["-y", "-p", `node@${major}`, "node", "-e", script], { cwd: tmpdir(), encoding: "utf8" }));
}

/** One job in a process of its own. */
export async function runIn(node: Node, job: Job): Promise<Told> {
  const program = fileURLToPath(new URL("./wasm-side.js", import.meta.url));
  const { stdout } = await promisify(execFile)(node.path, [program, JSON.stringify(job)], { maxBuffer: 2 ** 26, timeout: 240_000 });
  const told: Told = JSON.parse(stdout.trim().split("\n").at(-1)!);
  if (told.failed) throw new Error(`Node ${node.version}, ${JSON.stringify(job.door)}: ${told.failed}`);
  return told;
}

/** @returns the folder of its modules */
export function installWllama(work: string, log: (line: string) => void): string {
  const folder = join(work, "wllama");
  const modules = join(folder, "node_modules/@wllama/wllama/esm");
  if (existsSync(modules)) return modules;
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, "package.json"), '{ "private": true }\n');
  log(`installing @wllama/wllama ${wllamaVersion}`);
  const flags = ["install", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"];
  execFileSync("npm", [...flags, `@wllama/wllama@${wllamaVersion}`], { cwd: folder, stdio: ["ignore", "ignore", "inherit"] });
  return modules;
}
