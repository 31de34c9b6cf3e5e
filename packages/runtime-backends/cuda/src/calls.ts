// From a plan to launches: which kernel, on which grid, with what.

import {
  type FusedCommand,
  type FusedCommandOf,
  JambaError,
  type LayerLayout,
  leastShare,
  longestOf,
  type Norm,
  nSharesOf,
  type PackedInputs,
  type Plan,
  type StateSpec,
  stepParts,
  type Tensor,
  topShape,
  topWords,
  type Weight,
  type WeightDtype,
  wordsOf,
} from "@jamba/core";
import { flat, type Grid, type Numbers } from "./kernels.ts";
import type { CudaStates } from "./states.ts";
import type { CudaWeight } from "./weights.ts";

/** A launch as it is planned. */
export interface Call {
  readonly stem: string;
  readonly name: string;
  /** Of weights, or of keys and values. */
  readonly dtype?: string;
  readonly params: Numbers;
  /** The step may decide. */
  readonly grid: Grid | ((inputs: PackedInputs) => Grid);
}

export interface CallContext {
  readonly states: CudaStates;
  readonly weightOf: (weight: Weight) => CudaWeight;
  /** Addresses: of what a step works in, of its words, and of what it gives. */
  readonly arena: number;
  readonly step: number;
  readonly results: number;
}

/** Tokens up to which each row of a weight is read once for all of them: beyond it tiles of many are worth their padding. */
const fewTokens = 8;
/** Blocks of attention that keep most GPUs busy. */
const busyBlocks = 1024;

const sizeOf = ({ shape }: Tensor) => shape[0] * shape[1];
const mostSharesOf = (L: number, nHeads: number) => Math.min(64, Math.max(1, Math.floor(busyBlocks / Math.max(1, L * nHeads))));
/** Tokens that one launch of a matvec has in a block. */
const togetherOf = (L: number) => [1, 2, 4].find((n) => L <= n) ?? fewTokens;

/** Words that a command works in beside its operands. */
export function scratchWords(command: FusedCommand, states: StateSpec): number {
  switch (command.op) {
    case "top":
      return topWords(command);
    case "attention": {
      const { headDim } = states.layers[command.layer] as { headDim: number };
      const [L, columns] = command.q.shape;
      return sizeOf(command.q) === 0 ? 0 : L * (columns / headDim) * mostSharesOf(L, columns / headDim) * (headDim + 2);
    }
    case "experts":
      return sizeOf(command.routes.experts) * command.gateProj.shape[1];
    case "matmul":
      return command.norm && command.x.shape[0] > fewTokens ? sizeOf(command.x) : 0;
    case "gateUp":
      return isFew(command) ? 0 : (command.norm ? sizeOf(command.x) : 0) + 2 * sizeOf(command.out);
    default:
      return 0;
  }
}

/** Both weights in one pass, which takes them in one format. */
const isFew = ({ x, gateProj, upProj }: FusedCommandOf<"gateUp">) => x.shape[0] <= fewTokens && gateProj.dtype === upProj.dtype;

/** The launches of a plan, in order; copies of states come first. */
export function callsOf(plan: Plan, context: CallContext): Call[] {
  const planner = new Planner(plan, context);
  for (const [i, command] of plan.commands.entries()) planner.add(command, plan.scratch[i].offset);
  return [...copyCalls(context.states, context.step), ...planner.calls];
}

/** Copies of whole slots and pages. */
export function copyCalls({ layout, slots, pages }: CudaStates, step: number): Call[] {
  const pools = [
    { pool: "slots", part: "slotCopies", words: layout.slotWords, units: slots },
    { pool: "pages", part: "pageCopies", words: layout.pageWords, units: pages },
  ] as const;
  return pools
    .filter(({ words }) => words > 0)
    .map(({ pool, part, words, units }) => ({
      ...{ stem: "copy-units", name: "copyUnits" },
      params: { step, pairs: stepParts.indexOf(part), unitVectors: words / 4, units },
      grid: ({ copies }) => [Math.ceil(words / 4 / 256), copies[pool].length / 2],
    }));
}

class Planner {
  readonly calls: Call[] = [];
  readonly #plan: Plan;
  readonly #context: CallContext;
  #nInputs = 0;
  #nOutputs = 0;
  #keptAt = 0;

  constructor(plan: Plan, context: CallContext) {
    [this.#plan, this.#context] = [plan, context];
  }

  add(c: FusedCommand, scratchAt: number): void {
    const scratch = this.#context.arena + 4 * scratchAt;
    const { step } = this.#context;
    switch (c.op) {
      case "input":
        this.#call("input", { step, tensor: this.#nInputs++, words: sizeOf(c.out), out: this.#at(c.out) }, flat(sizeOf(c.out)));
        break;
      case "read":
        this.#read(c.x, this.#outputs, this.#nOutputs++);
        break;
      case "keep":
        this.#read(c.x, this.#context.results + 4 * this.#keptAt, -1);
        this.#keptAt += sizeOf(c.x);
        break;
      case "top": {
        this.#top(c, scratch);
        const params = { step, ...this.#view("logits", c.logits), results: this.#outputs, output: this.#nOutputs++ };
        this.#call("asked", params, ({ askedIds }) => flat(askedIds.length));
        break;
      }
      case "embed": {
        const { dtype, columns, blocks, ...table } = this.#weight("weight", c.table);
        this.#call("embed", { step, ...table, columns, blocks, out: this.#at(c.out) }, [c.out.shape[0]], { dtype });
        break;
      }
      case "gatherRows":
        this.#call("gather-rows", { step, ...this.#view("x", c.x), columns: c.x.shape[1], out: this.#at(c.out) }, [c.out.shape[0]], {
          name: "gatherRows",
        });
        break;
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
      case "causalConv":
        this.#conv(c);
        break;
      case "selectiveScan":
        this.#scan(c);
        break;
      case "attention":
        this.#attention(c, scratch);
        break;
      case "route": {
        const [L, nExperts] = c.logits.shape;
        const params = { ...this.#view("logits", c.logits), experts: this.#at(c.experts), weights: this.#at(c.weights) };
        this.#call("route", { ...params, L, nExperts, nActive: c.experts.shape[1] }, [Math.ceil(L / 4)]);
        break;
      }
      case "experts":
        this.#experts(c, scratch);
        break;
    }
  }

  /** @param more the kernel's name where that is not its file's, and the format that it is for */
  #call(stem: string, params: Numbers, grid: Call["grid"], { name = stem, dtype }: { name?: string; dtype?: string } = {}): void {
    this.calls.push({ stem, name, dtype, params, grid });
  }

  #at(t: Tensor): number {
    return this.#context.arena + 4 * (this.#plan.buffers[t.buffer].offset + t.offset);
  }

  /** Where what is read with the step lies, behind what is kept. */
  get #outputs(): number {
    return this.#context.results + 4 * wordsOf(this.#plan.kept);
  }

  /** Where a value lies: `x` and `xStride`. */
  #view(name: string, t: Tensor): Numbers {
    return { [name]: this.#at(t), [`${name}Stride`]: t.rowStride };
  }

  #weight(name: string, weight: Weight): { dtype: WeightDtype; columns: number; blocks: number } & Numbers {
    const { address, row, part } = this.#context.weightOf(weight);
    const places = { [name]: address, [`${name}Scales`]: address + part.scalesAt };
    return { ...places, dtype: weight.dtype, columns: row.columns, blocks: row.blocks } as never;
  }

  /** Of one that a kernel takes as f32. */
  #floats(weight: Weight | undefined): number {
    return weight ? this.#context.weightOf(weight).address : 0;
  }

  #read(x: Tensor, results: number, output: number): void {
    const [rows, columns] = x.shape;
    const params = { step: this.#context.step, ...this.#view("x", x), rows, columns, results, output };
    this.#call("read", params, flat(sizeOf(x)), { name: "readRows" });
  }

  #norm(x: Tensor, { weight, eps }: Norm, out: number): void {
    const [rows, columns] = x.shape;
    const params = { ...this.#view("x", x), weight: this.#floats(weight), out, columns, eps };
    this.#call("rms-norm", params, columns > 0 ? [rows] : [0], { name: "rmsNorm" });
  }

  #swiglu(out: Tensor, gate: Numbers, up: Numbers): void {
    const [rows, columns] = out.shape;
    this.#call("swiglu", { ...gate, ...up, out: this.#at(out), rows, columns }, flat(sizeOf(out)));
  }

  #matmul({ x, norm, weights, bias, accumulate, outs }: FusedCommandOf<"matmul">, scratch: number): void {
    const [L, K] = x.shape;
    if (L <= fewTokens) {
      const together = togetherOf(L);
      for (const [i, weight] of weights.entries()) {
        const { dtype, ...own } = this.#weight("weight", weight);
        const params = { ...this.#view("x", x), ...own, ...this.#folded(norm), bias: this.#floats(bias), ...this.#view("out", outs[i]) };
        const rows = outs[i].shape[1];
        const grid: Grid = [Math.ceil(rows / 8), Math.ceil(L / together)];
        this.#call("matvec", { ...params, L, rows, accumulate: +accumulate }, grid, { name: `matvec${together}`, dtype });
      }
      return;
    }
    const from = norm ? { x: scratch, xStride: K } : this.#view("x", x);
    if (norm) this.#norm(x, norm, scratch);
    for (const [i, weight] of weights.entries())
      this.#tiles(from, weight, { ...this.#view("out", outs[i]), bias: this.#floats(bias), accumulate: +accumulate, L });
  }

  /** Of few tokens, a norm that is taken on the way. */
  #folded(norm: Norm | undefined): Numbers {
    return { norm: this.#floats(norm?.weight), eps: norm?.eps ?? 0 };
  }

  /** A product of many tokens. */
  #tiles(x: Numbers, weight: Weight, more: Numbers & { readonly L: number }): void {
    const { dtype, ...own } = this.#weight("weight", weight);
    const rows = weight.shape[0];
    this.#call("matmul", { ...x, ...own, rows, ...more }, [Math.ceil(rows / 64), Math.ceil(more.L / 64)], { dtype });
  }

  #gateUp(c: FusedCommandOf<"gateUp">, scratch: number): void {
    const { x, norm, gateProj, upProj, out } = c;
    const [L, K] = x.shape;
    const rows = out.shape[1];
    if (isFew(c)) {
      const together = togetherOf(L);
      const { dtype, ...gate } = this.#weight("gate", gateProj);
      const { dtype: _, ...up } = this.#weight("up", upProj);
      const all = { ...this.#view("x", x), ...gate, ...up, ...this.#folded(norm), ...noExperts, out: this.#at(out) };
      const grid: Grid = [Math.ceil(rows / 4), Math.ceil(L / together)];
      this.#call("gate-up", { ...all, L, rows }, grid, { name: `gateUp${together}`, dtype });
      return;
    }
    const from = norm ? { x: scratch, xStride: K } : this.#view("x", x);
    if (norm) this.#norm(x, norm, scratch);
    const gate = scratch + (norm ? 4 * sizeOf(x) : 0);
    const up = gate + 4 * sizeOf(out);
    const more = { outStride: rows, bias: 0, accumulate: 0, L };
    this.#tiles(from, gateProj, { ...more, out: gate });
    this.#tiles(from, upProj, { ...more, out: up });
    this.#swiglu(out, { gate, gateStride: rows }, { up, upStride: rows });
  }

  /** Each pick on its own, whose weights are read for one token. */
  #experts({ x, routes, gateProj, upProj, downProj, accumulate, out }: FusedCommandOf<"experts">, hidden: number): void {
    if (gateProj.dtype !== upProj.dtype)
      throw new JambaError(
        "UNSUPPORTED",
        `${upProj.name}: expected experts whose gate and up have one dtype on cuda, found ${gateProj.dtype} and ${upProj.dtype}; ask for a dtype`,
      );
    const [, dFf, dModel] = gateProj.shape;
    const [L, nActive] = routes.experts.shape;
    const { dtype, ...gate } = this.#weight("gate", gateProj);
    const { dtype: _, ...up } = this.#weight("up", upProj);
    const chosen = { ...this.#view("experts", routes.experts), nActive };
    const params = { ...this.#view("x", x), ...gate, ...up, ...this.#folded(undefined), ...chosen, out: hidden, L, rows: dFf };
    this.#call("gate-up", params, [Math.ceil(dFf / 4), L * nActive], { name: "gateUp1", dtype });
    const { dtype: downDtype, ...down } = this.#weight("weight", downProj);
    const shares = { ...this.#view("shares", routes.weights), ...this.#view("out", out), accumulate: +accumulate };
    this.#call("experts-down", { hidden, ...down, ...chosen, ...shares, rows: dModel }, [Math.ceil(dModel / 8), L], {
      name: "expertsDown",
      dtype: downDtype,
    });
  }

  #mamba(layer: number): LayerLayout & { kind: "mamba" } {
    return this.#context.states.layout.layers[layer] as LayerLayout & { kind: "mamba" };
  }

  get #slots(): Numbers {
    const { layout, slots } = this.#context.states;
    return { step: this.#context.step, slots, slotWords: layout.slotWords };
  }

  #conv({ x, weight, bias, layer, out }: FusedCommandOf<"causalConv">): void {
    const { spec, conv } = this.#mamba(layer);
    const { dInner, dConv } = spec;
    const params = { ...this.#slots, ...this.#view("x", x), weight: this.#floats(weight), bias: this.#floats(bias), out: this.#at(out) };
    const grid = (inputs: PackedInputs): Grid => [Math.ceil(dInner / 128), Math.ceil(longestOf(inputs) / 8), this.#plan.step.nSequences];
    this.#call("causal-conv", { ...params, window: conv, dInner, dConv }, grid, { name: "causalConv" });
  }

  #scan(c: FusedCommandOf<"selectiveScan">): void {
    const { spec, h } = this.#mamba(c.layer);
    const { dInner, dState } = spec;
    // 32 lanes of 8 states are 256, the most that the layout takes.
    const perLane = dState > 128 ? 8 : 4;
    const lanes = 2 ** Math.ceil(Math.log2(Math.max(1, dState / perLane)));
    const views = (["x", "z", "dt", "B", "C"] as const).map((name) => this.#view(name, c[name]));
    const weights = { A: this.#floats(c.A), D: this.#floats(c.D), dtBias: this.#floats(c.dtBias) };
    const params = Object.assign({ ...this.#slots, ...weights, h, dInner, dState, lanes, out: this.#at(c.out) }, ...views);
    const grid: Grid = [Math.ceil((dInner * lanes) / 128), this.#plan.step.nSequences];
    this.#call("selective-scan", params, grid, { name: `selectiveScan${perLane}` });
  }

  #attention({ q, k, v, layer, out }: FusedCommandOf<"attention">, found: number): void {
    const { layout, pages, spec } = this.#context.states;
    const { at, rowWords, spec: own } = layout.layers[layer] as LayerLayout & { kind: "attention" };
    const { nKvHeads, headDim } = own;
    const [L, columns] = q.shape;
    const nHeads = columns / headDim;
    const common = { step: this.#context.step, pages, pageBytes: 4 * layout.pageWords, layer: 4 * at };
    const places = { ...common, nKvHeads, headDim, pageTokens: spec.pageTokens, rowBytes: 4 * rowWords };
    this.#call("append", { ...places, ...this.#view("k", k), ...this.#view("v", v) }, [L], { dtype: spec.kvDtype });
    const mostShares = mostSharesOf(L, nHeads);
    const shares = { ...this.#view("out", out), found, nHeads, leastShare, mostShares };
    const grid = (inputs: PackedInputs): Grid => [nHeads, L, nSharesOf(inputs, mostShares)];
    this.#call("attention", { ...places, ...this.#view("q", q), ...shares, scale: 1 / Math.sqrt(headDim) }, grid, { dtype: spec.kvDtype });
    const merged = { step: this.#context.step, ...shares, headDim };
    this.#call("attention-merge", merged, (inputs) => (nSharesOf(inputs, mostShares) > 1 ? [nHeads, L] : [0]), { name: "attentionMerge" });
  }

  #top(c: FusedCommandOf<"top">, scratch: number): void {
    const [nRows, length] = c.logits.shape;
    const { share, groups, candidates } = topShape(c);
    const foundValues = scratch + 4 * nRows * candidates;
    const common = { step: this.#context.step, k: c.k, foundIds: scratch, foundValues };
    const places = { ids: this.#at(c.ids), values: this.#at(c.values), sums: this.#at(c.sums) };
    const whole = { ...this.#view("logits", c.logits), length, share, partIds: 0, partSums: 0, nParts: 0 };
    if (groups === 1) {
      this.#call("top", { ...common, ...places, ...whole }, [1, nRows]);
      return;
    }
    const ids = scratch + 8 * nRows * candidates;
    const [values, sums] = [ids + 4 * nRows * candidates, ids + 8 * nRows * candidates];
    this.#call("top", { ...common, ...whole, ids, values, sums }, [groups, nRows]);
    const parts = { logits: values, logitsStride: candidates, length: candidates, share: candidates };
    this.#call("top", { ...common, ...places, ...parts, partIds: ids, partSums: sums, nParts: groups }, [1, nRows]);
  }
}

const noExperts = { experts: 0, expertsStride: 0, nActive: 0 };
