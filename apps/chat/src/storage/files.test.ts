// Where the browser gives the page no room, or none at all. What it does with real files is tried in browsers.

import { afterEach, expect, test, vi } from "vitest";
import { MemoryFiles, openFiles, StorageFull, storageError } from "./files.ts";

afterEach(() => vi.unstubAllGlobals());

test("without a private file system all is kept in memory, and why is told", async () => {
  const denied = () => Promise.reject(new DOMException("denied", "SecurityError"));
  const unwritable = async () => ({ getFileHandle: async () => ({}) });
  for (const [storage, reason] of [
    [undefined, "has no private file system"],
    [{ getDirectory: denied }, "denies storage"],
    [{ getDirectory: unwritable }, "can't write private files"],
  ] as const) {
    vi.stubGlobal("navigator", { storage });
    const files = await openFiles();
    expect(files).toMatchObject({ kind: "memory", reason: expect.stringContaining(reason) });
  }
});

test("files in memory are whole, grow, get other names and go with their folders", async () => {
  const files = new MemoryFiles("a test");
  await files.write("a/b/one", "1");
  await files.write("a/two", new Blob(["22"]));
  const writing = await files.append("a/two");
  writing.append(new TextEncoder().encode("3"));
  writing.close();
  expect(await (await files.read("a/two"))!.text()).toBe("223");
  await files.rename("a/two", "a/b/two");
  expect(await files.read("a/two")).toBeUndefined();
  expect(await files.list("a")).toEqual([
    { path: "a/b/one", sizeBytes: 1 },
    { path: "a/b/two", sizeBytes: 3 },
  ]);
  await files.remove("a/b");
  expect(await files.list("a")).toEqual([]);
});

test("what a full disk throws says what to do, and other errors stay what they are", () => {
  expect(storageError(new DOMException("", "QuotaExceededError"))).toBeInstanceOf(StorageFull);
  const other = new Error("other");
  expect(storageError(other)).toBe(other);
});
