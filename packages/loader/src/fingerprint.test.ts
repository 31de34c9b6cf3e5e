import { readFile } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { fileURLToPath } from "node:url";
import { JambaError, matrixOf } from "@jamba/core";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Checkpoint, openCheckpoint } from "./checkpoint.ts";
import { fingerprint, fingerprintsOf, tokenizerFingerprint } from "./fingerprint.ts";
import { type NamedTensor, writeSafetensors } from "./safetensors/header.ts";

const folder = fileURLToPath(new URL("../../../tooling/golden/fixtures/odd", import.meta.url));
const files = ["config.json", "model.safetensors"];
let bytes: Buffer[];
let config: Record<string, unknown>;
let tensors: NamedTensor[];
let server: Server;
let requests = 0;

beforeAll(async () => {
  bytes = await Promise.all(files.map((file) => readFile(`${folder}/${file}`)));
  config = JSON.parse(bytes[0].toString());
  await using checkpoint = await openCheckpoint(folder);
  tensors = [];
  for (const { name, dtype, shape } of checkpoint.tensors.values())
    tensors.push({ name, dtype: dtype as NamedTensor["dtype"], shape, bytes: await checkpoint.read(name) });
  server = createServer((request, response) => {
    requests++;
    const found = bytes[files.indexOf(request.url!.slice(1))];
    if (!found) return void response.writeHead(404).end();
    const [first, last] = /(\d+)-(\d+)/.exec(request.headers.range!)!.slice(1).map(Number);
    const end = Math.min(last, found.length - 1);
    response.writeHead(206, { "content-range": `bytes ${first}-${end}/${found.length}` }).end(found.subarray(first, end + 1));
  }).listen(0);
});
afterAll(() => server.close());

async function of(source: Parameters<typeof openCheckpoint>[0]): Promise<string> {
  await using checkpoint = await openCheckpoint(source);
  return await fingerprint(checkpoint);
}

const blob = (name: string, content: string | Uint8Array) => ({ name, blob: new Blob([content as BlobPart]) });

/** The model with other tensors, or a config that says something else too. */
const changed = ({ parts = tensors, also = {} }: { parts?: NamedTensor[]; also?: object }) =>
  of([blob("config.json", JSON.stringify({ ...config, ...also })), blob("model.safetensors", writeSafetensors(parts))]);

describe("a model", () => {
  // Another number here orphans every saved session: only a change of what a model computes is worth it.
  const pinned = "603340c67a08ba62ada1180de0d76b699e2ef47d983de9cf3ec9cdd5cf340181";
  /** What versions that looked at 4 KiB of each tensor named it by: their saved sessions still open. */
  const before = "3fc8e7a2883c833cb58533554ae544c1d7e246aec8fda85d9eda6c6d606652fa";

  test("has one fingerprint from version to version, wherever its files lie and however they are cut", async () => {
    expect(await of(folder)).toBe(pinned);
    await using checkpoint = await openCheckpoint(folder);
    expect((await fingerprintsOf(checkpoint)).sampled).toBe(before);
    expect(await of(`http://localhost:${(server.address() as AddressInfo).port}`)).toBe(pinned);
    expect(await of(files.map((name, i) => blob(name, bytes[i])))).toBe(pinned);
    expect(await changed({ parts: [...tensors].reverse() })).toBe(pinned);
    const shard = (i: number) => tensors.filter((_, at) => at % 3 === i);
    const weight_map = Object.fromEntries(tensors.map(({ name }, at) => [name, `${at % 3}.safetensors`]));
    const shards = [0, 1, 2].map((i) => blob(`${i}.safetensors`, writeSafetensors(shard(i))));
    const index = blob("model.safetensors.index.json", JSON.stringify({ weight_map }));
    expect(await of([blob("config.json", bytes[0]), index, ...shards])).toBe(pinned);
  });

  test("keeps it when the config says the same in other words, or what changes no logits", async () => {
    const reversed = Object.fromEntries(Object.entries(config).reverse());
    expect(await of([blob("config.json", JSON.stringify(reversed)), blob("model.safetensors", bytes[1])])).toBe(pinned);
    expect(await changed({ also: { transformers_version: "9.9.9", max_position_embeddings: 77, eos_token_id: 3 } })).toBe(pinned);
  });

  test("loses it with any number of the config that changes logits", async () => {
    const others = [{ rms_norm_eps: 1e-5 }, { num_experts_per_tok: 1 }, { attn_layer_offset: 0 }, { tie_word_embeddings: true }];
    const found = await Promise.all(others.map((also) => changed({ also })));
    expect(new Set([pinned, ...found]).size).toBe(1 + others.length);
  });

  test("loses it with any tensor's name, dtype, shape, absence, or any bit of it", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.nat(tensors.length - 1),
        fc.nat(),
        fc.constantFrom("name", "dtype", "shape", "absent", "bit"),
        async (at, n, what) => {
          const one = tensors[at];
          const size = one.bytes.length;
          const flipped = () => one.bytes.map((byte, i) => (i === n % size ? byte ^ (1 << (n % 8)) : byte));
          const other = {
            name: () => ({ ...one, name: `${one.name}x` }),
            dtype: () => ({ ...one, dtype: one.dtype === "F32" ? "I32" : "I16" }) as NamedTensor,
            shape: () => ({ ...one, shape: [...one.shape, 1] }),
            absent: () => undefined,
            bit: () => ({ ...one, bytes: flipped() }),
          }[what]();
          const parts = tensors.flatMap((tensor, i) => (i === at ? (other ?? []) : tensor));
          expect(await changed({ parts })).not.toBe(pinned);
        },
      ),
      { numRuns: 40 },
    );
  });

  test("longer than a piece is read once, piece by piece, and any bit of it counts", async () => {
    const size = 9 * 2 ** 20 + 12;
    const wide = new Uint8Array(size).map((_, i) => i * 31 + (i >> 12));
    const at = (i: number) => ({
      name: "extra",
      dtype: "U8" as const,
      shape: [size],
      bytes: wide.map((byte, j) => (i === j ? byte ^ 1 : byte)),
    });
    const found = new Set<string>();
    for (const i of [-1, 0, 2 ** 22 - 1, 2 ** 22, 5_000_000, 2 ** 23, size - 1]) {
      await using checkpoint = await openCheckpoint([
        blob("config.json", bytes[0]),
        blob("model.safetensors", writeSafetensors([...tensors, at(i)])),
      ]);
      const reads: number[] = [];
      const watched: Checkpoint = {
        ...checkpoint,
        async read(name, signal, range) {
          const found = await checkpoint.read(name, signal, range);
          if (name === "extra") reads.push(found.length);
          return found;
        },
      };
      found.add(await fingerprint(watched));
      expect(reads.sort()).toEqual([2 ** 20 + 12, 2 ** 22, 2 ** 22].sort());
    }
    expect(found.size).toBe(7);
  });

  test("of a URL is made of what passed by while it was read, in whatever order, and nothing is fetched twice", async () => {
    await using checkpoint = await openCheckpoint(`http://localhost:${(server.address() as AddressInfo).port}`);
    for (const name of [...checkpoint.tensors.keys()].reverse()) {
      const { shape, read } = checkpoint.weight(name);
      const { rows } = matrixOf(shape);
      for (let row = rows - 1; row >= 0; row--) await read(row, row + 1);
      await read(0, Math.min(rows, 2));
    }
    const before = requests;
    expect(await fingerprint(checkpoint)).toBe(pinned);
    expect(requests).toBe(before);
  });

  test("that can't be read has none, and the reason is the reader's", async () => {
    const checkpoint = await openCheckpoint(folder);
    const reason = new Error("enough");
    await expect(fingerprint(checkpoint, { signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
    await expect(checkpoint.read("model.embed_tokens.weight", undefined, [0, 2 ** 40])).rejects.toMatchObject({ code: "LOAD" });
    await expect(checkpoint.read("model.embed_tokens.weight", undefined, [-1, 1])).rejects.toMatchObject({ code: "LOAD" });
    await checkpoint.close();
    await expect(fingerprint(checkpoint)).rejects.toMatchObject({ code: "DISPOSED" });
  });
});

describe("a tokenizer", () => {
  const json = () => ({ model: { vocab: { a: 0, b: 1 }, merges: ["a b"] }, added_tokens: [{ id: 2, content: "é" }] });

  test("has one fingerprint whatever the order of its keys, and another for any other value", async () => {
    const pinned = await tokenizerFingerprint(json());
    expect(pinned).toMatch(/^[\da-f]{64}$/);
    const { added_tokens, model } = json();
    const { merges } = model;
    expect(await tokenizerFingerprint({ added_tokens, absent: undefined, model: { merges, vocab: { b: 1, a: 0 } } })).toBe(pinned);
    for (const other of [
      { model, added_tokens: [] },
      { model: { ...model, vocab: { a: 1, b: 0 } }, added_tokens },
      { model: { ...model, merges: ["b a"] }, added_tokens },
      { model, added_tokens: [{ id: 2, content: "e\u0301" }] },
    ])
      expect(await tokenizerFingerprint(other)).not.toBe(pinned);
  });

  test("nested too deeply to be written is refused with a typed error", async () => {
    const deep = JSON.parse(`${"[".repeat(200_000)}${"]".repeat(200_000)}`);
    await expect(tokenizerFingerprint({ deep })).rejects.toThrow(JambaError);
  });
});
