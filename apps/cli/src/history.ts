// What was typed in conversations, kept for the next ones: a JSON text a line, the newest last.

import { appendFile, mkdir, readFile, rename, writeFile } from "node:fs/promises";
import { homedir } from "node:os";
import { dirname, isAbsolute, join } from "node:path";
import type { Terminal } from "./terminal.ts";

const maxEntries = 1000;

/** JAMBA_HISTORY, or a file in the user's folder for state; undefined where JAMBA_HISTORY is empty. */
export function historyPath(env: Terminal["env"]): string | undefined {
  if (env.JAMBA_HISTORY !== undefined) return env.JAMBA_HISTORY || undefined;
  const named = env.XDG_STATE_HOME ?? env.LOCALAPPDATA;
  // The specification wants relative ones ignored.
  const state = named && isAbsolute(named) ? named : join(env.HOME || homedir(), ".local", "state");
  return join(state, "jamba", "history");
}

/** The newest first; nothing where nothing can be read. A file that has grown is cut. */
export async function readHistory(path: string): Promise<string[]> {
  const lines = (await readFile(path, "utf8").catch(() => "")).split("\n").filter((line) => line !== "");
  const entries = lines.flatMap((line) => {
    try {
      const entry: unknown = JSON.parse(line);
      return typeof entry === "string" ? [entry] : [];
    } catch {
      return []; // cut by a crash, or written by hand
    }
  });
  if (entries.length > 2 * maxEntries) {
    const kept = entries.slice(-maxEntries).map((entry) => `${JSON.stringify(entry)}\n`);
    const whole = `${path}.${process.pid}`;
    await writeFile(whole, kept.join(""), { mode: 0o600 }).then(
      () => rename(whole, path),
      () => undefined,
    );
  }
  return entries.slice(-maxEntries).reverse();
}

/** Only its owner may read it. @throws what the file system does */
export async function addToHistory(path: string, entry: string): Promise<void> {
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  await appendFile(path, `${JSON.stringify(entry)}\n`, { mode: 0o600 });
}
