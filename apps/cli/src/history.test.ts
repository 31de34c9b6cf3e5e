import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { homedir, tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { addToHistory, historyPath, readHistory } from "./history.ts";

const root = mkdtempSync(join(tmpdir(), "jamba-history-"));
afterAll(() => rmSync(root, { recursive: true }));

test.each<[Record<string, string>, string | undefined]>([
  [{ XDG_STATE_HOME: "/state" }, "/state/jamba/history"],
  [{ XDG_STATE_HOME: "not/absolute", HOME: "/home/me" }, "/home/me/.local/state/jamba/history"],
  [{ HOME: "/home/me" }, "/home/me/.local/state/jamba/history"],
  [{}, join(homedir(), ".local/state/jamba/history")],
  [{ JAMBA_HISTORY: "/mine", XDG_STATE_HOME: "/state" }, "/mine"],
  [{ JAMBA_HISTORY: "", XDG_STATE_HOME: "/state" }, undefined],
])("%j is at %s", (env, path) => expect(historyPath(env)).toBe(path));

test("what is added comes back whole, the newest first, and only its owner may read it", async () => {
  const path = join(root, "a/b/history");
  expect(await readHistory(path)).toEqual([]);
  const entries = ["one", "two\nlines\\", '"""\nquoted "x"', "数学 👩‍👩‍👧\t\u2028"];
  for (const entry of entries) await addToHistory(path, entry);
  expect(await readHistory(path)).toEqual(entries.toReversed());
  expect([statSync(path).mode & 0o777, statSync(join(root, "a/b")).mode & 0o777]).toEqual([0o600, 0o700]);
});

test("lines that are none are left out, and a file that has grown is cut to the newest", async () => {
  const path = join(root, "long");
  const line = (i: number) => `${JSON.stringify(`m${i}`)}\n`;
  writeFileSync(path, `half a li\n{"x":1}\n\n${Array.from({ length: 2500 }, (_, i) => line(i)).join("")}"cut`);
  const found = await readHistory(path);
  expect([found.length, found[0], found.at(-1)]).toEqual([1000, "m2499", "m1500"]);
  expect(readFileSync(path, "utf8")).toBe(Array.from({ length: 1000 }, (_, i) => line(i + 1500)).join(""));
  mkdirSync(join(root, "folder"));
  expect(await readHistory(join(root, "folder"))).toEqual([]);
  await expect(addToHistory(join(root, "folder"), "x")).rejects.toThrow(/EISDIR/);
});
