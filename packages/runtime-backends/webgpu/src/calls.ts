// From a plan to dispatches: which kernel, on how many groups, with what.

import {
  type AttentionStateSpec,
  type FusedCommand,
  type FusedCommandOf,
  type Norm,
  type PackedInputs,
  type Plan,
  type StateSpec,
  stepParts,
  type Tensor,
  type Weight,
} from "@jamba/core";
import type { GpuBinding, GpuBuffer } from "./gpu.ts";
import type { KernelKey } from "./kernels.ts";
import type { LayerLayout, StateLayout } from "./layout.ts";
import type { GpuStates } from "./states.ts";
import { bindingsOf, type GpuWeight } from "./weights.ts";

type Groups = readonly [x: number, y: number, z?: number];

/** A dispatch as it is planned. What only the driver knows is bound by name: the arena, the step, its results, and segments of `pool`. */
export interface PlannedCall {
  readonly key: KernelKey;
  readonly params: Readonly<Record<string, number>>;
  readonly buffers: Readonly<Record<string, GpuBinding>>;
  /** The step may decide. */
  readonly groups: Groups | ((inputs: PackedInputs) => Groups);
  /** One dispatch for each segment that the step uses. */
  readonly pool?: "slots" | "pages";
  /** For the profile: the op that it is part of. */
  readonly op: string;
}

/** Up to so many tokens each weight is read for one token at a time: more take tiles. */
const mostVectors = 4;

/** Words that a command works in beside its operands. */
export function scratchWords(command: FusedCommand, { layers }: StateSpec): number {
  switch (command.op) {
    case "top":
      return 2 * command.k * command.logits.shape[0];
    case "experts":
      return sizeOf(command.routes.experts) * command.gateProj.shape[1];
    case "matmul":
      return command.norm && !isFew(command.x) ? sizeOf(command.x) : 0;
    case "gateUp":
      return isFew(command.x) ? 0 : (command.norm ? sizeOf(command.x) : 0) + 2 * sizeOf(command.out);
    case "attention": {
      const { headDim } = layers[command.layer] as AttentionStateSpec;
      const [L, columns] = command.q.shape;
      return L * nSharesOf(L) * (columns / headDim) * (headDim + 2);
    }
    default:
      return 0;
  }
}

const sizeOf = ({ shape }: Tensor) => shape[0] * shape[1];
const isFew = ({ shape }: Tensor) => shape[0] <= mostVectors;
/** Shares that the context of a token is split into: many where there are few tokens to keep a GPU busy. */
const nSharesOf = (L: number) => (L <= mostVectors ? 16 : 1);
/** Of kept values, which lie one after another. */
export const wordsOf = (kept: Plan["kept"]) => kept.reduce((sum, { x }) => sum + sizeOf(x), 0);

/** For groups of 64 threads, spread over two axes. */
export function flat(n: number): Groups {
  const groups = Math.ceil(n / 64);
  const y = Math.ceil(groups / 65535); // the most that one axis takes
  return [Math.ceil(groups / Math.max(1, y)), y];
}

/** Lanes of a row: as few as give each thread some blocks, so that few stand idle at a row's end. */
export function lanesOf(blocks: number): number {
  return blocks >= 128 ? 32 : blocks >= 8 ? 16 : 4;
}

export interface CallContext {
  readonly states: GpuStates;
  readonly weightOf: (weight: Weight) => GpuWeight;
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

  constructor(plan: Plan, context: CallContext) {
    [this.#plan, this.#context] = [plan, context];
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
        this.#embed(c);
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
        this.#matmul(c, scratch);
        break;
      case "gateUp":
        this.#gateUp(c, scratch);
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
        this.#experts(c, scratch);
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

  #embed({ table, out }: FusedCommandOf<"embed">): void {
    const { row, parts } = this.#context.weightOf(table);
    const [L, columns] = out.shape;
    for (const part of parts) {
      const params = { L, columns, blocks: row.blocks, out: this.#at(out), firstRow: part.firstRow, rows: part.rows };
      this.#call("embed", params, flat(L * Math.ceil(columns / 4)), {
        weights: { weight: table.dtype },
        buffers: bindingsOf("weight", part),
      });
    }
  }

  #norm(x: Tensor, { weight, eps }: Norm, out: number): void {
    const params = { columns: x.shape[1], out, ...this.#view("x", x), eps };
    this.#call("rms-norm", params, [x.shape[0], 1], { buffers: { weight: this.#whole(weight) } });
  }

  #swiglu(out: Tensor, gate: Record<string, number>, up: Record<string, number>): void {
    const [rows, columns] = out.shape;
    this.#call("swiglu", { rows, columns, out: this.#at(out), ...gate, ...up }, flat(rows * columns));
  }

  #matmul({ x, weights, bias, accumulate, outs, norm }: FusedCommandOf<"matmul">, scratch: number): void {
    const from = norm && !isFew(x) ? this.#normed(x, norm, scratch) : this.#view("x", x);
    for (const [i, weight] of weights.entries())
      this.#product(x.shape[0], from, weight, this.#view("out", outs[i]), { accumulate, bias, norm: isFew(x) ? norm : undefined });
  }

  /** x after its norm, in scratch memory. */
  #normed(x: Tensor, norm: Norm, scratch: number): Record<string, number> {
    this.#norm(x, norm, scratch);
    return { x: scratch, xStride: x.shape[1] };
  }

  #product(
    L: number,
    x: Record<string, number>,
    weight: Weight,
    out: Record<string, number>,
    { accumulate = false, bias, norm }: { accumulate?: boolean; bias?: Weight; norm?: Norm } = {},
  ): void {
    const { row, parts } = this.#context.weightOf(weight);
    const { columns, blocks } = row;
    for (const part of parts) {
      const { rows, firstRow } = part;
      const params = { columns, blocks, rows, firstRow, ...x, ...out, accumulate: +accumulate, hasBias: +!!bias };
      const buffers = { ...bindingsOf("weight", part), bias: this.#whole(bias) };
      const key = { weights: { weight: weight.dtype } };
      if (L > mostVectors) {
        this.#call("matmul", { ...params, L }, [Math.ceil(rows / 32), Math.ceil(L / 32)], { ...key, buffers });
        continue;
      }
      const lanes = lanesOf(blocks);
      const own = { hasNorm: +!!norm, eps: norm?.eps ?? 0 };
      const more = { ...key, constants: { lanes }, buffers: { ...buffers, norm: this.#whole(norm?.weight) } };
      this.#call("matvec", { ...params, ...own }, [Math.ceil(rows / ((4 * 64) / lanes)), L], more);
    }
  }

  #gateUp({ x, norm, gateProj, upProj, out }: FusedCommandOf<"gateUp">, scratch: number): void {
    const [L, dFf] = out.shape;
    if (isFew(x)) {
      this.#fewGateUp(this.#view("x", x), { L, norm, gateProj, upProj, dFf }, this.#view("out", out));
      return;
    }
    let at = scratch;
    let from = this.#view("x", x);
    if (norm) {
      from = this.#normed(x, norm, at);
      at += sizeOf(x);
    }
    const [gate, up] = [at, at + L * dFf];
    this.#product(L, from, gateProj, { out: gate, outStride: dFf });
    this.#product(L, from, upProj, { out: up, outStride: dFf });
    this.#swiglu(out, { gate, gateStride: dFf }, { up, upStride: dFf });
  }

  /** For few tokens, or each token's active experts. */
  #fewGateUp(
    x: Record<string, number>,
    {
      L,
      norm,
      gateProj,
      upProj,
      dFf,
      experts,
    }: { L: number; norm?: Norm; gateProj: Weight; upProj: Weight; dFf: number; experts?: Tensor },
    out: Record<string, number>,
  ): void {
    const [gate, up] = [this.#context.weightOf(gateProj), this.#context.weightOf(upProj)];
    const { columns, blocks } = gate.row;
    const lanes = lanesOf(blocks);
    const nActive = experts?.shape[1] ?? 0;
    const routing = experts ? this.#view("experts", experts) : { experts: 0, expertsStride: 0 };
    for (const [i, part] of gate.parts.entries()) {
      const { rows, firstRow } = part;
      const params = { columns, blocks, rows, firstRow, ...x, ...out, hasNorm: +!!norm, eps: norm?.eps ?? 0, nActive, ...routing, dFf };
      const buffers = { ...bindingsOf("gate", part), ...bindingsOf("up", up.parts[i]), norm: this.#whole(norm?.weight) };
      const weights = { gate: gateProj.dtype, up: upProj.dtype };
      this.#call("gate-up", params, [Math.ceil(dFf / ((2 * 64) / lanes)), L * Math.max(1, nActive)], {
        weights,
        constants: { lanes },
        buffers,
      });
    }
  }

  #experts({ x, routes, gateProj, upProj, downProj, accumulate, out }: FusedCommandOf<"experts">, hidden: number): void {
    const [, dFf, dModel] = gateProj.shape;
    const { experts, weights: shares } = routes;
    const [L, nActive] = experts.shape;
    this.#fewGateUp(this.#view("x", x), { L, gateProj, upProj, dFf, experts }, { out: hidden, outStride: dFf });
    const { row, parts } = this.#context.weightOf(downProj);
    for (const [i, part] of parts.entries()) {
      const { rows, firstRow } = part;
      const own = { columns: row.columns, blocks: row.blocks, rows, firstRow, hidden, dModel, nActive };
      const views = { ...this.#view("out", out), ...this.#view("experts", experts), ...this.#view("shares", shares) };
      const more = { weights: { weight: downProj.dtype }, buffers: bindingsOf("weight", part) };
      this.#call("experts-down", { ...own, ...views, accumulate: +(accumulate || i > 0) }, [Math.ceil(dModel / 4), L], more);
    }
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
