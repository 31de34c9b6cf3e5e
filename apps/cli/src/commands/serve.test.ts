// The server's own tests say what it answers; these say how the command starts it, shows it and stops it.

import { cpSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { expect, test } from "vitest";
import { jamba, type Options } from "../../test/jamba.ts";
import { durationFlag } from "../flags.ts";
import { liveLine } from "./serve.ts";

/** Serves, does `ask` with its address once it is healthy, then Ctrl-C. */
async function served(args: string[], ask: (url: string) => Promise<void>, options: Options = {}) {
  let asked: Promise<void> | undefined;
  const found = await jamba(["serve", "--port", "0", "--json", ...args], {
    ...options,
    onOutput: (text, interrupt) => {
      asked ??= (async () => {
        const { url } = JSON.parse(text);
        try {
          while ((await fetch(`${url}/health`)).status !== 200) await new Promise((resolve) => setTimeout(resolve, 20));
          await ask(url);
        } finally {
          interrupt();
        }
      })();
    },
  });
  await asked;
  return found;
}

const say = (url: string, headers = {}) =>
  fetch(`${url}/v1/chat/completions`, {
    method: "POST",
    headers: { "content-type": "application/json", ...headers },
    body: JSON.stringify({ model: "tiny", messages: [{ role: "user", content: "Who are you?" }], max_tokens: 5 }),
  });

test("prints where it listens as one document, logs a line for each request, and leaves with 0", async () => {
  const { code, stdout, stderr } = await served([], async (url) => {
    const answer = await say(url);
    expect([answer.status, await answer.json()]).toMatchObject([200, { usage: { completion_tokens: 5 } }]);
  });
  expect([code, JSON.parse(stdout)]).toEqual([
    0,
    { url: expect.stringMatching(/^http:\/\/127\.0\.0\.1:\d+$/), port: expect.any(Number), pid: process.pid },
  ]);
  const lines = stderr
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line));
  expect(lines.map(({ event }) => event).filter(Boolean)).toEqual(["listening", "loaded", "stopped"]);
  expect(stderr).not.toContain("Who are you");
});

test("keys come from a file too, and --quiet leaves stderr empty", async () => {
  const root = mkdtempSync(join(tmpdir(), "jamba-cli-serve-"));
  try {
    writeFileSync(join(root, "keys"), "# of the team\nsecret-1\n\nsecret-2\n");
    const { code, stderr } = await served(["--api-key-file", join(root, "keys"), "--api-key", "third", "-q"], async (url) => {
      const status = async (key: string) => (await say(url, { authorization: `Bearer ${key}` })).status;
      expect([await status("secret-2"), await status("third"), await status("# of the team"), await status("")]).toEqual([
        200, 200, 401, 401,
      ]);
    });
    expect([code, stderr]).toEqual([0, ""]);
  } finally {
    rmSync(root, { recursive: true });
  }
});

test("a port that is taken is an error of the command line", async () => {
  await served(["-q"], async (url) => {
    const { code, stderr } = await jamba(["serve", "--port", new URL(url).port, "-q"]);
    expect([code, stderr]).toEqual([2, expect.stringMatching(/port: expected one that is free/)]);
  });
});

test("several models: each by its names, the one that is not used goes, and all are told", async () => {
  const root = mkdtempSync(join(tmpdir(), "jamba-cli-serve-"));
  const other = join(root, "other");
  try {
    cpSync(dirname(createRequire(import.meta.url).resolve("@jamba/tiny-model/package.json")), other, {
      recursive: true,
      filter: (from) => !from.includes("node_modules"),
    });
    const args = ["tiny", other, "--alias", `big=${other}`, "--idle-unload", "50ms", "--memory", "2GiB", "--context-length", "1024"];
    const { code, stderr } = await served(args, async (url) => {
      const ask = async (model: string) => {
        const body = JSON.stringify({ model, prompt: "Once upon", max_tokens: 2, temperature: 0 });
        const response = await fetch(`${url}/v1/completions`, { method: "POST", headers: { "content-type": "application/json" }, body });
        const found = (await response.json()) as { model: string; error?: { code: string } };
        return found.error?.code ?? found.model;
      };
      const names = ["tiny", "big", other, "other", "third"];
      expect(await Promise.all(names.map(ask))).toEqual(["tiny", "big", "big", "big", "model_not_found"]);
      const loaded = async () => {
        const { data } = (await (await fetch(`${url}/v1/models`)).json()) as { data: { id: string; loaded: boolean }[] };
        return data.map(({ id, loaded }) => [id, loaded]);
      };
      await expect.poll(loaded).toEqual([
        ["tiny", false],
        ["big", false],
      ]);
    });
    const events = [...stderr.matchAll(/"event":"(\w+)"/g)].map(([, event]) => event);
    // One that came at the start may have gone before it was asked for.
    const count = (name: string) => events.filter((event) => event === name).length;
    expect([code, new Set(events)]).toEqual([0, new Set(["listening", "loaded", "stopped", "unloaded"])]);
    expect([count("unloaded"), count("loaded") >= 2]).toEqual([count("loaded"), true]);
  } finally {
    rmSync(root, { recursive: true });
  }
});

test.each([
  [["tiny", "tiny"], /each model once, found "tiny" twice/],
  [["tiny", "hello"], /hello: expected a model/],
  [["tiny", "a/b", "--alias", "name"], /--alias: expected NAME=MODEL with one of tiny, a\/b, found "name"/],
  [["tiny", "a/b", "--alias", "a=a/c"], /--alias/],
  [["--alias", ""], /--alias/],
  [["tiny", "a/b", "--alias", "a=tiny", "--alias", "a=a/b"], /--alias: expected another name for each model, found "a" twice/],
  ...["10", "m", "10x", "-5m", "", "1h 30m", "1.5.m", "100d", "ten minutes", "10M"].map(
    (time) => [["--idle-unload", time], /--idle-unload: expected a time such as/] as const,
  ),
  ...["0GB", "12Gi", "-1GB", "GiB", "12 gib x", "99999999TB"].map(
    (size) => [["--memory", size], /--memory: expected a size such as/] as const,
  ),
] as [string[], RegExp][])("%j is an error of the command line", async (args, said) => {
  const { code, stderr, stdout } = await jamba(["serve", "--port", "0", "-q", ...args]);
  expect([code, stderr, stdout]).toEqual([2, expect.stringMatching(said), ""]);
});

test("a first model that has no room is an error with what it takes and what there is", async () => {
  const { code, stderr } = await jamba(["serve", "--port", "0", "-q", "--memory", "1MB"]);
  expect([code, stderr]).toEqual([
    1,
    expect.stringMatching(/\[OUT_OF_MEMORY\] model: "tiny" takes [\d,]+ bytes at least, and this server has 1,000,000 for/),
  ]);
});

test.each([
  ["90s", 90_000],
  ["10m", 600_000],
  ["1h30m", 5_400_000],
  ["1.5s", 1500],
  ["24d", 2_073_600_000],
])("a time of %s is %i ms", (text, ms) => {
  expect(durationFlag({ time: text }, "time")).toBe(ms);
});

test("on a terminal a line shows what goes on", async () => {
  const { stderr } = await served([], async (url) => void (await say(url)), { tty: true, columns: 80, env: { NO_COLOR: "1" } });
  expect(stderr).toMatch(
    /tiny at http:\S+; Ctrl-C stops\n[\s\S]*running, \d+ requests? {2}\d+\.\d tokens\/s {2}cache (–|\d+ %) {2}memory /,
  );
});

test.each([20, 40, 60, 80, 200])("that line fits %i columns", (columns) => {
  const stats = {
    requests: { running: 32, waiting: 64, total: 123456 },
    tokensPerSecond: 1234.5,
    promptTokens: 3,
    cachedTokens: 1,
    completionTokens: 9,
    memory: { weights: 6e9, states: 2e9, process: 9e9 },
  };
  const line = liveLine(stats, columns);
  expect(line.length).toBeLessThan(columns);
  if (columns > 80) expect(line).toBe("  32 running, 64 waiting, 123456 requests  1234.5 tokens/s  cache 33 %  memory 9.0 GB");
  if (columns === 40) expect(line).toBe("  32 running, 64 waiting, 123456 reques");
});
