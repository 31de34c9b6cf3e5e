// The README's table of what each op takes, worked out over the calls that are planned for it: no device is needed.

import { readFileSync } from "node:fs";
import { runInNewContext } from "node:vm";
import type { PackedInputs } from "@jamba/core";
import { expect, test } from "vitest";
import type { PlannedCall } from "../src/dispatch.ts";
import { textOf } from "../src/kernels.ts";
import { plannedCalls, shapes } from "./planned.ts";

const [seen, prefill] = [4096, 512];
const [shape] = shapes;

interface Cost {
  readonly kernels: Set<string>;
  dispatches: number;
  /** Of weights, keys, values and states, and what tiles read of x; other values between ops are a few percent of them. */
  bytes: number;
  operations: number;
}

/** Bytes that a group of threads has beside its registers. */
function workgroupBytes({ key }: PlannedCall): number {
  const text = textOf(key);
  const known = new Map([...text.matchAll(/^(?:const|override) (\w+)(?:: \w+)? = ([^;]+);$/gm)].map(([, name, words]) => [name, words]));
  const worth = (words: string): number =>
    runInNewContext(
      words.replaceAll(/(\d)u\b/g, "$1").replaceAll(/[a-z]\w*/gi, (name) => `(${key.constants?.[name] ?? worth(known.get(name)!)})`),
    );
  const sizes: Readonly<Record<string, number>> = { "vec4<f32>": 16, "vec4<u32>": 16, "vec2<f32>": 8 };
  const found = [...text.matchAll(/^var<workgroup> \w+: (?:array<(.+), ([^,\n]+)>|\w+(?:<\w+>)?);$/gm)];
  return found.reduce((sum, [, type, length]) => sum + (type ? (sizes[type] ?? 4) * worth(length) : 4), 0);
}

/** Bytes and operations of a call, by what its kernel's comment says, for a sequence of L tokens after `before` others. */
function costOf({ key, params, groups }: PlannedCall, L: number, before: number): { bytes: number; operations: number } {
  const { rows = 0, blocks = 0, columns = 0, dInner = 0, dState = 0, dConv = 0 } = params;
  const sizes = groups as readonly number[];
  const [dtype] = Object.values(key.weights ?? {});
  const all = rows + (params.secondRows ?? 0) + (params.thirdRows ?? 0);
  const matrix = dtype === "q4" ? 18 * all * blocks : 4 * all * columns;
  const products = 2 * all * columns * L;
  switch (key.name) {
    case "matvec":
    case "matvec-three":
      return { bytes: matrix, operations: products };
    case "gate-up":
      return { bytes: 2 * matrix, operations: 2 * products };
    case "matmul-bytes":
      // Each tile of tokens reads its rows, and each tile of rows its tokens, of which a block is 10 words.
      return { bytes: matrix * sizes[1] + 40 * L * blocks * sizes[0], operations: products };
    case "attention": {
      const { nHeads, nKvHeads, headDim, rowVectors, tokens } = params;
      const ends = Array.from({ length: Math.ceil(L / tokens) }, (_, i) => before + Math.min(L, (i + 1) * tokens));
      const sums = Array.from({ length: L }, (_, i) => before + i + 1).reduce((a, b) => a + b);
      const perGroup = nHeads / nKvHeads / key.constants!.heads;
      return { bytes: ends.reduce((a, b) => a + b) * 32 * rowVectors * nKvHeads * perGroup, operations: 4 * nHeads * headDim * sums };
    }
    case "selective-scan":
      return { bytes: 12 * dInner * dState, operations: 6 * dInner * dState * L };
    case "causal-conv":
      return { bytes: 4 * dInner * (2 * (dConv - 1) + dConv + 1), operations: 2 * dInner * dConv * L };
    case "top":
      return { bytes: 5 * 4 * params.length, operations: 0 };
    case "embed":
      return { bytes: (18 / 32) * columns * L, operations: 0 };
    case "rms-norm":
      return { bytes: 4 * columns * sizes[1], operations: 4 * columns * L * sizes[1] };
    default:
      return { bytes: 0, operations: 0 };
  }
}

function costs(L: number, before: number): Map<string, Cost & { workgroup: number }> {
  const nPages = Math.ceil((before + L) / 64);
  const addresses = Int32Array.from([0, before, nPages, ...Array(nPages).keys()]);
  const inputs = { starts: Int32Array.of(0, L), addresses, askedIds: new Int32Array(0) } as unknown as PackedInputs;
  const found = new Map<string, Cost & { workgroup: number }>();
  const workgroups = new Map<string, number>();
  for (const call of plannedCalls(shape, L, 1)) {
    const groups = typeof call.groups === "function" ? call.groups(inputs) : call.groups;
    if (groups.includes(0)) continue;
    const known = found.get(call.op) ?? { kernels: new Set<string>(), dispatches: 0, bytes: 0, operations: 0, workgroup: 0 };
    const { bytes, operations } = costOf({ ...call, groups }, L, before);
    known.kernels.add(call.key.name);
    known.dispatches++;
    known.bytes += bytes;
    known.operations += operations;
    const key = JSON.stringify(call.key);
    workgroups.set(key, workgroups.get(key) ?? workgroupBytes(call));
    known.workgroup = Math.max(known.workgroup, workgroups.get(key)!);
    found.set(call.op, known);
  }
  return found;
}

test("the README's table is what is planned", () => {
  const [one, many] = [costs(1, seen - 1), costs(prefill, 0)];
  const digits = (n: number) => (n === 0 ? "0" : n >= 100 ? n.toFixed(0) : String(Number(n.toPrecision(2))));
  const cells = (cost: Cost & { workgroup: number }, unit: number) => [
    [...cost.kernels].map((name) => `\`${name}\``).join(" "),
    cost.dispatches,
    digits(cost.bytes / 1e6),
    digits(cost.operations / unit),
    digits(cost.workgroup / 1024),
  ];
  const rowsOf = (found: ReturnType<typeof costs>, unit: number) =>
    [...found].map(([op, cost]) => [`\`${op}\``, ...cells(cost, unit)].map(String));
  const readme = readFileSync(new URL("../README.md", import.meta.url), "utf8");
  const table = (name: string) =>
    readme
      .slice(readme.indexOf(name))
      .split("\n\n")[1]
      .split("\n")
      .slice(2)
      .map((line) =>
        line
          .split("|")
          .slice(1, 7)
          .map((cell) => cell.trim()),
      );
  expect(table("### A token of 3B")).toEqual(rowsOf(one, 1e6));
  expect(table("### A prompt of 512")).toEqual(rowsOf(many, 1e9));
});
