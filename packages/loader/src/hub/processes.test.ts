// Downloads in processes of their own: killed, started twice, stopped while they hold a lock.

import { type ChildProcess, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import * as files from "node:fs/promises";
import { mkdir, mkdtemp, readdir, readFile, rm, utimes, writeFile } from "node:fs/promises";
import { hostname, tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from "vitest";
import { buildSource } from "../../../../tooling/hub/build-sources.mjs";
import { hubForTests } from "../../../../tooling/hub/hub-for-tests.ts";
import { etagOf, type Hub, rangeOf, type StoredFile } from "../../../../tooling/hub/hub-server.ts";
import { machineOf } from "../source/lease.ts";
import { type Download, downloadIn } from "./download.ts";

const child = fileURLToPath(new URL("../../../../tooling/hub/download-child.mjs", import.meta.url));
const id = "owner/model";
const weights: StoredFile = { bytes: randomBytes(2_000_000), lfs: true };
const config = new TextEncoder().encode("{}");
const around = { partBytes: 150_000, noteEveryBytes: 50_000, env: {} };
const hub = await hubForTests();
const machine = await machineOf(files);
let built: string;
let module: string;
let cacheDir: string;

beforeAll(async () => {
  built = await mkdtemp(join(tmpdir(), "jamba-built-"));
  module = await buildSource(fileURLToPath(new URL("download.ts", import.meta.url)), built);
});
afterAll(() => rm(built, { recursive: true }));
beforeEach(async () => {
  cacheDir = await mkdtemp(join(tmpdir(), "jamba-hub-"));
  hub.add(id, { "config.json": config, "model.safetensors": weights });
});
afterEach(() => rm(cacheDir, { recursive: true, force: true }));

const get = (more = {}) => downloadIn(around, id, { endpoint: hub.endpoint, cacheDir, ...more });
const blobs = () => join(cacheDir, "models--owner--model", "blobs");

function start(): { process: ChildProcess; lines: AsyncIterable<string> } {
  const args = [child, module, id, JSON.stringify({ endpoint: hub.endpoint, cacheDir }), JSON.stringify(around)];
  const process = spawn(globalThis.process.execPath, args, { stdio: ["ignore", "pipe", "inherit"] });
  return { process, lines: createInterface(process.stdout!) };
}

async function resultOf({ lines }: ReturnType<typeof start>): Promise<Download> {
  let last = "{}";
  for await (const line of lines) last = line;
  return JSON.parse(last);
}

const exit = (process: ChildProcess) => new Promise<void>((resolve) => process.once("exit", () => resolve()));

/** 20 kB, then a pause, and so on. */
function slowly(pauseMs = 5): Hub["fault"] {
  return ({ server, range }, response, file) => {
    if (server !== "cdn") return false;
    const { first, last } = rangeOf(range, file!.bytes.length);
    response.writeHead(206, { "content-range": `bytes ${first}-${last}/${file!.bytes.length}` });
    let at = first;
    const next = () => {
      if (response.destroyed) return;
      if (at > last) return void response.end();
      const end = Math.min(last + 1, at + 20_000);
      hub.sentBytes += end - at;
      response.write(file!.bytes.subarray(at, end));
      at = end;
      setTimeout(next, pauseMs);
    };
    next();
    return true;
  };
}

it("kill -9 in the middle, several times, costs only what was not noted yet", async () => {
  hub.fault = slowly();
  const reached: number[] = [];
  for (const stopAt of [400_000, 900_000, 1_400_000]) {
    const { process, lines } = start();
    for await (const line of lines) {
      const { doneBytes } = JSON.parse(line);
      if (doneBytes < stopAt) continue;
      reached.push(doneBytes);
      process.kill("SIGKILL");
      break;
    }
    await exit(process);
    expect((await readdir(blobs())).filter((name) => name.endsWith("lock"))).toHaveLength(1);
  }
  const { done } = JSON.parse(await readFile(join(blobs(), `${etagOf(weights)}.jamba-partial.json`), "utf8"));
  const noted = (done as number[][]).reduce((sum, [begin, end]) => sum + end - begin, 0);
  // Each of four connections may be ahead of the note by what it writes between two notes, and a chunk.
  expect(noted).toBeGreaterThanOrEqual(1_400_000 - 4 * (around.noteEveryBytes + 65_536));
  hub.fault = undefined;
  hub.sentBytes = 0;
  const { folder, fetchedBytes } = await get();
  expect([hub.sentBytes, fetchedBytes]).toEqual([weights.bytes.length - noted, weights.bytes.length - noted]);
  expect(await readFile(join(folder, "model.safetensors"))).toEqual(Buffer.from(weights.bytes));
  expect((await readdir(blobs())).sort()).toEqual([etagOf(weights), etagOf({ bytes: config })].sort());
});

it("two processes and two calls at once fetch every byte once, and all find it", async () => {
  hub.fault = slowly();
  const results = await Promise.all([resultOf(start()), resultOf(start()), get(), get()]);
  expect(new Set(results.map(({ folder }) => folder)).size).toBe(1);
  expect(results.reduce((sum, { fetchedBytes }) => sum + fetchedBytes, 0)).toBe(weights.bytes.length + config.length);
  expect(hub.sentBytes).toBe(weights.bytes.length + config.length);
  expect(await readFile(join(results[0].folder, "model.safetensors"))).toEqual(Buffer.from(weights.bytes));
});

it("a second process goes on where the first is killed while it waits for it", async () => {
  hub.fault = slowly();
  const first = start();
  let second: Promise<Download> | undefined;
  for await (const line of first.lines) {
    const { doneBytes } = JSON.parse(line);
    if (doneBytes > 200_000) second ??= get();
    if (doneBytes < 800_000) continue;
    first.process.kill("SIGKILL");
    break;
  }
  const { fetchedBytes, folder } = await second!;
  expect(fetchedBytes).toBeLessThan(1_500_000);
  expect(await readFile(join(folder, "model.safetensors"))).toEqual(Buffer.from(weights.bytes));
});

it.each([
  ["of a process that is gone", { pid: 2 ** 30, machine }, 0],
  ["of another machine, untouched for long", { pid: 1, machine: "elsewhere" }, 3600],
  ["of a number that another process has by now", { pid: process.pid, machine }, 3600],
  ["of an earlier version, untouched for long", { pid: 1, host: hostname() }, 3600],
  ["with nothing in it, of a process that was killed before it wrote", undefined, 5],
])("a lock %s is broken", async (_, holder, secondsOld) => {
  await mkdir(blobs(), { recursive: true });
  const path = join(blobs(), `${etagOf(weights)}.jamba-lock`);
  await writeFile(path, holder ? JSON.stringify(holder) : "");
  const touched = Date.now() / 1000 - secondsOld;
  await utimes(path, touched, touched);
  expect((await get()).fetchedBytes).toBe(weights.bytes.length + config.length);
  expect((await readdir(blobs())).filter((name) => /jamba/.test(name))).toEqual([]);
});

it.each([
  ["of a living process", { pid: process.pid, machine }],
  ["of another machine, just touched", { pid: 2 ** 30, machine: "elsewhere" }],
  ["of a container of the same host name, just touched", { pid: 2 ** 30, host: hostname() }],
  ["that is being written", undefined],
])("a lock %s is waited for, until the wait is cancelled", async (_, holder) => {
  await mkdir(blobs(), { recursive: true });
  const path = join(blobs(), `${etagOf(weights)}.jamba-lock`);
  await writeFile(path, holder ? JSON.stringify(holder) : "");
  const stop = new AbortController();
  let polls = 0;
  const wait = async () => {
    if (++polls === 5) stop.abort(new Error("enough"));
    stop.signal.throwIfAborted();
  };
  await expect(downloadIn({ ...around, wait }, id, { endpoint: hub.endpoint, cacheDir, signal: stop.signal })).rejects.toThrow("enough");
  expect(hub.requests.filter(({ server }) => server === "cdn")).toEqual([]);
  expect(await readFile(path, "utf8")).toBe(holder ? JSON.stringify(holder) : "");
});
