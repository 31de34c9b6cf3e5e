// The op `top` against a plain truth, at every level and count of threads, with rows that are hostile.

import { normal, seeded } from "@jamba/conformance";
import { afterAll, describe, expect, test } from "vitest";
import { type Addon, type CpuLevel, loadAddon } from "../src/addon.ts";
import { none, Words } from "./words.ts";

const addon = await loadAddon().catch((error: Error) => error);
const threadCounts = [1, 2, 3];

interface Top {
  readonly ids: Int32Array;
  readonly values: Float32Array;
  /** max, Σ e^(l - max), Σ e^(l - max) (max - l), Σ e^((l - max) / T), count */
  readonly sums: Float32Array;
  readonly asked: Float32Array;
}

interface Case {
  readonly name: string;
  readonly rows: readonly Float32Array[];
  readonly k: number;
  readonly temperatures: readonly number[];
  readonly asked?: readonly (readonly number[])[];
}

const random = seeded(1);
const normals = (n: number, scale = 3) => Float32Array.from({ length: n }, () => scale * normal(random));
const pick = <T>(from: readonly T[]): T => from[Math.floor(random() * from.length)];
const sprinkled = (n: number, p: number, odd: readonly number[]) => normals(n).map((v) => (random() < p ? pick(odd) : v));
const single = (name: string, row: Float32Array, k: number, T = 1): Case => ({
  name: `${name}, k = ${k}, T = ${T}`,
  rows: [row],
  k,
  temperatures: [T],
});

const hostile: readonly (readonly [name: string, make: (n: number) => Float32Array])[] = [
  ["all equal", (n) => new Float32Array(n).fill(7.25)],
  ["all equal and large", (n) => new Float32Array(n).fill(-1e30)],
  ["one finite", (n) => new Float32Array(n).fill(Number.NaN).fill(-3, n >> 1, (n >> 1) + 1)],
  ["none finite", (n) => new Float32Array(n).map((_, i) => [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY][i % 3])],
  ["NaN and infinities", (n) => sprinkled(n, 0.1, [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY])],
  ["one NaN at the end", (n) => normals(n).fill(Number.NaN, n - 1)],
  ["masked but a few", (n) => normals(n).map((v) => (random() < 0.002 ? v : Number.NEGATIVE_INFINITY))],
  ["huge", (n) => sprinkled(n, 0.3, [1e30, -1e30])],
  ["as far apart as can be", (n) => sprinkled(n, 0.5, [3.4e38, -3.4e38])],
  ["tiny", (n) => normals(n, 1e-42)],
  ["ties at the cut", (n) => normals(n).map((v) => Math.round(v))],
  ["zeros of both signs", (n) => new Float32Array(n).map(() => pick([0, -0, -1, -0.5]))],
  ["one far above", (n) => normals(n).fill(95, n >> 1, (n >> 1) + 1)],
  ["one above equals, where rounding does not average out", (n) => new Float32Array(n).fill(-10.3).fill(7.7, n >> 1, (n >> 1) + 1)],
  ["rising", (n) => new Float32Array(n).map((_, i) => i / 1000)],
  ["falling", (n) => new Float32Array(n).map((_, i) => -i / 1000)],
];

function* cases(): Generator<Case> {
  for (let n = 1; n <= 70; n++) yield single(`${n} logits`, normals(n), pick([1, 2, 5, n, n + 3, 256]), pick([0.01, 0.7, 1, 10]));
  for (const k of [1, 2, 20, 64, 256, 1000, 1500]) yield single("1000 logits", normals(1000), k, 0.7);
  for (const k of [1, 20, 256]) yield single("65536 logits", normals(65536), k, pick([1, 0.7]));
  yield single("65536 logits", normals(65536), 5000);
  for (const T of [0.01, 0.1, 0.5, 1.5, 10, 1e-35, 1e35]) yield single("4099 logits", normals(4099), 100, T);
  for (const [name, make] of hostile)
    for (const n of [3, 64, 1000, 12300]) yield single(`${name}, ${n} logits`, make(n), pick([1, 20, 256]), pick([0.05, 1, 2]));
  for (const nRows of [2, 5, 130]) {
    const rows = Array.from({ length: nRows }, (_, i) => (i % 4 === 3 ? pick(hostile)[1](4200) : normals(4200)));
    const asked = rows.map((_, i) => Array.from({ length: i % 3 }, () => Math.floor(random() * 4200)));
    yield { name: `${nRows} rows`, rows, k: 9, temperatures: rows.map((_, i) => [1, 0.3, 5][i % 3]), asked };
  }
}

function truthOf(logits: Float32Array, k: number, temperature: number): Pick<Top, "ids" | "values"> & { sums: number[] } {
  const finite = [...logits.keys()].filter((id) => Number.isFinite(logits[id]));
  const best = finite.sort((a, b) => logits[b] - logits[a] || a - b).slice(0, k);
  const ids = new Int32Array(k).fill(-1);
  ids.set(best);
  const values = new Float32Array(k).fill(Number.NEGATIVE_INFINITY);
  values.set(best.map((id) => logits[id]));
  const max = (logits[finite[0]] ?? Number.NEGATIVE_INFINITY) + 0; // not -0
  const sums = [max, 0, 0, 0, finite.length];
  const T = Math.fround(temperature);
  for (const id of finite) {
    const d = logits[id] - max;
    sums[1] += Math.exp(d);
    sums[2] += Math.exp(d) * -d;
    sums[3] += Math.exp(d / T);
  }
  return { ids, values, sums };
}

async function topOf({ rows, k, temperatures, asked }: Case, { Executor }: Addon, level: CpuLevel, threads: number): Promise<Top> {
  const executor = new Executor(level, threads);
  const [nRows, n] = [rows.length, rows[0].length];
  const words = new Words(addon as Addon, nRows);
  const logits = words.input(words.place(nRows, n, 3));
  const outs = [words.place(nRows, k, 1), words.place(nRows, k), words.place(nRows, 5)] as const;
  words.command("top", logits, k, ...outs);
  for (const out of outs) words.command("read", out);
  const states = executor.createStates(Int32Array.of(16, 0));
  executor.reserveStates(states, 1, 0);
  const program = executor.createProgram(words.all(), [], states);
  const given = new Float32Array(nRows * n);
  for (const [i, row] of rows.entries()) given.set(row, i * n);
  const askedIds = Int32Array.from((asked ?? []).flat());
  const askedStarts = asked ? Int32Array.from([0, ...asked.map((_, i) => asked.slice(0, i + 1).flat().length)]) : none;
  const top: Top = {
    ids: new Int32Array(nRows * k),
    values: new Float32Array(nRows * k),
    sums: new Float32Array(nRows * 5),
    asked: new Float32Array(askedIds.length),
  };
  const step = [Int32Array.of(0), new Int32Array(nRows), Int32Array.of(0, 1), Int32Array.of(0, 0, 0)] as const;
  const outputs = [top.asked, top.ids, top.values, top.sums];
  await executor.run(program, states, ...step, Float32Array.from(temperatures), askedStarts, askedIds, none, none, [given], outputs, 1);
  executor.stop();
  return top;
}

if (addon instanceof Error) test("top", ({ skip }) => skip(addon.message));
else {
  const all = [...cases()];
  describe.each(addon.levels)("%s", (level) => {
    test.each(all)("$name: is the truth, on any count of threads", async (one) => {
      const { rows, k, temperatures, asked } = one;
      const tops = await Promise.all(threadCounts.map((threads) => topOf(one, addon, level, threads)));
      for (const top of tops.slice(1)) expect(top).toEqual(tops[0]);
      const [found] = tops;
      for (const [i, row] of rows.entries()) {
        const { ids, values, sums } = truthOf(row, k, temperatures[i]);
        expect(found.ids.slice(i * k, (i + 1) * k)).toEqual(ids);
        expect(found.values.slice(i * k, (i + 1) * k)).toEqual(values);
        const near = [...found.sums.slice(i * 5, (i + 1) * 5)];
        expect([near[0], near[4]]).toEqual([sums[0], sums[4]]);
        for (const j of [1, 2, 3]) expectNear(near[j], sums[j], `row ${i}, sum ${j}`);
      }
      expect(found.asked).toEqual(Float32Array.from((asked ?? []).flatMap((ids, i) => ids.map((id) => rows[i][id]))));
    });
  });

  describe("a run with top is refused with SHAPE", () => {
    const executor = new addon.Executor(addon.levels[0], 1);
    afterAll(() => executor.stop());
    const words = new Words(addon, 2);
    words.command("top", words.place(2, 8), 3, words.place(2, 3), words.place(2, 3), words.place(2, 5));
    const states = executor.createStates(Int32Array.of(16, 0));
    executor.reserveStates(states, 1, 0);
    const program = executor.createProgram(words.all(), [], states);
    const run = (temperatures: number[], starts: number[], ids: number[], bytes = 4 * ids.length) =>
      (async () => {
        const step = [Int32Array.of(0), new Int32Array(2), Int32Array.of(0, 1), Int32Array.of(0, 0, 0)] as const;
        const asked = [Float32Array.from(temperatures), Int32Array.from(starts), Int32Array.from(ids)] as const;
        await executor.run(program, states, ...step, ...asked, none, none, [], [new Uint8Array(bytes)], 1);
      })();
    test.each<[string, Parameters<typeof run>]>([
      ["without temperatures", [[], [], []]],
      ["with one too few", [[1], [], []]],
      ["with a temperature of 0", [[1, 0], [], []]],
      ["with one that is no number", [[1, Number.NaN], [], []]],
      ["with an id below 0", [[1, 1], [0, 1, 1], [-1]]],
      ["with an id beyond the row", [[1, 1], [0, 1, 1], [8]]],
      ["with ids that belong to no row", [[1, 1], [], [1]]],
      ["with starts that fall", [[1, 1], [0, 2, 1], [1]]],
      ["with starts that end early", [[1, 1], [0, 0, 0], [1]]],
      ["with a start too few", [[1, 1], [0, 1], [1]]],
      ["with no room for what it asks", [[1, 1], [0, 1, 1], [1], 0]],
    ])("%s", (_, args) => expect(run(...args)).rejects.toMatchObject({ code: "SHAPE" }));
    test("unless all fits", () => run([1, 2], [0, 1, 3], [7, 0, 0]));
  });
}

/** What is below 2^-125 may count as 0. */
function expectNear(found: number, expected: number, what: string): void {
  const error = Math.abs(found - expected);
  expect(error, `${what}: expected ${expected}, found ${found}`).toBeLessThanOrEqual(1e-6 * expected + 1e-30);
}
