// Models that differ in any one byte share no states, wherever their weights come from; one and the same model does.

import { cp, mkdir, mkdtemp, open, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { seeded } from "@jamba/conformance";
import { type NamedTensor, openCheckpoint, writeSafetensors } from "@jamba/loader";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { loadModel, type ModelSource, prepareModel, quantizeModel } from "../src/index.ts";
import { cpuAbsent, goldenFolder } from "./golden.ts";

const tiny = fileURLToPath(new URL("../../tiny-model", import.meta.url));
let root: string;
let server: Server;
let count = 0;
const served = new Map<string, Buffer>();
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), "identity-"));
  server = createServer(async (request, response) => {
    const path = join(root, decodeURIComponent(request.url!));
    const found = served.get(path) ?? (await readFile(path).catch(() => undefined));
    if (found) served.set(path, found);
    if (!found) return void response.writeHead(404).end();
    const [first, last] = /(\d+)-(\d+)/.exec(request.headers.range!)!.slice(1).map(Number);
    const end = Math.min(last, found.length - 1);
    response.writeHead(206, { "content-range": `bytes ${first}-${end}/${found.length}` }).end(found.subarray(first, end + 1));
  }).listen(0, "127.0.0.1");
});
afterAll(async () => {
  server.close();
  await rm(root, { recursive: true, maxRetries: 10, retryDelay: 100 });
});

/** Makes a folder of a model, and says what to load. */
interface Kind {
  make(folder: string): Promise<unknown>;
  source(folder: string): Promise<ModelSource> | ModelSource;
}

async function shards(folder: string): Promise<void> {
  await cp(tiny, folder, { recursive: true });
  await using checkpoint = await openCheckpoint(tiny);
  const tensors: NamedTensor[] = [];
  for (const { name, dtype, shape } of checkpoint.tensors.values())
    tensors.push({ name, dtype: dtype as NamedTensor["dtype"], shape, bytes: await checkpoint.read(name) });
  const weight_map = Object.fromEntries(tensors.map(({ name }, at) => [name, `part-${at % 2}.safetensors`]));
  for (const i of [0, 1]) await writeFile(join(folder, `part-${i}.safetensors`), writeSafetensors(tensors.filter((_, at) => at % 2 === i)));
  await writeFile(join(folder, "model.safetensors.index.json"), JSON.stringify({ weight_map }));
  await rm(join(folder, "model.safetensors"));
}

const copy = (folder: string) => cp(tiny, folder, { recursive: true });
const kinds: Record<string, Kind> = {
  "one file": { make: copy, source: (folder) => folder },
  "several files": { make: shards, source: (folder) => folder },
  GGUF: {
    make: async (folder) => {
      await mkdir(folder);
      await quantizeModel(tiny, join(folder, "model.gguf"), { dtype: "bf16" });
    },
    source: (folder) => join(folder, "model.gguf"),
  },
  "a prepared folder": { make: (folder) => prepareModel(tiny, folder, { dtype: "q4" }), source: (folder) => folder },
  "files of a browser": {
    make: copy,
    source: async (folder) =>
      Promise.all((await readdir(folder)).map(async (name) => ({ name, blob: new Blob([await readFile(join(folder, name))]) }))),
  },
  "a URL": { make: copy, source: (folder) => `http://127.0.0.1:${(server.address() as AddressInfo).port}${folder.slice(root.length)}` },
};

/** Changes the lowest bit of a byte of some tensor. */
async function flip(folder: string, source: ModelSource, random: () => number): Promise<string> {
  await using checkpoint = await openCheckpoint(source);
  const tensors = [...checkpoint.tensors.values()];
  const { name, file, offset, sizeBytes } = tensors[Math.floor(random() * tensors.length)];
  const at = Math.floor(random() * sizeBytes);
  const handle = await open(join(folder, file), "r+");
  const byte = new Uint8Array(1);
  await handle.read(byte, 0, 1, offset + at);
  byte[0] ^= 1;
  await handle.write(byte, 0, 1, offset + at);
  await handle.close();
  served.clear();
  return `${name}, byte ${at} of ${sizeBytes}`;
}

const long = [{ role: "user", content: "Tell me about the sea, the ships and the weather of the north. ".repeat(12) }] as const;
const random = seeded(24);

describe.each(Object.entries(kinds))("%s", (_, { make, source }) => {
  beforeEach(({ skip }) => {
    if (cpuAbsent) skip(cpuAbsent);
  });

  /** Loads, answers with a common cache, and says how much of the prompt came from there; then saves its session or opens another's. */
  async function use(from: ModelSource, dir: string, session: { save?: string; open?: string }) {
    const model = await loadModel(from, { backend: "cpu", cache: { dir } });
    try {
      const { usage } = await model.generate(long, { maxTokens: 2 });
      const own = await model.session();
      if (session.save) {
        await own.send(long, { maxTokens: 2 });
        await own.save(session.save);
      }
      const opened =
        session.open &&
        (await own.load(session.open).then(
          () => "opened",
          ({ code }) => code,
        ));
      return { cached: usage.cachedTokens ?? 0, opened };
    } finally {
      await model.dispose();
    }
  }

  test("the same bytes share states, and any other byte shares none", async () => {
    const folder = join(root, `${count++}`);
    await make(folder);
    const dir = join(root, `states-${count++}`);
    const saved = join(root, `session-${count++}`);
    await use(await source(folder), dir, { save: saved });
    // A copy, elsewhere: the same model.
    const same = join(root, `${count++}`);
    await cp(folder, same, { recursive: true });
    const again = await use(await source(same), dir, { open: saved });
    expect(again.opened).toBe("opened");
    expect(again.cached).toBeGreaterThan(64);
    for (let tries = 0; tries < 3; tries++) {
      const other = join(root, `${count++}`);
      await cp(folder, other, { recursive: true });
      const where = await flip(other, await source(other), random);
      expect([where, await use(await source(other), dir, { open: saved })]).toEqual([where, { cached: 0, opened: "SESSION_MISMATCH" }]);
    }
  }, 120_000);
});

test.skipIf(cpuAbsent)(
  "a model whose name an earlier load left beside it loads and finds its states",
  async () => {
    const folder = join(root, "named");
    await mkdir(folder);
    const tensors: NamedTensor[] = [];
    await using checkpoint = await openCheckpoint(goldenFolder("dense-tied"));
    const { hidden_size } = checkpoint.config as { hidden_size: number };
    // Names of smaller models are soon made again, and not kept.
    const vocab_size = Math.ceil(2 ** 26 / (4 * hidden_size));
    for (const { name, dtype, shape } of checkpoint.tensors.values()) {
      const bytes = await checkpoint.read(name);
      if (name !== "model.embed_tokens.weight") tensors.push({ name, dtype: dtype as NamedTensor["dtype"], shape, bytes });
      else {
        const table = new Uint8Array(4 * vocab_size * hidden_size);
        table.set(bytes);
        tensors.push({ name, dtype: "F32", shape: [vocab_size, hidden_size], bytes: table });
      }
    }
    await writeFile(join(folder, "model.safetensors"), writeSafetensors(tensors));
    await writeFile(join(folder, "config.json"), JSON.stringify({ ...(checkpoint.config as object), vocab_size }));
    const prompt = Array.from({ length: 300 }, (_, i) => 3 + (i % 200));
    const ask = async () => {
      await using model = await loadModel(folder, { backend: "cpu", contextLength: 512, cache: { dir: join(root, "named-states") } });
      const { usage } = await model.generate(prompt, { maxTokens: 2, ignoreEos: true });
      const wasNamed = (await readdir(folder)).some((name) => name.includes("fingerprint"));
      await expect.poll(() => readdir(folder), { timeout: 60_000 }).toContainEqual(expect.stringContaining("fingerprint"));
      return { wasNamed, cachedTokens: usage.cachedTokens };
    };
    expect((await ask()).wasNamed).toBe(false);
    const { wasNamed, cachedTokens } = await ask();
    expect([wasNamed, cachedTokens > 0]).toEqual([true, true]);
  },
  120_000,
);
