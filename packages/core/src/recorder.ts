// Turns calls of `Ops` into a checked command list. Everything about shapes is settled here, once for all backends.

import type { Command, CommandList, StepShape, Tensor } from "./command.ts";
import type { StateSpec } from "./device/state.ts";
import type { Weight } from "./device/weight.ts";
import { DtypeError, ShapeError } from "./errors.ts";
import type { LayerState, MatmulOptions, Ops } from "./ops.ts";

/**
 * Records what `build` does.
 * @throws ShapeError or DtypeError at the first call that does not fit
 */
export function record(step: StepShape, states: StateSpec, build: (ops: Ops) => void): CommandList {
  const commands: Command[] = [];
  const lengths: number[] = [];
  const readNames = new Set<string>();
  const inputNames = new Set<string>();
  for (const [name, count] of Object.entries(step)) {
    if (!Number.isSafeInteger(count) || count < 0) throw new ShapeError(`record: ${name}: expected a count, found ${count}`);
  }

  function tensor(rows: number, columns: number, dtype: "f32" | "i32" = "f32"): Tensor {
    lengths.push(rows * columns);
    return { kind: "tensor", buffer: lengths.length - 1, dtype, shape: [rows, columns], offset: 0, rowStride: columns };
  }

  const ops: Ops = {
    step,
    states: states.layers.map((spec, layer) => ({ ...spec, layer })),

    input(name, [rows, columns], dtype = "f32") {
      if (inputNames.has(name)) throw new ShapeError(`input: expected a name for each input, found "${name}" twice`);
      inputNames.add(name);
      const out = tensor(rows, columns, dtype);
      commands.push({ op: "input", name, out });
      return out;
    },

    embed(table) {
      checkShape("embed", "table", table.shape, ["vocabSize", "dModel"]);
      const out = tensor(step.L, table.shape[1]);
      commands.push({ op: "embed", table, out });
      return out;
    },

    slice(x, from, to) {
      if (!(Number.isSafeInteger(from) && Number.isSafeInteger(to) && from >= 0 && from <= to && to <= x.shape[1])) {
        throw new ShapeError(`slice: expected columns within [0, ${x.shape[1]}], found [${from}, ${to})`);
      }
      return { ...x, shape: [x.shape[0], to - from], offset: x.offset + from };
    },

    rmsNorm(x, weight, eps) {
      checkFloat("rmsNorm", "x", x);
      checkShape("rmsNorm", "weight", weight.shape, [x.shape[1]]);
      const out = tensor(...x.shape);
      commands.push({ op: "rmsNorm", x, weight, eps, out });
      return out;
    },

    matmul<const W extends readonly Weight[]>(x: Tensor, weights: W, { bias, addTo }: MatmulOptions = {}) {
      checkFloat("matmul", "x", x);
      if ((bias || addTo) && weights.length !== 1) {
        throw new ShapeError(`matmul: expected one weight beside bias or addTo, found ${weights.length}`);
      }
      const outs = weights.map((weight) => {
        checkShape("matmul", `weight ${weight.name}`, weight.shape, ["N", x.shape[1]]);
        const N = weight.shape[0];
        if (bias) checkShape("matmul", "bias", bias.shape, [N]);
        if (addTo) checkTensor("matmul", "addTo", addTo, [x.shape[0], N]);
        return addTo ?? tensor(x.shape[0], N);
      });
      if (addTo?.buffer === x.buffer) throw new ShapeError("matmul: expected x and addTo in different buffers, found one");
      commands.push({ op: "matmul", x, weights, bias, accumulate: addTo !== undefined, outs });
      return outs as { [I in keyof W]: Tensor };
    },

    causalConv(x, weight, bias, state) {
      const { dInner, dConv } = mambaState("causalConv", ops, state);
      checkTensor("causalConv", "x", x, [step.L, dInner]);
      checkShape("causalConv", "weight", weight.shape, [dInner, dConv]);
      if (bias) checkShape("causalConv", "bias", bias.shape, [dInner]);
      const out = tensor(step.L, dInner);
      commands.push({ op: "causalConv", x, weight, bias, layer: state.layer, out });
      return out;
    },

    selectiveScan(args, state) {
      const { dInner, dState } = mambaState("selectiveScan", ops, state);
      for (const name of ["x", "z", "dt"] as const) checkTensor("selectiveScan", name, args[name], [step.L, dInner]);
      for (const name of ["B", "C"] as const) checkTensor("selectiveScan", name, args[name], [step.L, dState]);
      checkShape("selectiveScan", "A", args.A.shape, [dInner, dState]);
      for (const name of ["D", "dtBias"] as const) checkShape("selectiveScan", name, args[name].shape, [dInner]);
      const out = tensor(step.L, dInner);
      commands.push({ op: "selectiveScan", ...args, layer: state.layer, out });
      return out;
    },

    attention(q, k, v, state) {
      const found = layerState("attention", ops, state);
      if (found.kind !== "attention") throw new ShapeError(`attention: layer ${state.layer}: expected an attention state, found mamba`);
      const { nKvHeads, headDim } = found;
      checkTensor("attention", "k", k, [step.L, nKvHeads * headDim]);
      checkTensor("attention", "v", v, [step.L, nKvHeads * headDim]);
      checkTensor("attention", "q", q, [step.L, "nHeads · headDim"]);
      if (q.shape[1] === 0 || q.shape[1] % (nKvHeads * headDim) !== 0) {
        throw new ShapeError(
          `attention: q: expected a multiple of nKvHeads · headDim = ${nKvHeads * headDim} columns, found ${q.shape[1]}`,
        );
      }
      const out = tensor(...q.shape);
      commands.push({ op: "attention", q, k, v, layer: state.layer, out });
      return out;
    },

    swiglu(gate, up) {
      checkFloat("swiglu", "gate", gate);
      checkTensor("swiglu", "up", up, gate.shape);
      const out = tensor(...gate.shape);
      commands.push({ op: "swiglu", gate, up, out });
      return out;
    },

    route(logits, nActive) {
      checkFloat("route", "logits", logits);
      const [rows, nExperts] = logits.shape;
      if (!(Number.isSafeInteger(nActive) && nActive >= 1 && nActive <= nExperts)) {
        throw new ShapeError(`route: nActive: expected one of 1 … ${nExperts} experts, found ${nActive}`);
      }
      const experts = tensor(rows, nActive, "i32");
      const weights = tensor(rows, nActive);
      commands.push({ op: "route", logits, experts, weights });
      return { experts, weights };
    },

    experts(x, routes, { gateProj, upProj, downProj }, { addTo } = {}) {
      checkFloat("experts", "x", x);
      const [rows, dModel] = x.shape;
      checkShape("experts", "gateProj", gateProj.shape, ["nExperts", "dFf", dModel]);
      const [nExperts, dFf] = gateProj.shape;
      checkShape("experts", "upProj", upProj.shape, [nExperts, dFf, dModel]);
      checkShape("experts", "downProj", downProj.shape, [nExperts, dModel, dFf]);
      checkTensor("experts", "routes.experts", routes.experts, [rows, "nActive"], "i32");
      checkTensor("experts", "routes.weights", routes.weights, routes.experts.shape);
      if (addTo) checkTensor("experts", "addTo", addTo, x.shape);
      if (addTo?.buffer === x.buffer) throw new ShapeError("experts: expected x and addTo in different buffers, found one");
      const out = addTo ?? tensor(rows, dModel);
      commands.push({ op: "experts", x, routes, gateProj, upProj, downProj, accumulate: addTo !== undefined, out });
      return out;
    },

    gatherRows(x) {
      checkTensor("gatherRows", "x", x, [step.L, "columns"]);
      const out = tensor(step.nRows, x.shape[1]);
      commands.push({ op: "gatherRows", x, out });
      return out;
    },

    top(name, logits, k) {
      checkTensor("top", "logits", logits, [step.nRows, "vocabSize"]);
      if (!(Number.isSafeInteger(k) && k >= 1)) throw new ShapeError(`top: k: expected at least 1, found ${k}`);
      const ids = tensor(step.nRows, k, "i32");
      const values = tensor(step.nRows, k);
      const sums = tensor(step.nRows, 5);
      takeName("top", `${name}.asked`);
      commands.push({ op: "top", name, logits, k, ids, values, sums });
      for (const [part, x] of Object.entries({ ids, values, sums })) ops.read(`${name}.${part}`, x);
    },

    read(name, x) {
      takeName("read", name);
      commands.push({ op: "read", name, x });
    },

    keep(name, x) {
      takeName("keep", name);
      commands.push({ op: "keep", name, x });
    },
  };

  function takeName(op: string, name: string): void {
    if (readNames.has(name)) throw new ShapeError(`${op}: expected a name for each value, found "${name}" twice`);
    readNames.add(name);
  }

  build(ops);
  return Object.freeze({ step, states, commands, lengths });
}

type Axis = number | string;

function checkShape(op: string, name: string, found: readonly number[], expected: readonly Axis[]): void {
  const fits = found.length === expected.length && expected.every((axis, i) => typeof axis === "string" || axis === found[i]);
  if (!fits) throw new ShapeError(`${op}: ${name}: expected [${expected.join(", ")}], found [${found.join(", ")}]`);
}

function checkTensor(op: string, name: string, x: Tensor, expected: readonly Axis[], dtype: "f32" | "i32" = "f32"): void {
  checkShape(op, name, x.shape, expected);
  if (x.dtype !== dtype) throw new DtypeError(`${op}: ${name}: expected ${dtype}, found ${x.dtype}`);
}

function checkFloat(op: string, name: string, x: Tensor): void {
  checkTensor(op, name, x, x.shape);
}

function layerState(op: string, ops: Ops, state: LayerState): LayerState {
  const found = ops.states[state.layer];
  if (found !== state) throw new ShapeError(`${op}: expected a state of this recording (ops.states[layer]), found another`);
  return found;
}

function mambaState(op: string, ops: Ops, state: LayerState) {
  const found = layerState(op, ops, state);
  if (found.kind !== "mamba") throw new ShapeError(`${op}: layer ${state.layer}: expected a Mamba state, found attention`);
  return found;
}
