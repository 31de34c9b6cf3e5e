import { mkdtemp, rm, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { LoadError } from "@jamba/core";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { openBlob } from "./blob-source.ts";
import { byteSource } from "./byte-source.ts";
import { openFile } from "./file-source.ts";

const bytes = Uint8Array.from({ length: 1000 }, (_, i) => (i * 7 + (i >> 8)) & 255);
let directory: string;
let path: string;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "jamba-loader-"));
  path = join(directory, "bytes");
  await writeFile(path, bytes);
});
afterAll(() => rm(directory, { recursive: true }));

const kinds = { file: () => openFile(path), blob: async () => openBlob(new Blob([bytes]), "a blob") };

describe.each(Object.entries(kinds))("%s", (_, open) => {
  it.each([
    [0, 0],
    [0, 1],
    [0, 1000],
    [1, 998],
    [999, 1],
    [1000, 0],
  ])("gives the bytes of offset %d, length %d", async (offset, length) => {
    const source = await open();
    expect(await source.read(offset, length)).toEqual(bytes.slice(offset, offset + length));
    await source.close();
  });

  it.each([
    [0, 1001],
    [1000, 1],
    [-1, 1],
    [0, -1],
    [0.5, 1],
    [Number.NaN, 1],
    [1, Number.POSITIVE_INFINITY],
    [Number.MAX_SAFE_INTEGER, Number.MAX_SAFE_INTEGER],
  ])("refuses offset %d, length %d with a LoadError", async (offset, length) => {
    const source = await open();
    await expect(source.read(offset, length)).rejects.toThrow(LoadError);
    await expect(source.read(offset, length)).rejects.toThrow(source.name);
    await source.close();
  });

  it("refuses reads after close, which may be called twice", async () => {
    const source = await open();
    await source.close();
    await source.close();
    await expect(source.read(0, 1)).rejects.toMatchObject({ name: "JambaError", code: "DISPOSED" });
  });

  it("throws the signal's reason when aborted before or during a read", async () => {
    const source = await open();
    const reason = new Error("enough");
    await expect(source.read(0, 1, AbortSignal.abort(reason))).rejects.toBe(reason);
    const controller = new AbortController();
    const read = source.read(0, 1000, controller.signal);
    controller.abort(reason);
    await expect(read).rejects.toBe(reason);
    await source.close();
  });
});

it("reads longer than a piece are made of pieces", async () => {
  const lengths: number[] = [];
  const fill = async (target: Uint8Array, offset: number) => {
    lengths.push(target.length);
    target.set(bytes.subarray(offset, offset + target.length));
  };
  const source = byteSource({ name: "pieces", size: 1000, fill }, 300);
  expect(await source.read(50, 700)).toEqual(bytes.slice(50, 750));
  expect(lengths).toEqual([300, 300, 100]);
});

it("a read that memory can't hold is a typed error", async () => {
  const source = byteSource({ name: "huge", size: 2 ** 52, fill: async () => undefined });
  await expect(source.read(0, 2 ** 52)).rejects.toMatchObject({ name: "JambaError", code: "OUT_OF_MEMORY" });
});

it("what a reader throws becomes the cause of a LoadError", async () => {
  const cause = new TypeError("fetch failed", { cause: { code: "ECONNREFUSED" } });
  const source = byteSource({ name: "far", size: 1, fill: () => Promise.reject(cause) });
  await expect(source.read(0, 1)).rejects.toMatchObject({ name: "LoadError", message: "far: fetch failed: ECONNREFUSED", cause });
});

it("a file that became shorter gives expected and found", async () => {
  const shrinking = join(directory, "shrinking");
  await writeFile(shrinking, bytes);
  const source = await openFile(shrinking);
  await truncate(shrinking, 600);
  await expect(source.read(500, 400)).rejects.toThrow(`${shrinking}: expected 400 bytes at 500, found 100`);
  await source.close();
});

it("a missing file, a directory and an impossible path are LoadErrors with a cause or a kind", async () => {
  const missing = openFile(join(directory, "missing"));
  await expect(missing).rejects.toMatchObject({ name: "LoadError", cause: { code: "ENOENT" } });
  await expect(openFile(directory)).rejects.toThrow("expected a file, found a directory");
  await expect(openFile("nul\0byte")).rejects.toBeInstanceOf(LoadError);
  await expect(openFile(join(path, "below"))).rejects.toThrow("a part of the path is a file");
});

it.skipIf(process.platform === "win32")("a device is refused before it is opened", async () => {
  await expect(openFile("/dev/zero")).rejects.toThrow("found a device or pipe");
});
