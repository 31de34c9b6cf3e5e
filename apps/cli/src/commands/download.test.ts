import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PassThrough, Readable } from "node:stream";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { hubForTests } from "../../../../tooling/hub/hub-for-tests.ts";
import { main } from "../cli.ts";

const id = "owner/model";
const hub = await hubForTests();
let cacheDir: string;

beforeEach(() => {
  cacheDir = mkdtempSync(join(tmpdir(), "jamba-cli-hub-"));
  hub.add(id, { "config.json": new Uint8Array(20), "m-Q4_0.gguf": { bytes: new Uint8Array(3_000_000).fill(4), lfs: true } });
  vi.stubEnv("HF_ENDPOINT", hub.endpoint);
  vi.stubEnv("HF_HOME", cacheDir);
  for (const name of ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HUB_OFFLINE"])
    vi.stubEnv(name, undefined);
});
afterEach(() => {
  vi.unstubAllEnvs();
  rmSync(cacheDir, { recursive: true, force: true });
});

async function jamba(args: string[], { tty = false, interrupted = false, command = "download" } = {}) {
  const texts = { stdout: "", stderr: "" };
  const stream = (name: keyof typeof texts) =>
    Object.assign(new PassThrough(), { isTTY: tty, columns: 80 }).on("data", (piece) => {
      texts[name] += piece;
    });
  const code = await main([command, ...args], {
    stdin: Object.assign(Readable.from([]), { isTTY: false }),
    stdout: stream("stdout"),
    stderr: stream("stderr"),
    env: {},
    version: "1.2.3",
    onInterrupt(handler) {
      if (interrupted) handler();
      return () => undefined;
    },
    exit: () => undefined,
  });
  return { code, ...texts };
}

test("prints what other commands take as a model, and on stderr what it took", async () => {
  const { code, stdout, stderr } = await jamba([id]);
  const folder = join(cacheDir, "hub/models--owner--model/snapshots", hub.repos.get(id)!.commit);
  expect([code, stdout]).toEqual([0, `${join(folder, "m-Q4_0.gguf")}\n`]);
  expect(stderr).toMatch(/owner\/model: 3\.0 MB, 3\.0 MB fetched in \d+\.\d s\n$/);
  expect(await jamba([`${id}:Q4_0`])).toMatchObject({ code: 0, stdout, stderr: expect.stringMatching(/all there before\n$/) });
  expect(await jamba([id, "--offline", "--quiet"])).toEqual({ code: 0, stdout, stderr: "" });
});

test("--json is one document, --cache-dir and --revision are heard", async () => {
  const { stdout, stderr, code } = await jamba([id, "--json", "--cache-dir", join(cacheDir, "mine"), "--revision", "refs/pr/1"]);
  expect([code, stderr]).toEqual([0, ""]);
  const { folder, ...rest } = JSON.parse(stdout);
  expect(folder).toContain(join(cacheDir, "mine"));
  expect(rest).toEqual({
    files: ["m-Q4_0.gguf"],
    file: "m-Q4_0.gguf",
    commit: hub.repos.get(id)!.commit,
    totalBytes: 3_000_000,
    fetchedBytes: 3_000_000,
  });
});

test("a bar is drawn for who looks", async () => {
  const { code, stderr } = await jamba([id], { tty: true });
  expect(code).toBe(0);
  expect(stderr).toMatch(/\d+% .*of 3\.0 MB, m-Q4_0\.gguf/);
  expect(stderr).toMatch(/100% checking m-Q4_0\.gguf/);
});

test("Ctrl-C ends with 130 and says that nothing is lost", async () => {
  expect(await jamba([id], { interrupted: true })).toMatchObject({
    code: 130,
    stdout: "",
    stderr: "jamba: stopped; run it again to go on\n",
  });
});

test.each<[string[], number, RegExp]>([
  [[], 2, /expected one hub id, found 0 words/],
  [["a/b", "c/d"], 2, /found 2 words/],
  [["nonsense"], 2, /expected a hub id: owner\/name/],
  [["owner/none"], 1, /\[LOAD\] owner\/none: the hub answers 404/],
  [["ai21labs/AI21-Jamba2-4B"], 1, /ai21labs\/AI21-Jamba2-4B: the hub answers 404.*; did you mean Jamba2-3B/],
  [["jamba2-3bb"], 2, /jamba2-3bb: expected a model, found none of that name; did you mean Jamba2-3B/],
  [["jamba2-3b", "--offline"], 1, /ai21labs--AI21-Jamba2-3B|ai21labs\/AI21-Jamba2-3B/],
  [[`${id}:Q8_0`], 1, /expected a \.gguf file for "Q8_0", found m-Q4_0\.gguf \(0\.003 GB\)/],
  [[id, "--offline"], 1, /expected main in the cache, found none/],
  [[id, "--revision", "../x"], 2, /expected a branch, a tag or a commit/],
])("%j ends with %d", async (args, code, message) => {
  expect(await jamba(args)).toMatchObject({ code, stdout: "", stderr: expect.stringMatching(message) });
});

test("its help fits one screen", async () => {
  const { code, stdout } = await jamba(["--help"]);
  expect([code, stdout.trimEnd().split("\n").length <= 24, stdout.split("\n").every((line) => line.length <= 80)]).toEqual([0, true, true]);
});

test("nothing is asked of the hub offline, by whatever command", async () => {
  const asked = hub.requests.length;
  for (const command of ["inspect", "tokenize", "run"]) {
    const { code, stderr } = await jamba([id, "--offline", "x"].slice(0, command === "inspect" ? 2 : 3), { command });
    expect([command, code, stderr]).toEqual([command, 1, expect.stringMatching(/expected main in the cache, found none/)]);
  }
  expect(hub.requests.length).toBe(asked);
});
