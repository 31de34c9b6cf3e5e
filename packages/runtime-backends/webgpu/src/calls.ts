// From a plan to dispatches: which kernel, on how many groups, with what.

import {
  type AttentionStateSpec,
  type FusedCommand,
  type FusedCommandOf,
  type Norm,
  type Plan,
  type StateSpec,
  stepParts,
  type Tensor,
  type Weight,
} from "@jamba/core";
import { addEmbed, addExperts, addGateUp, addMatmul, type CallWriter, matrixScratch, type Products } from "./calls-matrix.ts";
import { flat, type PlannedCall } from "./dispatch.ts";
import type { GpuBinding, GpuBuffer } from "./gpu.ts";
import type { KernelKey } from "./kernels.ts";
import type { LayerLayout, StateLayout } from "./layout.ts";
import type { GpuStates } from "./states.ts";
import { bindingsOf, type GpuWeight } from "./weights.ts";

/** Up to so many tokens are few. */
const mostVectors = 4;

/** Words that a command works in beside its operands. */
export function scratchWords(command: FusedCommand, { layers }: StateSpec, products: Products): number {
  switch (command.op) {
    case "top":
      return 2 * command.k * command.logits.shape[0];
    case "attention": {
      const { headDim } = layers[command.layer] as AttentionStateSpec;
      const [L, columns] = command.q.shape;
      return L * nSharesOf(L) * (columns / headDim) * (headDim + 2);
    }
    default:
      return matrixScratch(command, products);
  }
}

const sizeOf = ({ shape }: Tensor) => shape[0] * shape[1];
/** Shares that the context of a token is split into: many where there are few tokens to keep a GPU busy. */
const nSharesOf = (L: number) => (L <= mostVectors ? 16 : 1);
/** Of kept values, which lie one after another. */
export const wordsOf = (kept: Plan["kept"]) => kept.reduce((sum, { x }) => sum + sizeOf(x), 0);

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
  for (const [index, command] of plan.commands.entries()) planner.add(command, plan.scratch[index].offset);
  return planner.calls;
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
    const { nSequences, nRows } = this.#plan.step;
    switch (c.op) {
      case "input":
        this.#call("input", { words: sizeOf(c.out), out: this.#at(c.out), tensor: this.#nInputs++ }, flat(sizeOf(c.out)));
        break;
      case "read":
        this.#read(c.x, { first: this.#keptWords, isOutput: 1, output: this.#nOutputs++ });
        break;
      case "keep":
        this.#read(c.x, { first: this.#keptAt, isOutput: 0, output: 0 });
        this.#keptAt += sizeOf(c.x);
        break;
      case "top": {
        const [vocabSize, k] = [c.logits.shape[1], c.k];
        const to = { ids: this.#at(c.ids), values: this.#at(c.values), sums: this.#at(c.sums), found: scratch };
        const [logits, stride] = [this.#at(c.logits), c.logits.rowStride];
        this.#call("top", { vocabSize, k, logits, stride, ...to, minusInfinity: Number.NEGATIVE_INFINITY, noId: 0xffffffff }, [nRows, 1]);
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
        const params = { nSequences, dInner: spec.dInner, dConv: spec.dConv, out: this.#at(c.out), ...this.#view("x", c.x) };
        const own = { hasBias: +!!c.bias, slotWords: this.#layout.slotWords, window: conv };
        const buffers = { weight: this.#whole(c.weight), bias: this.#whole(c.bias) };
        this.#call("causal-conv", { ...params, ...own }, flat(nSequences * spec.dInner), { buffers, pool: "slots" });
        break;
      }
      case "selectiveScan": {
        const { spec, h } = this.#mamba(c.layer);
        const params = { nSequences, dInner: spec.dInner, dState: spec.dState, out: this.#at(c.out), slotWords: this.#layout.slotWords, h };
        const views = (["x", "z", "dt", "B", "C"] as const).map((name) => this.#view(name, c[name]));
        const buffers = { A: this.#whole(c.A), D: this.#whole(c.D), dtBias: this.#whole(c.dtBias) };
        this.#call("selective-scan", Object.assign(params, ...views), flat(nSequences * spec.dInner), { buffers, pool: "slots" });
        break;
      }
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
    { buffers = {}, pool, ...key }: Partial<Pick<PlannedCall, "buffers" | "pool">> & Omit<KernelKey, "name"> = {},
  ): void {
    this.calls.push({ key: { name, ...key }, params, buffers, groups, pool, op: this.#op });
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

  #read(x: Tensor, to: { first: number; isOutput: number; output: number }): void {
    this.#call("read", { rows: x.shape[0], columns: x.shape[1], ...this.#view("x", x), ...to }, flat(sizeOf(x)));
  }

  #norm(x: Tensor, { weight, eps }: Norm, out: number): void {
    const params = { columns: x.shape[1], out, ...this.#view("x", x), eps };
    this.#call("rms-norm", params, [x.shape[0], 1], { buffers: { weight: this.#whole(weight) } });
  }

  #swiglu(out: Tensor, gate: Record<string, number>, up: Record<string, number>): void {
    const [rows, columns] = out.shape;
    this.#call("swiglu", { rows, columns, out: this.#at(out), ...gate, ...up }, flat(rows * columns));
  }

  #attention({ q, k, v, layer, out }: FusedCommandOf<"attention">, found: number): void {
    const { states } = this.#context;
    const { spec, at, rowWords } = this.#layout.layers[layer] as LayerLayout & { kind: "attention" };
    const { pageTokens, kvDtype } = states.spec;
    const { nKvHeads, headDim } = spec;
    const L = q.shape[0];
    const [nHeads, nShares] = [q.shape[1] / headDim, nSharesOf(L)];
    const pages = { pageTokens, rowVectors: rowWords / 4, pageVectors: this.#layout.pageWords / 4, layer: at / 4 };
    const more = { kv: kvDtype, pool: "pages" } as const;
    const append = { L, nKvHeads, headDim, ...pages, ...this.#view("k", k), ...this.#view("v", v) };
    this.#call("append", append, flat((L * 2 * nKvHeads * rowWords) / 4), more);
    const shares = { nHeads, nKvHeads, headDim, ...pages, ...this.#view("q", q), scale: 1 / Math.sqrt(headDim), found, nShares };
    this.#call("attention", shares, [nHeads, L, nShares], more);
    this.#call("attention-merge", { L, nHeads, headDim, found, nShares, ...this.#view("out", out) }, flat(sizeOf(out)));
  }
}
