// How GPUs cut what is long: contexts and rows of logits, in shares. Kernels and the host must agree on it.

import type { FusedCommandOf } from "../command.ts";
import type { Plan } from "../lower/lower.ts";
import type { PackedInputs } from "./driver.ts";
import { roundUp } from "./layout.ts";
import { sequencesOf } from "./step-words.ts";

/** Tokens of the longest sequence of a step. */
export const longestOf = ({ starts }: PackedInputs) => starts.reduce((most, start, i) => Math.max(most, start - (starts[i - 1] ?? 0)), 0);

/** Of kept values, which lie one after another. */
export const wordsOf = (kept: Plan["kept"]) => kept.reduce((sum, { x }) => sum + x.shape[0] * x.shape[1], 0);

/** Keys of the smallest share of a context. */
export const leastShare = 128;

/** Shares of the longest context of a step. Kernels work out the same. */
export function nSharesOf(inputs: PackedInputs, mostShares: number): number {
  const counts = sequencesOf(inputs).map(({ from, to, seen }) => {
    const share = Math.max(leastShare, roundUp(Math.ceil((seen + to - from) / mostShares), 64));
    return Math.ceil((seen + to - from) / share);
  });
  return Math.max(1, ...counts);
}

/** Logits of a group's share, at least: fewer than twice as many are one group's. */
const leastLogits = 4096;
/** Shares of a row: as many as a group has threads. */
const mostLogitShares = 256;

/** How `top` is cut: into groups whose candidates, k of each, are then one group's. */
export function topShape({ logits, k }: FusedCommandOf<"top">): { share: number; groups: number; candidates: number } {
  const length = logits.shape[1];
  const share = Math.max(leastLogits, Math.ceil(length / mostLogitShares), 2 * k);
  const groups = Math.max(1, Math.floor(length / share));
  return groups === 1 ? { share: length, groups, candidates: k } : { share: Math.ceil(length / groups), groups, candidates: groups * k };
}

/** Words that `top` works in: what groups find, and of several what they give. */
export function topWords(command: FusedCommandOf<"top">): number {
  const { groups, candidates } = topShape(command);
  return command.logits.shape[0] * (2 * candidates + (groups > 1 ? 2 * candidates + 5 * groups : 0));
}
