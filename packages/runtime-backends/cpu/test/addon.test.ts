// The addon's own calls: names, kept values, copies before a list, parts of a state, bytes of a packed weight.

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { seeded } from "@jamba/conformance";
import { BackendError, blockFormats, type FusedOp, floatBytes } from "@jamba/core";
import { afterAll, afterEach, beforeEach, describe, expect, test } from "vitest";
import {
  type Addon,
  expectSameNames,
  loadAddon,
  type NativeExecutor,
  type ProgramHandle,
  type StatesHandle,
  weightDtypes,
} from "../src/addon.ts";
import { none, noTemperatures, type Place, Words } from "./words.ts";

const found = await loadAddon().catch((error: Error) => error);
if (found instanceof Error) test("addon", ({ skip }) => skip(found.message));
else {
  describe("the addon", () => calls(found));
  describe("an addon of other sources", () => otherSources(found));
}

const sameBits = (found: Float32Array, expected: Float32Array) => expect(Buffer.compare(bytesOf(found), bytesOf(expected))).toBe(0);
const bytesOf = ({ buffer, byteOffset, byteLength }: Float32Array) => Buffer.from(buffer, byteOffset, byteLength);
const coded = (code: string) => expect.objectContaining({ code });
/** What is thrown at the call and what rejects later. */
const call = async <T>(make: () => T | Promise<T>): Promise<T> => make();

/** All that a plan can hold. */
const allOps: Readonly<Record<FusedOp, true>> = {
  input: true,
  embed: true,
  rmsNorm: true,
  matmul: true,
  gateUp: true,
  causalConv: true,
  selectiveScan: true,
  attention: true,
  swiglu: true,
  route: true,
  experts: true,
  gatherRows: true,
  top: true,
  read: true,
  keep: true,
};

function otherSources({ ops, dtypes, stored }: Addon): void {
  const without = <T>(all: readonly T[], at: number) => all.filter((_, i) => i !== at);
  const at = (name: string) => stored.findIndex((one) => one.name === name);
  const changed = (name: string, change: object) => stored.map((one) => (one.name === name ? { ...one, ...change } : one));
  test.each<[string, Partial<Pick<Addon, "ops" | "dtypes" | "stored">>, string]>([
    ["lacks an op", { ops: ops.filter((op) => op !== "top") }, "op top"],
    ["has one op more", { ops: [...ops, "rope"] }, "op rope"],
    ["lacks a dtype", { dtypes: without(dtypes, dtypes.indexOf("q4_k")) }, "q4_k"],
    ["has one dtype more", { dtypes: [...dtypes, "q3"] }, "q3"],
    ["calls a dtype by another name", { dtypes: dtypes.map((name) => (name === "q8" ? "i8" : name)) }, "q8"],
    ["names no dtypes", { dtypes: undefined }, weightDtypes[0]],
    ["lacks a stored format", { stored: without(stored, at("q6_k")) }, "q6_k"],
    ["has one stored format more", { stored: [...stored, { name: "q9_k", values: 256, bytes: 300 }] }, "q9_k"],
    ["calls a stored format by another name", { stored: changed("q5_0", { name: "q5_zero" }) }, "q5_0"],
    ["has blocks of other bytes", { stored: changed("q4_k", { bytes: 148 }) }, "q4_k"],
    ["has blocks of other counts", { stored: changed("q8_0", { values: 64 }) }, "q8_0"],
    ["has floats of another size", { stored: changed("bf16", { bytes: 4 }) }, "bf16"],
    ["names no stored formats", { stored: undefined }, "f32"],
  ])("that %s is refused with BACKEND, by name", (_, other, name) => {
    const check = () => expectSameNames({ ops, dtypes, stored, ...other }, "/some/jamba.node");
    expect(check).toThrow(BackendError);
    expect(check).toThrow(new RegExp(`/some/jamba\\.node.* has ${name}\\b.*build-native`));
  });

  test("is one of the same sources in any order", () => {
    expectSameNames({ ops: [...ops].reverse(), dtypes: [...dtypes].reverse(), stored: [...stored].reverse() }, "jamba.node");
  });
}

function calls(addon: Addon): void {
  let executor: NativeExecutor;
  beforeEach(() => {
    executor = new addon.Executor(addon.levels[0], 2);
  });
  afterEach(() => executor.stop());

  const statesOf = (layout: readonly number[], nSlots = 2, nPages = 0): StatesHandle => {
    const states = executor.createStates(Int32Array.from(layout));
    executor.reserveStates(states, nSlots, nPages);
    return states;
  };
  interface Given {
    readonly inputs?: ArrayBufferView[];
    readonly outputs?: ArrayBufferView[];
    readonly slots?: readonly number[];
    readonly pages?: readonly number[];
    readonly address?: readonly number[];
  }
  /** A step of one token. */
  const run = (program: ProgramHandle, states: StatesHandle, token: number, given: Given = {}) => {
    const { inputs = [], outputs = [], slots = [], pages = [], address = [0, 0, 0] } = given;
    const step = [Int32Array.of(0), none, Int32Array.of(0, 1), Int32Array.from(address)] as const;
    const copies = [Int32Array.from(slots), Int32Array.from(pages)] as const;
    return call(() => executor.run(program, states, ...step, noTemperatures, none, none, ...copies, inputs, outputs, token));
  };

  test("names what numbers stand for as core does", () => {
    expect([...addon.ops].sort()).toEqual(Object.keys(allOps).sort());
    expect([...addon.dtypes].sort()).toEqual([...weightDtypes].sort());
    const stored = [
      ...Object.entries(floatBytes).map(([name, bytes]) => ({ name, values: 1, bytes })),
      ...Object.entries(blockFormats).map(([name, { values, bytes }]) => ({ name, values, bytes })),
    ];
    const sorted = (formats: Addon["stored"]) => [...formats].sort((a, b) => (a.name < b.name ? -1 : 1));
    expect(sorted(addon.stored)).toEqual(sorted(stored));
  });

  describe("a kept value", () => {
    const [rows, columns] = [700, 90];
    const keeping = (...sizes: readonly (readonly [number, number])[]) => {
      const words = new Words(addon, 0);
      const places = sizes.map(([r, c]) => words.input(words.place(r, c, 5)));
      for (const place of places) words.command("keep", place);
      const states = statesOf([16, 0]);
      return { states, program: executor.createProgram(words.all(), [], states) };
    };
    const counted = (from: number, n = rows * columns) => Float32Array.from({ length: n }, (_, i) => from + i);
    const read = (token: number, from = 0, to = rows, length = (to - from) * columns) => {
      const out = new Float32Array(length);
      return call(() => executor.readKept(token, 0, from, to, out)).then(() => out);
    };

    test("is there until it is dropped, whatever else runs", async () => {
      const { states, program } = keeping([rows, columns]);
      for (let token = 1; token <= 5; token++) await run(program, states, token, { inputs: [counted(token)] });
      for (const token of [4, 1, 5, 2, 3]) {
        sameBits(await read(token), counted(token));
        executor.dropKept(token);
        await expect(read(token)).rejects.toThrow(coded("BACKEND"));
      }
      for (const odd of [0, 6, -1, 2 ** 40]) {
        await expect(read(odd)).rejects.toThrow(coded("BACKEND"));
        executor.dropKept(odd);
      }
    });

    test("takes the place of one that was dropped, and others stay as they are", async () => {
      const { states, program } = keeping([rows, columns]);
      for (const token of [1, 2, 3]) await run(program, states, token, { inputs: [counted(token)] });
      const bytes = executor.arenaBytes();
      for (let token = 4; token < 20; token++) {
        executor.dropKept(token - 2);
        await run(program, states, token, { inputs: [counted(token)] });
        sameBits(await read(1), counted(1));
        sameBits(await read(token - 1), counted(token - 1));
      }
      expect(executor.arenaBytes()).toBe(bytes);
    });

    test("is read and dropped in the order of the calls", async () => {
      const { states, program } = keeping([rows, columns]);
      const steps = [1, 2].map((token) => run(program, states, token, { inputs: [counted(token)] }));
      const early = read(1);
      executor.dropKept(1);
      steps.push(run(program, states, 3, { inputs: [counted(3)] }));
      const late = expect(read(1)).rejects.toThrow(coded("BACKEND"));
      sameBits(await early, counted(1));
      sameBits(await read(2), counted(2));
      await Promise.all([...steps, late]);
    });

    test("of a run that keeps nothing is none", async () => {
      const { states, program } = keeping([rows, columns]);
      const nothing = executor.createProgram(new Words(addon, 0).all(), [], states);
      await run(program, states, 1, { inputs: [counted(1)] });
      await run(nothing, states, 2);
      await expect(read(2)).rejects.toThrow(expect.objectContaining({ code: expect.stringMatching(/^(BACKEND|SHAPE)$/) }));
      executor.dropKept(2);
      sameBits(await read(1), counted(1));
    });

    test("is one of several, of sizes of their own", async () => {
      const { states, program } = keeping([3, 7], [0, 4], [5, 1]);
      await run(program, states, 1, { inputs: [counted(0, 21), new Float32Array(0), counted(50, 5)] });
      const [second, third] = [new Float32Array(0), new Float32Array(4)];
      await executor.readKept(1, 1, 0, 0, second);
      await executor.readKept(1, 2, 1, 5, third);
      expect(third).toEqual(counted(51, 4));
    });

    test("of no numbers is read as such", async () => {
      const { states, program } = keeping([0, columns]);
      await run(program, states, 1, { inputs: [new Float32Array(0)] });
      expect(await read(1, 0, 0)).toEqual(new Float32Array(0));
    });

    test("out of range is refused with SHAPE", async () => {
      const { states, program } = keeping([rows, columns]);
      await run(program, states, 1, { inputs: [counted(1)] });
      const ranges = [
        [-1, 2],
        [2, 1],
        [0, rows + 1],
        [rows, rows + 1],
        [2 ** 40, 2 ** 40 + 1],
      ] as const;
      for (const [from, to] of ranges) await expect(read(1, from, to, columns)).rejects.toThrow(coded("SHAPE"));
      await expect(read(1, 0, 2, columns)).rejects.toThrow(coded("SHAPE"));
      for (const index of [-1, 1, 2 ** 40])
        await expect(call(() => executor.readKept(1, index, 0, 1, new Float32Array(columns)))).rejects.toThrow(coded("SHAPE"));
      expect(await read(1, rows, rows)).toEqual(new Float32Array(0));
    });
  });

  test("copies of slots come before the list", async () => {
    const [dInner, dConv] = [20, 2];
    const states = statesOf([16, 0, 1, dInner, 1, dConv], 3);
    const weight = executor.createWeight("conv", 0, false, 1, dInner, dConv);
    await executor.packRows(
      weight,
      0,
      dInner,
      new Uint8Array(Float32Array.from({ length: dInner * dConv }, (_, i) => Math.cos(i)).buffer),
      0,
    );
    const words = new Words(addon, 0);
    const [x, y] = [words.input(words.place(1, dInner)), words.place(1, dInner)] as const;
    words.command("causalConv", x, 0, -1, 0, y);
    words.command("read", y);
    const program = executor.createProgram(words.all(), [weight], states);
    const given = new Float32Array(dInner).fill(0.5);
    const window = new Uint8Array(Float32Array.from({ length: dInner }, (_, i) => i).buffer);
    const outs = [0, 1, 2].map(() => new Float32Array(dInner));
    await executor.movePart(states, Int32Array.of(0, 1, 0), 0, 0, window, true);
    await run(program, states, 1, { inputs: [given], outputs: [outs[0]], slots: [0, 1, 0, 2], address: [1, 1, 0] });
    await run(program, states, 2, { inputs: [given], outputs: [outs[1]], address: [2, 1, 0] });
    await run(program, states, 3, { inputs: [given], outputs: [outs[2]], address: [0, 1, 0] });
    expect(outs[0]).toEqual(outs[2]);
    expect(outs[1]).toEqual(outs[2]);
  });

  test("copies of large slots and of pages arrive whole", async () => {
    const [dInner, dState, headDim, pageTokens] = [4096, 64, 64, 16];
    const states = statesOf([pageTokens, 0, 1, dInner, dState, 1, 0, 2, headDim, 0], 3, 4);
    const random = seeded(3);
    const bytes = (n: number) => Uint8Array.from({ length: n }, () => 256 * random());
    const [h, k] = [bytes(dInner * dState * 4), bytes(2 * pageTokens * headDim * 4)];
    await executor.movePart(states, Int32Array.of(0, pageTokens, 1, 1), 0, 1, h, true);
    await executor.movePart(states, Int32Array.of(0, pageTokens, 1, 1), 1, 0, k, true);
    const nothing = executor.createProgram(new Words(addon, 0).all(), [], states);
    await run(nothing, states, 1, { slots: [0, 2, 0, 1], pages: [1, 3] });
    const at = Int32Array.of(2, pageTokens, 1, 3);
    const back = [new Uint8Array(h.length), new Uint8Array(k.length)];
    await executor.movePart(states, at, 0, 1, back[0], false);
    await executor.movePart(states, at, 1, 0, back[1], false);
    expect(Buffer.compare(back[0], h)).toBe(0);
    expect(Buffer.compare(back[1], k)).toBe(0);
  });

  test("a run with a place that is none is refused with SHAPE", async () => {
    const states = statesOf([4, 0, 0, 1, 8, 0], 2, 3);
    const words = new Words(addon, 0);
    const places = Array.from({ length: 4 }, () => words.place(1, 8)) as [Place, Place, Place, Place];
    words.command("attention", places[0], places[1], places[2], 0, places[3]);
    const program = executor.createProgram(words.all(), [], states);
    await run(program, states, 1, { address: [0, 4, 2, 0, 1] });
    const odd: readonly Given[] = [
      ...[[0, 2], [2, 0], [-1, 0], [0, -1], [0], [0, 1, 0]].map((slots) => ({ slots })),
      ...[
        [0, 3],
        [3, 0],
        [2 ** 31 - 1, 0],
      ].map((pages) => ({ pages })),
      ...[[2, 0, 1, 0], [-1, 0, 1, 0], [0, 0, 1, 3], [0, 4, 1, 0], [0, -1, 1, 0], [0, 0, -1], [0, 0, 9, 0], [0, 0], []].map((address) => ({
        address,
      })),
    ];
    for (const given of odd)
      await expect(run(program, states, 2, { address: [0, 0, 1, 0], ...given }), JSON.stringify(given)).rejects.toThrow(coded("SHAPE"));
  });

  describe("a part of a state", () => {
    test.each([
      [0, "f32", 4],
      [1, "bf16", 2],
      [2, "f16", 2],
    ] as const)("comes back bit by bit: %i, %s", async (kvDtype, _, size) => {
      const [dInner, dState, dConv, nKvHeads, headDim, seen] = [37, 3, 4, 2, 7, 11];
      const states = statesOf([4, kvDtype, 0, nKvHeads, headDim, 0, 1, dInner, dState, dConv], 2, 4);
      const address = Int32Array.of(1, seen, 3, 3, 0, 2);
      const kv = nKvHeads * seen * headDim * size;
      const parts = [
        [0, 0, kv],
        [0, 1, kv],
        [1, 0, dInner * (dConv - 1) * 4],
        [1, 1, dInner * dState * 4],
      ] as const;
      const random = seeded(2);
      const given = parts.map(([, , n]) => Uint8Array.from({ length: n }, () => 256 * random()));
      for (const [i, [layer, part]] of parts.entries()) await executor.movePart(states, address, layer, part, given[i], true);
      for (const [i, [layer, part, n]] of parts.entries()) {
        const back = new Uint8Array(n);
        await executor.movePart(states, address, layer, part, back, false);
        expect(back).toEqual(given[i]);
      }
    });

    test("that has seen nothing is zeros", async () => {
      const states = statesOf([4, 0, 1, 5, 2, 3, 0, 1, 8, 0], 1, 1);
      await executor.movePart(states, Int32Array.of(0, 1, 0), 0, 1, new Uint8Array(40).fill(7), true);
      const back = new Uint8Array(40).fill(1);
      await executor.movePart(states, Int32Array.of(0, 0, 0), 0, 1, back, false);
      expect(back).toEqual(new Uint8Array(40));
      await executor.movePart(states, Int32Array.of(0, 0, 0), 1, 1, new Uint8Array(0), false);
    });

    test("that does not fit is refused with SHAPE", async () => {
      const states = statesOf([4, 2, 1, 5, 2, 3, 0, 1, 8, 0], 1, 2);
      const move = (address: number[], layer: number, part: number, bytes: number) =>
        call(() => executor.movePart(states, Int32Array.from(address), layer, part as 0, new Uint8Array(bytes), false));
      await move([0, 1, 0], 0, 1, 40);
      await move([0, 3, 1, 1], 1, 1, 48);
      const odd: readonly Parameters<typeof move>[] = [
        ...[39, 41, 0].map((bytes): Parameters<typeof move> => [[0, 1, 0], 0, 1, bytes]),
        ...[-1, 2, 2 ** 31].map((layer): Parameters<typeof move> => [[0, 1, 0], layer, 0, 40]),
        ...[-1, 2].map((part): Parameters<typeof move> => [[0, 1, 0], 0, part, 40]),
        ...[[1, 1, 0], [-1, 1, 0], [0, -1, 0], [0, 1], []].map((address): Parameters<typeof move> => [address, 0, 1, 40]),
        [[0, 3, 0], 1, 1, 48],
        [[0, 3, 1, 2], 1, 1, 48],
        [[0, 5, 1, 1], 1, 1, 80],
      ];
      for (const args of odd) await expect(move(...args), JSON.stringify(args)).rejects.toThrow(coded("SHAPE"));
    });
  });

  test("a weight takes the bytes that it says it would", () => {
    for (const [dtype] of addon.dtypes.entries()) {
      for (const [stack, rows, columns] of [
        [1, 70, 100],
        [3, 1, 1],
        [2, 33, 257],
        [1, 0, 5],
      ]) {
        const weight = executor.createWeight("w", dtype, false, stack, rows, columns);
        const bytes = executor.weightBytes("w", dtype, false, stack, rows, columns);
        expect(executor.readPacked(weight, 0, bytes).length).toBe(bytes);
        expect(() => executor.readPacked(weight, 0, bytes + 1)).toThrow(coded("SHAPE"));
        executor.release(weight);
      }
    }
  });

  test("sizes of slots and pages are those that are held", () => {
    for (const layout of [
      [16, 2, 1, 37, 3, 4, 0, 2, 7, 0],
      [1, 0],
      [4, 0, 1, 16, 16, 4],
    ]) {
      const [slot, page] = executor.stateSizes(Int32Array.from(layout));
      const states = executor.createStates(Int32Array.from(layout));
      expect(executor.reserveStates(states, 3, 5)).toBe(3 * slot + 5 * page);
    }
  });

  describe("packed bytes", () => {
    const folder = mkdtempSync(join(tmpdir(), "jamba-addon-"));
    afterAll(() => rmSync(folder, { recursive: true }));
    const description = ["w", 3, false, 1, 70, 100] as const;

    test("go into a weight at any offset", async () => {
      const weight = executor.createWeight(...description);
      const bytes = Uint8Array.from({ length: 17408 }, (_, i) => i * 7);
      await Promise.all([
        executor.writePacked(weight, 1001, bytes.subarray(1001)),
        executor.writePacked(weight, 0, bytes.subarray(0, 1001)),
      ]);
      expect(executor.readPacked(weight, 0, bytes.length)).toEqual(bytes);
      for (const offset of [-1, 17405, 2 ** 40])
        await expect(call(() => executor.writePacked(weight, offset, bytes.subarray(0, 4)))).rejects.toThrow(coded("SHAPE"));
      await executor.writePacked(weight, 17408, new Uint8Array(0));
    });

    test("do not go into a mapped one", async () => {
      const path = join(folder, "mapped");
      writeFileSync(path, new Uint8Array(17408));
      const weight = executor.mapWeight(path, 0, ...description);
      await expect(call(() => executor.writePacked(weight, 0, new Uint8Array(4)))).rejects.toThrow(coded("BACKEND"));
      await expect(call(() => executor.packRows(weight, 0, 1, new Uint8Array(400), 0))).rejects.toThrow(coded("BACKEND"));
    });
  });
}
