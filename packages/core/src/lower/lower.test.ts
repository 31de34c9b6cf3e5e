import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  type CommandList,
  type FusedCommand,
  HostTensor,
  lower,
  type Ops,
  openReference,
  type Rewrite,
  record,
  runOnce,
  type StateSpec,
  sourceOf,
  type Tensor,
  tensorsOf,
  traced,
  type Weight,
} from "../index.ts";
import { type Fusion, fusions } from "./fuse.ts";

const states: StateSpec = { pageTokens: 4, kvDtype: "f32", layers: [] };
const step = { L: 3, nSequences: 1, nRows: 1 };
const N = 5;
const all = Object.keys(fusions) as Fusion[];
const target = (...fuses: Fusion[]) => ({ fuses: new Set(fuses), alignBytes: 256, mostArenaBytes: Number.POSITIVE_INFINITY });
const opsOf = (commands: readonly FusedCommand[]) => commands.map((c) => ("norm" in c && c.norm ? `normed ${c.op}` : c.op));

const names = ["a", "b", "c", "d"] as const;
type Weights = Record<(typeof names)[number] | "norm", Weight>;
const weight = (name: string): Weight => ({ name, dtype: "f32", shape: name === "norm" ? [N] : [N, N] });
const paper: Weights = { a: weight("a"), b: weight("b"), c: weight("c"), d: weight("d"), norm: weight("norm") };

const recorded = (build: (ops: Ops, w: Weights, x: Tensor) => void, w = paper): CommandList =>
  record(step, states, (ops) => build(ops, w, ops.input("x", [step.L, N])));

/** Norm, gate and up, down into the stream: Jamba's MLP. */
const mlp = (ops: Ops, w: Weights, x: Tensor) => {
  const [gate, up] = ops.matmul(ops.rmsNorm(x, w.norm, 1e-6), [w.a, w.b]);
  ops.matmul(ops.swiglu(gate, up), [w.c], { addTo: x });
  ops.read("y", x);
};

describe("a fusion is taken where it changes nothing, and nowhere else", () => {
  test.each<[string, (ops: Ops, w: Weights, x: Tensor) => void, string[]]>([
    ["all of an MLP", mlp, ["input", "normed gateUp", "matmul", "read"]],
    ["a norm before several weights", (ops, w, x) => ops.matmul(ops.rmsNorm(x, w.norm, 1), [w.a, w.b, w.c]), ["input", "normed matmul"]],
    [
      "not a norm that two read",
      (ops, w, x) => {
        const normed = ops.rmsNorm(x, w.norm, 1);
        ops.matmul(normed, [w.a]);
        ops.matmul(normed, [w.b]);
      },
      ["input", "rmsNorm", "matmul", "matmul"],
    ],
    [
      "not a norm that is read outside",
      (ops, w, x) => {
        const normed = ops.rmsNorm(x, w.norm, 1);
        ops.read("normed", normed);
        ops.matmul(normed, [w.a]);
      },
      ["input", "rmsNorm", "read", "matmul"],
    ],
    [
      "not over a stream that moves on between",
      (ops, w, x) => {
        const normed = ops.rmsNorm(x, w.norm, 1);
        const [other] = ops.matmul(x, [w.b]);
        ops.matmul(other, [w.c], { addTo: x });
        ops.matmul(normed, [w.a]);
      },
      ["input", "rmsNorm", "matmul", "matmul", "matmul"],
    ],
    [
      "not into a matmul that adds to what the norm reads",
      (ops, w, x) => ops.matmul(ops.rmsNorm(x, w.norm, 1), [w.a], { addTo: x }),
      ["input", "rmsNorm", "matmul"],
    ],
    [
      "not half of a norm",
      (ops, w, x) => ops.matmul(ops.slice(ops.rmsNorm(ops.swiglu(x, x), w.norm, 1), 0, N - 1), [{ ...w.a, shape: [N, N - 1] }]),
      ["input", "swiglu", "rmsNorm", "matmul"],
    ],
    [
      "not a gate that somebody else reads",
      (ops, w, x) => {
        const [gate, up] = ops.matmul(x, [w.a, w.b]);
        ops.swiglu(gate, up);
        ops.read("gate", gate);
      },
      ["input", "matmul", "swiglu", "read"],
    ],
    [
      "not with gate and up the wrong way round",
      (ops, w, x) => {
        const [gate, up] = ops.matmul(x, [w.a, w.b]);
        ops.swiglu(up, gate);
      },
      ["input", "matmul", "swiglu"],
    ],
    [
      "not over a stream that moves on before the swiglu",
      (ops, w, x) => {
        const [gate, up] = ops.matmul(x, [w.a, w.b]);
        const [other] = ops.matmul(gate, [w.c]);
        ops.matmul(other, [w.d], { addTo: x });
        ops.swiglu(gate, up);
      },
      ["input", "matmul", "matmul", "matmul", "swiglu"],
    ],
  ])("%s", (_, build, expected) => {
    expect(opsOf(lower(recorded(build), target(...all)).commands)).toEqual(expected);
  });

  test("a device gets those that it names", () => {
    expect(opsOf(lower(recorded(mlp), target("swiglu of two matmuls")).commands)).toEqual(["input", "rmsNorm", "gateUp", "matmul", "read"]);
    expect(opsOf(lower(recorded(mlp), target("norm into matmul")).commands)).toEqual([
      "input",
      "normed matmul",
      "swiglu",
      "matmul",
      "read",
    ]);
  });
});

/** Chains of commands over a few values, as wild as recordings can be. */
const programs = fc.array(fc.tuple(fc.constantFrom("norm", "two", "one", "swiglu", "add", "read"), fc.nat(6), fc.nat(6), fc.nat(3)), {
  maxLength: 14,
});

function wild(steps: readonly [string, number, number, number][]) {
  return (ops: Ops, w: Weights, x: Tensor) => {
    const values = [x];
    const at = (i: number) => values[i % values.length];
    for (const [i, [kind, a, b, c]] of steps.entries()) {
      if (kind === "norm") values.push(ops.rmsNorm(at(a), w.norm, 1e-6));
      else if (kind === "two") values.push(...ops.matmul(at(a), [w[names[c]], w[names[(c + 1) % 4]]]));
      else if (kind === "one") values.push(...ops.matmul(at(a), [w[names[c]]]));
      else if (kind === "swiglu") values.push(ops.swiglu(at(a), at(b)));
      else if (kind === "read") ops.read(`${i}`, at(a));
      else if (at(a).buffer !== at(b).buffer) ops.matmul(at(a), [w[names[c]]], { addTo: at(b) });
    }
    ops.read("last", values.at(-1)!);
  };
}

/** The values of a list on a reference that runs the plan that `rewrites` give. */
async function valuesOf(steps: readonly [string, number, number, number][], fuses: readonly Fusion[]): Promise<number[]> {
  const backend = openReference({ fuses });
  const weights = {} as Weights;
  for (const [i, name] of Object.keys(paper).entries()) {
    const { shape } = paper[name as keyof Weights];
    const values = Float32Array.from({ length: shape.reduce((a, b) => a * b) }, (_, j) => Math.sin(1 + j * (i + 2)) / 2);
    weights[name as keyof Weights] = await backend.openWeight(sourceOf(name, shape, values), "f32");
  }
  const store = await backend.createStates(states);
  await store.reserve(1, 0);
  const x = new HostTensor(
    "float32",
    Float32Array.from({ length: step.L * N }, (_, i) => Math.cos(i)),
    [step.L, N],
  );
  const values = await runOnce(backend, recorded(wild(steps), weights), store, {
    ids: new Int32Array(step.L),
    starts: Int32Array.of(0, step.L),
    rows: Int32Array.of(0),
    states: [{ slot: 0, pages: [], seen: 0 }],
    tensors: new Map([["x", x]]),
  });
  return [...values.values()].flatMap(({ data }) => Array.from(data as Float32Array));
}

/** Runs `steps` fused and not, and tells how far apart they are, relative to the largest value. */
async function fusedError(steps: readonly [string, number, number, number][], fuses: readonly Fusion[]): Promise<number> {
  const [plain, fused] = [await valuesOf(steps, []), await valuesOf(steps, fuses)];
  if (!plain.every(Number.isFinite)) return 0;
  const most = Math.max(1e-30, ...plain.map(Math.abs));
  return Math.max(0, ...plain.map((v, i) => Math.abs(v - fused[i]) / most));
}

describe.each([...all.map((name) => [name]), all])("%s", (...fuses: Fusion[]) => {
  test("changes no value of any list but by rounding", async () => {
    await fc.assert(
      fc.asyncProperty(programs, async (steps) => {
        expect(await fusedError(steps, fuses)).toBeLessThan(1e-4);
      }),
      { numRuns: 300 },
    );
  });
});

describe("a planted wrong fusion is found", () => {
  /** A rewrite that forgets to look at something. */
  const faults: [string, Fusion, Rewrite][] = [
    [
      "one that does not look whether the stream moves on",
      "norm into matmul",
      (commands) =>
        commands.map((c) => {
          const norm = commands.find((one) => one.op === "rmsNorm" && c.op === "matmul" && one.out.buffer === c.x.buffer);
          return c.op === "matmul" && norm?.op === "rmsNorm" ? { ...c, x: norm.x, norm: { weight: norm.weight, eps: norm.eps } } : c;
        }),
    ],
    [
      "one that moves reads to the end",
      "swiglu of two matmuls",
      (commands) => [...commands.filter((c) => c.op !== "read"), ...commands.filter((c) => c.op === "read")],
    ],
    [
      "one that swaps gate and up",
      "swiglu of two matmuls",
      (commands) =>
        fusions["swiglu of two matmuls"](commands).map((c) => (c.op === "gateUp" ? { ...c, gateProj: c.upProj, upProj: c.gateProj } : c)),
    ],
    [
      "one that forgets the norm's epsilon",
      "norm into matmul",
      (commands) => fusions["norm into matmul"](commands).map((c) => ("norm" in c && c.norm ? { ...c, norm: { ...c.norm, eps: 1 } } : c)),
    ],
  ];
  test.each(faults)("%s", async (_, name, rewrite) => {
    const right = fusions[name];
    const planted = fusions as Record<Fusion, Rewrite>;
    planted[name] = rewrite;
    try {
      const found = await fc.check(
        fc.asyncProperty(programs, async (steps) => {
          expect(await fusedError(steps, [name])).toBeLessThan(1e-4);
        }),
        { numRuns: 2000, seed: 1 },
      );
      expect(found.failed).toBe(true);
    } finally {
      planted[name] = right;
    }
  });
});

test("values and scratch that are alive at the same time do not share words, whatever was fused, and what is free is used again", () => {
  fc.assert(
    fc.property(programs, fc.subarray(all), fc.array(fc.nat(200), { minLength: 1 }), (steps, fuses, sizes) => {
      let nCommands = 0;
      const scratchWords = () => sizes[nCommands++ % sizes.length];
      const plan = lower(recorded(wild(steps)), { ...target(...fuses), scratchWords });
      expect(plan.scratch.map(({ length }) => length)).toEqual(plan.commands.map((_, i) => sizes[i % sizes.length]));
      const places = plan.scratch.map((buffer, i) => ({ ...buffer, first: i, last: i }));
      const life = new Map<number, { first: number; last: number }>();
      for (const [i, command] of plan.commands.entries())
        for (const { tensor } of tensorsOf(command)) life.set(tensor.buffer, { first: life.get(tensor.buffer)?.first ?? i, last: i });
      for (const [buffer, when] of life) places.push({ ...plan.buffers[buffer], ...when });
      for (const [i, a] of places.entries()) {
        expect(a.offset % 64).toBe(0);
        expect(4 * (a.offset + a.length)).toBeLessThanOrEqual(plan.arenaBytes);
        for (const [j, b] of places.entries()) {
          if (i >= j || a.last < b.first || b.last < a.first) continue;
          const apart = a.offset + a.length <= b.offset || b.offset + b.length <= a.offset;
          expect(apart, `places ${i} and ${j}`).toBe(true);
        }
      }
    }),
  );
  const chain = (n: number, scratchWords?: () => number) =>
    lower(recorded(wild([...Array(n).keys()].map((i) => ["one", i, 0, 0]))), { ...target(), scratchWords }).arenaBytes;
  expect(chain(12)).toBe(chain(4));
  expect(chain(12, () => 64)).toBe(chain(4) + 256);
});

test("an arena beyond what one binding holds is refused, and says what would help", () => {
  const most = (mostArenaBytes: number, scratchWords?: () => number) => lower(recorded(mlp), { ...target(), mostArenaBytes, scratchWords });
  expect(() => most(256)).toThrow(/step of 3 tokens: expected values of at most 256 bytes/);
  const { arenaBytes } = most(Number.POSITIVE_INFINITY, () => 1000);
  expect(arenaBytes).toBeGreaterThan(4000);
  expect(() => most(arenaBytes - 1, () => 1000)).toThrow(`expected values of at most ${arenaBytes - 1} bytes, found ${arenaBytes}`);
  expect(most(arenaBytes - 1).arenaBytes).toBeLessThan(4000);
});

test("a traced list reads all that is written, in order, and fuses nothing", () => {
  const { list, written } = traced(recorded(mlp));
  expect(written.map((names) => names.length)).toEqual([1, 1, 2, 1, 1, 0]);
  expect(opsOf(lower(list, target(...all)).commands).filter((op) => op !== "read")).toEqual([
    "input",
    "rmsNorm",
    "matmul",
    "swiglu",
    "matmul",
  ]);
});
