// Fingerprints beside weights: they count only for the files that they were made of.

import { cp, mkdir, mkdtemp, open, readFile, rename, rm, stat, symlink, truncate, utimes, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, expect, test } from "vitest";
import { type Checkpoint, openCheckpoint } from "./checkpoint.ts";
import { fingerprint, keptFingerprint } from "./fingerprint.ts";

const golden = fileURLToPath(new URL("../../../tooling/golden/fixtures/odd", import.meta.url));
let root: string;
let folder: string;
let file: string;
let kept: string;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), "kept-"));
  folder = join(root, "model");
  await mkdir(folder);
  for (const name of ["config.json", "model.safetensors"]) await cp(join(golden, name), join(folder, name));
  file = join(folder, "model.safetensors");
  kept = `${file}.jamba-fingerprint.json`;
});
// A fingerprint may still be on its way to its file.
afterEach(() => rm(root, { recursive: true, maxRetries: 10, retryDelay: 100 }));

const options = { keepFromBytes: 0 };

/** The fingerprint, and how many reads of weights it took. */
async function made(warn?: (warning: string) => void): Promise<{ model: string; reads: number }> {
  await using checkpoint = await openCheckpoint(folder);
  let reads = 0;
  const watched: Checkpoint = {
    ...checkpoint,
    read(...args) {
      reads++;
      return checkpoint.read(...args);
    },
  };
  return { model: await fingerprint(watched, { ...options, warn }), reads };
}

async function present(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}

/** Makes it, and waits until it is kept: some seconds after the files were written. */
async function keep(): Promise<string> {
  const { model, reads } = await made();
  expect(reads).toBeGreaterThan(0);
  for (let tries = 0; !(await present(kept)); tries++) {
    if (tries === 1000) throw new Error("expected a fingerprint beside the weights, found none");
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  return model;
}

async function flip(at: number): Promise<void> {
  const handle = await open(file, "r+");
  const byte = new Uint8Array(1);
  await handle.read(byte, 0, 1, at);
  byte[0] ^= 1;
  await handle.write(byte, 0, 1, at);
  await handle.close();
}

test("the next time no weight is read, and only whoever owns the files may change what is kept", async () => {
  const model = await keep();
  expect(await made()).toEqual({ model, reads: 0 });
  expect((await stat(kept)).mode & 0o022).toBe(0);
});

test.each<[what: string, change: () => Promise<unknown>, other: boolean]>([
  ["written to", () => flip(100_000), true],
  [
    "written to, and its time set back",
    async () => {
      const { atime, mtime } = await stat(file);
      await flip(100_000);
      await utimes(file, atime, mtime);
    },
    true,
  ],
  ["touched", () => utimes(file, new Date(), new Date()), false],
  ["replaced by a copy of itself", () => cp(file, `${file}2`, { preserveTimestamps: true }).then(() => rename(`${file}2`, file)), false],
  [
    "beside another config",
    async () => {
      const path = join(folder, "config.json");
      await writeFile(path, JSON.stringify({ ...JSON.parse(await readFile(path, "utf8")), rms_norm_eps: 0.5 }));
    },
    true,
  ],
])("what is kept counts for nothing for a file that is %s", async (_, change, other) => {
  const model = await keep();
  await utimes(file, 1e9, 1e9);
  await rm(kept);
  expect(await keep()).toBe(model);
  await change();
  const found = await made();
  expect(found.reads).toBeGreaterThan(0);
  expect(found.model === model).toBe(!other);
});

test("what is kept is not believed where it is malformed, another's or a link", async () => {
  const model = await keep();
  const text = await readFile(kept, "utf8");
  const other = { ...JSON.parse(text), model: "f".repeat(64) };
  const lies = [
    "",
    "{",
    "null",
    "[]",
    text.slice(0, -20),
    JSON.stringify({ ...other, version: 2 }),
    JSON.stringify({ ...other, model: "../x" }),
    JSON.stringify({ ...other, files: {} }),
    JSON.stringify({ ...other, files: { ...other.files, more: other.files["model.safetensors"] } }),
    JSON.stringify({ ...other, of: "0".repeat(64) }),
  ];
  for (const lie of lies) {
    await rm(kept);
    await writeFile(kept, lie);
    await using checkpoint = await openCheckpoint(folder);
    expect(await keptFingerprint(checkpoint, options)).toBeUndefined();
  }
  await rm(kept);
  await writeFile(kept, JSON.stringify(other));
  await using checkpoint = await openCheckpoint(folder);
  expect((await keptFingerprint(checkpoint, options))?.model).toBe(other.model); // or else the lies above prove nothing
  if (process.platform !== "win32") {
    await rename(kept, join(root, "elsewhere"));
    await symlink(join(root, "elsewhere"), kept);
    expect(await keptFingerprint(checkpoint, options)).toBeUndefined();
    await rm(kept);
    const handle = await open(kept, "w");
    await handle.writeFile(JSON.stringify(other));
    await handle.chmod(0o666);
    await handle.close();
    expect(await keptFingerprint(checkpoint, options)).toBeUndefined();
  }
  await rm(kept);
  expect((await made()).model).toBe(model);
});

test("where nothing can be kept a warning says so, and what it costs", async () => {
  await mkdir(kept);
  const warning = new Promise<string>((resolve) => void made(resolve));
  expect(await warning).toMatch(/can't be kept beside its files .* each load that needs it reads all weights once more/);
});

test("a file that changes before all of it was read has none", async () => {
  await using checkpoint = await openCheckpoint(folder);
  await flip(100_000);
  await expect(fingerprint(checkpoint, options)).rejects.toMatchObject({ code: "LOAD", message: expect.stringContaining(file) });
  await truncate(file, 1000);
  await expect(fingerprint(checkpoint, options)).rejects.toMatchObject({ code: "LOAD", message: expect.stringContaining(file) });
});

test("a file that is replaced after it was opened keeps its own", async () => {
  const { model } = await made();
  await using checkpoint = await openCheckpoint(folder);
  await cp(file, `${file}2`);
  await rename(`${file}2`, file);
  await flip(100_000);
  expect(await fingerprint(checkpoint, options)).toBe(model);
});
