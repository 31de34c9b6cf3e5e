// The dispatches of products with weights: matvecs for few tokens, tiles for many.

import type { FusedCommand, FusedCommandOf, Norm, Tensor, Weight, WeightDtype } from "@jamba/core";
import { flat, type Groups, type PlannedCall } from "./dispatch.ts";
import type { GpuBinding } from "./gpu.ts";
import type { KernelKey } from "./kernels.ts";
import { rowLayout } from "./layout.ts";
import { lanesOf, type Sweep } from "./sweep.ts";
import { bindingsOf, type GpuWeight } from "./weights.ts";

/** What a device does products with. */
export interface Products {
  readonly sweep: Sweep;
  /** Whether WGSL has dot products of bytes there. */
  readonly hasDots: boolean;
  /** Whether unpack2x16float gives the smallest halves as they are. */
  readonly keepsHalves: boolean;
}

type Numbers = Readonly<Record<string, number>>;

/** What writes the calls of a plan. */
export interface CallWriter {
  readonly products: Products;
  call(
    name: KernelKey["name"],
    params: Numbers,
    groups: Groups,
    more?: Partial<Pick<PlannedCall, "buffers">> & Omit<KernelKey, "name">,
  ): void;
  /** Where a value lies: `x` and `xStride`. */
  view(name: string, t: Tensor): Numbers;
  weightOf(weight: Weight): GpuWeight;
  /** A weight that kernels take in one piece. */
  whole(weight: Weight | undefined): GpuBinding;
  norm(x: Tensor, norm: Norm, out: number): void;
}

/** Up to so many tokens take matvecs, 8 at a time; more take tiles. */
const mostFew = 16;
/** Tokens and rows of a tile. */
const tileSize = 64;
const isFew = (L: number) => L <= mostFew;
/** Sweeps read an expert once for each token that has it, and tiles once. */
const sweepsExperts = (L: number, nActive: number, nExperts: number) => L === 1 || L * nActive <= nExperts || nExperts > mostGrouped;
/** Experts that expert-tiles has counters for. */
const mostGrouped = 256;

/** x as products take it. */
interface Taken {
  readonly L: number;
  /** In floats: `x` and `xStride`. */
  readonly x: Numbers;
  /** In bytes, for weights in blocks: `bytes`, `scales` and `xBlocks`. */
  readonly bytes?: Numbers;
  /** That products of few tokens take on their way. */
  readonly norm?: Norm;
}

/** Words that a product works in beside its operands. */
export function matrixScratch(command: FusedCommand, products: Products): number {
  switch (command.op) {
    case "matmul":
      return takenWords(command.x.shape, command.weights, products, command.norm);
    case "gateUp": {
      const { x, gateProj, upProj, out, norm } = command;
      const between = isGateUpOne(x.shape[0], gateProj, upProj) ? 0 : 2 * out.shape[0] * out.shape[1];
      return takenWords(x.shape, [gateProj, upProj], products, norm) + between;
    }
    case "experts":
      return expertsRoom(command, products, 0).end;
    default:
      return 0;
  }
}

/** Whether one kernel does both projections and what comes after them. */
const isGateUpOne = (L: number, gate: Weight, up: Weight) => isFew(L) && gate.dtype === up.dtype;

function takenWords([L, columns]: readonly [number, number], weights: readonly Weight[], products: Products, norm?: Norm): number {
  return isFew(L) ? 0 : (norm ? L * columns : 0) + byteWords(L, byteBlocks(weights, products));
}

/** A block of x in bytes is 8 words, its scale and its sum. */
const byteWords = (rows: number, blocks: number) => 10 * rows * blocks;
const isInBlocks = (dtype: WeightDtype) => dtype === "q8" || dtype === "q4" || dtype === "q4_1" || dtype === "q4_k";

/** Blocks of a row of x in bytes: as many as any of the weights has that take it so. */
function byteBlocks(weights: readonly Weight[], { hasDots }: Products): number {
  const takers = hasDots ? weights.filter(({ dtype }) => isInBlocks(dtype)) : [];
  return Math.max(0, ...takers.map(({ shape, dtype }) => rowLayout(shape.at(-1)!, dtype).blocks));
}

export function addEmbed(w: CallWriter, { table, out }: FusedCommandOf<"embed">): void {
  const { row, parts } = w.weightOf(table);
  const [L, columns] = out.shape;
  for (const part of parts) {
    const params = { L, columns, blocks: row.blocks, out: w.view("out", out).out, firstRow: part.firstRow, rows: part.rows };
    w.call("embed", params, flat(L * Math.ceil(columns / 4)), { weights: { weight: table.dtype }, buffers: bindingsOf("weight", part) });
  }
}

export function addMatmul(w: CallWriter, { x, weights, bias, accumulate, outs, norm }: FusedCommandOf<"matmul">, scratch: number): void {
  const taken = take(w, x, weights, norm, scratch);
  for (const [i, weight] of weights.entries()) addProduct(w, taken, weight, w.view("out", outs[i]), { accumulate, bias });
}

export function addGateUp(w: CallWriter, { x, norm, gateProj, upProj, out }: FusedCommandOf<"gateUp">, scratch: number): void {
  const [L, dFf] = out.shape;
  const taken = take(w, x, [gateProj, upProj], norm, scratch);
  if (isGateUpOne(L, gateProj, upProj)) {
    if (L === 1) sweepGateUp(w, taken, { gateProj, upProj, dFf }, w.view("out", out));
    else addGateUpFew(w, taken, gateProj, upProj, w.view("out", out));
    return;
  }
  const gate = scratch + takenWords(x.shape, [gateProj, upProj], w.products, norm);
  const up = gate + L * dFf;
  addProduct(w, taken, gateProj, at("out", gate, dFf));
  addProduct(w, taken, upProj, at("out", up, dFf));
  addSwiglu(w, [L, dFf], gate, up, w.view("out", out).out);
}

const at = (name: string, at: number, stride: number): Numbers => ({ [name]: at, [`${name}Stride`]: stride });

function addSwiglu(w: CallWriter, [rows, columns]: readonly [number, number], gate: number, up: number, out: number): void {
  w.call("swiglu", { rows, columns, out, ...at("gate", gate, columns), ...at("up", up, columns) }, flat(rows * columns));
}

/** Makes x ready for products with these weights. */
function take(w: CallWriter, x: Tensor, weights: readonly Weight[], norm: Norm | undefined, scratch: number): Taken {
  const [L, columns] = x.shape;
  if (isFew(L)) return { L, x: w.view("x", x), norm };
  let [from, free] = [w.view("x", x), scratch];
  if (norm) {
    w.norm(x, norm, free);
    from = at("x", free, columns);
    free += L * columns;
  }
  const blocks = byteBlocks(weights, w.products);
  return { L, x: from, bytes: blocks > 0 ? addBytes(w, from, [L, columns], blocks, free) : undefined };
}

/** x in bytes, at `to`. */
function addBytes(w: CallWriter, x: Numbers, [L, columns]: readonly [number, number], blocks: number, to: number): Numbers {
  const [bytes, scales] = [to, to + 8 * L * blocks];
  w.call("quantise", { columns, blocks, ...x, bytes, scales }, [Math.ceil(blocks / 8), L]);
  return { bytes, scales, xBlocks: blocks };
}

interface ProductOptions {
  readonly accumulate?: boolean;
  readonly bias?: Weight;
  /** By expert: what expert-tiles made, picks for each row of x, and rows of an expert. */
  readonly grouped?: {
    readonly order: number;
    readonly tiles: number;
    readonly nTiles: number;
    readonly perRow: number;
    readonly each: number;
  };
}

function addProduct(
  w: CallWriter,
  taken: Taken,
  weight: Weight,
  out: Numbers,
  { accumulate = false, bias, grouped }: ProductOptions = {},
): void {
  const { L, x, bytes, norm } = taken;
  const { row, parts } = w.weightOf(weight);
  for (const part of parts) {
    const { rows, firstRow } = part;
    const common = { columns: row.columns, blocks: row.blocks, rows, firstRow, accumulate: +accumulate, hasBias: +!!bias };
    const key = { weights: { weight: weight.dtype }, buffers: { ...bindingsOf("weight", part), bias: w.whole(bias) } };
    if (isFew(L) && !grouped) {
      const buffers = { ...key.buffers, norm: w.whole(norm?.weight) };
      const params = { ...common, hasNorm: +!!norm, eps: norm?.eps ?? 0 };
      if (L === 1) {
        const { constants, groups } = sweepOver(w.products.sweep, row.blocks, rows);
        w.call("matvec", { ...params, x: x.x, out: out.out }, groups, { ...key, constants, buffers });
      } else {
        const { constants, groups } = fewOver(L, row.blocks, rows, 256);
        w.call("matvec-few", { ...params, L, ...x, ...out }, groups, { ...key, constants, buffers });
      }
      continue;
    }
    const { nTiles = Math.ceil(L / tileSize), ...group } = grouped ?? { each: rows, order: 0, tiles: 0, perRow: 1 };
    const inBytes = bytes && isInBlocks(weight.dtype);
    const groups = [Math.ceil(group.each / tileSize), nTiles] as const;
    w.call(inBytes ? "matmul-bytes" : "matmul", { ...common, L, ...(inBytes ? bytes : x), ...out, ...group }, groups, {
      ...key,
      constants: { isGrouped: +!!grouped },
    });
  }
}

/** Constants and groups of a sweep. @param nOf results of a thread that has so many rows */
function sweepOver(sweep: Sweep, blocks: number, n: number, nOf = (rows: number) => rows) {
  const constants = { ...sweep, lanes: lanesOf(blocks, sweep.lanes) };
  return { constants, groups: spread(Math.ceil(n / (nOf(sweep.rows) * (sweep.threads / constants.lanes)))) };
}

/** Constants and groups for 2 to 16 tokens. @param nShared results of a token that the threads of a group share by lanes */
function fewOver(L: number, blocks: number, n: number, nShared: number) {
  const tokens = L > 4 ? 8 : 4;
  const lanes = lanesOf(blocks, 64 / tokens);
  return { constants: { tokens, lanes }, groups: [...spread(Math.ceil(n / (nShared / lanes))), Math.ceil(L / tokens)] as const };
}

/** Groups over two axes. */
function spread(n: number): readonly [number, number] {
  const y = Math.max(1, Math.ceil(n / 65535)); // the most that one axis takes
  return [Math.ceil(n / y), y];
}

function addGateUpFew(w: CallWriter, { L, x, norm }: Taken, gateProj: Weight, upProj: Weight, out: Numbers): void {
  const [gate, up] = [w.weightOf(gateProj), w.weightOf(upProj)];
  const { columns, blocks } = gate.row;
  for (const [i, part] of gate.parts.entries()) {
    const { rows, firstRow } = part;
    const { constants, groups } = fewOver(L, blocks, rows, 128);
    const params = { columns, blocks, rows, firstRow, L, ...x, ...out, hasNorm: +!!norm, eps: norm?.eps ?? 0 };
    const buffers = { ...bindingsOf("gate", part), ...bindingsOf("up", up.parts[i]), norm: w.whole(norm?.weight) };
    w.call("gate-up-few", params, groups, { weights: { gate: gateProj.dtype, up: upProj.dtype }, constants, buffers });
  }
}

/** For one token, or each token's active experts. */
function sweepGateUp(
  w: CallWriter,
  { L, x, norm }: Taken,
  { gateProj, upProj, dFf, experts }: { gateProj: Weight; upProj: Weight; dFf: number; experts?: Tensor },
  out: Numbers,
): void {
  const [gate, up] = [w.weightOf(gateProj), w.weightOf(upProj)];
  const { columns, blocks } = gate.row;
  const nActive = experts?.shape[1] ?? 0;
  const routing = experts ? w.view("experts", experts) : at("experts", 0, 0);
  const sweep = { ...w.products.sweep, rows: Math.max(2, w.products.sweep.rows) };
  const { constants, groups } = sweepOver(sweep, blocks, dFf, (rows) => rows / 2);
  for (const [i, part] of gate.parts.entries()) {
    const { rows, firstRow } = part;
    const params = { columns, blocks, rows, firstRow, ...x, ...out, hasNorm: +!!norm, eps: norm?.eps ?? 0, nActive, ...routing, dFf };
    const buffers = { ...bindingsOf("gate", part), ...bindingsOf("up", up.parts[i]), norm: w.whole(norm?.weight) };
    const weights = { gate: gateProj.dtype, up: upProj.dtype };
    w.call("gate-up", params, [...groups, L * Math.max(1, nActive)], { weights, constants, buffers });
  }
}

/** Where experts work for many tokens, from `first` on. */
function expertsRoom({ x, routes, gateProj, upProj, downProj }: FusedCommandOf<"experts">, products: Products, first: number) {
  const [nExperts, dFf, dModel] = gateProj.shape;
  const [L, nActive] = routes.experts.shape;
  const nPicks = L * nActive;
  if (sweepsExperts(L, nActive, nExperts) && gateProj.dtype === upProj.dtype)
    return { isSwept: true as const, hidden: first, end: first + nPicks * dFf };
  const nTiles = Math.floor((nPicks + (tileSize - 1) * Math.min(nExperts, nPicks)) / tileSize);
  const order = first;
  const tiles = order + tileSize * nTiles;
  const gate = tiles + nTiles;
  const up = gate + nPicks * dFf;
  const xBlocks = byteBlocks([gateProj, upProj], products);
  const hiddenBlocks = byteBlocks([downProj], products);
  // After the up projection's results come those of the down projection.
  const bytes = up + nPicks * Math.max(dFf, dModel);
  const end = bytes + Math.max(byteWords(x.shape[0], xBlocks), byteWords(nPicks, hiddenBlocks));
  return { isSwept: false as const, nTiles, order, tiles, gate, up, xBlocks, hiddenBlocks, bytes, end };
}

export function addExperts(w: CallWriter, command: FusedCommandOf<"experts">, scratch: number): void {
  const { x, routes, gateProj, upProj, downProj, accumulate, out } = command;
  const [nExperts, dFf, dModel] = gateProj.shape;
  const { experts, weights: shares } = routes;
  const [L, nActive] = experts.shape;
  const room = expertsRoom(command, w.products, scratch);
  if (room.isSwept) {
    sweepGateUp(w, { L, x: w.view("x", x) }, { gateProj, upProj, dFf, experts }, at("out", room.hidden, dFf));
    sweepDown(w, command, room.hidden);
    return;
  }
  const { nTiles, order, tiles, gate, up, xBlocks, hiddenBlocks, bytes } = room;
  const nPicks = L * nActive;
  w.call("expert-tiles", { nPicks, nActive, nExperts, nTiles, ...w.view("experts", experts), order, tiles }, [1, 1]);
  const group = { order, tiles, nTiles };
  const view = w.view("x", x);
  const taken = { L, x: view, bytes: xBlocks > 0 ? addBytes(w, view, [L, dModel], xBlocks, bytes) : undefined };
  const grouped = { ...group, perRow: nActive, each: dFf };
  addProduct(w, taken, gateProj, at("out", gate, dFf), { grouped });
  addProduct(w, taken, upProj, at("out", up, dFf), { grouped });
  addSwiglu(w, [nPicks, dFf], gate, up, gate);
  const hidden = at("x", gate, dFf);
  const own = { L: nPicks, x: hidden, bytes: hiddenBlocks > 0 ? addBytes(w, hidden, [nPicks, dFf], hiddenBlocks, bytes) : undefined };
  addProduct(w, own, downProj, at("out", up, dModel), { grouped: { ...group, perRow: 1, each: dModel } });
  const sum = { L, columns: dModel, nActive, y: up, ...w.view("out", out), ...w.view("shares", shares), accumulate: +accumulate };
  w.call("experts-sum", sum, flat(L * dModel));
}

function sweepDown(w: CallWriter, { routes, downProj, accumulate, out }: FusedCommandOf<"experts">, hidden: number): void {
  const { row, parts } = w.weightOf(downProj);
  const { experts, weights: shares } = routes;
  const [L, nActive] = experts.shape;
  const dModel = downProj.shape[1];
  const { constants, groups } = sweepOver(w.products.sweep, row.blocks, dModel);
  for (const [i, part] of parts.entries()) {
    const { rows, firstRow } = part;
    const own = { columns: row.columns, blocks: row.blocks, rows, firstRow, hidden, dModel, nActive };
    const views = { ...w.view("out", out), ...w.view("experts", experts), ...w.view("shares", shares) };
    const more = { weights: { weight: downProj.dtype }, constants, buffers: bindingsOf("weight", part) };
    w.call("experts-down", { ...own, ...views, accumulate: +(accumulate || i > 0) }, [...groups, L], more);
  }
}
