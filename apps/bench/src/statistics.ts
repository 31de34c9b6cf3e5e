// From samples of single rounds to what is printed.

import type { Work } from "./works.ts";

/** Cores that something else may have used while a sample was taken. */
export const allowedOthers = 0.2;

export interface Sample {
  /** In the unit of the work. */
  readonly value: number;
  /** Cores that other programs used meanwhile, and what the hypervisor gave to other machines. */
  readonly others: number;
  /** Largest resident size of the process so far. */
  readonly peakBytes: number;
  /** What its share is of, where that isn't the limit, from the same process: of `decode-busy` the speed without company, of a sampler greedy's. */
  readonly base?: number;
}

/** The sides in one round, and the limit of that minute in the work's unit. */
export interface Pair {
  readonly ours: Sample;
  /** Of another checkout of ours. */
  readonly before?: Sample;
  readonly theirs?: Sample;
  readonly limit?: number;
  readonly theirLimit?: number;
}

export interface Spread {
  readonly median: number;
  readonly min: number;
  readonly max: number;
}

export interface Cell {
  readonly model: string;
  readonly format: string;
  /** Both sides had the same GGUF file. */
  readonly gguf?: boolean;
  readonly work: Work;
  /** Of a scene's conversation, if other than its own. */
  readonly tokens?: number;
  readonly pairs: readonly Pair[];
  readonly dropped: number;
}

export interface Summary {
  readonly ours: Spread;
  readonly theirs?: Spread;
  /** How many times better ours is, within a round. */
  readonly ratio?: Spread;
  /** Of the limit: ours, theirs. Of the own `base` where there is one, for memory as a multiple of what must be there. */
  readonly share?: readonly [ours: number, theirs?: number];
  readonly peakBytes: readonly [ours: number, theirs?: number];
}

export function isClean({ ours, before, theirs }: Pair): boolean {
  return [ours, before, theirs].every((sample) => (sample?.others ?? 0) <= allowedOthers);
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

export function spreadOf(values: readonly number[]): Spread {
  return { median: median(values), min: Math.min(...values), max: Math.max(...values) };
}

/** @returns undefined when every round was dropped */
export function summarize({ pairs }: Cell, lessIsBetter: boolean): Summary | undefined {
  if (pairs.length === 0) return undefined;
  const theirs = pairs.flatMap((pair) => pair.theirs ?? []);
  const of = (share: (pair: Pair) => number | undefined) => {
    const all = pairs.flatMap((pair) => share(pair) ?? []);
    return all.length > 0 ? median(all) : undefined;
  };
  const shareOf = (sample: Sample | undefined, limit: number | undefined) => {
    const whole = sample?.base ?? limit;
    return sample && whole ? sample.value / whole : undefined;
  };
  const ours = of((pair) => shareOf(pair.ours, pair.limit));
  return {
    ours: spreadOf(pairs.map((pair) => pair.ours.value)),
    theirs: theirs.length > 0 ? spreadOf(theirs.map(({ value }) => value)) : undefined,
    ratio:
      theirs.length > 0
        ? spreadOf(
            pairs.flatMap(({ ours, theirs }) => (theirs ? (lessIsBetter ? theirs.value / ours.value : ours.value / theirs.value) : [])),
          )
        : undefined,
    share: ours === undefined ? undefined : [ours, of((pair) => shareOf(pair.theirs, pair.theirLimit))],
    peakBytes: [median(pairs.map((pair) => pair.ours.peakBytes)), theirs.length > 0 ? median(theirs.map((t) => t.peakBytes)) : undefined],
  };
}
