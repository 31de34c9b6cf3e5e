// A saved file is whole whenever it is looked at: after errors, after an abort, and after the process was killed in the middle of it.
// JAMBA_FUZZ_FILES of 100000 and more kills more often.

import { type ChildProcess, spawn } from "node:child_process";
import * as files from "node:fs/promises";
import { mkdir, mkdtemp, readdir, readFile, rm, stat, symlink, truncate, writeFile } from "node:fs/promises";
import { hostname, tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { seeded } from "@jamba/conformance";
import { type Backend, type FloatDtype, floatBytes, JambaError, type StateSpec } from "@jamba/core";
import { machineOf } from "@jamba/loader";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { buildSource } from "../../../../tooling/hub/build-sources.mjs";
import { backends, type GoldenCase, logitTolerance, openGolden, openRunner, worst } from "../../test/golden.ts";
import { bitsOf, collect, type Parts, randomIds, randomState } from "../../test/states.ts";
import type { ExpectedState, StateFile } from "./state-codec.ts";
import { readStateFile, type WriteStateOptions, writeStateFile } from "./state-file.ts";

const kills = Number(process.env.JAMBA_FUZZ_FILES ?? 0) >= 100_000 ? 100 : 4;
const random = seeded(20261128);
const vocabSize = 1000;
const layers: StateSpec["layers"] = [
  { kind: "mamba", dInner: 5000, dState: 16, dConv: 4 },
  { kind: "attention", nKvHeads: 4, headDim: 64 },
  { kind: "mamba", dInner: 7, dState: 3, dConv: 2 },
];
const spec: StateSpec = { layers, pageTokens: 64, kvDtype: "f32" };
const seen = 5000; // two pieces of keys, and of values
const ids = randomIds(random, seen, vocabSize);
const state = randomState(random, layers, seen);
const expected = { model: "model-a", spec, vocabSize };
const header = (meta: unknown) => ({ model: "model-a", meta });

const save = (to: string, meta: unknown, options?: WriteStateOptions) => writeStateFile(to, header(meta), ids, spec, state, options);
/** All of it. */
const load = (from: string, expecting: ExpectedState = expected) =>
  readStateFile(from, expecting, async ({ parts, ...rest }) => ({ ...rest, parts: await collect(parts) }));

let root: string;
let folder: string;
let path: string;
let count = 0;
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), "state-file-"));
});
afterAll(() => rm(root, { recursive: true }));
beforeEach(async () => {
  folder = join(root, String(count++));
  await mkdir(folder);
  path = join(folder, "a.state");
});

const refusal = async (promise: Promise<unknown>): Promise<JambaError> => {
  const error = await promise.then(
    () => undefined,
    (error) => error,
  );
  expect(error).toBeInstanceOf(JambaError);
  return error;
};

test("a saved state is read again bit for bit, and replaces the one before, also through a link", async () => {
  await save(path, 1);
  const link = join(folder, "link");
  await symlink(path, link);
  const doneBytes: number[] = [];
  let totalBytes = 0;
  await save(link, 2, {
    onProgress: (progress) => {
      doneBytes.push(progress.doneBytes);
      totalBytes = progress.totalBytes;
    },
  });
  const found = await load(path);
  expect(found).toMatchObject({ header: header(2), ids });
  expect(await bitsOf(found.parts)).toEqual(await bitsOf(state));
  expect((await readdir(folder)).sort()).toEqual(["a.state", "link"]);
  expect([doneBytes.at(-1), totalBytes]).toEqual([(await stat(path)).size, (await stat(path)).size]);
  expect(doneBytes).toEqual([...doneBytes].sort((a, b) => a - b));
});

describe("the old file stays, and nothing beside it", () => {
  beforeEach(() => save(path, "old"));

  const expectOld = async () => {
    expect((await load(path)).header.meta).toBe("old");
    expect(await readdir(folder)).toEqual(["a.state"]);
  };

  test("when the save is aborted, before it begins and after any number of bytes", async () => {
    const reason = new Error("enough");
    await expect(save(path, "new", { signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
    let chunks = 0;
    await save(path, "old", { onProgress: () => chunks++ });
    expect(chunks).toBe(10);
    for (let after = 0; after < chunks; after++) {
      const stop = new AbortController();
      let left = after;
      const onProgress = () => left-- === 0 && stop.abort(reason);
      await expect(save(path, "new", { signal: stop.signal, onProgress })).rejects.toBe(reason);
      await expectOld();
    }
  });

  test("when the caller's progress fails, or the state is none", async () => {
    const failing = () => {
      throw new TypeError("mine");
    };
    await expect(save(path, "new", { onProgress: failing })).rejects.toThrow(TypeError);
    await expect(writeStateFile(path, header("new"), ids.slice(1), spec, state)).rejects.toMatchObject({ code: "SHAPE" });
    await expectOld();
  });
});

test("what a killed process was writing is removed by the next save to that path, what others write is not", async () => {
  const here = await machineOf(files);
  const stale = `a.state.partial-${here}-999999999-0123abcd`;
  const others = [
    `b.state.partial-${here}-999999999-0123abcd`,
    `a.state.partial-${here}-${process.ppid}-0123abcd`,
    // A container of the same host name.
    `a.state.partial-${hostname()}-999999999-0123abcd`,
  ];
  for (const name of [stale, ...others]) await writeFile(join(folder, name), "x");
  await save(path, 1);
  expect((await readdir(folder)).sort()).toEqual(["a.state", ...others].sort());
});

test("where nothing can be written, and what is no file, is refused with a typed error that names it", async () => {
  const unsaved = (to: string) => refusal(save(to, 1));
  const unread = (from: string) => refusal(load(from));
  expect(await unsaved(join(folder, "absent", "a.state"))).toMatchObject({ code: "LOAD", message: expect.stringContaining("absent") });
  expect(await unsaved(folder)).toMatchObject({ code: "OPTION", message: expect.stringMatching(/found a directory/) });
  expect(await unread(path)).toMatchObject({ code: "LOAD", message: expect.stringMatching(/a\.state: no such file/) });
  expect(await unread(folder)).toMatchObject({ code: "LOAD", message: expect.stringMatching(/found a directory/) });
  await save(path, 1);
  expect(await refusal(load(path, { ...expected, model: "model-b" }))).toMatchObject({ code: "SESSION_MISMATCH" });
  await truncate(path, 5_000_000);
  expect(await unread(path)).toMatchObject({
    code: "LOAD",
    message: expect.stringMatching(/a\.state: expected \d+ bytes, .* found 5000000/),
  });
});

describe(`a process that saves again and again, killed ${kills} times`, () => {
  const program = `
    const [module, seed, path, expected] = process.argv.slice(1);
    const { readStateFile, writeStateFile } = await import(module);
    const all = async ({ ids, parts }) => {
      const state = [];
      for await (const part of parts) state.push(part);
      return { ids, state };
    };
    const { ids, state } = await readStateFile(seed, JSON.parse(expected), all);
    for (let n = 0; ; n++) {
      console.log(n);
      await writeStateFile(path, { model: "model-a", meta: n }, ids, JSON.parse(expected).spec, state);
    }`;
  let module: string;
  beforeAll(async () => {
    module = await buildSource(fileURLToPath(new URL("state-file.ts", import.meta.url)), root);
  });

  const saver = (seed: string): ChildProcess =>
    spawn(process.execPath, ["--input-type=module", "-e", program, module, seed, path, JSON.stringify(expected)], {
      stdio: ["ignore", "pipe", "inherit"],
    });

  test(
    "leaves the old file or the new one, and nothing that the next save does not remove",
    async () => {
      const seed = join(root, "seed.state");
      await save(seed, "seed");
      const began = performance.now();
      await save(path, "old");
      const saveMs = performance.now() - began;
      const bits = await bitsOf(state);
      let [interrupted, replaced] = [0, 0];
      for (let n = 0; n < kills; n++) {
        const child = saver(seed);
        const exit = new Promise((resolve) => child.once("exit", (_, signal) => resolve(signal)));
        for await (const line of createInterface(child.stdout!)) {
          if (line !== String(n % 3)) continue; // in the save that comes after so many
          await new Promise((resolve) => setTimeout(resolve, saveMs * random()));
          child.kill("SIGKILL");
        }
        expect(await exit).toBe("SIGKILL");
        const found = await load(path);
        expect(found.ids).toEqual(ids);
        if (n % 4 === 0) expect(await bitsOf(found.parts)).toEqual(bits);
        if (found.header.meta !== "old") replaced++;
        const left = (await readdir(folder)).filter((name) => name !== "a.state");
        expect(left.length).toBeLessThanOrEqual(1);
        interrupted += left.length;
      }
      expect(interrupted).toBeGreaterThan(0);
      expect(replaced).toBeGreaterThan(0);
      await save(path, "last");
      expect(await readdir(folder)).toEqual(["a.state"]);
    },
    60_000 + 4_000 * kills,
  );
});

describe.each(backends)("a file that $name saved", ({ name, absent, open }) => {
  beforeEach(({ skip }) => {
    if (absent) skip(absent);
  });

  test.each(["f32", "bf16", "f16"] as const)("with %s keys and values is what every other backend goes on from", async (kvDtype) => {
    const seen = 131; // two pages and a part of one
    const address = { slot: 1, pages: [2, 0, 1], seen };
    const [ids, state] = [randomIds(random, seen, vocabSize), randomState(random, layers, seen, kvDtype)];
    /** Puts a state into a store of its own for as long as `use` takes. */
    const stored = async <T>(backend: Backend, dtype: FloatDtype, given: Parts, use: (parts: Parts) => Promise<T>): Promise<T> => {
      const store = await backend.createStates({ ...spec, kvDtype: dtype });
      await store.reserve(2, 3);
      await backend.writeState(store, address, given);
      const found = await use(backend.readState(store, address));
      store.dispose();
      return found;
    };
    const from = await open();
    const kept = from.device.kvDtypes.includes(kvDtype) ? kvDtype : "f32";
    await stored(from, kept, state, (parts) => writeStateFile(path, header(name), ids, { layers, kvDtype: kept }, parts));
    await from.dispose();
    const least = 4 * seen + 2 * seen * 4 * 64 * floatBytes[kept] + 4 * (5000 * 19 + 7 * 4);
    expect((await stat(path)).size).toBeLessThan(least + 2000);
    for (const other of backends) {
      if (other.absent) continue;
      const to = await other.open();
      const found = await readStateFile(path, expected, ({ parts }) => stored(to, "f32", parts, (parts) => bitsOf(parts)));
      expect(found).toEqual(await bitsOf(state, "f32"));
      await to.dispose();
    }
  });

  test.each(["base", "odd", "dense-tied"] as GoldenCase[])(
    "in the middle of golden %s gives the logits of the rest everywhere",
    async (golden) => {
      const { ids, rows, floats } = await openGolden(golden);
      const half = Math.floor(ids.length / 2);
      const from = await openRunner(golden, { backend: await open(), dtype: "f32" });
      const sequence = await from.newSequence();
      await from.step([{ sequence, ids: ids.slice(0, half), rows: 0 }], { reads: {} });
      const spec = from.stateSpec;
      await writeStateFile(path, header(name), ids.slice(0, half), spec, from.export(sequence));
      await from.backend.dispose();
      const vocabSize = from.config.vocabSize;
      const logits = floats("logits").slice(rows.findIndex((row) => row >= half) * vocabSize);
      const later = rows.filter((row) => row >= half).map((row) => row - half);
      for (const other of backends) {
        if (other.absent) continue;
        const to = await openRunner(golden, { backend: await other.open(), dtype: "f32" });
        const expected = { model: "model-a", spec: to.stateSpec, vocabSize };
        const resumed = await readStateFile(path, expected, ({ parts }) => to.import(half, parts));
        const rest = ids.slice(half);
        const { step } = await to.step([{ sequence: resumed, ids: rest, rows: rest.length }], { reads: { logits: "read" } });
        const found = (await step!.read("logits")).data as Float32Array;
        expect(worst(found, logits, later).error, other.name).toBeLessThanOrEqual(logitTolerance);
        await to.backend.dispose();
      }
    },
  );
});

test("a file is closed after its use, also one that failed, and what was not pulled by then can't be", async () => {
  await save(path, 1);
  const reason = new Error("mine");
  const opened: StateFile[] = [];
  const use = async (file: StateFile) => {
    opened.push(file);
    throw reason;
  };
  await expect(readStateFile(path, expected, use)).rejects.toBe(reason);
  await expect(opened[0].parts.next()).rejects.toMatchObject({ code: "DISPOSED" });
});

test("an abort ends the reading of parts with its reason", async () => {
  await save(path, 1);
  const [stop, reason] = [new AbortController(), new Error("enough")];
  const use = async ({ parts }: StateFile) => {
    for await (const { name } of parts) if (name === "h") stop.abort(reason);
  };
  await expect(readStateFile(path, expected, use, stop.signal)).rejects.toBe(reason);
});

test("a flipped byte far inside is found, with the part of the state it lies in", async () => {
  await save(path, 1);
  const bytes = await readFile(path);
  bytes[bytes.length - 5_000_000] ^= 4;
  await writeFile(path, bytes);
  expect((await refusal(load(path))).message).toMatch(/a\.state: 1\.[kv]: expected a piece with SHA-256/);
});
