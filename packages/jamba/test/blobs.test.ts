// A model of blobs, as a page has them: the worker that owns WebAssembly's memory reads their bytes itself.

import { openAsBlob, readdirSync } from "node:fs";
import { openWasmBackend } from "@jamba/backend-cpu";
import { expect, test, vi } from "vitest";
import { loadModel } from "../src/index.ts";
import { goldenFolder } from "./golden.ts";

async function filesOf(folder: string) {
  const names = readdirSync(folder).filter((name) => /^(config|generation_config|tokenizer.*)\.json$|^model.*\.safetensors/.test(name));
  return Promise.all(names.map(async (name) => ({ name, blob: await openAsBlob(`${folder}/${name}`) })));
}

test.each(["f32", "q4"] as const)("weights of blobs as %s are those of files, and progress counts every byte", async (dtype) => {
  const folder = goldenFolder("base");
  const ids = [1, 2, 3, 4, 5];
  const seen = vi.fn();
  await using ofBlobs = await loadModel(await filesOf(folder), { backend: "wasm", dtype, onProgress: seen });
  await using ofFiles = await loadModel(folder, { backend: "wasm", dtype });
  const [found, expected] = await Promise.all([ofBlobs.forward(ids, { logits: "all" }), ofFiles.forward(ids, { logits: "all" })]);
  expect(found.logits.data).toEqual(expected.logits.data);
  const { doneBytes, totalBytes } = seen.mock.lastCall![0];
  expect(doneBytes).toBe(totalBytes);
});

test("a blob that can't be read any more is a LoadError, and the backend goes on", async () => {
  const backend = await openWasmBackend({ threads: 1 });
  const source = {
    name: "w",
    dtype: "f32" as const,
    shape: [16, 64],
    read: () => Promise.reject(new Error("the worker reads it")),
    blob: { blob: new Blob([new Uint8Array(100)]), offset: 0 },
  };
  await expect(backend.openWeight(source, "f32")).rejects.toMatchObject({ code: "LOAD" });
  using weight = await backend.openWeight({ ...source, blob: { blob: new Blob([new Uint8Array(4096)]), offset: 0 } }, "q8");
  expect(weight.dtype).toBe("q8");
  await backend.dispose();
});
