// A cache that others may write to: what a link leads out of it is neither read nor written.

import { createHash, randomBytes } from "node:crypto";
import { mkdir, mkdtemp, readdir, readFile, rename, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { hubForTests } from "../../../../tooling/hub/hub-for-tests.ts";
import { type DownloadOptions, downloadIn, type Surroundings } from "./download.ts";

const bytes = randomBytes(5000);
const etag = createHash("sha256").update(bytes).digest("hex");
const commit = /^[\da-f]{40}$/;

const hub = await hubForTests();
let cacheDir: string;
let outside: string;
let root: string;
beforeEach(async () => {
  [cacheDir, outside] = [await mkdtemp(join(tmpdir(), "jamba-cache-")), await mkdtemp(join(tmpdir(), "jamba-outside-"))];
  root = join(cacheDir, "models--owner--model");
  hub.add("owner/model", { "config.json": new TextEncoder().encode("{}"), "model.safetensors": { bytes, lfs: true } });
  await writeFile(join(outside, "file"), "precious");
});
afterEach(() => Promise.all([cacheDir, outside].map((folder) => rm(folder, { recursive: true }))));

const get = (options: DownloadOptions = {}, around: Surroundings = {}) =>
  downloadIn({ env: {}, ...around }, "owner/model", { endpoint: hub.endpoint, cacheDir, ...options });
const refusal = { name: "LoadError", message: expect.stringContaining("found a link out of it; remove the link") };
const plant = async (path: string, target: string) => {
  await mkdir(dirname(join(root, path)), { recursive: true });
  await symlink(target, join(root, path));
};
const expectUntouched = async () => {
  expect(await readdir(outside)).toEqual(["file"]);
  expect(await readFile(join(outside, "file"), "utf8")).toBe("precious");
};

it.each(["blobs", "snapshots", "refs"])("nothing is written where %s leads out", async (folder) => {
  await plant(folder, outside);
  await expect(get()).rejects.toMatchObject(refusal);
  await expectUntouched();
});

it("nothing is written where a commit's folder leads out", async () => {
  const { folder } = await get();
  await rm(folder, { recursive: true });
  await symlink(outside, folder);
  await expect(get()).rejects.toMatchObject(refusal);
  await expectUntouched();
});

it.each(["", ".jamba-partial", ".jamba-partial.json", ".jamba-partial.json.new", ".jamba-lock"])(
  "nothing is written through a link at the name of a blob%s, which others can foresee",
  async (ending) => {
    await plant(`blobs/${etag}${ending}`, join(outside, "file"));
    const call = get({ signal: AbortSignal.timeout(1000) }, { noteEveryBytes: 100 });
    if (ending === "") await expect(call).rejects.toMatchObject(refusal);
    // A lock is held by whoever made it, until he has not touched it for long.
    else if (ending === ".jamba-lock") await expect(call).rejects.toMatchObject({ name: "TimeoutError" });
    else expect(await readFile(join((await call).folder, "model.safetensors"))).toEqual(bytes);
    await expectUntouched();
  },
);

it.each([true, false])("a link out of a snapshot is not taken for the file (offline: %j)", async (offline) => {
  const { folder } = await get();
  await writeFile(join(outside, "weights"), bytes);
  await rm(join(folder, "model.safetensors"));
  await symlink(join(outside, "weights"), join(folder, "model.safetensors"));
  await expect(get({ offline })).rejects.toMatchObject(refusal);
});

it("a repository's folder may itself lie on another disk", async () => {
  await symlink(outside, root);
  expect((await get()).commit).toMatch(commit);
  expect((await get({ offline: true })).commit).toMatch(commit);
});

it("a cache that was moved is found", async () => {
  await get();
  await rename(root, join(outside, "moved"));
  await symlink(join(outside, "moved"), root);
  expect((await get({ offline: true })).commit).toMatch(commit);
});
