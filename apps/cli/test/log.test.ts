// A server in a process of its own, whose log nobody reads to its end: it goes on answering.

import { type ChildProcessByStdio, spawn } from "node:child_process";
import { once } from "node:events";
import type { Readable } from "node:stream";
import { afterEach, beforeEach, expect, test } from "vitest";
import { notBuilt, program } from "./built.ts";

type Child = ChildProcessByStdio<null, Readable, Readable>;

let children: Child[] = [];
afterEach(async () => {
  for (const child of children) child.kill("SIGKILL");
  children = [];
});

beforeEach(({ skip }) => {
  const reason = notBuilt();
  if (reason) skip(reason);
});

async function served(): Promise<{ child: Child; url: string }> {
  const child = spawn(process.execPath, [program, "serve", "--port", "0", "--json"], { stdio: ["ignore", "pipe", "pipe"] });
  children.push(child);
  const [text] = await once(child.stdout, "data");
  const { url } = JSON.parse(String(text));
  return { child, url };
}

const status = async (url: string) => {
  const response = await fetch(`${url}/v1/models`);
  await response.text();
  return response.status;
};

test("the reader of the log and of stdout goes away", { timeout: 60_000 }, async () => {
  const { child, url } = await served();
  child.stderr.destroy();
  child.stdout.destroy();
  for (let i = 0; i < 20; i++) expect([200, 503]).toContain(await status(url));
  expect(child.exitCode).toBe(null);
  child.kill("SIGTERM");
  expect(await once(child, "exit")).toEqual([0, null]);
});

test("the reader of the log does not read", { timeout: 120_000 }, async () => {
  const { child, url } = await served();
  child.stderr.pause();
  // More lines than the pipe and the queue before it take.
  for (let i = 0; i < 250; i++) await Promise.all(Array.from({ length: 40 }, () => status(url)));
  expect([200, 503]).toContain(await status(url));
  let log = "";
  child.stderr.on("data", (data) => {
    log += data;
  });
  child.stderr.resume();
  const isTold = async () => {
    await status(url);
    return log.includes('"dropped":');
  };
  await expect.poll(isTold, { timeout: 10_000 }).toBe(true);
  const lines = log.split("\n").slice(0, -1);
  const dropped = lines.reduce((sum, line) => sum + (JSON.parse(line).dropped ?? 0), 0);
  expect(lines.filter((line) => line.includes("/v1/models")).length + dropped).toBeGreaterThan(10_000);
});
