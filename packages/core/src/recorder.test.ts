import { describe, expect, test } from "vitest";
import { type CommandList, printList, type Tensor } from "./command.ts";
import type { StateSpec } from "./device/state.ts";
import type { Weight } from "./device/weight.ts";
import type { AttentionState, MambaState, Ops } from "./ops.ts";
import { record } from "./recorder.ts";

const spec: StateSpec = {
  pageTokens: 4,
  kvDtype: "f32",
  layers: [
    { kind: "mamba", dInner: 6, dState: 2, dConv: 3 },
    { kind: "attention", nKvHeads: 2, headDim: 3 },
  ],
};
const step = { L: 5, nSequences: 2, nRows: 1 };
const weight = (...shape: number[]): Weight => ({ name: "w", dtype: "f32", shape });
const mamba = (ops: Ops) => ops.states[0] as MambaState;
const attention = (ops: Ops) => ops.states[1] as AttentionState;

describe("what does not fit is refused when it is recorded, naming op, operand, expected and found", () => {
  test.each<[string, (ops: Ops, x: Tensor) => unknown, RegExp]>([
    ["matmul K", (ops, x) => ops.matmul(x, [weight(3, 7)]), /matmul: weight w: expected \[N, 6\], found \[3, 7\]/],
    ["matmul bias", (ops, x) => ops.matmul(x, [weight(3, 6)], { bias: weight(4) }), /matmul: bias: expected \[3\], found \[4\]/],
    ["addTo of another width", (ops, x) => ops.matmul(x, [weight(3, 6)], { addTo: x }), /addTo: expected \[5, 3\], found \[5, 6\]/],
    ["addTo beside two weights", (ops, x) => ops.matmul(x, [weight(6, 6), weight(6, 6)], { addTo: x }), /one weight beside bias or addTo/],
    ["a result over its own input", (ops, x) => ops.matmul(x, [weight(6, 6)], { addTo: x }), /different buffers/],
    ["norm width", (ops, x) => ops.rmsNorm(x, weight(5), 1e-6), /rmsNorm: weight: expected \[6\], found \[5\]/],
    ["a slice beyond its tensor", (ops, x) => ops.slice(x, 2, 7), /slice: expected columns within \[0, 6\]/],
    [
      "convolution on an attention layer",
      (ops, x) => ops.causalConv(x, weight(6, 3), undefined, attention(ops) as never),
      /layer 1: expected a Mamba state/,
    ],
    ["attention on a Mamba layer", (ops, x) => ops.attention(x, x, x, mamba(ops) as never), /layer 0: expected an attention state/],
    ["a state of another recording", (ops, x) => ops.causalConv(x, weight(6, 3), undefined, { ...mamba(ops) }), /state of this recording/],
    [
      "query heads that do not divide",
      (ops, x) => ops.attention(ops.slice(x, 0, 4), x, x, attention(ops)),
      /multiple of nKvHeads · headDim = 6/,
    ],
    ["more active experts than experts", (ops, x) => ops.route(x, 7), /nActive: expected one of 1 … 6/],
    ["integers where floats belong", (ops, x) => ops.swiglu(ops.route(x, 2).experts, x), /gate: expected f32, found i32/],
    ["logits of other rows", (ops, x) => ops.top("top", x, 4), /top: logits: expected \[1, vocabSize\], found \[5, 6\]/],
    ["no candidates", (ops, x) => ops.top("top", ops.gatherRows(x), 0), /top: k: expected at least 1/],
    ["a name read twice", (ops, x) => [ops.read("x", x), ops.read("x", x)], /"x" twice/],
    ["an input name twice", (ops) => [ops.input("x", [5, 6])], /"x" twice/],
  ])("%s", (_, build, message) => {
    expect(() => record(step, spec, (ops) => build(ops, ops.input("x", [5, 6])))).toThrow(message);
  });

  test("a negative count of tokens", () => {
    expect(() => record({ ...step, L: -1 }, spec, () => undefined)).toThrow(/L: expected a count/);
  });
});

function layer(): CommandList {
  return record(step, spec, (ops) => {
    const x = ops.embed(weight(9, 6));
    const normed = ops.rmsNorm(x, weight(6), 1e-6);
    const [gate, up] = ops.matmul(normed, [weight(12, 6), weight(12, 6)]);
    ops.matmul(ops.swiglu(gate, up), [weight(6, 12)], { addTo: x });
    const routes = ops.route(ops.matmul(x, [weight(3, 6)])[0], 2);
    const expert = { gateProj: weight(3, 4, 6), upProj: weight(3, 4, 6), downProj: weight(3, 6, 4) };
    ops.experts(ops.rmsNorm(x, weight(6), 1e-6), routes, expert, { addTo: x });
    ops.read("y", ops.gatherRows(x));
  });
}

test("a list prints one line per command, with shapes and weights", () => {
  const lines = printList(layer()).split("\n");
  expect(lines.length).toBe(layer().commands.length + 1);
  expect(lines[0]).toMatch(/^step L=5 nSequences=2 nRows=1$/);
  expect(lines[3]).toMatch(/2 matmul +x=%1\[5, 6\] weights=w\[12, 6\] f32 w\[12, 6\] f32 accumulate=false -> %2\[5, 12\], %3\[5, 12\]/);
});
