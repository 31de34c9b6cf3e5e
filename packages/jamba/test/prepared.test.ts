// Folders that load by mapping: the same numbers as the model they were made from, and whole or not there at all.

import { mkdir, mkdtemp, open, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { seeded } from "@jamba/conformance";
import { type Backend, JambaError, type LocalBytes, matrixOf, openReference } from "@jamba/core";
import { openCheckpoint } from "@jamba/loader";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { type LoadDtype, loadModel, type PrepareOptions, preparedOf, prepareModel } from "../src/index.ts";
import { cpuAbsent, type GoldenCase, goldenCases, goldenFolder, openCpu, openGolden, openWasm } from "./golden.ts";

let root: string;
let count = 0;
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), "prepared-"));
});
afterAll(() => rm(root, { recursive: true }));
const nextFolder = () => join(root, String(count++), "model");

/** The reference with weights that it can write down, and read back from a file that it "maps" or piece by piece: f32 rows as they are. */
function packingReference(layout = "rows-1"): Backend {
  const backend = openReference() as Backend & { packed?: Backend["packed"] };
  const packed: Backend["packed"] = {
    layout,
    async open({ name, dtype, shape, file, read: readBytes }) {
      const sizeBytes = backend.weightBytes(shape, dtype);
      const buffer = file ? await mapped(file, sizeBytes) : await readBytes(0, sizeBytes);
      const rowBytes = 4 * matrixOf(shape).columns;
      const read = async (from: number, to: number) => buffer.subarray(from * rowBytes, to * rowBytes);
      return backend.openWeight({ name, dtype: "f32", shape, read }, dtype);
    },
    read: async (weight, from, to) => new Uint8Array((weight as unknown as Held).held.values.buffer, from, to - from),
  };
  return Object.defineProperty(backend, "packed", { value: packed });
}

/** What core's frame and the reference keep of a weight. */
interface Held {
  readonly held: { readonly values: Float32Array<ArrayBuffer> };
}

async function mapped({ path, offset }: LocalBytes, sizeBytes: number): Promise<Uint8Array> {
  const file = await open(path);
  const { buffer } = await file.read({ buffer: new Uint8Array(sizeBytes), position: offset });
  await file.close();
  return buffer;
}

describe.each([
  ["a packing reference", undefined, ["auto", "f32", "bf16"], () => packingReference()],
  ["cpu", cpuAbsent, ["auto", "f32", "bf16", "f16", "q8", "q4", "experts-int8"], openCpu],
  ["wasm", undefined, ["auto", "f32", "q8", "q4"], openWasm],
] as [string, string | undefined, LoadDtype[], () => Promise<Backend> | Backend][])("on %s", (_, absent, dtypes, open) => {
  beforeEach(({ skip }) => {
    if (absent) skip(absent);
  });
  let backend: Backend;
  beforeAll(async () => {
    if (!absent) backend = await open();
  });
  afterAll(() => backend?.dispose());

  async function logitsOf(source: string, name: GoldenCase, dtype?: LoadDtype) {
    const { ids } = await openGolden(name);
    await using model = await loadModel(source, { backend, dtype });
    const { logits } = await model.forward(ids, { logits: "all" });
    return { logits: logits.data, dtypes: model.dtypes };
  }

  test.each(dtypes.flatMap((dtype) => (dtype === "auto" ? goldenCases : (["odd"] as const)).map((name) => [name, dtype] as const)))(
    "%s as %s gives the logits of the model it was made from, bit for bit",
    async (name, dtype) => {
      const folder = nextFolder();
      await prepareModel(goldenFolder(name), folder, { backend, dtype });
      expect(await logitsOf(folder, name)).toEqual(await logitsOf(goldenFolder(name), name, dtype));
      expect(backend.memory().weightBytes).toBe(0);
      const { tensors } = await openCheckpoint(folder).then((file) => file.close().then(() => file));
      for (const { dtype, offset, sizeBytes } of tensors.values()) expect([dtype, offset % 64, sizeBytes % 64]).toEqual(["U8", 0, 0]);
    },
  );

  test("files of a browser, which nothing can map, give the same logits", async () => {
    const [folder, { ids }] = [nextFolder(), await openGolden("odd")];
    await prepareModel(goldenFolder("odd"), folder, { backend, dtype: dtypes.at(-1)! });
    const blobs = await Promise.all(
      (await readdir(folder)).map(async (name) => ({ name, blob: new Blob([await readFile(join(folder, name))]) })),
    );
    const logits: unknown[] = [];
    for (const source of [folder, blobs]) {
      await using model = await loadModel(source, { backend });
      if (source === blobs) expect(model.memory().mappedBytes ?? 0).toBe(0);
      logits.push((await model.forward(ids, { logits: "all" })).logits.data);
    }
    expect(logits[1]).toEqual(logits[0]);
  });

  test("the small model keeps its tokenizer and its end tokens", async () => {
    const folder = nextFolder();
    const { layout, sizeBytes } = await prepareModel("tiny", folder, { backend, dtype: "f32" });
    expect([layout, (await stat(join(folder, "model.safetensors"))).size]).toEqual([backend.packed!.layout, sizeBytes]);
    await using prepared = await loadModel(folder, { backend });
    await using model = await loadModel("tiny", { backend, dtype: "f32" });
    const ask = [{ role: "user", content: "Who are you?" }] as const;
    const { text, finishReason } = await prepared.generate(ask, { maxTokens: 40 });
    expect({ text, finishReason }).toMatchObject({ text: (await model.generate(ask, { maxTokens: 40 })).text, finishReason: "stop" });
  });

  test("damaged files are refused with a typed error or load as before, and never crash", async () => {
    const folder = nextFolder();
    await prepareModel(goldenFolder("one-token"), folder, { backend, dtype: dtypes.at(-1)! });
    const file = join(folder, "model.safetensors");
    const whole = await readFile(file);
    const headerBytes = 8 + Number(whole.readBigUInt64LE());
    const random = seeded(7);
    const below = (n: number) => Math.floor(random() * n);
    const refused = new Set<string>();
    for (let i = 0; i < 400; i++) {
      let bytes: Buffer = Buffer.from(whole);
      if (i % 4 === 0) bytes = bytes.subarray(0, below(bytes.length));
      else if (i % 4 === 1) bytes = Buffer.concat([bytes.subarray(0, headerBytes), bytes.subarray(headerBytes + 64 * (1 + below(9)))]);
      // Digits of shapes and offsets, and letters of names and dtypes, each of its kind: what is still JSON.
      else
        for (let at = below(headerBytes), left = 3; left > 0; at = below(headerBytes), left--) {
          const char = String.fromCharCode(bytes[at]);
          if (/\d/.test(char)) bytes[at] = 48 + below(10);
          else if (/[a-z]/i.test(char)) bytes[at] = 97 + below(26);
        }
      await writeFile(file, bytes);
      try {
        await using model = await loadModel(folder, { backend });
        await model.forward([1, 2, 3]);
      } catch (error) {
        expect(error).toBeInstanceOf(JambaError);
        refused.add((error as JambaError).code);
      }
    }
    expect(refused).toContain("LOAD");
    expect(backend.memory().weightBytes).toBe(0);
  });
});

describe("where it may write", () => {
  const backend = packingReference();
  afterAll(() => backend.dispose());
  const prepare = (folder: string, options: Partial<PrepareOptions> = {}) =>
    prepareModel(goldenFolder("one-token"), folder, { backend, dtype: "auto", ...options });

  test("an absent folder, an empty one, and with overwrite a prepared one", async () => {
    const folder = nextFolder();
    await prepare(folder);
    const first = await readFile(join(folder, "model.safetensors"));
    await expect(prepare(folder)).rejects.toMatchObject({ code: "OPTION", message: expect.stringMatching(/overwrite/) });
    await prepare(folder, { overwrite: true });
    expect(await readFile(join(folder, "model.safetensors"))).toEqual(first);
    expect(await readdir(join(folder, ".."))).toEqual(["model"]);
    const empty = nextFolder();
    await mkdir(empty, { recursive: true });
    await prepare(empty);
    expect((await readdir(empty)).sort()).toEqual(["config.json", "model.safetensors"]);
  });

  test("not a folder with anything else in it, nor a file", async () => {
    const folder = nextFolder();
    await prepare(folder);
    await writeFile(join(folder, "notes.txt"), "mine");
    await expect(prepare(folder, { overwrite: true })).rejects.toMatchObject({
      code: "OPTION",
      message: expect.stringMatching(/notes\.txt/),
    });
    await expect(prepare(goldenFolder("odd"), { overwrite: true })).rejects.toMatchObject({ code: "OPTION" });
    await expect(prepare(join(folder, "notes.txt"))).rejects.toMatchObject({ code: "LOAD" });
    expect(await readFile(join(folder, "notes.txt"), "utf8")).toBe("mine");
  });

  test("a run that is aborted or fails leaves nothing", async () => {
    const folder = nextFolder();
    const [reason, stop] = [new Error("enough"), new AbortController()];
    const onProgress = () => stop.abort(reason);
    await expect(prepare(folder, { signal: stop.signal, onProgress })).rejects.toBe(reason);
    const failing = { ...backend.packed!, read: () => Promise.reject(new Error("disk")) };
    const broken: Backend = Object.defineProperty(openReference(), "packed", { value: failing });
    await expect(prepare(folder, { backend: broken })).rejects.toThrow("disk");
    expect(await readdir(join(folder, ".."))).toEqual([]);
    expect(backend.memory().weightBytes).toBe(0);
  });
});

describe("what is refused", () => {
  let folder: string;
  const backend = packingReference();
  beforeAll(async () => {
    folder = nextFolder();
    await prepareModel(goldenFolder("one-token"), folder, { backend, dtype: "bf16" });
  });
  afterAll(() => backend.dispose());

  test("loading with another layout, another dtype, or on a backend without a layout", async () => {
    const refusal = (options: object) => expect(loadModel(folder, options)).rejects;
    await refusal({ backend: packingReference("rows-2") }).toMatchObject({
      code: "LOAD",
      message: expect.stringMatching(/rows-2, found rows-1; prepare .* again/),
    });
    await refusal({ backend, dtype: "f32" }).toMatchObject({ code: "OPTION", message: expect.stringMatching(/auto or bf16/) });
    await refusal({ backend: "reference" }).toMatchObject({ code: "BACKEND" });
    await using model = await loadModel(folder, { backend, dtype: "bf16" });
    expect(model.dtypes[0]).toBe("bf16");
  });

  test("preparing what is prepared, on a backend that can't pack, or without a dtype", async () => {
    const refusal = (source: string, options: object) => expect(prepareModel(source, nextFolder(), options as PrepareOptions)).rejects;
    await refusal(folder, { backend, dtype: "bf16" }).toMatchObject({ code: "LOAD", message: expect.stringMatching(/prepared already/) });
    await refusal(goldenFolder("odd"), { backend: "reference", dtype: "auto" }).toMatchObject({ code: "BACKEND" });
    await refusal(goldenFolder("odd"), { backend, dtype: "q8" }).toMatchObject({ code: "DTYPE" });
    await refusal(goldenFolder("odd"), { backend }).toMatchObject({ code: "OPTION", message: expect.stringMatching(/dtype/) });
    await refusal(goldenFolder("odd"), { backend, dtype: "auto", contextLength: 5 }).toMatchObject({ code: "OPTION" });
  });

  test("what a folder holds can be read without a backend", async () => {
    await using file = await openCheckpoint(folder);
    const { dtype, layout, weights } = preparedOf(file)!;
    expect([dtype, layout, weights.get("lm_head.weight")!.dtype]).toEqual(["bf16", "rows-1", "bf16"]);
    await using plain = await openCheckpoint(goldenFolder("odd"));
    expect(preparedOf(plain)).toBeUndefined();
  });
});
