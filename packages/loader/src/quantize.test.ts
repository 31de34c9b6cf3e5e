// Written files hold what they were made from, as near as their dtype allows, and appear whole or not at all.

import { spawn } from "node:child_process";
import * as files from "node:fs/promises";
import { link, mkdir, mkdtemp, readdir, readFile, rm, symlink, utimes, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { hostname, tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { type BlockDtype, DtypeError, decodeStored, LoadError, matrixOf, ShapeError, storedBytes } from "@jamba/core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Checkpoint, openCheckpoint } from "./checkpoint.ts";
import { encodeBlocks } from "./gguf/encode-blocks.ts";
import type { GgufValue } from "./gguf/header.ts";
import { parseConfig } from "./model/config.ts";
import { modelSources, modelTensors } from "./model/tensors.ts";
import { type QuantizeDtype, quantize, quantizeDtypes } from "./quantize.ts";
import { machineOf } from "./source/lease.ts";
import { removePartials, wholeFile } from "./source/whole-file.ts";

const path = (relative: string) => fileURLToPath(new URL(relative, import.meta.url));
/** In place of blocks, whose search takes long where a test is about something else: the first bytes of their values. */
const quick = async (values: Float32Array, _columns: number, dtype: BlockDtype) =>
  new Uint8Array(values.slice().buffer).subarray(0, storedBytes(dtype, values.length));
const golden = (name: string) => path(`../../../tooling/golden/fixtures/${name}`);
const tiny = path("../../tiny-model");

let root: string;
let count = 0;
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), "quantize-"));
});
afterAll(() => rm(root, { recursive: true }));

async function folder(): Promise<string> {
  const made = join(root, String(count++));
  await mkdir(made);
  return made;
}

const fresh = async () => join(await folder(), "model.gguf");

/** A Jamba of zeros whose rows are whole superblocks. */
function wide(nLayers = 4): Checkpoint {
  const config = {
    ...{ model_type: "jamba", vocab_size: 300, hidden_size: 256, intermediate_size: 512, num_hidden_layers: nLayers },
    ...{ num_attention_heads: 4, num_key_value_heads: 2, attn_layer_period: 4, attn_layer_offset: 1, num_experts: 2 },
    ...{ mamba_dt_rank: 32, tie_word_embeddings: false },
  };
  const tensors = modelTensors(parseConfig(config)).map(({ name, shape }) => {
    const sizeBytes = 4 * shape.reduce((a, b) => a * b, 1);
    return [name, { name, dtype: "F32", shape, file: "made", offset: 0, sizeBytes }] as const;
  });
  return {
    name: "made",
    config,
    tensors: new Map(tensors),
    weight: (name) => {
      const { shape } = new Map(tensors).get(name)!;
      return { name, dtype: "f32", shape, read: async (from, to) => new Uint8Array((to - from) * matrixOf(shape).columns * 4) };
    },
    read: async () => new Uint8Array(),
    close: async () => undefined,
    [Symbol.asyncDispose]: async () => undefined,
  };
}

async function valuesOf(checkpoint: Checkpoint): Promise<Map<string, Float32Array>> {
  const values = new Map<string, Float32Array>();
  for (const [name, { shape, dtype, read }] of modelSources(checkpoint, parseConfig(checkpoint.config)))
    values.set(name, decodeStored(await read(0, matrixOf(shape).rows), dtype));
  return values;
}

function relativeError(found: Float32Array, expected: Float32Array): number {
  const squares = (values: Float32Array, minus?: Float32Array) => values.reduce((sum, v, i) => sum + (v - (minus?.[i] ?? 0)) ** 2, 0);
  return Math.sqrt(squares(expected, found) / squares(expected));
}

/**
 * Root mean square of what a weight loses, over that of the weight, at most. 2^-9 and 2^-12 are half a step of bf16 and f16; the
 * blocks are some above what was measured: q8_0 0.5 %, q5_0 4 %, q4_0 8 % of gaussian numbers.
 */
const bounds: Readonly<Record<string, number>> = { f32: 0, bf16: 2 ** -9, f16: 2 ** -12, q8_0: 0.007, q5_0: 0.05, q4_0: 0.1 };

describe.each(["base", "odd", "dense-tied", "long", "bf16-loud", "one-token"])("%s", (name) => {
  test.each(quantizeDtypes)("as %s has the same config, and weights as near as their dtype allows", async (dtype) => {
    const out = await fresh();
    const { tensors, warnings } = await quantize(golden(name), out, { dtype });
    await using from = await openCheckpoint(golden(name));
    await using to = await openCheckpoint(out);
    // A file without a vocabulary has no ids of special tokens.
    const special = { bosId: undefined, eosIds: [], padId: undefined };
    expect(parseConfig(to.config)).toEqual({ ...parseConfig(from.config), ...special });
    const [expected, found] = [await valuesOf(from), await valuesOf(to)];
    for (const [i, [weight, values]] of [...expected].entries())
      expect(relativeError(found.get(weight)!, values), weight).toBeLessThanOrEqual(bounds[tensors[i].dtype]);
    expect(warnings.some((warning) => /llama\.cpp can't load/.test(warning))).toBe(name === "odd");
  });
});

describe("the tokenizer of the tiny model", () => {
  test("and its template come along", async () => {
    const out = await fresh();
    await quantize(tiny, out, { dtype: "q8", encode: quick });
    await using from = await openCheckpoint(tiny);
    await using to = await openCheckpoint(out);
    const vocabOf = ({ tokenizer }: Checkpoint) => (tokenizer as { model: { vocab: object } }).model.vocab;
    expect(vocabOf(to)).toEqual(vocabOf(from));
    expect(parseConfig(to.config)).toEqual({ ...parseConfig(from.config), eosIds: [2, 4] }); // with the end of a turn
    const { chat_template, bos_token, eos_token } = from.tokenizerConfig as Record<string, unknown>;
    expect(to.tokenizerConfig).toMatchObject({ chat_template, bos_token, eos_token });
    expect(to.gguf!.get("general.name")).toBe("tiny-model");
  });

  test("scores of a GGUF file that are all alike are replaced, other metadata is taken over", async () => {
    const [first, second] = [await fresh(), await fresh()];
    await quantize(tiny, first, { dtype: "bf16" });
    await using made = await openCheckpoint(first);
    const alike = new Map<string, GgufValue>(made.gguf)
      .set("tokenizer.ggml.scores", new Float32Array(2048).fill(-1000))
      .set("general.author", "somebody")
      .set("general.alignment", 64);
    // As the loader would read such a file: with merges in the order of ids.
    await quantize({ ...made, gguf: alike }, second, { dtype: "q4", encode: quick });
    await using again = await openCheckpoint(second);
    expect(again.gguf!.get("tokenizer.ggml.scores")).toEqual(made.gguf!.get("tokenizer.ggml.scores"));
    expect(["general.author", "general.alignment", "general.file_type"].map((key) => again.gguf!.get(key))).toEqual([
      "somebody",
      undefined,
      2,
    ]);
  });
});

describe("which dtype a weight gets", () => {
  async function typesOf(dtype: QuantizeDtype): Promise<Record<string, string>> {
    const { tensors } = await quantize(wide(16), await fresh(), { dtype, encode: quick });
    return Object.fromEntries(tensors.map(({ name, dtype }) => [name, dtype]));
  }

  test("q4_k_m has more bits for what is fine, and for some value and down projections", async () => {
    const types = await typesOf("q4_k_m");
    expect(types).toMatchObject({
      ...{ "token_embd.weight": "q6_k", "output.weight": "q6_k", "output_norm.weight": "f32", "blk.0.ssm_a": "f32" },
      ...{ "blk.0.ssm_in.weight": "q4_k", "blk.0.ssm_x.weight": "q6_k", "blk.0.ssm_dt.weight": "q8_0" },
      ...{ "blk.1.attn_q.weight": "q4_k", "blk.1.ffn_gate_inp.weight": "f32", "blk.1.ffn_up_exps.weight": "q4_k" },
    });
    const more = (pattern: RegExp) =>
      Object.keys(types).flatMap((name) => (pattern.test(name) && types[name] === "q6_k" ? Number(name.split(".")[1]) : []));
    // Layers below 2, from 14 on, and every third from 4 on; of 4 layers of attention the last two, which are 9 and 13.
    expect(more(/ffn_down/)).toEqual([0, 1, 4, 7, 10, 13, 14, 15]);
    expect(more(/attn_v/)).toEqual([9, 13]);
    expect(more(/attn_[qko]|ffn_(gate|up)|ssm_(in|out)/)).toEqual([]);
  });

  test.each<[QuantizeDtype, Record<string, string>]>([
    [
      "q4",
      { "token_embd.weight": "q8_0", "blk.0.ssm_x.weight": "q8_0", "blk.0.ssm_in.weight": "q4_0", "blk.1.ffn_down_exps.weight": "q4_0" },
    ],
    ["q8", { "token_embd.weight": "q8_0", "blk.0.ssm_in.weight": "q8_0", "blk.0.ssm_conv1d.weight": "f32", "blk.0.ssm_d": "f32" }],
    ["experts-int8", { "token_embd.weight": "f32", "blk.0.ffn_up.weight": "f32", "blk.1.ffn_up_exps.weight": "q8_0" }],
    ["bf16", { "token_embd.weight": "bf16", "blk.1.attn_v.weight": "bf16", "blk.0.ssm_dt.bias": "f32" }],
  ])("%s", async (dtype, expected) => {
    expect(await typesOf(dtype)).toMatchObject(expected);
  });
});

describe("GGUF to GGUF", () => {
  test.each(quantizeDtypes)("%s again gives the same bytes: nothing is lost twice", async (dtype) => {
    const [first, second] = [join(await folder(), "x.gguf"), join(await folder(), "x.gguf")];
    const { warnings } = await quantize(golden("long"), first, { dtype });
    expect((await quantize(first, second, { dtype })).warnings).toEqual(warnings);
    expect(Buffer.compare(await readFile(first), await readFile(second))).toBe(0);
  });

  test("what was quantised before is quantised again, with a warning", async () => {
    const [first, second] = [await fresh(), await fresh()];
    await quantize(golden("long"), first, { dtype: "q4" });
    const { warnings, tensors } = await quantize(first, second, { dtype: "q8" });
    expect(warnings.at(-1)).toMatch(/^22 tensors were quantised before/);
    expect(new Set(tensors.map(({ dtype }) => dtype))).toEqual(new Set(["q8_0", "f32", "f16"]));
  });
});

describe("encoders and importance", () => {
  test("an encoder that answers out of order gives the same file, with two pieces under way at most", async () => {
    const [here, there] = [await fresh(), await fresh()];
    await quantize(tiny, here, { dtype: "q8", encode: quick });
    let [running, most, calls] = [0, 0, 0];
    await quantize(tiny, there, {
      dtype: "q8",
      async encode(values, columns, dtype) {
        most = Math.max(most, ++running);
        if (calls++ % 2 === 0) await new Promise((resolve) => setTimeout(resolve, 2));
        running--;
        return quick(values, columns, dtype);
      },
    });
    expect([most, running]).toEqual([2, 0]);
    expect(Buffer.compare(await readFile(there), await readFile(here))).toBe(0);
  });

  test("importance reaches every piece of its weight, and of stacked experts each its own", async () => {
    const [experts, plain] = ["model.layers.1.feed_forward.experts.down_proj", "model.layers.0.mamba.in_proj.weight"];
    const importance = new Map([
      [experts, Float32Array.from({ length: 2 * 512 }, (_, i) => (i < 512 ? 1 : 2) * (1 + (i % 7)))],
      [plain, Float32Array.from({ length: 256 }, (_, i) => 1 + (i % 5))],
    ]);
    const given: (number[] | undefined)[] = [];
    await quantize(wide(), await fresh(), {
      dtype: "q8",
      importance: async () => importance,
      encode: async (values, columns, dtype, weights) => {
        if (weights) given.push([columns, ...weights.subarray(0, 2), weights.length, values.length]);
        return encodeBlocks(values, columns, dtype, weights);
      },
    });
    // 2 · dInner = 1024 rows of 256 in one piece; 256 rows of 512 for each expert.
    expect(given).toEqual([
      [256, 1, 2, 256, 256 * 1024],
      [512, 1, 2, 512, 512 * 256],
      [512, 2 * 2, 2 * 3, 512, 512 * 256].with(1, 2 * (1 + (512 % 7))).with(2, 2 * (1 + (513 % 7))),
    ]);
  });

  test("importance of no weight, or of another length, is refused before anything is written", async () => {
    const out = await fresh();
    const refuse = (name: string, length: number) =>
      quantize(wide(), out, { dtype: "q8", importance: new Map([[name, new Float32Array(length)]]) });
    await expect(refuse("lm_head", 256)).rejects.toMatchObject({ code: "OPTION", message: expect.stringMatching(/lm_head/) });
    await expect(refuse("lm_head.weight", 255)).rejects.toThrow(ShapeError);
    await expect(refuse("lm_head.weight", 512)).rejects.toThrow(ShapeError);
    expect(await readdir(join(out, ".."))).toEqual([]);
  });

  test.each([Number.NaN, Number.POSITIVE_INFINITY, 1e30])("a weight with %d is refused by its name, and no file is left", async (bad) => {
    const out = await fresh();
    const name = "model.layers.2.mamba.out_proj.weight";
    await using checkpoint = await openCheckpoint(golden("long"));
    const weight: Checkpoint["weight"] = (asked) => {
      const source = checkpoint.weight(asked);
      if (asked !== name) return source;
      return {
        ...source,
        read: async (from, to) => new Uint8Array(new Float32Array((to - from) * source.shape[1]).fill(bad, 70, 71).buffer),
      };
    };
    for (const dtype of ["q4_k_m", "f16"] as const) {
      const made = quantize({ ...checkpoint, weight }, out, { dtype });
      await expect(made).rejects.toThrow(DtypeError);
      await expect(made).rejects.toThrow(
        /model\.layers\.2\.mamba\.out_proj\.weight, rows 0 … 31: value 70: expected .* found (NaN|Infinity|1\.0+\d*e\+30)/,
      );
      expect(await readdir(join(out, ".."))).toEqual([]);
    }
    expect((await quantize({ ...checkpoint, weight }, out, { dtype: "bf16" })).sizeBytes).toBeGreaterThan(0);
  });

  test("an encoder that gives too few bytes is found out", async () => {
    const encode = async () => new Uint8Array(34);
    await expect(quantize(wide(), await fresh(), { dtype: "q8", encode })).rejects.toThrow(
      /expected \d+ bytes of q8_0 from the encoder, found 34/,
    );
  });
});

describe("the file is there whole or not at all", () => {
  test("progress rises to the size of the file", async () => {
    const seen: number[] = [];
    const { sizeBytes } = await quantize(golden("base"), await fresh(), {
      dtype: "q8",
      onProgress: ({ doneBytes, totalBytes, phase }) => {
        expect(phase).toBe("quantise");
        expect(doneBytes).toBeLessThanOrEqual(totalBytes);
        seen.push(doneBytes);
      },
    });
    expect(seen).toEqual([...seen].sort((a, b) => a - b));
    expect(seen.at(-1)).toBe(sizeBytes);
  });

  test.each([0, 1, 50, 130])("an abort after %i pieces leaves nothing", async (pieces) => {
    const out = await fresh();
    const stop = new AbortController();
    let done = 0;
    if (pieces === 0) stop.abort(new Error("stopped"));
    const made = quantize(tiny, out, {
      dtype: "q8",
      signal: stop.signal,
      onProgress: () => ++done === pieces && stop.abort(new Error("stopped")),
    });
    await expect(made).rejects.toThrow("stopped");
    expect(await readdir(join(out, ".."))).toEqual([]);
  });

  test("an encoder that fails leaves nothing, and the file that was there before", async () => {
    const out = await fresh();
    await writeFile(out, "before");
    let calls = 0;
    const encode: typeof encodeBlocks extends (...args: infer A) => infer R ? (...args: A) => Promise<R> : never = async (...args) => {
      if (++calls === 9) throw new Error("no more");
      return encodeBlocks(...args);
    };
    await expect(quantize(tiny, out, { dtype: "q8", overwrite: true, encode })).rejects.toThrow("no more");
    expect([await readdir(join(out, "..")), await readFile(out, "utf8")]).toEqual([["model.gguf"], "before"]);
  });

  test("a killed run leaves no file under the name, and the next one clears up", async () => {
    const out = await fresh();
    const vite = pathToFileURL(createRequire(import.meta.url).resolve("vite")).href;
    const options = { environments: { inline: { resolve: { conditions: ["source", "import", "module", "default"], noExternal: true } } } };
    const program = `import(${JSON.stringify(vite)}).then((vite) => vite.runnerImport(${JSON.stringify(path("../test/half-written.ts"))}, ${JSON.stringify(options)}))`;
    const child = spawn(process.execPath, ["-e", program, "--", tiny, out], { stdio: ["ignore", "pipe", "inherit"] });
    await new Promise((resolve, reject) => {
      child.stdout.once("data", resolve);
      child.once("exit", (code) => reject(new Error(`it ended with code ${code} before it was killed`)));
    });
    child.removeAllListeners("exit");
    const gone = new Promise((resolve) => child.once("exit", resolve));
    child.kill("SIGKILL");
    await gone;
    expect(await readdir(join(out, ".."))).toEqual([expect.stringMatching(/^model\.gguf\.partial-/)]);
    await quantize(tiny, out, { dtype: "q8", encode: quick });
    expect(await readdir(join(out, ".."))).toEqual(["model.gguf"]);
  });

  test("what others are writing stays: their process lives, it can't be seen from here, or another file", async () => {
    const out = await fresh();
    const at = (name: string) => join(out, "..", name);
    const here = `model.gguf.partial-${await machineOf(files)}`;
    const stays = [
      `${here}-${process.ppid}-0123abcd`,
      `${here}-${process.pid}-0123abcd`,
      // A container of the same host name.
      `model.gguf.partial-${hostname()}-999999999-0123abcd`,
      `model.gguf.partial-unseen-999999999-0123abcd`,
      `${here}-999999999-0123abcd.txt`,
      `other.${here}-999999999-0123abcd`,
    ];
    const goes = `${here}-999999999-0123abcd`;
    for (const name of [...stays, goes]) await writeFile(at(name), "");
    // What a clock elsewhere says counts for nothing.
    for (const name of stays) await utimes(at(name), 1, 1);
    await quantize(golden("one-token"), out, { dtype: "q8" });
    expect((await readdir(join(out, ".."))).sort()).toEqual([...stays, "model.gguf"].sort());
  });
});

test("what nobody renewed for long goes, whoever wrote it, and who writes on is told", async () => {
  const out = await fresh();
  const at = join(out, "..");
  const left = [`model.gguf.partial-unseen-999999999-0123abcd`, `model.gguf.partial-${hostname()}-${process.ppid}-0123abcd`];
  for (const name of left) await writeFile(join(at, name), "");
  const removeLeft = () => removePartials(at, (name) => name === "model.gguf", 100);
  await removeLeft();
  expect((await readdir(at)).sort()).toEqual([...left].sort());
  await new Promise((resolve) => setTimeout(resolve, 150));
  await removeLeft();
  expect(await readdir(at)).toEqual([]);
  const slow = wholeFile(out, { sizeBytes: 1 }, async (write) => {
    await write(new Uint8Array(1));
    await new Promise((resolve) => setTimeout(resolve, 150));
    await removeLeft();
  });
  await expect(slow).rejects.toMatchObject({ code: "LOAD", message: expect.stringMatching(/another process took it for left behind/) });
  expect(await readdir(at)).toEqual([]);
});

describe("where a file may be written", () => {
  const source = golden("one-token");

  test("not over one that is there, unless asked", async () => {
    const out = await fresh();
    await quantize(source, out, { dtype: "q8" });
    await expect(quantize(source, out, { dtype: "q4" })).rejects.toMatchObject({
      code: "OPTION",
      message: expect.stringMatching(/overwrite/),
    });
    const { sizeBytes } = await quantize(source, out, { dtype: "q4", overwrite: true });
    expect((await readFile(out)).length).toBe(sizeBytes);
  });

  test("not over the source, under any of its names", async () => {
    const out = await fresh();
    await quantize(source, out, { dtype: "f32" });
    const before = await readFile(out);
    const [soft, hard] = [await fresh(), await fresh()];
    await symlink(out, soft);
    await link(out, hard);
    for (const name of [out, soft, hard])
      await expect(quantize(out, name, { dtype: "q8", overwrite: true })).rejects.toMatchObject({
        code: "OPTION",
        message: expect.stringMatching(/read/),
      });
    expect(await readFile(out)).toEqual(before);
  });

  test("a link is followed: the file that it names is written", async () => {
    const [out, named] = [await fresh(), await fresh()];
    await writeFile(out, "old");
    await symlink(out, named);
    await quantize(source, named, { dtype: "q8", overwrite: true });
    expect((await readFile(out)).subarray(0, 4).toString()).toBe("GGUF");
    expect(await readdir(join(named, ".."))).toEqual(["model.gguf"]);
  });

  test.each<[string, (out: string) => Promise<string>, RegExp]>([
    ["another ending", async (out) => `${out}.bin`, /ends in \.gguf/],
    ["a directory", (out) => mkdir(out).then(() => out), /found a directory/],
    ["a folder that is not there", async (out) => join(out, "..", "no", "model.gguf"), /no such file or directory/],
    ["a folder that is a file", (out) => writeFile(`${out}x`, "").then(() => join(`${out}x`, "model.gguf")), /not a directory|ENOTDIR/],
  ])("not to %s", async (_, name, message) => {
    const out = await name(await fresh());
    await expect(quantize(source, out, { dtype: "q8" })).rejects.toThrow(message);
    await expect(quantize(source, out, { dtype: "q8" })).rejects.toMatchObject({ name: expect.stringMatching(/JambaError|LoadError/) });
  });

  test("not under the name of a file that is being written, which the next write beside it would remove", async () => {
    const out = `${await fresh()}.partial-host-1-01234567`;
    const made = wholeFile(out, { sizeBytes: 1 }, async () => expect.unreachable());
    await expect(made).rejects.toMatchObject({ code: "OPTION", message: expect.stringMatching(/another name/) });
  });

  test("not to a disk that is too full, which is seen before anything is written", async () => {
    const out = await fresh();
    const made = wholeFile(out, { sizeBytes: 2 ** 53 }, async () => expect.unreachable());
    await expect(made).rejects.toThrow(LoadError);
    await expect(made).rejects.toThrow(/expected 9007199254740992 bytes of free disk, found \d+/);
    expect(await readdir(join(out, ".."))).toEqual([]);
  });

  test("a dtype that is none is refused with those that are", async () => {
    await expect(quantize(source, await fresh(), { dtype: "q5" as QuantizeDtype })).rejects.toMatchObject({
      code: "OPTION",
      message: expect.stringMatching(/f32, f16, q4, q8, experts-int8, q4_k_m, bf16, found "q5"/),
    });
  });
});
