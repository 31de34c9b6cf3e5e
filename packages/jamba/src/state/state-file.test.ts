// A saved file is whole whenever it is looked at: after errors, after an abort, and after the process was killed in the middle of it.
// JAMBA_FUZZ_FILES of 100000 and more kills more often.

import { type ChildProcess, spawn } from "node:child_process";
import { mkdir, mkdtemp, readdir, readFile, rm, stat, symlink, truncate, writeFile } from "node:fs/promises";
import { hostname, tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { seeded } from "@jamba/conformance";
import { JambaError, type StateSpec } from "@jamba/core";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { buildSource } from "../../../../tooling/hub/build-sources.mjs";
import { backends, type GoldenCase, logitTolerance, openGolden, openRunner, worst } from "../../test/golden.ts";
import { bitsOf, randomIds, randomState } from "../../test/states.ts";
import { stateSpec } from "../model/forward.ts";
import { readStateFile, writeStateFile } from "./state-file.ts";

const kills = Number(process.env.JAMBA_FUZZ_FILES ?? 0) >= 100_000 ? 100 : 4;
const random = seeded(20261128);
const vocabSize = 1000;
const layers: StateSpec["layers"] = [
  { kind: "mamba", dInner: 5000, dState: 16, dConv: 4 },
  { kind: "attention", nKvHeads: 4, headDim: 64 },
  { kind: "mamba", dInner: 7, dState: 3, dConv: 2 },
];
const spec: StateSpec = { layers, pageTokens: 64, kvDtype: "f32" };
const seen = 5000; // two parts of keys, and of values
const ids = randomIds(random, seen, vocabSize);
const state = randomState(random, layers, seen);
const expected = { model: "model-a", spec, vocabSize };
const header = (meta: unknown) => ({ model: "model-a", meta });

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
  await writeStateFile(path, header(1), ids, state);
  const link = join(folder, "link");
  await symlink(path, link);
  const doneBytes: number[] = [];
  let totalBytes = 0;
  await writeStateFile(link, header(2), ids, state, {
    onProgress: (progress) => {
      doneBytes.push(progress.doneBytes);
      totalBytes = progress.totalBytes;
    },
  });
  const found = await readStateFile(path, expected);
  expect(found).toMatchObject({ header: header(2), ids });
  expect(bitsOf(found.state)).toEqual(bitsOf(state));
  expect((await readdir(folder)).sort()).toEqual(["a.state", "link"]);
  expect([doneBytes.at(-1), totalBytes]).toEqual([(await stat(path)).size, (await stat(path)).size]);
  expect(doneBytes).toEqual([...doneBytes].sort((a, b) => a - b));
});

describe("the old file stays, and nothing beside it", () => {
  beforeEach(() => writeStateFile(path, header("old"), ids, state));

  const expectOld = async () => {
    expect((await readStateFile(path, expected)).header.meta).toBe("old");
    expect(await readdir(folder)).toEqual(["a.state"]);
  };

  test("when the save is aborted, before it begins and after any number of bytes", async () => {
    const reason = new Error("enough");
    await expect(writeStateFile(path, header("new"), ids, state, { signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
    let chunks = 0;
    await writeStateFile(path, header("old"), ids, state, { onProgress: () => chunks++ });
    expect(chunks).toBe(10);
    for (let after = 0; after < chunks; after++) {
      const stop = new AbortController();
      let left = after;
      const onProgress = () => left-- === 0 && stop.abort(reason);
      await expect(writeStateFile(path, header("new"), ids, state, { signal: stop.signal, onProgress })).rejects.toBe(reason);
      await expectOld();
    }
  });

  test("when the caller's progress fails, or the state is none", async () => {
    const failing = () => {
      throw new TypeError("mine");
    };
    await expect(writeStateFile(path, header("new"), ids, state, { onProgress: failing })).rejects.toThrow(TypeError);
    await expect(writeStateFile(path, header("new"), ids.slice(1), state)).rejects.toMatchObject({ code: "SHAPE" });
    await expectOld();
  });
});

test("what a killed process was writing is removed by the next save to that path, what others write is not", async () => {
  const stale = `a.state.partial-${hostname()}-999999999-0123abcd`;
  const others = [`b.state.partial-${hostname()}-999999999-0123abcd`, `a.state.partial-${hostname()}-${process.ppid}-0123abcd`];
  for (const name of [stale, ...others]) await writeFile(join(folder, name), "x");
  await writeStateFile(path, header(1), ids, state);
  expect((await readdir(folder)).sort()).toEqual(["a.state", ...others].sort());
});

test("where nothing can be written, and what is no file, is refused with a typed error that names it", async () => {
  const save = (to: string) => refusal(writeStateFile(to, header(1), ids, state));
  const load = (from: string) => refusal(readStateFile(from, expected));
  expect(await save(join(folder, "absent", "a.state"))).toMatchObject({ code: "LOAD", message: expect.stringContaining("absent") });
  expect(await save(folder)).toMatchObject({ code: "OPTION", message: expect.stringMatching(/found a directory/) });
  expect(await load(path)).toMatchObject({ code: "LOAD", message: expect.stringMatching(/a\.state: no such file/) });
  expect(await load(folder)).toMatchObject({ code: "LOAD", message: expect.stringMatching(/found a directory/) });
  await writeStateFile(path, header(1), ids, state);
  expect(await refusal(readStateFile(path, { ...expected, model: "model-b" }))).toMatchObject({ code: "SESSION_MISMATCH" });
  await truncate(path, 5_000_000);
  expect(await load(path)).toMatchObject({
    code: "LOAD",
    message: expect.stringMatching(/a\.state: expected \d+ bytes, .* found 5000000/),
  });
});

describe(`a process that saves again and again, killed ${kills} times`, () => {
  const program = `
    const [module, seed, path, expected] = process.argv.slice(1);
    const { readStateFile, writeStateFile } = await import(module);
    const { ids, state } = await readStateFile(seed, JSON.parse(expected));
    for (let n = 0; ; n++) {
      console.log(n);
      await writeStateFile(path, { model: "model-a", meta: n }, ids, state);
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
      await writeStateFile(seed, header("seed"), ids, state);
      const began = performance.now();
      await writeStateFile(path, header("old"), ids, state);
      const saveMs = performance.now() - began;
      const bits = bitsOf(state);
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
        const found = await readStateFile(path, expected);
        expect(found.ids).toEqual(ids);
        if (n % 4 === 0) expect(bitsOf(found.state)).toEqual(bits);
        if (found.header.meta !== "old") replaced++;
        const left = (await readdir(folder)).filter((name) => name !== "a.state");
        expect(left.length).toBeLessThanOrEqual(1);
        interrupted += left.length;
      }
      expect(interrupted).toBeGreaterThan(0);
      expect(replaced).toBeGreaterThan(0);
      await writeStateFile(path, header("last"), ids, state);
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
    const through = async (backend: Awaited<ReturnType<typeof open>>, dtype: StateSpec["kvDtype"], given: typeof state) => {
      const store = backend.createStates({ ...spec, kvDtype: dtype });
      store.reserve(2, 3);
      await backend.writeState(store, address, given);
      const found = await backend.readState(store, address);
      store.dispose();
      return found;
    };
    const from = await open();
    const saved = await through(from, from.device.kvDtypes.includes(kvDtype) ? kvDtype : "f32", state);
    await from.dispose();
    await writeStateFile(path, header(name), ids, saved);
    const kept = 4 * seen + 2 * seen * 4 * 64 * (kvDtype === "f32" ? 4 : 2) + 4 * (5000 * 19 + 7 * 4);
    expect((await stat(path)).size).toBeLessThan(kept + 2000);
    for (const other of backends) {
      if (other.absent) continue;
      const to = await other.open();
      expect(bitsOf(await through(to, "f32", (await readStateFile(path, expected)).state))).toEqual(bitsOf(state));
      await to.dispose();
    }
  });

  test.each(["base", "odd", "dense-tied"] as GoldenCase[])(
    "in the middle of golden %s gives the logits of the rest everywhere",
    async (golden) => {
      const { ids, rows, floats } = await openGolden(golden);
      const half = Math.floor(ids.length / 2);
      const from = await openRunner(golden, { backend: await open(), dtype: "f32" });
      const sequence = from.newSequence();
      await from.step([{ sequence, ids: ids.slice(0, half), rows: 0 }]);
      await writeStateFile(path, header(name), ids.slice(0, half), await from.export(sequence));
      const spec = stateSpec(from.config, 64, "f32");
      await from.backend.dispose();
      const vocabSize = from.config.vocabSize;
      const logits = floats("logits").slice(rows.findIndex((row) => row >= half) * vocabSize);
      const later = rows.filter((row) => row >= half).map((row) => row - half);
      for (const other of backends) {
        if (other.absent) continue;
        const { state } = await readStateFile(path, { model: "model-a", spec, vocabSize });
        const to = await openRunner(golden, { backend: await other.open(), dtype: "f32" });
        const rest = ids.slice(half);
        const found = await to.step([{ sequence: await to.import(state), ids: rest, rows: rest.length }]);
        expect(worst(found.get("logits")!.data as Float32Array, logits, later).error, other.name).toBeLessThanOrEqual(logitTolerance);
        await to.backend.dispose();
      }
    },
  );
});

test("a flipped byte far inside is found, with the part of the state it lies in", async () => {
  await writeStateFile(path, header(1), ids, state);
  const bytes = await readFile(path);
  bytes[bytes.length - 5_000_000] ^= 4;
  await writeFile(path, bytes);
  expect((await refusal(readStateFile(path, expected))).message).toMatch(/a\.state: 1\.[kv]: expected a part with SHA-256/);
});
