// What a folder of many states costs: counted in calls of the system, which no machine makes faster.

import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { seeded } from "@jamba/conformance";
import type { StateSpec } from "@jamba/core";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { collect, randomState } from "../../test/states.ts";
import { DiskCache } from "./disk-cache.ts";
import { FolderIndex, nameOf } from "./folder-index.ts";

const counts = vi.hoisted(() => new Map<string, number>());
vi.mock("node:fs/promises", async (original) => {
  const real = await original<typeof import("node:fs/promises")>();
  const counted = Object.entries(real).map(([name, value]) => {
    if (typeof value !== "function") return [name, value];
    const count = (...given: unknown[]) => {
      counts.set(name, (counts.get(name) ?? 0) + 1);
      return (value as (...given: unknown[]) => unknown)(...given);
    };
    return [name, count];
  });
  return Object.fromEntries(counted);
});

const layers: StateSpec["layers"] = [{ kind: "mamba", dInner: 3, dState: 2, dConv: 4 }];
const options = { model: "model-a", spec: { layers, pageTokens: 64, kvDtype: "f32" as const }, vocabSize: 10 };
const random = seeded(7);
const bytesOfOne = 1000;

let root: string;
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), "folder-index-"));
});
afterAll(() => rm(root, { recursive: true }));

/** Calls of the system for each find and each put in a folder that has so many files already and room for no more. */
async function callsAmong(files: number): Promise<{ open: number; find: number; put: number; readdirs: number }> {
  const folder = await mkdtemp(join(root, "many-"));
  const other = (i: number) =>
    nameOf({
      model: "0".repeat(16),
      length: 1 + (i % 5000),
      check: i,
      hash: i.toString(16).padStart(64, "0"),
      owner: (i % 3).toString(16).padStart(8, "0"),
      bytes: bytesOfOne,
    });
  for (let i = 0; i < files; i += 500)
    await Promise.all(Array.from({ length: Math.min(500, files - i) }, (_, at) => writeFile(join(folder, other(i + at)), "")));
  const sum = () => [...counts.values()].reduce((a, b) => a + b, 0);
  const during = async (act: () => Promise<unknown>) => {
    const before = sum();
    await act();
    return sum() - before;
  };
  let cache!: DiskCache;
  const opened = await during(async () => {
    cache = new DiskCache(await FolderIndex.open(folder), { ...options, bytes: files * bytesOfOne });
  });
  const readdirs = counts.get("readdir") ?? 0;
  const times = 100;
  const paths = Array.from({ length: times }, (_, i) => [i % 10, Math.floor(i / 10), 3, 4]);
  const put = await during(async () => {
    for (const path of paths) await cache.put(path, randomState(random, layers, path.length));
  });
  const find = await during(async () => {
    for (const path of paths) expect(await (await cache.find([...path, 5], 0))?.load(collect)).toBeDefined();
  });
  return { open: opened, find: find / times, put: put / times, readdirs: (counts.get("readdir") ?? 0) - readdirs };
}

test("a find and a put take as many calls of the system among 6,000 files as among 600, and read the folder next to never", async () => {
  const few = await callsAmong(600);
  const many = await callsAmong(6000);
  for (const { open, find, put, readdirs } of [few, many]) {
    expect(open).toBeLessThan(20);
    expect(find).toBeLessThan(10);
    // Sixteen states are looked at for each that goes, of which each makes room for one that comes.
    expect(put).toBeLessThan(50);
    expect(readdirs).toBeLessThan(60);
  }
  expect(many.find).toBeLessThan(few.find + 2);
  expect(many.put).toBeLessThan(few.put + 2);
}, 60_000);

test("what another process puts there is found, and what it removes is a miss", async () => {
  const folder = await mkdtemp(join(root, "shared-"));
  const [first, second] = [
    new DiskCache(await FolderIndex.open(folder), { ...options, bytes: 2 ** 20 }),
    new DiskCache(await FolderIndex.open(folder), { ...options, bytes: 2 ** 20 }),
  ];
  await first.put([1, 2], randomState(random, layers, 2));
  expect(await (await second.find([1, 2, 3], 0))?.load(collect)).toBeDefined();
  await rm(folder, { recursive: true });
  expect(await (await second.find([1, 2, 3], 0))?.load(collect)).toBeUndefined();
});

test("states that an earlier version left are removed, and others' files are not", async () => {
  const folder = await mkdtemp(join(root, "old-"));
  const old = `${"a".repeat(16)}-12-${"b".repeat(64)}.state`;
  for (const name of [old, "notes.txt", `${old}.partial-elsewhere-1-01234567`]) await writeFile(join(folder, name), "x");
  const cache = new DiskCache(await FolderIndex.open(folder), { ...options, bytes: 2 ** 20 });
  await cache.put([1], randomState(random, layers, 1)); // comes after what is removed
  const { readdir } = await import("node:fs/promises");
  const names = await readdir(folder);
  expect(names).not.toContain(old);
  expect(names).toEqual(expect.arrayContaining(["notes.txt", `${old}.partial-elsewhere-1-01234567`]));
});
