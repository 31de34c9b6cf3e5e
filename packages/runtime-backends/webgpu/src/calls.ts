// From a plan to dispatches: which kernel, on how many groups, with what.

import {
  type FusedCommand,
  type FusedCommandOf,
  type LayerLayout,
  leastShare,
  longestOf,
  type Norm,
  nSharesOf,
  type PackedInputs,
  type Plan,
  roundUp,
  type StateLayout,
  type StateSpec,
  stateLayout,
  stepParts,
  type Tensor,
  topShape,
  topWords,
  type Weight,
  wordsOf,
} from "@jamba/core";
import { addExperts, expertsScratch } from "./calls-experts.ts";
import { addEmbed, addGateUp, addMatmul, type CallWriter, matrixScratch, type Products } from "./calls-matrix.ts";
import { attentionShape, chunkOf, convRun, endWords, scanLanes } from "./cuts.ts";
import { flat, type Groups, type PlannedCall } from "./dispatch.ts";
import type { GpuBinding, GpuBuffer } from "./gpu.ts";
import type { KernelKey } from "./kernels.ts";
import type { GpuStates } from "./states.ts";
import { bindingsOf, type GpuWeight } from "./weights.ts";

/** Words that a command works in beside its operands. */
export function scratchWords(command: FusedCommand, states: StateSpec, products: Products): number {
  switch (command.op) {
    case "top":
      return topWords(command);
    case "selectiveScan":
      return endWords(command);
    case "attention": {
      const layout = stateLayout(states).layers[command.layer] as LayerLayout & { kind: "attention" };
      return attentionShape(command.q, layout, states.kvDtype).foundWords;
    }
    case "experts":
      return expertsScratch(command, products);
    default:
      return matrixScratch(command, products);
  }
}

const sizeOf = ({ shape }: Tensor) => shape[0] * shape[1];

export interface CallContext {
  readonly states: GpuStates;
  readonly weightOf: (weight: Weight) => GpuWeight;
  readonly products: Products;
  /** Bound where there is nothing. */
  readonly none: GpuBuffer;
}

/** The dispatches of a plan, in order. */
export function callsOf(plan: Plan, context: CallContext): PlannedCall[] {
  const planner = new Planner(plan, context);
  for (let i = 0; i < plan.commands.length; i++) {
    const [command, next] = [plan.commands[i], plan.commands[i + 1]];
    if (command.op === "rmsNorm" && next?.op === "rmsNorm" && areTwins(command, next)) {
      planner.addTwins(command, next);
      i++;
    } else planner.add(command, plan.scratch[i].offset);
  }
  return planner.calls;
}

/** Norms of two parts of one value, such as B and C: none reads what the other writes, and that value's memory is no one else's yet. */
function areTwins(a: FusedCommandOf<"rmsNorm">, b: FusedCommandOf<"rmsNorm">): boolean {
  return a.x.buffer === b.x.buffer && a.x.shape[1] === b.x.shape[1] && a.eps === b.eps && b.out.buffer !== b.x.buffer;
}

/** Copies within segments, which are done before a step. */
export function copyCalls({ slots, pages }: GpuStates): PlannedCall[] {
  return ([slots, pages] as const).flatMap(({ name, unitBytes }): PlannedCall[] => {
    const pool = name as "slots" | "pages";
    const unitVectors = unitBytes / 16;
    if (unitVectors === 0) return [];
    const params = { unitVectors, pairs: stepParts.indexOf(pool === "slots" ? "slotCopies" : "pageCopies") };
    return [
      {
        key: { name: "copy-units" },
        params,
        buffers: {},
        pool,
        op: "copy",
        groups: ({ copies }) => flat((copies[pool].length / 2) * unitVectors),
      },
    ];
  });
}

class Planner {
  readonly calls: PlannedCall[] = [];
  readonly #plan: Plan;
  readonly #context: CallContext;
  readonly #layout: StateLayout;
  readonly #keptWords: number;
  #op = "";
  #nInputs = 0;
  #nOutputs = 0;
  #keptAt = 0;

  readonly #writer: CallWriter;

  constructor(plan: Plan, context: CallContext) {
    [this.#plan, this.#context] = [plan, context];
    this.#writer = {
      products: context.products,
      call: (...args) => this.#call(...args),
      view: (name, t) => this.#view(name, t),
      weightOf: context.weightOf,
      whole: (weight) => this.#whole(weight),
      norm: (x, norm, out) => this.#norm(x, norm, out),
    };
    this.#layout = context.states.layout;
    this.#keptWords = wordsOf(plan.kept);
  }

  add(c: FusedCommand, scratch: number): void {
    this.#op = c.op;
    const { nSequences } = this.#plan.step;
    switch (c.op) {
      case "input":
        this.#input(c.out, this.#nInputs++);
        break;
      case "read":
        this.#read(c.x, { first: this.#keptWords, isOutput: 1, output: this.#nOutputs++ });
        break;
      case "keep":
        this.#read(c.x, { first: this.#keptAt, isOutput: 0, output: 0 });
        this.#keptAt += sizeOf(c.x);
        break;
      case "top": {
        this.#top(c, scratch);
        const [logits, stride] = [this.#at(c.logits), c.logits.rowStride];
        const params = { logits, stride, first: this.#keptWords, output: this.#nOutputs++ };
        this.#call("asked", params, ({ askedIds }) => flat(askedIds.length));
        break;
      }
      case "embed":
        addEmbed(this.#writer, c);
        break;
      case "gatherRows": {
        const [rows, columns] = c.out.shape;
        this.#call("gather-rows", { nRows: rows, columns, out: this.#at(c.out), ...this.#view("x", c.x) }, flat(sizeOf(c.out)));
        break;
      }
      case "rmsNorm":
        this.#norm(c.x, c, this.#at(c.out));
        break;
      case "matmul":
        addMatmul(this.#writer, c, scratch);
        break;
      case "gateUp":
        addGateUp(this.#writer, c, scratch);
        break;
      case "swiglu":
        this.#swiglu(c.out, this.#view("gate", c.gate), this.#view("up", c.up));
        break;
      case "causalConv": {
        const { spec, conv } = this.#mamba(c.layer);
        const params = { dInner: spec.dInner, dConv: spec.dConv, out: this.#at(c.out), ...this.#view("x", c.x) };
        const own = { hasBias: +!!c.bias, slotWords: this.#layout.slotWords, window: conv };
        const buffers = { weight: this.#whole(c.weight), bias: this.#whole(c.bias) };
        const groups = (inputs: PackedInputs): Groups => [Math.ceil(spec.dInner / 64), Math.ceil(longestOf(inputs) / convRun), nSequences];
        this.#call("causal-conv", { ...params, ...own }, groups, { buffers, pool: "slots" });
        break;
      }
      case "selectiveScan":
        this.#scan(c, scratch);
        break;
      case "attention":
        this.#attention(c, scratch);
        break;
      case "route": {
        const [L, nExperts] = c.logits.shape;
        const to = { experts: this.#at(c.experts), weights: this.#at(c.weights) };
        const params = { L, nExperts, nActive: c.experts.shape[1], logits: this.#at(c.logits), stride: c.logits.rowStride, ...to };
        this.#call("route", params, flat(L));
        break;
      }
      case "experts":
        addExperts(this.#writer, c, scratch);
        break;
    }
  }

  #call(
    name: KernelKey["name"],
    params: Readonly<Record<string, number>>,
    groups: PlannedCall["groups"],
    { buffers = {}, pool, tensor, ...key }: Partial<Pick<PlannedCall, "buffers" | "pool" | "tensor">> & Omit<KernelKey, "name"> = {},
  ): void {
    this.calls.push({ key: { name, ...key }, params, buffers, groups, pool, tensor, op: this.#op });
  }

  #at(t: Tensor): number {
    return this.#plan.buffers[t.buffer].offset + t.offset;
  }

  /** Where a value lies: `x` and `xStride`. */
  #view(name: string, t: Tensor): Record<string, number> {
    return { [name]: this.#at(t), [`${name}Stride`]: t.rowStride };
  }

  /** A weight that kernels take in one piece. */
  #whole(weight: Weight | undefined): GpuBinding {
    return weight ? bindingsOf("w", this.#context.weightOf(weight).parts[0]).w : { buffer: this.#context.none };
  }

  #mamba(layer: number): LayerLayout & { kind: "mamba" } {
    return this.#layout.layers[layer] as LayerLayout & { kind: "mamba" };
  }

  /** From the words of the step, or from where its tensor lies on the device. */
  #input(x: Tensor, tensor: number): void {
    const [params, groups, none] = [{ words: sizeOf(x), out: this.#at(x) }, flat(sizeOf(x)), [0, 0] as const];
    this.#call("input", { ...params, tensor }, ({ buffers }) => (buffers?.has(tensor) ? none : groups));
    this.#call("input-buffer", params, ({ buffers }) => (buffers?.has(tensor) ? groups : none), { tensor });
  }

  #read(x: Tensor, to: { first: number; isOutput: number; output: number }): void {
    this.#call("read", { rows: x.shape[0], columns: x.shape[1], ...this.#view("x", x), ...to }, flat(sizeOf(x)));
  }

  addTwins(a: FusedCommandOf<"rmsNorm">, b: FusedCommandOf<"rmsNorm">): void {
    this.#op = "rmsNorm";
    this.#norm(a.x, a, this.#at(a.out), b);
  }

  #norm(x: Tensor, { weight, eps }: Norm, out: number, second?: FusedCommandOf<"rmsNorm">): void {
    const [rows, columns] = x.shape;
    const params = { columns, eps, out, ...this.#view("x", x), secondOut: second ? this.#at(second.out) : 0 };
    const seconds = second ? this.#view("secondX", second.x) : { secondX: 0, secondXStride: 0 };
    const buffers = { weight: this.#whole(weight), secondWeight: this.#whole(second?.weight) };
    const constants = { threads: columns > 256 ? 256 : 64 };
    this.#call("rms-norm", { ...params, ...seconds }, [rows, second ? 2 : 1], { buffers, constants });
  }

  #swiglu(out: Tensor, gate: Record<string, number>, up: Record<string, number>): void {
    const [rows, columns] = out.shape;
    this.#call("swiglu", { rows, columns, out: this.#at(out), ...gate, ...up }, flat(rows * columns));
  }

  #top(c: FusedCommandOf<"top">, scratch: number): void {
    const [nRows, length] = c.logits.shape;
    const { share, groups, candidates } = topShape(c);
    const common = { k: c.k, found: scratch, minusInfinity: Number.NEGATIVE_INFINITY, noId: 0xffffffff };
    let from = { length, share, logits: this.#at(c.logits), stride: c.logits.rowStride, partIds: 0, partSums: 0, nParts: 0 };
    if (groups > 1) {
      const ids = scratch + 2 * nRows * candidates;
      const [values, sums] = [ids + nRows * candidates, ids + 2 * nRows * candidates];
      this.#call("top", { ...common, ...from, ids, values, sums }, [groups, nRows]);
      const parts = { partIds: ids, partSums: sums, nParts: groups };
      from = { length: candidates, share: candidates, logits: values, stride: candidates, ...parts };
    }
    this.#call("top", { ...common, ...from, ids: this.#at(c.ids), values: this.#at(c.values), sums: this.#at(c.sums) }, [1, nRows]);
  }

  #scan(c: FusedCommandOf<"selectiveScan">, scratch: number): void {
    const { spec, h } = this.#mamba(c.layer);
    const { nSequences } = this.#plan.step;
    const chunk = chunkOf(c, nSequences);
    const { dInner, dState } = spec;
    const lanes = scanLanes(dState);
    const params = { dInner, dState, out: this.#at(c.out), slotVectors: this.#layout.slotWords / 4, h: h / 4 };
    const views = (["x", "z", "dt", "B", "C"] as const).map((name) => this.#view(name, c[name]));
    const size = chunk ?? roundUp(Math.max(1, c.x.shape[0]), 16);
    const places = { chunk: size, ends: scratch, sums: scratch + Math.ceil((2 * c.x.shape[0]) / size) * dInner * roundUp(dState, 4) };
    const more = { buffers: { A: this.#whole(c.A), D: this.#whole(c.D), dtBias: this.#whole(c.dtBias) }, pool: "slots" as const };
    for (const isFirstPass of chunk ? [1, 0] : [0]) {
      const groups = (inputs: PackedInputs): Groups => [
        Math.ceil((dInner * lanes) / 64),
        Math.max(0, Math.ceil(longestOf(inputs) / size) - isFirstPass),
        nSequences,
      ];
      this.#call("selective-scan", Object.assign({}, params, ...views, places), groups, { ...more, constants: { lanes, isFirstPass } });
    }
  }

  #attention({ q, k, v, layer, out }: FusedCommandOf<"attention">, found: number): void {
    const { pageTokens, kvDtype } = this.#context.states.spec;
    const layout = this.#layout.layers[layer] as LayerLayout & { kind: "attention" };
    const { nKvHeads, headDim } = layout.spec;
    const rowVectors = layout.rowWords / 4;
    const { nSequences } = this.#plan.step;
    const L = q.shape[0];
    const pages = { pageTokens, rowVectors, pageVectors: this.#layout.pageWords / 4, layer: layout.at / 4 };
    const more = { kv: kvDtype, pool: "pages" } as const;
    const append = { L, nKvHeads, headDim, ...pages, ...this.#view("k", k), ...this.#view("v", v) };
    this.#call("append", append, flat(L * 2 * nKvHeads * rowVectors), more);

    const { mostTokens, mostShares, heads, blocks, quads } = attentionShape(q, layout, kvDtype);
    // Steps of which each sequence has one token need no room for more.
    const tokens = L > nSequences ? mostTokens : 1;
    const nRows = roundUp(tokens * heads, 4);
    const threads = Math.max(nRows > 16 ? 128 : 64, roundUp((quads * nRows) / 4, 32));
    const nHeads = q.shape[1] / headDim;
    const shares = { leastShare, mostShares, found };
    const params = { nSequences, nHeads, nKvHeads, headDim, ...pages, ...this.#view("q", q), ...this.#view("out", out), tokens, ...shares };
    const groups = (inputs: PackedInputs): Groups => [
      nKvHeads * blocks,
      Math.ceil(longestOf(inputs) / tokens),
      nSequences * nSharesOf(inputs, mostShares),
    ];
    const constants = { nRows, heads, quads, threads };
    this.#call("attention", { ...params, scale: 1 / Math.sqrt(headDim) }, groups, { ...more, constants });
    const merged = { nHeads, headDim, ...this.#view("out", out), ...shares };
    this.#call("attention-merge", merged, (inputs) => (nSharesOf(inputs, mostShares) > 1 ? [nHeads, L] : [0, 0]));
  }
}
