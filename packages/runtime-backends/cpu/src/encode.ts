// A command list as the words that the native side reads (program.cc), with neighbours fused where that saves a pass.

import type { Command, CommandList, Op, Tensor, Weight } from "@jamba/core";
import { ShapeError, tensorsOf } from "@jamba/core";

/** In the order of `Op` in native/step.h. `gateUp`: silu(gate x) · (up x) in one pass over x. */
export const opcodes = [
  "input",
  "embed",
  "rmsNorm",
  "matmul",
  "causalConv",
  "selectiveScan",
  "attention",
  "swiglu",
  "route",
  "experts",
  "gatherRows",
  "read",
  "gateUp",
] as const satisfies readonly (Op | "gateUp")[];

/** A norm of x that its one reader takes on the way. */
interface Norm {
  readonly weight: Weight;
  readonly eps: number;
}

type Fused = (Command & { norm?: Norm }) | { op: "gateUp"; x: Tensor; norm?: Norm; gate: Weight; up: Weight; out: Tensor };

export interface Encoded {
  readonly words: Int32Array;
  readonly weights: readonly Weight[];
  readonly inputs: readonly { readonly name: string; readonly out: Tensor }[];
  /** `command`: what this traces, if it is not a `read` of the list itself. */
  readonly outputs: readonly { readonly name: string; readonly x: Tensor; readonly command?: number }[];
}

/** Weights that one matmul takes natively; more become several. */
const maxWeights = 4;

/** `trace`: nothing is fused, and what each command wrote is read as well. */
export function encodeList(list: CommandList, { trace = false } = {}): Encoded {
  const weights = new Map<Weight, number>();
  const [inputs, outputs]: [Encoded["inputs"][number][], Encoded["outputs"][number][]] = [[], []];
  const words: number[] = [];
  let nCommands = 0;
  const tensor = (t: Tensor) => words.push(list.buffers[t.buffer].offset + t.offset, t.rowStride, ...t.shape);
  const weight = (w: Weight | undefined) => {
    if (w && !weights.has(w)) weights.set(w, weights.size);
    words.push(w ? weights.get(w)! : -1);
  };
  const begin = (op: (typeof opcodes)[number]) => {
    words.push(opcodes.indexOf(op));
    nCommands++;
  };
  const normed = (norm: Norm | undefined) => {
    weight(norm?.weight);
    words.push(bitsOf(norm?.eps ?? 0));
  };
  const read = (name: string, x: Tensor, command?: number) => {
    begin("read");
    tensor(x);
    outputs.push({ name, x, command });
  };

  const encode = (c: Fused): void => {
    switch (c.op) {
      case "input":
        begin(c.op);
        words.push(inputs.length);
        tensor(c.out);
        inputs.push(c);
        return;
      case "embed":
        begin(c.op);
        weight(c.table);
        tensor(c.out);
        return;
      case "rmsNorm":
        begin(c.op);
        tensor(c.x);
        weight(c.weight);
        words.push(bitsOf(c.eps));
        tensor(c.out);
        return;
      case "matmul":
        for (let from = 0; from < c.weights.length; from += maxWeights) {
          begin(c.op);
          tensor(c.x);
          normed(c.norm);
          const some = c.weights.slice(from, from + maxWeights);
          words.push(some.length, Number(c.accumulate));
          weight(c.bias);
          for (const [i, w] of some.entries()) {
            weight(w);
            tensor(c.outs[from + i]);
          }
        }
        return;
      case "gateUp":
        begin(c.op);
        tensor(c.x);
        normed(c.norm);
        weight(c.gate);
        weight(c.up);
        tensor(c.out);
        return;
      case "causalConv":
        begin(c.op);
        tensor(c.x);
        weight(c.weight);
        weight(c.bias);
        words.push(c.layer);
        tensor(c.out);
        return;
      case "selectiveScan":
        begin(c.op);
        for (const t of [c.x, c.z, c.dt, c.B, c.C]) tensor(t);
        for (const w of [c.A, c.D, c.dtBias]) weight(w);
        words.push(c.layer);
        tensor(c.out);
        return;
      case "attention":
        begin(c.op);
        for (const t of [c.q, c.k, c.v]) tensor(t);
        words.push(c.layer);
        tensor(c.out);
        return;
      case "swiglu":
        begin(c.op);
        for (const t of [c.gate, c.up, c.out]) tensor(t);
        return;
      case "route":
        begin(c.op);
        for (const t of [c.logits, c.experts, c.weights]) tensor(t);
        return;
      case "experts":
        begin(c.op);
        for (const t of [c.x, c.routes.experts, c.routes.weights]) tensor(t);
        for (const w of [c.gateProj, c.upProj, c.downProj]) weight(w);
        words.push(Number(c.accumulate));
        tensor(c.out);
        return;
      case "gatherRows":
        begin(c.op);
        tensor(c.x);
        tensor(c.out);
        return;
      case "read":
        read(c.name, c.x);
    }
  };

  if (trace) {
    for (const [i, command] of list.commands.entries()) {
      encode(command);
      const written = tensorsOf(command).filter((t) => t.writes);
      for (const { tensor } of written) read(command.op, tensor, i);
    }
  } else {
    for (const command of foldNorms(list, fuseGateUp(list))) encode(command);
  }
  const { L, nSequences, nRows } = list.step;
  words.unshift(L, nSequences, nRows, list.arenaBytes / 4, inputs.length, nCommands);
  const odd = words.find((w) => (w | 0) !== w);
  if (odd !== undefined) throw new ShapeError(`run: expected sizes and offsets below 2^31 words, found ${odd}`);
  return { words: Int32Array.from(words), weights: [...weights.keys()], inputs, outputs };
}

const word = new Int32Array(1);
const float = new Float32Array(word.buffer);
function bitsOf(v: number): number {
  float[0] = v;
  return word[0];
}

/** How many commands touch each buffer. */
function usesOf(commands: readonly Fused[]): Map<number, number> {
  const uses = new Map<number, number>();
  for (const command of commands) {
    for (const buffer of new Set(tensorsOf(command as Command).map((t) => t.tensor.buffer))) uses.set(buffer, (uses.get(buffer) ?? 0) + 1);
  }
  return uses;
}

function whole(a: Tensor, b: Tensor): boolean {
  return a.buffer === b.buffer && a.offset === b.offset && a.shape[0] === b.shape[0] && a.shape[1] === b.shape[1];
}

/**
 * Whether x still holds its numbers when command `to` starts, though the arena may be counting on its last reader being `from`.
 * Writes of `to` itself do no harm: x is brought into the weights' form before anything is written.
 */
function survives(list: CommandList, commands: readonly (Fused | undefined)[], x: Tensor, from: number, to: number): boolean {
  const { offset, length } = list.buffers[x.buffer];
  for (const command of commands.slice(from + 1, to)) {
    if (!command) continue;
    for (const { tensor, writes } of tensorsOf(command as Command)) {
      const other = list.buffers[tensor.buffer];
      if (writes && other.offset < offset + length && offset < other.offset + other.length) return false;
    }
  }
  return true;
}

const makes = (m: Fused, gate: Tensor, up: Tensor) =>
  m.op === "matmul" && m.outs.length === 2 && whole(m.outs[0], gate) && whole(m.outs[1], up);
const multiplies = (m: Fused, x: Tensor) => (m.op === "matmul" || m.op === "gateUp") && whole(m.x, x);

/** matmul of two weights, whose results go into silu(gate) · up and nowhere else. */
function fuseGateUp(list: CommandList): Fused[] {
  const commands: (Fused | undefined)[] = [...list.commands];
  const uses = usesOf(list.commands);
  for (const [j, c] of list.commands.entries()) {
    if (c.op !== "swiglu" || uses.get(c.gate.buffer) !== 2 || uses.get(c.up.buffer) !== 2) continue;
    let i = j - 1; // who made them is near
    while (i >= 0 && !makes(list.commands[i], c.gate, c.up)) i--;
    const m = list.commands[i];
    if (m?.op !== "matmul" || m.accumulate || !survives(list, commands, m.x, i, j)) continue;
    commands[i] = undefined;
    commands[j] = { op: "gateUp", x: m.x, gate: m.weights[0], up: m.weights[1], out: c.out };
  }
  return commands.filter((c) => c !== undefined);
}

/** A norm that one matmul reads and nobody else becomes part of that matmul. */
function foldNorms(list: CommandList, given: readonly Fused[]): Fused[] {
  const commands: (Fused | undefined)[] = [...given];
  const uses = usesOf(given);
  for (const [i, c] of given.entries()) {
    if (c.op !== "rmsNorm" || uses.get(c.out.buffer) !== 2) continue;
    let j = i + 1; // who reads it is near
    while (j < given.length && !multiplies(given[j], c.out)) j++;
    const m = given[j];
    if (!m || (m.op === "matmul" && m.weights.length > maxWeights) || !survives(list, commands, c.x, i, j)) continue;
    commands[j] = { ...(m as Fused & { x: Tensor }), x: c.x, norm: { weight: c.weight, eps: c.eps } } as Fused;
    commands[i] = undefined;
  }
  return commands.filter((c) => c !== undefined);
}
