import { cp, mkdir, mkdtemp, readdir, readFile, readlink, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { DtypeError, JambaError, LoadError } from "@jamba/core";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Checkpoint, openCheckpoint } from "./checkpoint.ts";
import type { CheckpointSource } from "./open-folder.ts";
import { type NamedTensor, writeSafetensors } from "./safetensors/header.ts";

const fixtures = fileURLToPath(new URL("../../../tooling/golden/fixtures", import.meta.url));
const indexFile = "model.safetensors.index.json";
let root: string;
let count = 0;

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), "jamba-loader-"));
});
afterAll(() => rm(root, { recursive: true }));

async function directoryOf(files: Record<string, string | Uint8Array | object>): Promise<string> {
  const directory = join(root, String(count++));
  await mkdir(directory);
  for (const [name, content] of Object.entries({ "config.json": "{}", ...files })) {
    const raw = typeof content === "string" || ArrayBuffer.isView(content);
    await mkdir(dirname(join(directory, name)), { recursive: true });
    await writeFile(join(directory, name), raw ? content : JSON.stringify(content));
  }
  return directory;
}

const tensor = (name: string, dtype: NamedTensor["dtype"] = "U8", shape = [3]): NamedTensor => {
  const bits = { U8: 1, BF16: 2, F16: 2, F32: 4, I64: 8 } as Record<string, number>;
  return { name, dtype, shape, bytes: Uint8Array.from({ length: shape.reduce((a, b) => a * b, bits[dtype]) }, (_, i) => i + name.length) };
};
const [a, b] = [writeSafetensors([tensor("a")]), writeSafetensors([tensor("b")])];

const blobOf = (name: string, content: string | Uint8Array) => ({ name, blob: new Blob([content as BlobPart]) });

async function refusal(source: CheckpointSource): Promise<JambaError> {
  const error = await openCheckpoint(source).then(
    () => undefined,
    (e) => e,
  );
  expect(error).toBeInstanceOf(JambaError);
  return error;
}

async function expectSameTensors(found: Checkpoint, expected: Checkpoint): Promise<void> {
  expect([...found.tensors.keys()].sort()).toEqual([...expected.tensors.keys()].sort());
  for (const { name, dtype, shape, sizeBytes } of expected.tensors.values()) {
    expect(found.tensors.get(name)).toMatchObject({ dtype, shape, sizeBytes });
    expect(Buffer.compare(await found.read(name), await expected.read(name)), name).toBe(0);
  }
}

it("three shards give the tensors of the one file they were cut from", async () => {
  const single = await openCheckpoint(join(fixtures, "odd"));
  const shards: NamedTensor[][] = [[], [], []];
  const weight_map: Record<string, string> = {};
  const nameOf = (shard: number) => `model-0000${shard + 1}-of-00003.safetensors`;
  for (const [i, { name, dtype, shape }] of [...single.tensors.values()].entries()) {
    shards[i % 3].push({ name, dtype: dtype as NamedTensor["dtype"], shape, bytes: await single.read(name) });
    weight_map[name] = nameOf(i % 3);
  }
  const files = Object.fromEntries(shards.map((tensors, i) => [nameOf(i), writeSafetensors(tensors)]));
  const directory = await directoryOf({ ...files, [indexFile]: { metadata: {}, weight_map } });
  const sharded = await openCheckpoint(directory);
  await expectSameTensors(sharded, single);
  expect(new Set([...sharded.tensors.values()].map(({ file }) => file)).size).toBe(3);
  await single.close();
  await sharded.close();
});

it("files with folders, named blobs and the path of a file give the tensors of the directory", async () => {
  const directory = join(fixtures, "one-token");
  const expected = await openCheckpoint(directory);
  const bytes = async (name: string) => new Blob([await readFile(join(directory, name))]);
  const names = ["config.json", "model.safetensors"];
  const sources: CheckpointSource[] = [
    `${directory}/`,
    join(directory, "model.safetensors"),
    await Promise.all(names.map(async (name) => new File([await bytes(name)], name))),
    await Promise.all(names.map(async (name) => ({ name: `model/${name}`, blob: await bytes(name) }))),
    names.map((name) => ({ name, blob: bytes(name) })),
  ];
  for (const source of sources) {
    const found = await openCheckpoint(source);
    expect(found.config).toEqual(expected.config);
    await expectSameTensors(found, expected);
    await found.close();
  }
  await expected.close();
});

it("metadata of all shards is joined, and files of the disk have a path", async () => {
  const shards = {
    "1.safetensors": writeSafetensors([tensor("a")], { format: "pt", one: "1" }),
    "2.safetensors": writeSafetensors([tensor("b")], { format: "np", two: "2" }),
  };
  const weight_map = { a: "1.safetensors", b: "2.safetensors" };
  const directory = await directoryOf({ ...shards, [indexFile]: { weight_map } });
  await using sharded = await openCheckpoint(directory);
  expect([...sharded.metadata!]).toEqual(Object.entries({ format: "pt", one: "1", two: "2" }));
  expect(sharded.pathOf!(sharded.tensors.get("b")!.file)).toBe(join(directory, "2.safetensors"));
  await using single = await openCheckpoint(join(directory, "1.safetensors"));
  expect(single.pathOf!("1.safetensors")).toBe(join(directory, "1.safetensors"));
  const blobs = [blobOf("config.json", "{}"), blobOf("model.safetensors", a)];
  await using inMemory = await openCheckpoint(blobs);
  expect(inMemory.pathOf).toBeUndefined();
});

it("rows equal the parts of a whole read at every border, for every dtype and shape", async () => {
  const tensors = [tensor("f32", "F32", [5, 3]), tensor("bf16", "BF16", [2, 3, 1]), tensor("f16", "F16", [7]), tensor("scalar", "F32", [])];
  tensors.push(tensor("no rows", "F32", [0, 3]), tensor("no columns", "F16", [3, 0]));
  const checkpoint = await openCheckpoint(await directoryOf({ "model.safetensors": writeSafetensors(tensors) }));
  for (const { name, dtype, shape, bytes } of tensors) {
    const weight = checkpoint.weight(name);
    expect(weight).toMatchObject({ name, dtype: dtype.toLowerCase(), shape });
    const rows = shape.slice(0, -1).reduce((x, y) => x * y, 1);
    for (let from = 0; from <= rows; from++) {
      for (let to = from; to <= rows; to++) {
        const rowBytes = rows === 0 ? 0 : bytes.length / rows;
        expect(await weight.read(from, to), name).toEqual(bytes.slice(from * rowBytes, to * rowBytes));
      }
      await expect(weight.read(from, rows + 1)).rejects.toThrow(`${name}: expected rows within [0, ${rows})`);
    }
    await expect(weight.read(1, 0)).rejects.toThrow(LoadError);
    await expect(weight.read(0.5, 1)).rejects.toThrow(LoadError);
  }
  await checkpoint.close();
});

it("an I64 tensor is listed and read, but is no weight", async () => {
  const checkpoint = await openCheckpoint(join(fixtures, "one-token", "golden.safetensors"));
  expect(checkpoint.tensors.get("greedy")).toMatchObject({ dtype: "I64", shape: [20], file: "golden.safetensors", sizeBytes: 160 });
  expect((await checkpoint.read("greedy")).length).toBe(160);
  expect(() => checkpoint.weight("greedy")).toThrow(DtypeError);
  expect(() => checkpoint.weight("greedy")).toThrow(/^greedy: expected F32, BF16, F16 or .*, found I64 in golden.safetensors/);
  expect(() => checkpoint.weight("toString")).toThrow(LoadError);
  await expect(checkpoint.read("missing")).rejects.toThrow("missing: expected one of the");
  await checkpoint.close();
  await expect(checkpoint.read("greedy")).rejects.toMatchObject({ code: "DISPOSED" });
});

describe("configs", () => {
  const config = { vocab_size: 3, text: "é" };
  const open = async (files: Record<string, string | object>) => openCheckpoint(await directoryOf({ "model.safetensors": a, ...files }));

  it("are parsed, and undefined when absent", async () => {
    await using none = await open({ "config.json": `\ufeff${JSON.stringify(config)}` });
    expect([none.config, none.generationConfig, none.tokenizer, none.tokenizerConfig]).toEqual([config, undefined, undefined, undefined]);
    await using all = await open({ "generation_config.json": { g: 1 }, "tokenizer.json": [1], "tokenizer_config.json": { t: 1 } });
    expect([all.generationConfig, all.tokenizer, all.tokenizerConfig]).toEqual([{ g: 1 }, [1], { t: 1 }]);
  });

  const own = { "tokenizer_config.json": { t: 1, chat_template: "own" } };
  const several = { "tokenizer_config.json": { t: 1, chat_template: [{ name: "rag", template: "own rag" }] } };
  const jinja = { "chat_template.jinja": "from jinja" };
  const more = { "additional_chat_templates/tool_use.jinja": "with tools", "additional_chat_templates/rag.jinja": "with documents" };
  const json = { "chat_template.json": { chat_template: "from json" } };
  const named = (name: string, template: string) => ({ name, template });
  const both = [named("rag", "with documents"), named("tool_use", "with tools")];
  it.each<[string, Record<string, string | object>, unknown]>([
    ["its own key", own, "own"],
    ["its own list", several, [named("rag", "own rag")]],
    ["the .jinja file before its own key", { ...own, ...jinja, ...json }, "from jinja"],
    ["the .jinja file before its own list", { ...several, ...jinja }, "from jinja"],
    ["an empty .jinja file before its own key", { ...own, "chat_template.jinja": "" }, ""],
    ["the .jinja file and those with names", { ...own, ...jinja, ...more }, [named("default", "from jinja"), ...both]],
    ["those with names alone before its own key", { ...own, ...more, ...json }, both],
    ["a default among those with names", { ...jinja, "additional_chat_templates/default.jinja": "D" }, "D"],
    ["its own key where the folder has other files", { ...own, "additional_chat_templates/README.md": "x" }, "own"],
    ["its own key before the .json file", { ...own, ...json }, "own"],
    ["the .json file", { "tokenizer_config.json": { t: 1, chat_template: null }, ...json }, "from json"],
  ])("the chat template is %s", async (_, files, expected) => {
    await using checkpoint = await open(files);
    expect(checkpoint.tokenizerConfig).toEqual({ ...("tokenizer_config.json" in files && { t: 1 }), chat_template: expected });
    const picked = Object.entries({ "model.safetensors": a, "config.json": {}, ...files }).map(([name, content]) => ({
      name: `model/${name}`,
      blob: new Blob([content instanceof Uint8Array || typeof content === "string" ? (content as BlobPart) : JSON.stringify(content)]),
    }));
    await using inPage = await openCheckpoint(picked);
    expect(inPage.tokenizerConfig).toEqual(checkpoint.tokenizerConfig);
  });

  it("another JSON than a config stays as it is", async () => {
    await using checkpoint = await open({ "tokenizer_config.json": [], ...jinja });
    expect(checkpoint.tokenizerConfig).toEqual([]);
  });

  it.each([
    ["config.json", "{", "config.json: expected JSON: "],
    ["tokenizer.json", new Uint8Array([0x22, 0xff, 0x22]), "tokenizer.json: expected UTF-8"],
    ["generation_config.json", "[".repeat(101), "generation_config.json: expected at most 100 nested brackets"],
    ["chat_template.json", "[]", "chat_template.json: expected { "],
    ["config.json", `"${"x".repeat(2 ** 24)}"`, "config.json: expected at most 16777216 bytes, found 16777218"],
  ])("a broken %s is a LoadError that names it", async (file, content, message) => {
    expect(await refusal(await directoryOf({ "model.safetensors": a, [file]: content }))).toMatchObject({
      name: "LoadError",
      message: expect.stringContaining(message),
    });
  });
});

describe("weights are found", () => {
  it("under any name when there is one file, and model.safetensors goes before others", async () => {
    await using only = await openCheckpoint(await directoryOf({ "weights.safetensors": b }));
    expect([...only.tensors.keys()]).toEqual(["b"]);
    await using first = await openCheckpoint(await directoryOf({ "model.safetensors": a, "other.safetensors": b }));
    expect([...first.tensors.keys()]).toEqual(["a"]);
  });

  const index = (weight_map: unknown) => ({ "1.safetensors": a, "2.safetensors": b, [indexFile]: { weight_map } });
  it.each<[string, Record<string, string | Uint8Array | object>, string]>([
    ["no weights", {}, "expected model.safetensors or model.safetensors.index.json, found config.json"],
    ["two files without an index", { "x.safetensors": a, "y.safetensors": b }, "found x.safetensors, y.safetensors without an index"],
    ["no weight_map", { [indexFile]: {} }, "expected a weight_map"],
    ["a weight_map that is a list", index([]), "expected a weight_map"],
    ["an empty weight_map", index({}), "found an empty one"],
    ["a number for a file", index({ a: 1 }), 'tensor "a": expected the name of a .safetensors file in the same directory, found number'],
    ["a path upwards", index({ a: "../1.safetensors" }), 'found "../1.safetensors"'],
    ["a path with backslashes", index({ a: "..\\1.safetensors" }), "in the same directory, found"],
    ["another kind of file", index({ a: "config.json" }), 'found "config.json"'],
    ["a missing shard", index({ a: "1.safetensors", b: "3.safetensors" }), "expected the file 3.safetensors"],
    ["a tensor in another shard", index({ a: "2.safetensors", b: "1.safetensors" }), 'tensor "a": expected it only in 2.safetensors'],
    ["a tensor that is nowhere", index({ a: "1.safetensors", c: "1.safetensors" }), '1.safetensors: tensor "c": expected it here'],
    [
      "a tensor in two shards",
      { ...index({ a: "1.safetensors", b: "2.safetensors" }), "2.safetensors": writeSafetensors([tensor("a"), tensor("b")]) },
      '2.safetensors: tensor "a": expected it only in 1.safetensors',
    ],
    [
      "a tensor not in the index",
      { ...index({ b: "2.safetensors" }), "2.safetensors": writeSafetensors([tensor("z"), tensor("b")]) },
      '2.safetensors: tensor "z": expected it not at all',
    ],
    [
      "a damaged shard",
      { ...index({ a: "1.safetensors", b: "2.safetensors" }), "2.safetensors": b.slice(0, -1) },
      '2.safetensors: tensor "b": expected it to end within',
    ],
  ])("or refused: %s", async (_, files, message) => {
    expect(await refusal(await directoryOf(files))).toMatchObject({ name: "LoadError", message: expect.stringContaining(message) });
  });
});

it.skipIf(process.platform !== "linux")("no file stays open after a failure or a close", async () => {
  const files = {
    "1.safetensors": a,
    "2.safetensors": b.slice(1),
    [indexFile]: { weight_map: { a: "1.safetensors", b: "2.safetensors" } },
  };
  const directory = await directoryOf(files);
  const opened = async () => {
    const links = await Promise.all((await readdir("/proc/self/fd")).map((fd) => readlink(`/proc/self/fd/${fd}`).catch(() => "")));
    return links.filter((link) => link.startsWith(directory));
  };
  await refusal(directory);
  expect(await opened()).toEqual([]);
  await writeFile(join(directory, "2.safetensors"), b);
  const checkpoint = await openCheckpoint(directory);
  expect(await opened()).toHaveLength(2);
  await checkpoint[Symbol.asyncDispose]();
  expect(await opened()).toEqual([]);
});

it("a hub id that is not in the cache is a typed error offline, and a directory of that name is one", async () => {
  const offline = { offline: true, cacheDir: join(root, "no-cache") };
  await expect(openCheckpoint("ai21labs/AI21-Jamba2-3B", offline)).rejects.toThrow(/expected main in the cache, found none/);
  const before = process.cwd();
  process.chdir(join(fixtures, ".."));
  try {
    await using checkpoint = await openCheckpoint("fixtures/one-token", offline);
    expect(checkpoint.tensors.size).toBeGreaterThan(0);
  } finally {
    process.chdir(before);
  }
});

it("sources that are no checkpoint are typed errors", async () => {
  const directory = await directoryOf({ "model.safetensors": a, "notes.txt": "" });
  await cp(directory, `${directory}-without`, { recursive: true });
  await rm(join(`${directory}-without`, "config.json"));
  expect((await refusal(`${directory}-without`)).message).toContain("expected config.json, found model.safetensors, notes.txt");
  expect((await refusal(join(directory, "notes.txt"))).message).toContain("found another file");
  expect((await refusal(join(directory, "nowhere"))).message).toContain("found nothing; check the path");
  expect((await refusal("")).code).toBe("LOAD");
  expect((await refusal([])).message).toContain("0 files: expected config.json, found no files");
  const twice = ["x/config.json", "y/config.json"].map((name) => ({ name, blob: new Blob(["{}"]) }));
  expect((await refusal(twice)).message).toContain("config.json: expected one file of this name, found 2");
  // None is left that nobody hears of, which would end a process: node tells of those a turn later.
  const rejected = () => Promise.reject(new Error("the server answered 404"));
  const gone = await refusal(["config.json", "model.safetensors"].map((name) => ({ name, blob: rejected() })));
  await new Promise((resolve) => setTimeout(resolve));
  expect([gone.code, gone.message]).toEqual(["LOAD", "config.json: the server answered 404"]);
  for (const wrong of [1, null, undefined, {}, [1], [null], [new Blob()]]) {
    expect((await refusal(wrong as never)).code).toBe("OPTION");
  }
});

it("an aborted open throws the signal's reason, whatever it is", async () => {
  for (const reason of [new Error("enough"), null, "stop"]) {
    const directory = join(fixtures, "odd");
    await expect(openCheckpoint(directory, { signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
    const controller = new AbortController();
    const opening = openCheckpoint(directory, { signal: controller.signal });
    controller.abort(reason);
    await expect(opening).rejects.toBe(reason);
  }
});
