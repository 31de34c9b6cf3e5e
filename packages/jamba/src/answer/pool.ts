// What may be drawn, as far as the evidence tells: the best ids in order, and bounds for what all the others weigh.

import type { Evidence } from "../engine/evidence.ts";
import { adjust, changesLogits, type Said, type SamplingOptions } from "./penalties.ts";

/**
 * How far sums of a device may be off, as a share of them: twice what it may err (1e-6, op `top`), so that rounding on the host is
 * well within. A comparison that is closer proves nothing.
 */
const deviceSumError = 2e-6;

/** The largest f32: what a logit is where a bias makes it infinite, so that differences of logits are numbers. */
const mostLogit = 3.4028234663852886e38;

/** Ids that may be drawn: those in [start, end), each before the next and all before the others. Best first, ties to the lower id. */
export interface Pool {
  readonly evidence: Evidence;
  ids: Int32Array;
  /** Adjusted logits. */
  values: Float32Array;
  start: number;
  end: number;
  /** How many others may be drawn, at most. At 0 the pool is all there is, and nothing needs a margin. */
  rest: number;
  /** No other has a larger logit. */
  readonly cut: number;
  /** Some of the others may have been dropped, nobody knows which. */
  loose: boolean;
  /** Logits that the sums of the evidence have, each followed by what it should be; -∞: nothing. */
  readonly changes: number[];
}

export function poolOf(evidence: Evidence, options: SamplingOptions, said: Said, allowed: Int32Array | undefined): Pool {
  const { ids, values, count, asked } = evidence;
  const end = ids.length;
  const cut = end > 0 ? values[end - 1] : Number.POSITIVE_INFINITY;
  const pool: Pool = { evidence, ids, values, start: 0, end, rest: count - end, cut, loose: false, changes: [] };
  return allowed || changesLogits(options) ? changed(pool, adjust(asked, options, said), allowed) : pool;
}

/** Used until the next draw. */
let scratch = { ids: new Int32Array(0), values: new Float32Array(0) };

/** An id that may be drawn, with its adjusted logit. */
interface Moved {
  readonly id: number;
  readonly logit: number;
}

/** The pool with the logits of `adjusted` for those of the same ids, and only ids that are `allowed`. */
function changed(pool: Pool, adjusted: ReadonlyMap<number, number>, allowed: Int32Array | undefined): Pool {
  const { evidence, changes } = pool;
  const { ids: listed, values, asked } = evidence;
  let moved: Moved[] = [];
  let known = 0; // ids that are allowed, of those whose logits are known
  for (const [id, logit] of adjusted) {
    const raw = asked.get(id)!;
    const isAllowed = !allowed || allows(allowed, id);
    if (isAllowed) known++;
    if (!Number.isFinite(raw)) continue;
    const isIn = isAllowed && logit > Number.NEGATIVE_INFINITY;
    const counted = isIn ? Math.min(logit, mostLogit) : Number.NEGATIVE_INFINITY;
    if (isIn) moved.push({ id, logit: counted });
    if (counted !== raw) changes.push(raw, counted);
  }
  const kept: number[] = []; // places in `listed`
  for (let i = 0; i < listed.length; i++) {
    if (adjusted.size > 0 && adjusted.has(listed[i])) continue;
    if (allowed && !allows(allowed, listed[i])) changes.push(values[i], Number.NEGATIVE_INFINITY);
    else kept.push(i);
  }
  let { rest } = pool;
  if (allowed && rest > 0) rest = Math.min(rest, bitsOf(allowed) - known - kept.length);
  if (rest > 0) {
    const all = moved.length;
    moved = moved.filter(({ id, logit }) => isBeforeRest(evidence, logit, id));
    rest += all - moved.length;
  }
  const end = merge(evidence, kept, moved);
  return { ...pool, ids: scratch.ids, values: scratch.values, end, rest, loose: allowed !== undefined };
}

/** Puts the listed ids at `kept` and those that were moved into `scratch`, best first. @returns how many */
function merge({ ids, values }: Evidence, kept: readonly number[], moved: Moved[]): number {
  const size = kept.length + moved.length;
  if (scratch.ids.length < size) scratch = { ids: new Int32Array(size), values: new Float32Array(size) };
  moved.sort((a, b) => b.logit - a.logit || a.id - b.id);
  let next = 0;
  for (let i = 0; i < size; i++) {
    const at = kept[i - next];
    const one = moved[next];
    const isListed = !one || (at !== undefined && (values[at] > one.logit || (values[at] === one.logit && ids[at] < one.id)));
    scratch.ids[i] = isListed ? ids[at] : one.id;
    scratch.values[i] = isListed ? values[at] : one.logit;
    if (!isListed) next++;
  }
  return size;
}

/** Whether all ids that are not listed come after this one: none has more than the last that is, or as much and a lower id. */
function isBeforeRest({ ids, values }: Evidence, logit: number, id: number): boolean {
  const last = ids.length - 1;
  return logit > values[last] || (logit === values[last] && id <= ids[last]);
}

export function allows(allowed: Int32Array, id: number): boolean {
  return ((allowed[id >> 5] >>> (id & 31)) & 1) === 1;
}

function bitsOf(words: Int32Array): number {
  let bits = 0;
  for (let i = 0; i < words.length; i++) {
    // Sums of two bits each, then of four, then of eight; the product adds up the four of eight.
    let word = words[i] - ((words[i] >>> 1) & 0x55555555);
    word = (word & 0x33333333) + ((word >>> 2) & 0x33333333);
    bits += Math.imul((word + (word >>> 4)) & 0x0f0f0f0f, 0x01010101) >>> 24;
  }
  return bits;
}

/** A sum is in [low, high]. NaN where the evidence says nothing: comparisons must then fail. */
export interface Bounds {
  readonly low: number;
  readonly high: number;
}

/** Of Σ e^((l - base) / T) over all that may be drawn, with T = 1 or the temperature that the evidence has a sum of. */
export function massOf(pool: Pool, base: number, temperature: number): Bounds {
  const { evidence, changes, rest, cut } = pool;
  const margin = evidence.sumError ?? deviceSumError;
  const weigh = (logit: number) => Math.exp((logit - base) / temperature);
  let inside = 0;
  if (rest === 0 || pool.loose) for (let i = pool.start; i < pool.end; i++) inside += weigh(pool.values[i]);
  if (rest === 0) return { low: inside, high: inside };
  const sum = (temperature === 1 ? evidence.sumExp : evidence.sumTempered) * weigh(evidence.max);
  let mass = sum;
  for (let i = 0; i < changes.length; i += 2) mass += weigh(changes[i + 1]) - weigh(changes[i]);
  const slack = margin * (sum + mass);
  if (!pool.loose) return { low: mass - slack, high: mass + slack };
  const most = (inside + rest * weigh(cut)) * (1 + margin);
  return { low: inside * (1 - margin), high: Math.min(mass + slack, most) };
}

/** Of Σ e^(l - base) (base - l) over all that may be drawn, in a pool that is not loose. */
export function gapsOf(pool: Pool, base: number): Bounds {
  const { evidence, changes } = pool;
  const gapOf = (logit: number) => (logit === Number.NEGATIVE_INFINITY ? 0 : Math.exp(logit - base) * (base - logit));
  let gaps = 0;
  if (pool.rest === 0) {
    for (let i = pool.start; i < pool.end; i++) gaps += gapOf(pool.values[i]);
    return { low: gaps, high: gaps };
  }
  const margin = evidence.sumError ?? deviceSumError;
  const scale = Math.exp(evidence.max - base);
  const [near, far] = [scale * evidence.sumGaps, scale * (base - evidence.max) * evidence.sumExp];
  gaps = near + far;
  for (let i = 0; i < changes.length; i += 2) gaps += gapOf(changes[i + 1]) - gapOf(changes[i]);
  const slack = margin * (near + Math.abs(far) + Math.abs(gaps));
  return { low: gaps - slack, high: gaps + slack };
}
