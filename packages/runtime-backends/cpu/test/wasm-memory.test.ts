// A module's memory after calls that failed in their middle, and files that change between two loads.

import { mkdtempSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { HostTensor, record, sourceOf, type WeightSource } from "@jamba/core";
import { afterAll, expect, test } from "vitest";
import { openWasmBackend } from "../src/index.ts";

const folder = mkdtempSync(join(tmpdir(), "jamba-wasm-"));
afterAll(() => rmSync(folder, { recursive: true }));

test("steps that find no memory leave none taken, and others go on", async () => {
  const backend = await openWasmBackend({ level: "simd128", threads: 2 });
  const states = await backend.createStates({ layers: [], pageTokens: 64, kvDtype: "f32" });
  await states.reserve(2, 0);
  const [rows, columns] = [2 ** 18, 32];
  const weight = await backend.openWeight(sourceOf("w", [rows, columns], new Float32Array(rows * columns).fill(1)), "q4");
  const stepOf = async (L: number) => {
    const list = record({ L, nSequences: 1, nRows: 0 }, states.spec, (ops) => {
      const [y] = ops.matmul(ops.input("x", [L, columns]), [weight]);
      ops.read("y", ops.slice(y, 0, 16));
    });
    using program = await backend.prepare(list, states);
    const x = new HostTensor("float32", new Float32Array(L * columns).fill(1), [L, columns]);
    const step = {
      ids: new Int32Array(L),
      starts: Int32Array.of(0, L),
      rows: new Int32Array(0),
      states: [{ slot: 0, pages: [], seen: 0 }],
    };
    const copies = { slots: [[0, 1] as const] };
    return await backend.submit(program, { ...step, copies, tensors: new Map([["x", x]]) }).read("y");
  };
  /** At best of some steps: a job is kept as long as a late thread looks at it. */
  const left = async () => {
    const found: number[] = [];
    for (let i = 0; i < 8; i++) {
      expect((await stepOf(2)).data[0]).toBeCloseTo(columns);
      found.push((await backend.room()).freeBytes!);
    }
    return Math.max(...found);
  };
  const before = await left();
  // Four thousand tokens' outputs alone are as large as the whole memory.
  for (let i = 0; i < 40; i++) await expect(stepOf(4096)).rejects.toMatchObject({ code: "OUT_OF_MEMORY" });
  // On a busy machine a late thread may look at the last job for long.
  await expect.poll(left, { timeout: 60_000, interval: 20 }).toBeGreaterThanOrEqual(before);
  await backend.dispose();
});

test("another file in the place of one that was read is read anew", async () => {
  const backend = await openWasmBackend({ level: "simd128", threads: 1 });
  const path = join(folder, "weights");
  const put = (value: number) => {
    writeFileSync(`${path}.new`, new Float32Array(16 * 64).fill(value));
    renameSync(`${path}.new`, path);
  };
  const source: WeightSource = {
    name: "w",
    dtype: "f32",
    shape: [16, 64],
    read: () => Promise.reject(new Error("the worker reads the file")),
    file: { path, offset: 0 },
  };
  for (const value of [1, 2]) {
    put(value);
    using weight = await backend.openWeight(source, "f32");
    const bytes = await backend.packed!.read(weight, 0, 64);
    expect(new Float32Array(bytes.slice().buffer)).toEqual(new Float32Array(16).fill(value));
  }
  await backend.dispose();
});
