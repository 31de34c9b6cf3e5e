// How what is long is cut: convolutions and scans in time, attention in rows. Kernels and the host must agree on it.

import { type FloatDtype, type FusedCommandOf, floatBytes, type LayerLayout, roundUp, type Tensor } from "@jamba/core";

/** Tokens of a thread in causal-conv. */
export const convRun = 8;
/** Groups of attention that keep most GPUs busy. */
const busyGroups = 512;

/**
 * How attention is cut: into groups that have all query heads of a key-value head where they fit, of as many tokens as fit, and a share of
 * the context. Tokens do not follow the step's: each count is a kernel to compile.
 */
export function attentionShape(
  q: Tensor,
  { spec: { nKvHeads, headDim }, rowWords }: LayerLayout & { kind: "attention" },
  kvDtype: FloatDtype,
) {
  const [L, columns] = q.shape;
  const [nHeads, quads] = [columns / headDim, rowWords / floatBytes[kvDtype]];
  const perKvHead = nHeads / nKvHeads;
  // Workgroup memory that every device has, and registers for 32 rows at most.
  const mostRows = Math.min(32, 4 * Math.floor((16384 - 256) / (64 * quads + 1168)), 4 * Math.floor(256 / quads));
  const blocks = Math.ceil(perKvHead / mostRows);
  const heads = Math.ceil(perKvHead / blocks);
  const mostTokens = Math.max(1, Math.floor(mostRows / heads));
  const nGroups = nKvHeads * blocks * Math.ceil(L / mostTokens);
  const mostShares = Math.min(128, Math.max(1, Math.floor(busyGroups / Math.max(1, nGroups))));
  return { mostTokens, mostShares, heads, blocks, quads, foundWords: L * nHeads * mostShares * (headDim + 2) };
}

/** Threads that keep most GPUs busy. */
const busyThreads = 2 ** 15;

/** Threads of a channel in selective-scan, with 4 states each. */
export const scanLanes = (dState: number): number => 2 ** Math.ceil(Math.log2(Math.max(1, dState / 4)));

/**
 * Tokens of a chunk where a scan is cut in time: channels alone would keep few threads busy. Each exponential is then worked out twice,
 * which fewer than 4 chunks would not win back.
 */
export function chunkOf({ x, A }: FusedCommandOf<"selectiveScan">, nSequences: number): number | undefined {
  const [L, [dInner, dState]] = [x.shape[0], A.shape];
  const most = Math.floor(busyThreads / Math.max(1, dInner * scanLanes(dState)));
  const chunk = roundUp(Math.ceil(L / Math.min(16, most)), 16);
  return most >= 4 * nSequences && L >= 4 * chunk ? chunk : undefined;
}

/** Words that a cut scan leaves for its second pass: for each chunk, and h before the first one. */
export function endWords(command: FusedCommandOf<"selectiveScan">): number {
  const [L, [dInner, dState], chunk] = [command.x.shape[0], command.A.shape, chunkOf(command, 1)];
  return chunk ? Math.ceil((2 * L) / chunk) * dInner * (roundUp(dState, 4) + 1) : 0;
}
