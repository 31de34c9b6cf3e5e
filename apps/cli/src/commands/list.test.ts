// What is on this disk, what is taken from it, and what a server has, as a person and a script see them.

import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, utimesSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { jamba } from "../../test/jamba.ts";
import { sinceText } from "../terminal.ts";

const fixture = fileURLToPath(new URL("../../../../tooling/golden/fixtures/base", import.meta.url));
const root = mkdtempSync(join(tmpdir(), "jamba-list-"));
const cache = join(root, "hub");
const commit = "0123456789abcdef0123456789abcdef01234567";
const snapshot = (name: string) => join(cache, name, "snapshots", commit);

/** A model as it is downloaded, one that is none, and one that is half there. */
beforeEach(() => {
  mkdirSync(snapshot("models--me--base"), { recursive: true });
  mkdirSync(join(cache, "models--me--base/blobs"));
  mkdirSync(join(cache, "models--me--base/refs"));
  writeFileSync(join(cache, "models--me--base/refs/main"), commit);
  for (const [blob, name] of [
    ["a", "config.json"],
    ["b", "model.safetensors"],
  ]) {
    cpSync(join(fixture, name), join(cache, "models--me--base/blobs", blob));
    symlinkSync(`../../blobs/${blob}`, join(snapshot("models--me--base"), name));
    const then = new Date(Date.now() - 3 * 86_400_000 - 60_000);
    utimesSync(join(cache, "models--me--base/blobs", blob), then, then);
  }
  mkdirSync(snapshot("models--them--bert"), { recursive: true });
  cpSync(join(fixture, "model.safetensors"), join(snapshot("models--them--bert"), "model.safetensors"));
  writeFileSync(join(snapshot("models--them--bert"), "config.json"), '{"model_type":"bert"}');
  mkdirSync(join(cache, "models--me--half/blobs"), { recursive: true });
  writeFileSync(join(cache, "models--me--half/blobs/c.incomplete"), new Uint8Array(5000));
  vi.stubEnv("HF_HUB_CACHE", cache);
});
afterEach(() => {
  vi.unstubAllEnvs();
  rmSync(cache, { recursive: true });
});
afterAll(() => rmSync(root, { recursive: true }));

describe("list", () => {
  test("has each model with size, dtype and age, under the name that commands take", async () => {
    const { code, stdout, stderr } = await jamba(["list"]);
    expect([code, stderr]).toEqual([0, "  and 2 others in the cache that can't be run here; --all tells which and why\n"]);
    expect(stdout.split("\n")).toEqual([
      expect.stringMatching(/^model +size {2}dtype {2}downloaded$/),
      expect.stringMatching(/^tiny +13\.\d MB {2}bf16 {3}comes along$/),
      expect.stringMatching(/^me\/base +\d+\.\d .B {2}\w+ +3 days ago$/),
      "",
    ]);
    expect((await jamba(["inspect", stdout.split("\n")[2].split(" ")[0], "--offline"])).code).toBe(0);
  });

  test("with --all also what is no model here, and why; with --json all of it", async () => {
    const { stderr } = await jamba(["list", "--all"]);
    expect(stderr).toMatch(/me\/half \(\d\.\d kB\): the download was stopped/);
    expect(stderr.replaceAll(/\n\s+/g, " ")).toMatch(/them\/bert \(\S+ MB\): .*jamba.*bert/);
    const document = JSON.parse((await jamba(["list", "--json"])).stdout);
    expect(document).toMatchObject({
      models: [
        { id: "tiny", dtypes: ["bf16"] },
        { id: "me/base", path: snapshot("models--me--base") },
      ],
      others: [{ id: "me/half" }, { id: "them/bert" }],
    });
    expect((await jamba(["list", "--cache-dir", join(root, "none"), "-q"])).stdout.split("\n").length).toBe(3);
  });
});

test("a model that leads out of the cache is not said to be half there", async () => {
  mkdirSync(snapshot("models--me--half"), { recursive: true });
  symlinkSync(join(fixture, "config.json"), join(snapshot("models--me--half"), "config.json"));
  const { stderr } = await jamba(["list", "--all"]);
  expect(stderr.replaceAll(/\n\s+/g, " ")).toMatch(
    /me\/half \(\S+ kB\): \S*config\.json: expected .*, found a link out of it; remove the link/,
  );
});

describe("rm", () => {
  test("takes a model away by its name, and says what is free again", async () => {
    const { code, stdout, stderr } = await jamba(["rm", "base", "--yes"]);
    expect([code, stdout, stderr]).toEqual([0, "", expect.stringMatching(/^ {2}me\/base: \d+\.\d .B free again\n$/)]);
    expect(readdirSync(cache).sort()).toEqual(["models--me--half", "models--them--bert"]);
    const { stdout: json } = await jamba(["rm", "them/bert", "me/half", "bert", "-y", "--json"]);
    expect(JSON.parse(json)).toMatchObject({ removed: [{ id: "them/bert" }, { id: "me/half" }] });
    expect(readdirSync(cache)).toEqual([]);
  });

  test.each([
    [[], 2, /expected a model, found none/],
    [["me/base"], 2, /expected a terminal to ask at, found none; give --yes/],
    [["tiny", "-y"], 2, /tiny: expected a downloaded model/],
    [[fixture, "-y"], 2, /expected a downloaded model/],
    [["me/base", "me/other", "-y"], 1, /me\/other: expected it among the downloaded models/],
    [["me/base:none.gguf", "-y"], 1, /expected a \.gguf file for "none\.gguf", found no \.gguf file at all/],
    [["bsae", "-y"], 2, /did you mean me\/base\?/],
    [["../../x", "-y"], 2, /expected a/],
  ])("%j removes nothing", async (args, code, said) => {
    expect(await jamba(["rm", ...args])).toMatchObject({ code, stdout: "", stderr: expect.stringMatching(said) });
    expect(readFileSync(join(snapshot("models--me--base"), "model.safetensors")).length).toBeGreaterThan(1000);
  });
});

describe("ps", () => {
  let server: Server | undefined;
  const listen = async (answer: (url: string, key?: string) => [number, unknown]) => {
    server = createServer(({ url, headers }, response) => {
      const [status, body] = answer(url!, headers.authorization);
      response.writeHead(status, { "content-type": "application/json" }).end(typeof body === "string" ? body : JSON.stringify(body));
    });
    await new Promise<void>((resolve) => server!.listen(0, "127.0.0.1", resolve));
    return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  };
  afterEach(() => new Promise<unknown>((resolve) => (server ? server.close(resolve) : resolve(undefined))));
  const now = Math.floor(Date.now() / 1000);
  const data = [
    { id: "tiny", object: "model", loaded: true, last_used: now - 130, memory_bytes: 12_300_000 },
    { id: "owner/large", object: "model", loaded: false },
    { id: "owner/next", object: "model", loaded: false, loading: true },
    { id: "plain", object: "model" },
  ];

  test("shows which models a server has, and which are loaded", async () => {
    const url = await listen((path) => [path === "/v1/models" ? 200 : 404, { object: "list", data }]);
    for (const given of [url, `${url}/`, `${url}/v1`, url.replace("http://", "")]) {
      const { code, stdout, stderr } = await jamba(["ps", "--url", given]);
      expect([code, stderr]).toEqual([0, ""]);
      expect(stdout).toBe(
        `${["model        state        memory  used", "tiny         loaded      12.3 MB  2 minutes ago", "owner/large  not loaded           never", "owner/next   loading              never", "plain        loaded               never"].join("\n")}\n`,
      );
    }
    expect(JSON.parse((await jamba(["ps", "--url", url, "--json"])).stdout)).toEqual({ url, running: true, models: data });
  });

  test("says plainly that nothing runs", async () => {
    const url = await listen(() => [200, ""]);
    await new Promise((resolve) => server!.close(resolve));
    server = undefined;
    const { code, stdout, stderr } = await jamba(["ps", "--url", url]);
    expect([code, stdout, stderr]).toEqual([0, `not running: nothing listens at ${url}\n`, expect.stringMatching(/jamba serve/)]);
    expect(await jamba(["ps", "--url", url, "--json"])).toEqual({
      code: 0,
      stdout: `${JSON.stringify({ url, running: false, models: [] })}\n`,
      stderr: "",
      exits: [],
    });
  });

  test("brings a key, and says when one is wanted or it is another server", async () => {
    const url = await listen((_, key) => (key === "Bearer k" ? [200, { data: [] }] : [401, {}]));
    expect(await jamba(["ps", "--url", url])).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/wants a key; give it as --api-key/),
    });
    expect(await jamba(["ps", "--url", url, "--api-key", "x"])).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/does not take this/),
    });
    expect(await jamba(["ps", "--url", url, "--api-key", "k"])).toMatchObject({ code: 0 });
    await new Promise((resolve) => server!.close(resolve));
    for (const answer of [
      [200, "<html>"],
      [404, "{}"],
      [200, { data: [{ name: 1 }] }],
    ] as [number, unknown][]) {
      const other = await listen(() => answer);
      expect(await jamba(["ps", "--url", other])).toMatchObject({
        code: 1,
        stdout: "",
        stderr: expect.stringMatching(/what listens there\?/),
      });
      await new Promise((resolve) => server!.close(resolve));
    }
    server = undefined;
    expect(await jamba(["ps", "--url", "http://"])).toMatchObject({
      code: 2,
      stderr: expect.stringMatching(/--url: expected the address/),
    });
  });
});

test("ages are in the largest whole unit", () => {
  const ages = [0, 59, 60, 3599, 3600, 86_400, 3e6, 4e7].map((seconds) => sinceText(1e12 - seconds * 1000, 1e12));
  expect(ages).toEqual(["just now", "just now", "1 minute ago", "59 minutes ago", "1 hour ago", "1 day ago", "1 month ago", "1 year ago"]);
});
