// The dispatches of experts: each token's own for few tokens, tiles of one expert's for many.

import type { FusedCommandOf } from "@jamba/core";
import {
  addBytes,
  addSwiglu,
  addTiles,
  at,
  byteBlocks,
  byteWords,
  type CallWriter,
  fewOver,
  isFew,
  type Products,
  spread,
  sweepGateUp,
  sweepOver,
  tileSize,
} from "./calls-matrix.ts";
import { flat } from "./dispatch.ts";
import { bindingsOf } from "./weights.ts";

/** Sweeps read an expert once for each token that has it, and tiles once. */
const sweepsExperts = (L: number, nActive: number, nExperts: number) => L === 1 || L * nActive <= nExperts || nExperts > mostGrouped;
/** Up to 16 tokens read an expert once for several of them, where it is likely that they share some. */
const picksExperts = (L: number, nActive: number, nExperts: number) => L > 1 && isFew(L) && 2 * L * nActive >= nExperts;
/** Experts that expert-tiles has counters for. */
const mostGrouped = 256;

/** Where experts work for many tokens, from `first` on. */
function expertsRoom({ x, routes, gateProj, upProj, downProj }: FusedCommandOf<"experts">, products: Products, first: number) {
  const [nExperts, dFf, dModel] = gateProj.shape;
  const [L, nActive] = routes.experts.shape;
  const nPicks = L * nActive;
  const isFused = gateProj.dtype === upProj.dtype;
  if (isFused && picksExperts(L, nActive, nExperts)) return { way: "picks" as const, hidden: first, end: first + nPicks * dFf };
  if (isFused && sweepsExperts(L, nActive, nExperts)) return { way: "sweep" as const, hidden: first, end: first + nPicks * dFf };
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
  return { way: "tiles" as const, nTiles, order, tiles, gate, up, xBlocks, hiddenBlocks, bytes, end };
}

/** Words that experts work in beside their operands. */
export const expertsScratch = (command: FusedCommandOf<"experts">, products: Products) => expertsRoom(command, products, 0).end;

export function addExperts(w: CallWriter, command: FusedCommandOf<"experts">, scratch: number): void {
  const { x, routes, gateProj, upProj, downProj, accumulate, out } = command;
  const [nExperts, dFf, dModel] = gateProj.shape;
  const { experts, weights: shares } = routes;
  const [L, nActive] = experts.shape;
  const room = expertsRoom(command, w.products, scratch);
  if (room.way !== "tiles") {
    if (room.way === "picks") addPicks(w, command, room.hidden);
    else {
      sweepGateUp(w, { L, x: w.view("x", x) }, { gateProj, upProj, dFf, experts }, at("out", room.hidden, dFf));
      sweepDown(w, command, room.hidden);
    }
    return;
  }
  const { nTiles, order, tiles, gate, up, xBlocks, hiddenBlocks, bytes } = room;
  const nPicks = L * nActive;
  w.call("expert-tiles", { nPicks, nActive, nExperts, nTiles, ...w.view("experts", experts), order, tiles }, [1, 1]);
  const group = { order, tiles, nTiles };
  const view = w.view("x", x);
  const taken = { L, x: view, bytes: xBlocks > 0 ? addBytes(w, view, [L, dModel], xBlocks, bytes) : undefined };
  const grouped = { ...group, perRow: nActive, each: dFf };
  addTiles(w, taken, gateProj, at("out", gate, dFf), { grouped });
  addTiles(w, taken, upProj, at("out", up, dFf), { grouped });
  addSwiglu(w, [nPicks, dFf], gate, up, gate);
  const hidden = at("x", gate, dFf);
  const own = { L: nPicks, x: hidden, bytes: hiddenBlocks > 0 ? addBytes(w, hidden, [nPicks, dFf], hiddenBlocks, bytes) : undefined };
  addTiles(w, own, downProj, at("out", up, dModel), { grouped: { ...group, perRow: 1, each: dModel } });
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

/** For 2 to 16 tokens: two dispatches, whatever experts they have. */
function addPicks(
  w: CallWriter,
  { x, routes, gateProj, upProj, downProj, accumulate, out }: FusedCommandOf<"experts">,
  hidden: number,
): void {
  const [nExperts, dFf, dModel] = gateProj.shape;
  const [L, nActive] = routes.experts.shape;
  const [gate, up, down] = [gateProj, upProj, downProj].map(w.weightOf);
  const routing = { L, nActive, ...w.view("experts", routes.experts) };
  const likely = (L * nActive) / nExperts; // tokens of an expert
  for (const [i, part] of gate.parts.entries()) {
    const { rows, firstRow } = part;
    const { columns, blocks } = gate.row;
    const { constants, groupRows } = fewOver(likely, blocks, 128);
    const params = { columns, blocks, rows, firstRow, ...w.view("x", x), ...at("out", hidden, dFf), ...routing, dFf };
    const buffers = { ...bindingsOf("gate", part), ...bindingsOf("up", up.parts[i]) };
    const weights = { gate: gateProj.dtype, up: upProj.dtype };
    w.call("gate-up-picks", params, [...spread(Math.ceil(dFf / groupRows)), nExperts], { weights, constants, buffers });
  }
  for (const [i, part] of down.parts.entries()) {
    const { rows, firstRow } = part;
    const { columns, blocks } = down.row;
    const { constants, groupRows } = fewOver(likely, blocks, 256);
    const own = { columns, blocks, rows, firstRow, ...at("x", hidden, dFf), ...w.view("out", out), accumulate: +(accumulate || i > 0) };
    const params = { ...own, dModel, nExperts, ...routing, ...w.view("shares", routes.weights) };
    const more = { weights: { weight: downProj.dtype }, constants, buffers: bindingsOf("weight", part) };
    w.call("experts-down-picks", params, spread(Math.ceil(dModel / groupRows)), more);
  }
}
