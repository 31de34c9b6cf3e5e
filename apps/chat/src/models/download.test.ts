// Against a hub that breaks off where it likes.

import { createHash } from "node:crypto";
import fc from "fast-check";
import { afterEach, expect, test, vi } from "vitest";
import { MemoryFiles } from "../storage/files.ts";
import { download, openStored, removeStored, storedModels } from "./download.ts";
import { parseId } from "./family.ts";
import { type HubModel, lookUp } from "./hub.ts";

const hub = "https://hub.example";
const weights = Uint8Array.from({ length: 10_000 }, (_, i) => (i * 31) % 251);
const config = new TextEncoder().encode('{ "model_type": "jamba" }');
const gitName = (bytes: Uint8Array) => createHash("sha1").update(`blob ${bytes.length}\0`).update(bytes).digest("hex");
const tree = [
  { type: "file", path: "config.json", size: config.length, oid: gitName(config) },
  { type: "file", path: "README.md", size: 3, oid: "1" },
  { type: "directory", path: "original", size: 0 },
  {
    type: "file",
    path: "model.safetensors",
    size: 130,
    oid: "2",
    lfs: { oid: createHash("sha256").update(weights).digest("hex"), size: weights.length },
  },
];

/** @param breaks after so many bytes of each answer, by turns; 0 is no connection at all */
function stubHub(breaks: readonly number[] = [], damage = false) {
  let turn = 0;
  const ranges: number[] = [];
  vi.stubGlobal("fetch", async (url: string, { headers = {} }: { headers?: Record<string, string> } = {}) => {
    if (url === `${hub}/api/models/a/b`) return Response.json({ sha: "c0ffee" });
    if (url === `${hub}/api/models/a/b/tree/c0ffee`) return Response.json(tree);
    const bytes = { "config.json": config, "model.safetensors": weights }[url.slice(`${hub}/a/b/resolve/c0ffee/`.length)];
    if (!bytes) return new Response("", { status: 404 });
    const from = Number(/bytes=(\d+)-/.exec(headers.range ?? "bytes=0-")![1]);
    if (bytes === weights) ranges.push(from);
    const cut = bytes === weights ? breaks[turn++] : undefined;
    if (cut === 0) throw new TypeError("Failed to fetch");
    let rest = bytes.slice(from);
    if (damage) rest = rest.map((byte, i) => (i === 50 ? byte ^ 1 : byte));
    let isSent = false;
    const body = new ReadableStream<Uint8Array>({
      pull(controller) {
        if (isSent) return cut === undefined || cut >= rest.length ? controller.close() : controller.error(new TypeError("network"));
        isSent = true;
        controller.enqueue(cut === undefined ? rest : rest.slice(0, cut));
      },
    });
    return new Response(body, { status: from > 0 ? 206 : 200 });
  });
  return ranges;
}
afterEach(() => vi.unstubAllGlobals());

const options = () => ({ signal: new AbortController().signal, onProgress: () => undefined });

async function bytesOf(files: MemoryFiles, name: string): Promise<Uint8Array> {
  const blob = (await openStored(files, "a/b")).find((one) => one.name === name)!.blob;
  return new Uint8Array(await blob.arrayBuffer());
}

test("wherever the connection breaks, the next try goes on from there, and what is there in the end is the model", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(fc.nat(4000), { maxLength: 6 }), async (breaks) => {
      const ranges = stubHub(breaks);
      const files = new MemoryFiles("a test");
      const model = await lookUp(hub, "a/b");
      expect([model.totalBytes, model.source]).toEqual([config.length + weights.length, `${hub}/a/b/resolve/c0ffee/`]);
      for (let isWhole = false, tries = 0; !isWhole; tries++) {
        expect(tries).toBeLessThanOrEqual(breaks.length);
        const seen: number[] = [];
        const onProgress = ({ doneBytes, totalBytes }: { doneBytes: number; totalBytes: number }) => {
          expect(totalBytes).toBe(model.totalBytes);
          seen.push(doneBytes);
        };
        await download(model, files, { ...options(), onProgress }).catch((error) => expect(error.message).toContain("connection"));
        expect(seen).toEqual([...seen].sort((a, b) => a - b));
        ({ isWhole } = (await storedModels(files))[0]);
      }
      // Nothing comes twice.
      expect(ranges).toEqual([...ranges].sort((a, b) => a - b));
      expect(await bytesOf(files, "model.safetensors")).toEqual(weights);
      expect(await bytesOf(files, "config.json")).toEqual(config);
      await removeStored(files, "a/b");
      expect(await storedModels(files)).toEqual([]);
    }),
    { numRuns: 40 },
  );
});

test("what comes damaged is thrown away, and fetched anew", async () => {
  const files = new MemoryFiles("a test");
  stubHub([], true);
  const model = await lookUp(hub, "a/b");
  await expect(download(model, files, options())).rejects.toThrow("its hash differs");
  await expect(openStored(files, "a/b")).rejects.toThrow("not on this device as a whole");
  stubHub();
  await download(model, files, options());
  expect(await bytesOf(files, "model.safetensors")).toEqual(weights);
});

test("a stop keeps what is there; another commit begins anew", async () => {
  const files = new MemoryFiles("a test");
  stubHub([3000]);
  const model = await lookUp(hub, "a/b");
  await expect(download(model, files, options())).rejects.toThrow("connection");
  const controller = new AbortController();
  controller.abort(new Error("stopped"));
  vi.stubGlobal("fetch", async (_: string, { signal }: { signal: AbortSignal }) => signal.throwIfAborted());
  await expect(download(model, files, { ...options(), signal: controller.signal })).rejects.toThrow("stopped");
  expect((await storedModels(files))[0]).toMatchObject({ sizeBytes: config.length + 3000, isWhole: false });
  const ranges = stubHub();
  await download({ ...model, commit: "other" }, files, options());
  expect(ranges).toEqual([0]);
});

test("a name says which file, and what is wrong is told in words", async () => {
  expect(parseId("a/b:Q4_K_M")).toEqual({ repo: "a/b", wanted: "Q4_K_M" });
  expect(parseId("https://a/b")).toBeUndefined();
  const gguf = (path: string) => ({ type: "file", path, size: 1, oid: "1" });
  const files = ["x-Q8_0.gguf", "x-Q4_K_M-00001-of-00002.gguf", "x-Q4_K_M-00002-of-00002.gguf", "mmproj-Q4_K_M.gguf"].map(gguf);
  vi.stubGlobal("fetch", async (url: string) => Response.json(url.endsWith("/tree/1") ? files : { sha: "1" }));
  const chosen = async (id: string): Promise<HubModel["files"]> => (await lookUp(hub, id)).files;
  expect((await chosen("a/b:Q4_K_M")).map(({ path }) => path)).toEqual([files[1].path, files[2].path]);
  expect((await chosen("a/b")).length).toBe(2);
  await expect(lookUp(hub, "a/b:Q2_K")).rejects.toThrow("no GGUF file Q2_K");
  await expect(lookUp(hub, "nothing")).rejects.toThrow("no name of a model");
  vi.stubGlobal("fetch", async () => new Response("", { status: 401 }));
  await expect(lookUp(hub, "a/b")).rejects.toThrow("agreed to its licence");
});
