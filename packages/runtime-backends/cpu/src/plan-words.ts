// A plan as the words that the native side reads and checks again (native/program.cc).

import { type FusedCommand, type FusedOp, type Norm, type Plan, ShapeError, type Tensor, type Weight } from "@jamba/core";

export interface PlanWords {
  readonly words: Int32Array;
  /** By the number that the words know them by. */
  readonly weights: readonly Weight[];
}

/** Weights that one matmul takes natively; more become several. */
const maxWeights = 4;

/**
 * @param ops names of ops, by the number that the addon knows them by
 * @throws ShapeError for sizes and offsets beyond an i32
 */
export function planWords(plan: Plan, ops: readonly string[]): PlanWords {
  const weights = new Map<Weight, number>();
  const words: number[] = [];
  let [nInputs, nCommands] = [0, 0];
  const tensor = (t: Tensor) => words.push(plan.buffers[t.buffer].offset + t.offset, t.rowStride, ...t.shape);
  const weight = (w: Weight | undefined) => {
    if (w && !weights.has(w)) weights.set(w, weights.size);
    words.push(w ? weights.get(w)! : -1);
  };
  const begin = (op: FusedOp) => {
    words.push(ops.indexOf(op));
    nCommands++;
  };
  const normed = (norm: Norm | undefined) => {
    weight(norm?.weight);
    words.push(bitsOf(norm?.eps ?? 0));
  };

  const encode = (c: FusedCommand): void => {
    switch (c.op) {
      case "input":
        begin(c.op);
        words.push(nInputs++);
        tensor(c.out);
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
        weight(c.gateProj);
        weight(c.upProj);
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
      case "top":
        begin(c.op);
        tensor(c.logits);
        words.push(c.k);
        for (const t of [c.ids, c.values, c.sums]) tensor(t);
        return;
      case "read":
      case "keep":
        begin(c.op);
        tensor(c.x);
    }
  };

  for (const command of plan.commands) encode(command);
  const { L, nSequences, nRows } = plan.step;
  words.unshift(L, nSequences, nRows, plan.arenaBytes / 4, nInputs, nCommands);
  const odd = words.find((w) => (w | 0) !== w);
  if (odd !== undefined) throw new ShapeError(`step: expected sizes and offsets below 2^31 words, found ${odd}`);
  return { words: Int32Array.from(words), weights: [...weights.keys()] };
}

const word = new Int32Array(1);
const float = new Float32Array(word.buffer);
function bitsOf(v: number): number {
  float[0] = v;
  return word[0];
}
