// The dispatches of products with weights: matvecs for few tokens, tiles for many. Those of experts stand in calls-experts.ts.

import { type FusedCommand, type FusedCommandOf, type Norm, rowLayout, type Tensor, type Weight, type WeightDtype } from "@jamba/core";
import { flat, type Groups, type PlannedCall } from "./dispatch.ts";
import type { GpuBinding } from "./gpu.ts";
import type { KernelKey } from "./kernels.ts";
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
export const tileSize = 64;
export const isFew = (L: number) => L <= mostFew;
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
    default:
      return 0;
  }
}

/** Whether one kernel does both projections and what comes after them. */
const isGateUpOne = (L: number, gate: Weight, up: Weight) => isFew(L) && gate.dtype === up.dtype;

function takenWords([L, columns]: readonly [number, number], weights: readonly Weight[], products: Products, norm?: Norm): number {
  return isFew(L) ? 0 : (norm && !areInBytes(weights, products) ? L * columns : 0) + byteWords(L, byteBlocks(weights, products));
}

/** A block of x in bytes is 8 words, its scale and its sum. */
export const byteWords = (rows: number, blocks: number) => 10 * rows * blocks;
/** Whether all of them take x in bytes: then nothing wants it in floats. */
const areInBytes = (weights: readonly Weight[], { hasDots }: Products) => hasDots && weights.every(({ dtype }) => isInBlocks(dtype));
const isInBlocks = (dtype: WeightDtype) => dtype === "q8" || dtype === "q4" || dtype === "q4_1" || dtype === "q4_k";

/** Blocks of a row of x in bytes: as many as any of the weights has that take it so. */
export function byteBlocks(weights: readonly Weight[], { hasDots }: Products): number {
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
  const products = weights.map((weight, i) => ({ weight, out: w.view("out", outs[i]) }));
  addProducts(w, taken, products, { accumulate, bias });
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
  addProducts(w, taken, [
    { weight: gateProj, out: at("out", gate, dFf) },
    { weight: upProj, out: at("out", up, dFf) },
  ]);
  addSwiglu(w, [L, dFf], gate, up, w.view("out", out).out);
}

export const at = (name: string, at: number, stride: number): Numbers => ({ [name]: at, [`${name}Stride`]: stride });

export function addSwiglu(w: CallWriter, [rows, columns]: readonly [number, number], gate: number, up: number, out: number): void {
  w.call("swiglu", { rows, columns, out, ...at("gate", gate, columns), ...at("up", up, columns) }, flat(rows * columns));
}

/** Makes x ready for products with these weights. */
function take(w: CallWriter, x: Tensor, weights: readonly Weight[], norm: Norm | undefined, scratch: number): Taken {
  const [L, columns] = x.shape;
  if (isFew(L)) return { L, x: w.view("x", x), norm };
  let [from, free] = [w.view("x", x), scratch];
  const onTheWay = areInBytes(weights, w.products) ? norm : undefined;
  if (norm && !onTheWay) {
    w.norm(x, norm, free);
    from = at("x", free, columns);
    free += L * columns;
  }
  const blocks = byteBlocks(weights, w.products);
  return { L, x: from, bytes: blocks > 0 ? addBytes(w, from, [L, columns], blocks, free, onTheWay) : undefined };
}

/** x in bytes, at `to`. */
export function addBytes(
  w: CallWriter,
  x: Numbers,
  [L, columns]: readonly [number, number],
  blocks: number,
  to: number,
  norm?: Norm,
): Numbers {
  const [bytes, scales] = [to, to + 8 * L * blocks];
  const params = { columns, blocks, ...x, bytes, scales, hasNorm: +!!norm, eps: norm?.eps ?? 0 };
  w.call("quantise", params, [Math.ceil(blocks / 8), L], { buffers: { norm: w.whole(norm?.weight) } });
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

interface Product {
  readonly weight: Weight;
  readonly out: Numbers;
}

/** Products of one x with weights that have as many columns. */
function addProducts(w: CallWriter, taken: Taken, products: readonly Product[], options: Omit<ProductOptions, "grouped"> = {}): void {
  if (!isFew(taken.L)) {
    for (const { weight, out } of products) addTiles(w, taken, weight, out, options);
    return;
  }
  const pieces = products.flatMap(({ weight, out }) => {
    const { row, parts } = w.weightOf(weight);
    return parts.map((part) => ({ dtype: weight.dtype, row, part, out }));
  });
  while (pieces.length > 0) {
    const n = options.bias ? 1 : pieces.findIndex(({ dtype }, i) => i === mostPieces || dtype !== pieces[0].dtype);
    const some = pieces.splice(0, n < 0 ? pieces.length : n);
    if (some.length === 1) addMatvec(w, taken, some[0], options);
    else addThree(w, taken, some, options);
  }
}

/** What one dispatch for few tokens multiplies with. */
const mostPieces = 3;

/** A part of a weight, and where results of the whole weight go. */
interface Piece {
  readonly dtype: WeightDtype;
  readonly row: GpuWeight["row"];
  readonly part: GpuWeight["parts"][number];
  readonly out: Numbers;
}

/** Constants and groups for few tokens. @returns groups for rows from 0 on */
function layoutFew(w: CallWriter, L: number, blocks: number) {
  const { sweep } = w.products;
  if (L === 1) {
    const constants = { ...sweep, lanes: lanesOf(blocks, sweep.lanes) };
    return { constants, groupRows: sweep.rows * (sweep.threads / constants.lanes), stacks: 1 };
  }
  const { constants, groupRows } = fewOver(L, blocks, 256);
  return { constants, groupRows, stacks: Math.ceil(L / constants.tokens) };
}

function addMatvec(w: CallWriter, { L, x, norm }: Taken, { dtype, row, part, out }: Piece, { accumulate, bias }: ProductOptions): void {
  const { rows, firstRow } = part;
  const own = { columns: row.columns, blocks: row.blocks, rows, firstRow, accumulate: +!!accumulate, hasBias: +!!bias };
  const params = { ...own, hasNorm: +!!norm, eps: norm?.eps ?? 0 };
  const buffers = { ...bindingsOf("weight", part), bias: w.whole(bias), norm: w.whole(norm?.weight) };
  const { constants, groupRows, stacks } = layoutFew(w, L, row.blocks);
  const [name, places] = L === 1 ? (["matvec", { x: x.x, out: out.out }] as const) : (["matvec-few", { L, ...x, ...out }] as const);
  w.call(name, { ...params, ...places }, [...spread(Math.ceil(rows / groupRows)), stacks], {
    weights: { weight: dtype },
    constants,
    buffers,
  });
}

function addThree(w: CallWriter, { L, x, norm }: Taken, pieces: readonly Piece[], { accumulate }: ProductOptions): void {
  const [{ dtype, row }] = pieces;
  const { constants, groupRows, stacks } = layoutFew(w, L, row.blocks);
  const params: Record<string, number> = { columns: row.columns, blocks: row.blocks, L, ...x, accumulate: +!!accumulate };
  Object.assign(params, { hasNorm: +!!norm, eps: norm?.eps ?? 0 });
  const buffers: Record<string, GpuBinding> = { norm: w.whole(norm?.weight) };
  for (const [i, name] of (["weight", "second", "third"] as const).entries()) {
    // What is not there has no rows, and binds what is.
    const { part, out } = pieces[i] ?? pieces[0];
    const of = (field: string) => (i === 0 ? field : name + field[0].toUpperCase() + field.slice(1));
    params[of("rows")] = pieces[i] ? part.rows : 0;
    params[of("out")] = out.out + part.firstRow;
    params[i === 0 ? "outStride" : `${name}Stride`] = out.outStride;
    Object.assign(buffers, bindingsOf(name, part));
  }
  const groups = pieces.reduce((sum, { part }) => sum + Math.ceil(part.rows / groupRows), 0);
  const weights = { weight: dtype, second: dtype, third: dtype };
  w.call(L === 1 ? "matvec-three" : "matvec-three-few", params, [...spread(groups), stacks], { weights, constants, buffers });
}

/** Products for many tokens, or for each expert's. */
export function addTiles(
  w: CallWriter,
  taken: Taken,
  weight: Weight,
  out: Numbers,
  { accumulate = false, bias, grouped }: ProductOptions = {},
): void {
  const { L, x, bytes } = taken;
  const { row, parts } = w.weightOf(weight);
  for (const part of parts) {
    const { rows, firstRow } = part;
    const common = { columns: row.columns, blocks: row.blocks, rows, firstRow, accumulate: +accumulate, hasBias: +!!bias };
    const key = { weights: { weight: weight.dtype }, buffers: { ...bindingsOf("weight", part), bias: w.whole(bias) } };
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
export function sweepOver(sweep: Sweep, blocks: number, n: number, nOf = (rows: number) => rows) {
  const constants = { ...sweep, lanes: lanesOf(blocks, sweep.lanes) };
  return { constants, groups: spread(Math.ceil(n / (nOf(sweep.rows) * (sweep.threads / constants.lanes)))) };
}

/** Constants for products of `tokens` tokens at a time. @param nShared results of a token that the threads of a group share by lanes */
export function fewOver(L: number, blocks: number, nShared: number) {
  const tokens = L > 4 ? 8 : 4;
  const lanes = lanesOf(blocks, 64 / tokens);
  return { constants: { tokens, lanes }, groupRows: nShared / lanes };
}

/** Groups over two axes. */
export function spread(n: number): readonly [number, number] {
  const y = Math.max(1, Math.ceil(n / 65535)); // the most that one axis takes
  return [Math.ceil(n / y), y];
}

function addGateUpFew(w: CallWriter, { L, x, norm }: Taken, gateProj: Weight, upProj: Weight, out: Numbers): void {
  const [gate, up] = [w.weightOf(gateProj), w.weightOf(upProj)];
  const { columns, blocks } = gate.row;
  for (const [i, part] of gate.parts.entries()) {
    const { rows, firstRow } = part;
    const { constants, groupRows } = fewOver(L, blocks, 128);
    const groups = [...spread(Math.ceil(rows / groupRows)), Math.ceil(L / constants.tokens)] as const;
    const params = { columns, blocks, rows, firstRow, L, ...x, ...out, hasNorm: +!!norm, eps: norm?.eps ?? 0 };
    const buffers = { ...bindingsOf("gate", part), ...bindingsOf("up", up.parts[i]), norm: w.whole(norm?.weight) };
    w.call("gate-up-few", params, groups, { weights: { gate: gateProj.dtype, up: upProj.dtype }, constants, buffers });
  }
}

/** For one token, or each token's active experts. */
export function sweepGateUp(
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
