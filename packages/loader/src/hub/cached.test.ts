// What the cache holds and how it is emptied, in caches that this loader, Python and links of all sorts may have made.

import { existsSync } from "node:fs";
import * as files from "node:fs/promises";
import { cp, lstat, mkdir, mkdtemp, readdir, readFile, readlink, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { machineOf } from "../source/lease.ts";
import { listCached, removeCached } from "./cached.ts";

const [one, two] = ["1".repeat(40), "2".repeat(40)];
let root: string;
let cacheDir: string;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), "jamba-cached-"));
  cacheDir = join(root, "hub");
  await mkdir(cacheDir);
});
afterEach(() => rm(root, { recursive: true, force: true }));

const folderOf = (id: string) => join(cacheDir, `models--${id.replace("/", "--")}`);
/** A file of a commit, as Python keeps it: a blob, and a link to it. */
async function put(id: string, commit: string, file: string, blob: string, bytes: number): Promise<void> {
  const folder = folderOf(id);
  await mkdir(join(folder, "blobs"), { recursive: true });
  await writeFile(join(folder, "blobs", blob), new Uint8Array(bytes));
  const path = join(folder, "snapshots", commit, file);
  await mkdir(join(path, ".."), { recursive: true });
  await symlink(`${"../".repeat(1 + file.split("/").length)}blobs/${blob}`, path);
}
async function name(id: string, branch: string, commit: string): Promise<void> {
  await mkdir(join(folderOf(id), "refs"), { recursive: true });
  await writeFile(join(folderOf(id), "refs", branch), commit);
}
const list = () => listCached({ cacheDir });
const remove = (id: string) => removeCached(id, { cacheDir });
const blobs = async (id: string) => (await readdir(join(folderOf(id), "blobs"))).sort();

it("lists repositories by name, what revisions share once, and what is of no whole file", async () => {
  await put("owner/model", one, "config.json", "a", 10);
  await put("owner/model", one, "model.safetensors", "b", 100);
  await put("owner/model", two, "config.json", "a", 10);
  await put("owner/model", two, "sub/x.gguf", "c", 1000);
  await name("owner/model", "main", two);
  await writeFile(join(folderOf("owner/model"), "blobs", "d.incomplete"), new Uint8Array(50));
  await put("a/b", one, "config.json", "a", 7);
  for (const other of ["datasets--x--y", "models--gpt2", ".locks", "models--x--y", "models--a--..--b"]) await mkdir(join(cacheDir, other));
  const [small, large, ...none] = await list();
  expect([none, small.id, small.sizeBytes, large.id, large.sizeBytes, large.partialBytes]).toEqual([[], "a/b", 7, "owner/model", 1160, 50]);
  const revision = large.revisions.find(({ commit }) => commit === two)!;
  expect([revision.names, [...revision.files].sort(), large.revisions.length]).toEqual([
    ["main"],
    [
      ["config.json", 10],
      ["sub/x.gguf", 1000],
    ],
    2,
  ]);
  expect(await listCached({ cacheDir: join(root, "none") })).toEqual([]);
});

it("removes a repository and nothing beside it", async () => {
  await put("owner/model", one, "model.safetensors", "b", 100);
  await put("owner/model-2", one, "model.safetensors", "b", 100);
  expect(await remove("owner/model")).toEqual({ freedBytes: 100, sharedBytes: 0 });
  expect(await readdir(cacheDir)).toEqual(["models--owner--model-2"]);
  await expect(remove("owner/model")).rejects.toMatchObject({
    code: "LOAD",
    message: expect.stringMatching(/owner\/model: expected it in the cache/),
  });
});

it("removes one file of it, in every revision, and its blob when nothing else names it", async () => {
  for (const [commit, q8] of [
    [one, "c"],
    [two, "d"],
  ]) {
    await put("owner/model", commit, "m-Q4_K_M.gguf", "b", 100);
    await put("owner/model", commit, "m-Q8_0.gguf", q8, 1000);
    await put("owner/model", commit, "copy.gguf", "b", 100);
  }
  expect(await remove("owner/model:Q8_0")).toEqual({ freedBytes: 2000, sharedBytes: 0 });
  expect(await blobs("owner/model")).toEqual(["b"]);
  expect(await remove("owner/model:m-Q4_K_M.gguf")).toEqual({ freedBytes: 0, sharedBytes: 100 });
  expect(await readdir(join(folderOf("owner/model"), "snapshots", one))).toEqual(["copy.gguf"]);
  await expect(remove("owner/model:Q8_0")).rejects.toMatchObject({ code: "LOAD" });
  const nameless = `sha256-${"a".repeat(64)}`;
  await put("owner/model", one, nameless, "e", 10);
  expect(await remove(`owner/model:${nameless}`)).toEqual({ freedBytes: 10, sharedBytes: 0 });
});

it("removes nothing for a name that two of its files have, in whichever revision, and names both", async () => {
  await put("owner/model", one, "a-Q4_K_M.gguf", "a", 10);
  await put("owner/model", two, "a-Q4_K_M.gguf", "a", 10);
  await put("owner/model", two, "b-Q4_K_M.gguf", "b", 100);
  await expect(remove("owner/model:Q4_K_M")).rejects.toMatchObject({
    code: "LOAD",
    message: expect.stringMatching(/owner\/model: expected one model for "Q4_K_M", found a-Q4_K_M\.gguf .*, b-Q4_K_M\.gguf/),
  });
  for (const commit of [one, two]) expect(existsSync(join(folderOf("owner/model"), "snapshots", commit, "a-Q4_K_M.gguf"))).toBe(true);
  expect(await remove("owner/model:b-Q4_K_M.gguf")).toEqual({ freedBytes: 100, sharedBytes: 0 });
});

it("keeps blobs that another repository links to", async () => {
  await put("owner/model", one, "a.gguf", "a", 10);
  await put("owner/model", one, "b.gguf", "b", 100);
  await put("owner/other", one, "c.gguf", "c", 1);
  await symlink("../../../models--owner--model/blobs/b", join(folderOf("owner/other"), "snapshots", one, "b.gguf"));
  expect(await remove("owner/model")).toEqual({ freedBytes: 10, sharedBytes: 100 });
  expect(await blobs("owner/model")).toEqual(["b"]);
  expect((await readFile(join(folderOf("owner/other"), "snapshots", one, "b.gguf"))).length).toBe(100);
});

it("never removes what a link leads to outside the cache", async () => {
  const outside = join(root, "outside");
  await mkdir(join(outside, "blobs"), { recursive: true });
  await writeFile(join(outside, "weights.gguf"), "kept");
  await writeFile(join(outside, "blobs", "x"), "kept");
  await put("owner/file", one, "a.gguf", "a", 10);
  await symlink(join(outside, "weights.gguf"), join(folderOf("owner/file"), "snapshots", one, "b.gguf"));
  await symlink(outside, join(folderOf("owner/file"), "snapshots", two));
  expect(await remove("owner/file")).toEqual({ freedBytes: 10, sharedBytes: 0 });
  await mkdir(folderOf("owner/blobs"));
  await symlink(join(outside, "blobs"), join(folderOf("owner/blobs"), "blobs"));
  expect(await remove("owner/blobs")).toEqual({ freedBytes: 0, sharedBytes: 0 });
  await cp(outside, join(root, "whole"), { recursive: true });
  await symlink(join(root, "whole"), folderOf("owner/whole"));
  expect(await remove("owner/whole")).toEqual({ freedBytes: 0, sharedBytes: 0, outside: join(root, "whole") });
  expect(await readdir(cacheDir)).toEqual([]);
  for (const folder of [outside, join(root, "whole")]) expect((await readdir(folder)).sort()).toEqual(["blobs", "weights.gguf"]);
  expect(existsSync(join(outside, "blobs", "x"))).toBe(true);
  await expect(remove("../outside")).rejects.toMatchObject({ code: "OPTION" });
});

it("leaves alone what is being downloaded, and not what a dead process left", async () => {
  await put("owner/model", one, "a.gguf", "a", 10);
  const lock = join(folderOf("owner/model"), "blobs", "b.jamba-lock");
  const machine = await machineOf(files);
  await writeFile(lock, JSON.stringify({ pid: process.pid, machine, id: "x" }));
  await expect(remove("owner/model")).rejects.toMatchObject({ code: "LOAD", message: expect.stringMatching(/found one that goes on/) });
  expect((await lstat(lock)).isFile()).toBe(true);
  expect(await readlink(join(folderOf("owner/model"), "snapshots", one, "a.gguf"))).toBe("../../blobs/a");
  await writeFile(lock, JSON.stringify({ pid: 2 ** 22 + 1, machine, id: "x" }));
  await remove("owner/model");
  expect(await readdir(cacheDir)).toEqual([]);
});
