// A folder of states gives what was put into it or a miss, whatever happens to its files.

import { createHash } from "node:crypto";
import * as promises from "node:fs/promises";
import { mkdir, mkdtemp, readdir, readFile, rename, rm, stat, symlink, utimes, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { seeded } from "@jamba/conformance";
import { JambaError, type StatePart, type StateSpec } from "@jamba/core";
import { machineOf } from "@jamba/loader";
import fc from "fast-check";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { bitsOf, collect, randomState } from "../../test/states.ts";
import { DiskCache, type DiskCacheOptions } from "./disk-cache.ts";
import { checksOf, FolderIndex, nameOf } from "./folder-index.ts";
import { encodeState } from "./state-codec.ts";

const random = seeded(20261128);
const layers: StateSpec["layers"] = [
  { kind: "mamba", dInner: 3, dState: 2, dConv: 4 },
  { kind: "attention", nKvHeads: 1, headDim: 2 },
];
const options: DiskCacheOptions = { bytes: 2 ** 20, model: "model-a", spec: { layers, pageTokens: 64, kvDtype: "f32" }, vocabSize: 10 };

let root: string;
let folder: string;
let count = 0;
let damage: JambaError[];
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), "disk-cache-"));
});
afterAll(() => rm(root, { recursive: true }));
beforeEach(() => {
  folder = join(root, String(count++), "states");
  damage = [];
});

const open = async (more: Partial<DiskCacheOptions> = {}) =>
  new DiskCache(await FolderIndex.open(folder), { ...options, onDamage: (reason) => damage.push(reason), ...more });
const stateOf = (ids: readonly number[]) => randomState(random, layers, ids.length);
const put = async (cache: DiskCache, ids: number[]) => {
  const state = stateOf(ids);
  await cache.put(ids, state);
  return state;
};
const load = async (cache: DiskCache, ids: number[], atLeast = 0) => (await cache.find(ids, atLeast))?.load(collect);
const files = async () => (await readdir(folder)).filter((name) => name.endsWith(".state")).sort();
const sha256 = (data: string | Uint8Array) => createHash("sha256").update(data).digest("hex");
const pathOf = (ids: number[], model = options.model, owner = "") => {
  const hash = sha256(new Uint8Array(Int32Array.from(ids).buffer));
  const [check = 0] = [...checksOf(ids)].slice(-1);
  const bytes = encodeState({ model, meta: { path: hash } }, ids, options.spec, []).sizeBytes;
  const name = { model: sha256(model).slice(0, 16), length: ids.length, check, hash, owner: sha256(owner).slice(0, 8), bytes };
  return join(folder, nameOf(name));
};
/** Parts that nobody may ask for. */
const unpulled: Iterable<StatePart> = {
  [Symbol.iterator]: () => {
    throw new Error("pulled");
  },
};
/** Used so many seconds ago. */
const age = (path: string, seconds: number) => utimes(path, new Date(Date.now() - seconds * 1000), new Date(Date.now() - seconds * 1000));

test("find gives the longest stored prefix that is longer than asked, and its state bit for bit", async () => {
  const ids = fc.array(fc.nat(2), { maxLength: 9 });
  const check = async (stored: number[][], asked: number[], atLeast: number) => {
    folder = join(root, String(count++));
    const cache = await open();
    const states = new Map<string, unknown>();
    for (const one of stored) {
      const state = await put(cache, one);
      // The first that was put stays.
      if (!states.has(one.join()) && one.length > 0) states.set(one.join(), await bitsOf(state));
    }
    const isPrefix = (one: number[]) => one.length > atLeast && one.every((id, i) => id === asked[i]);
    const best = stored.filter(isPrefix).sort((a, b) => b.length - a.length)[0];
    const found = await (await open()).find(asked, atLeast);
    expect(found?.length).toBe(best?.length);
    if (found) expect(await found.load(bitsOf)).toEqual(states.get(best.join()));
    expect(damage).toEqual([]);
  };
  await fc.assert(fc.asyncProperty(fc.array(ids, { maxLength: 8 }), ids, fc.nat(4), check), { numRuns: 30 });
});

describe("a file is a miss", () => {
  test("when it is damaged: it is deleted, the reason is told, and the next shorter one is found", async () => {
    const cache = await open();
    const shorter = await put(cache, [1, 2]);
    await put(cache, [1, 2, 3]);
    const path = pathOf([1, 2, 3]);
    const bytes = await readFile(path);
    bytes[bytes.length - 1] ^= 1;
    await writeFile(path, bytes);
    expect(await load(cache, [1, 2, 3, 4])).toBeUndefined();
    expect(damage).toMatchObject([{ code: "LOAD", message: expect.stringMatching(/-3-.*damaged/) }]);
    expect(await bitsOf((await load(cache, [1, 2, 3, 4]))!)).toEqual(await bitsOf(shorter));
    const again = await put(cache, [1, 2, 3]);
    expect(await bitsOf((await load(cache, [1, 2, 3, 4]))!)).toEqual(await bitsOf(again));
    expect(damage.length).toBe(1);
  });

  test("when the damage shows after some parts were pulled, whatever its user makes of that", async () => {
    const cache = await open();
    await put(cache, [1, 2, 3]);
    const path = pathOf([1, 2, 3]);
    const bytes = await readFile(path);
    bytes[bytes.length - 1] ^= 1;
    await writeFile(path, bytes);
    const names: string[] = [];
    const use = async (parts: AsyncIterable<StatePart>) => {
      try {
        for await (const { name } of parts) names.push(name);
      } catch (cause) {
        throw new Error("half a state", { cause });
      }
    };
    const found = await cache.find([1, 2, 3], 0);
    expect(await found!.load(use)).toBeUndefined();
    expect(names).toEqual(["conv", "h", "k"]);
    expect(damage).toMatchObject([{ code: "LOAD", message: expect.stringMatching(/1\.v: expected a piece/) }]);
    expect(await files()).toEqual([]);
  });

  test("when it holds other tokens than its name says, or the state of another model", async () => {
    const cache = await open();
    await put(cache, [1, 2, 3]);
    await rename(pathOf([1, 2, 3]), pathOf([4, 5, 6]));
    expect(await load(cache, [4, 5, 6])).toBeUndefined();
    expect(damage).toMatchObject([{ code: "LOAD", message: expect.stringMatching(/state of other tokens/) }]);

    await put(await open({ model: "model-b" }), [1, 2, 3]);
    await rename(pathOf([1, 2, 3], "model-b"), pathOf([1, 2, 3]));
    expect(await load(cache, [1, 2, 3])).toBeUndefined();
    expect(damage[1].code).toBe("SESSION_MISMATCH");
    expect(await files()).toEqual([]);
  });

  test("when another process deleted it before it was read, which is no damage", async () => {
    const cache = await open();
    await put(cache, [1, 2, 3]);
    const found = await cache.find([1, 2, 3], 0);
    await rm(pathOf([1, 2, 3]));
    expect(await found!.load(collect)).toBeUndefined();
    expect(damage).toEqual([]);
  });

  test("when the system does not let it be read: it stays", async () => {
    const cache = await open();
    await put(cache, [1, 2, 3]);
    const path = pathOf([1, 2, 3]);
    await rm(path);
    await writeFile(join(root, "plain"), "");
    // A link into what is no folder: ENOTDIR.
    await symlink(join(root, "plain", "x"), path);
    expect(await load(cache, [1, 2, 3])).toBeUndefined();
    expect(damage.length).toBe(1);
    expect((await files()).length).toBe(1);
  });

  test("when the whole folder went", async () => {
    const cache = await open();
    await rm(folder, { recursive: true });
    expect(await cache.find([1, 2, 3], 0)).toBeUndefined();
    await expect(put(cache, [1, 2, 3])).rejects.toMatchObject({ code: "LOAD" });
    expect(damage.length).toBeGreaterThan(0);
  });
});

test.each([
  new JambaError("OUT_OF_MEMORY", "no pages"),
  new JambaError("DISPOSED", "model"),
  new JambaError("LOAD", "another file"),
  new TypeError("mine"),
])("what the user of a state throws of its own is the caller's, and no damage: %s", async (reason) => {
  const cache = await open();
  const state = await put(cache, [1, 2, 3]);
  const found = (await cache.find([1, 2, 3], 0))!;
  await expect(found.load(() => Promise.reject(reason))).rejects.toBe(reason);
  const inTheMiddle = async (parts: AsyncIterable<StatePart>) => {
    for await (const { name } of parts) if (name === "k") throw reason;
  };
  await expect(found.load(inTheMiddle)).rejects.toBe(reason);
  const atTheEnd = async (parts: AsyncIterable<StatePart>) => {
    await collect(parts);
    throw reason;
  };
  await expect(found.load(atTheEnd)).rejects.toBe(reason);
  expect(damage).toEqual([]);
  expect(await found.load(bitsOf)).toEqual(await bitsOf(state));
});

test("states of other models, and numerics that were named otherwise, are not seen", async () => {
  await put(await open(), [1, 2, 3]);
  expect(await (await open({ model: "model-a, bf16" })).find([1, 2, 3], 0)).toBeUndefined();
});

test("names that are not of a cache are neither read, counted nor deleted", async () => {
  await mkdir(folder, { recursive: true });
  const foreign = ["notes.txt", "a.state", `${"0".repeat(16)}-3-xyz.state`, `${"0".repeat(16)}-3-${"0".repeat(64)}.state.bak`];
  for (const name of foreign) await writeFile(join(folder, name), "x".repeat(10_000));
  const cache = await open({ bytes: 2000 });
  for (let n = 0; n < 5; n++) await put(cache, [n]);
  expect(await readdir(folder)).toEqual(expect.arrayContaining(foreign));
  expect(await load(cache, [4])).toBeDefined();
});

describe("room", () => {
  const size = async () => {
    let sum = 0;
    for (const name of await files()) sum += (await stat(join(folder, name))).size;
    return sum;
  };

  test("is kept by dropping what was not used for longest, of whatever model", async () => {
    await put(await open({ model: "model-b" }), [9]);
    const one = await size();
    const cache = await open({ bytes: 4 * one });
    for (const id of [1, 2, 3]) await put(cache, [id]);
    await age(pathOf([9], "model-b"), 40);
    for (const id of [1, 2, 3]) await age(pathOf([id]), 40 - 10 * id);
    await load(cache, [1]); // is new again
    await put(cache, [4]); // the other model's goes
    await put(cache, [5]); // [2] goes
    const there = [];
    for (const id of [1, 2, 3, 4, 5]) if (await cache.find([id], 0)) there.push(id);
    expect(there).toEqual([1, 3, 4, 5]);
    expect(await (await open({ model: "model-b" })).find([9], 0)).toBeUndefined();
    expect(await size()).toBeLessThanOrEqual(4 * one);
  });

  test("is not made for what would never fit, and a second put of the same costs nothing but a touch", async () => {
    const cache = await open({ bytes: 2000 });
    await put(cache, [1]);
    const path = pathOf([1]);
    const before = await readFile(path);
    await age(path, 100);
    await cache.put(Array(200).fill(1), unpulled);
    await cache.put([1], unpulled);
    expect((await files()).length).toBe(1);
    expect(await readFile(path)).toEqual(before);
    expect(Date.now() - (await stat(path)).mtimeMs).toBeLessThan(50_000);
  });

  test("is never overdrawn by puts that were asked for together", async () => {
    await put(await open(), [0]);
    const one = await size();
    const cache = await open({ bytes: 3 * one });
    await Promise.all(Array.from({ length: 9 }, (_, id) => put(cache, [id])));
    expect(await size()).toBe(3 * one);
  });
});

test("what killed processes were writing goes when the folder is opened, what others write stays", async () => {
  await put(await open(), [1]);
  const [name] = await files();
  const here = await machineOf(promises);
  const stale = `${name}.partial-${here}-999999999-0123abcd`;
  const others = [`${name}.partial-${here}-${process.ppid}-0123abcd`, `${name}.partial-elsewhere-999999999-0123abcd`];
  for (const partial of [stale, ...others]) await writeFile(join(folder, partial), "x");
  await open();
  expect((await readdir(folder)).sort()).toEqual([name, ...others].sort());
});

test("a put whose parts fail, or are those of another state, leaves nothing and ends the parts", async () => {
  const cache = await open();
  const reason = new JambaError("DISPOSED", "model");
  let ended = 0;
  async function* parts(ids: number[], failsAfter: number) {
    try {
      for (const [i, part] of stateOf(ids).entries()) {
        if (i === failsAfter) throw reason;
        yield part;
      }
    } finally {
      ended++;
    }
  }
  for (const after of [0, 1, 3]) await expect(cache.put([1], parts([1], after))).rejects.toBe(reason);
  await expect(cache.put([1], parts([1, 2], 9))).rejects.toMatchObject({ code: "SHAPE" });
  expect(ended).toBe(4);
  expect(await readdir(folder)).toEqual([]);
});

test("a put that is aborted leaves nothing, and the next one works", async () => {
  const cache = await open();
  const reason = new Error("enough");
  await expect(cache.put([1], unpulled, { signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
  await put(cache, []);
  expect(await readdir(folder)).toEqual([]);
  await put(cache, [1]);
  expect(await load(cache, [1])).toBeDefined();
});

test("a path that is no folder is refused when it is opened", async () => {
  folder = join(root, "file");
  await writeFile(folder, "");
  await expect(open()).rejects.toMatchObject({ code: "LOAD", message: expect.stringMatching(/file: expected a folder/) });
  folder = join(folder, "below");
  await expect(open()).rejects.toMatchObject({ code: "LOAD" });
});

test("many users of one small folder get what belongs to their tokens or a miss, and never an error", async () => {
  const caches = await Promise.all(Array.from({ length: 4 }, () => open({ bytes: 4000 })));
  // The state of a prefix follows from it, as in a model.
  const made = (ids: number[]) => randomState(seeded(Number(`1${ids.join("")}`)), layers, ids.length);
  let [hits, misses] = [0, 0];
  const use = async (cache: DiskCache, seed: number) => {
    const next = seeded(seed);
    for (let n = 0; n < 60; n++) {
      const ids = Array.from({ length: 1 + Math.floor(next() * 4) }, () => Math.floor(next() * 2));
      const found = await cache.find(ids, 0);
      const state = await found?.load(collect);
      if (state) {
        hits++;
        expect(await bitsOf(state)).toEqual(await bitsOf(made(ids.slice(0, found!.length))));
      } else misses++;
      await cache.put(ids, made(ids));
    }
  };
  await Promise.all(caches.map(use));
  expect(damage).toEqual([]);
  expect(hits).toBeGreaterThan(0);
  expect(misses).toBeGreaterThan(0);
});
