// From evidence of a row of logits to a token: a pure function of it, options, what was said so far, and two random numbers.

import { BackendError, topOf } from "@jamba/core";
import { candidates, type Evidence, hostSumError, type Questions } from "../engine/evidence.ts";
import { askedIds, type Said, type SamplingOptions } from "./penalties.ts";
import { allows, type Bounds, gapsOf, massOf, type Pool, poolOf } from "./pool.ts";

export { askedIds, type Said, type SamplingOptions } from "./penalties.ts";

export interface IdLogprob {
  readonly id: number;
  readonly logprob: number;
}

/**
 * Penalties and bias, DRY, topK, typicalP, topP, minP, XTC, temperature: llama.cpp's order. Then a draw with `uniform` in
 * [0, 1): the first id, best first, with which the kept ones reach that share of their weight. All but the draw see
 * probabilities before temperature.
 *
 * @param evidence with `sumTempered` at the temperature of `options`, and all of `askedIds` asked for
 * @param uniforms two numbers in [0, 1): for the draw, and for whether XTC takes effect
 * @param allowed bit id & 31 of word id >> 5: whether the id may be drawn; all may if not given
 * @returns undefined where the evidence does not prove which id it is; never where it leaves no logit out
 * @throws BackendError when no logit is a finite number
 */
export function draw(
  evidence: Evidence,
  options: SamplingOptions,
  said: Said,
  [point, chance]: readonly [point: number, chance: number],
  allowed?: Int32Array,
): number | undefined {
  const { temperature = 0, topK = 0, topP = 1, minP = 0, typicalP = 1, xtc } = options;
  const pool = poolOf(evidence, options, said, allowed);
  if (pool.end === 0 && pool.rest > 0) return undefined;
  if (pool.end === 0) throw notFinite("logits: expected at least one finite number, found none");
  if (temperature === 0) return pool.ids[0];
  if (topK > 0) keepBest(pool, topK);
  if (typicalP < 1 && !keepTypical(pool, typicalP)) return undefined;
  const drawFrom = (kept: Pool) => {
    if (minP > 0) keepLikely(kept, minP);
    if (xtc && chance < xtc.probability && !dropTop(kept, xtc.threshold ?? 0.1)) return undefined;
    return drawn(kept, temperature, point);
  };
  return topP < 1 ? onlyOf(nucleiOf(pool, topP).map(drawFrom)) : drawFrom(pool);
}

/** @param what was expected and found */
export function notFinite(what: string): BackendError {
  return new BackendError(`${what}; the weights are damaged or the backend overflowed`);
}

/** What all say, if they say the same. */
function onlyOf(ids: readonly (number | undefined)[]): number | undefined {
  return ids.every((id) => id === ids[0]) ? ids[0] : undefined;
}

/** What a draw must know of its row beside the best. `said` is what will have been said when it happens. */
export function questionsOf(options: SamplingOptions, said: Said, vocabSize: number): Questions {
  // Who is greedy needs no sum for it; one that f32 can't hold would be refused, and for whoever shares the step.
  const temperature = Math.min(Math.max(options.temperature || 1, 1e-30), 1e30);
  return { temperature, asked: askedIds(options, said, vocabSize) };
}

/**
 * The same draw from a whole row: the last resort. Evidence grows until it proves the draw, as all of it does.
 *
 * row [vocabSize], left as it is
 * @throws BackendError when no logit is a finite number
 */
export function sampleRow(
  row: Float32Array,
  options: SamplingOptions,
  said: Said,
  uniforms: readonly [point: number, chance: number],
  allowed?: Int32Array,
): number {
  const questions = questionsOf(options, said, row.length);
  const choices = allowed && choicesOf(allowed, row.length);
  const logits = choices ? Float32Array.from(choices, (id) => row[id]) : row;
  const asked = new Map(questions.asked.filter((id) => !allowed || allows(allowed, id)).map((id) => [id, row[id]]));
  // So many as proved nothing are no beginning.
  for (let k = 8 * candidates; ; k *= 8) {
    const top = topOf(logits, k, questions.temperature);
    const ids = choices ? top.ids.map((at) => choices[at]) : top.ids;
    const id = draw({ ...top, ids, asked, sumError: hostSumError }, options, said, uniforms);
    if (id !== undefined) return id;
  }
}

/** Ids below `vocabSize` that are allowed, in order: mostly few. */
function choicesOf(allowed: Int32Array, vocabSize: number): number[] {
  const ids: number[] = [];
  for (const [word, bits] of allowed.entries())
    for (let left = bits; left !== 0; left &= left - 1) ids.push(32 * word + 31 - Math.clz32(left & -left));
  return ids.filter((id) => id < vocabSize);
}

/**
 * Log softmax of one raw logit, and the `count` most probable ids, best first; never more than the evidence lists.
 *
 * @returns undefined where `id` is neither listed nor asked for
 * @throws BackendError where the logit, or all of them, is no finite number
 */
export function logprobsOf(
  evidence: Pick<Evidence, "ids" | "values" | "max" | "sumExp" | "asked">,
  id: number,
  count: number,
): (IdLogprob & { readonly top: IdLogprob[] }) | undefined {
  const { ids, values, max, sumExp, asked } = evidence;
  const at = ids.indexOf(id);
  const logit = at < 0 ? asked.get(id) : values[at];
  if (logit === undefined) return undefined;
  const log = max + Math.log(sumExp);
  if (!Number.isFinite(logit - log)) throw notFinite(`logits: expected a finite number for token ${id}, found ${logit}`);
  const top = Array.from(ids.subarray(0, count), (one, i) => ({ id: one, logprob: values[i] - log }));
  return { id, logprob: logit - log, top };
}

/** Only those before `end` may be drawn. */
function close(pool: Pool, end: number): void {
  pool.end = end;
  pool.rest = 0;
}

function keepBest(pool: Pool, count: number): void {
  const more = count - (pool.end - pool.start);
  if (more <= 0) close(pool, pool.start + count);
  else if (more < pool.rest) {
    pool.rest = more;
    pool.loose = true;
  }
}

/**
 * The fewest that reach `share` of the mass, those first whose surprise is nearest to the expected one, ties to the better
 * (Meister et al. 2022, arXiv 2202.00666).
 *
 * @returns false where it is not known which these are
 */
function keepTypical(pool: Pool, share: number): boolean {
  const { ids, values, start, rest, cut } = pool;
  if (rest > 0 && pool.loose) return false;
  const base = values[start];
  const [mass, gaps] = [massOf(pool, base, 1), gapsOf(pool, base)];
  // Surprise and its expectation, both less log(mass), which cancels.
  const [least, most] = [gaps.low / mass.high, gaps.high / mass.low];
  const expected = (least + most) / 2;
  if (!(mass.low > 0 && Number.isFinite(expected))) return false;
  const distance = (i: number) => Math.abs(base - values[i] - expected);
  const order = nearestFirst(pool, distance, base - expected);
  let [count, reached] = [0, 0];
  let isEnough: boolean | undefined = false;
  while (isEnough === false && count < order.length) {
    reached += Math.exp(values[order[count++]] - base);
    isEnough = reaches(reached, share, mass);
  }
  if (isEnough === undefined || (!isEnough && rest > 0)) return false;
  const last = order[count - 1];
  // Two distances change against each other by no more than the width of the bounds.
  const isClose = (i: number) => values[i] !== values[last] && Math.abs(distance(i) - distance(last)) <= most - least;
  if (rest > 0 && (order.some(isClose) || !(base - cut - expected > distance(last) + most - least))) return false;
  const kept = order.subarray(0, count).sort();
  pool.ids = Int32Array.from(kept, (i) => ids[i]);
  pool.values = Float32Array.from(kept, (i) => values[i]);
  pool.start = 0;
  close(pool, count);
  return true;
}

/** Places in the pool in order of distance from `middle`, a logit; ties to the better. */
function nearestFirst({ values, start, end }: Pool, distance: (i: number) => number, middle: number): Int32Array {
  const order = new Int32Array(end - start);
  let right = start;
  while (right < end && values[right] > middle) right++;
  for (let [left, size] = [right - 1, 0]; size < order.length; ) {
    if (left < start || (right < end && distance(right) < distance(left))) order[size++] = right++;
    else {
      const last = left;
      while (left > start && values[left - 1] === values[last]) left--;
      for (let i = left--; i <= last; i++) order[size++] = i;
    }
  }
  return order;
}

/**
 * The fewest that reach `share` of the mass, best first (Holtzman et al. 2019, arXiv 1904.09751).
 *
 * @returns every pool that this may be, as far as the sums tell: where the mass comes close to the share, the last one may belong to it
 * or not. None where it is not known which these are.
 */
function nucleiOf(pool: Pool, share: number): Pool[] {
  const ends = endsOf(pool, share, 1);
  if (ends === undefined) return [];
  return ends.map((end) => {
    const kept = { ...pool, changes: [...pool.changes] };
    if (end <= pool.end) close(kept, end);
    else kept.loose = true;
    return kept;
  });
}

/** Those with at least `share` of the best one's probability. */
function keepLikely(pool: Pool, share: number): void {
  const { values, cut } = pool;
  const base = values[pool.start];
  let end = pool.start;
  while (end < pool.end && Math.exp(values[end] - base) >= share) end++;
  if (end < pool.end || Math.exp(cut - base) < share) close(pool, end);
  else pool.loose = true;
}

/**
 * XTC: of the ids with a probability of `threshold` or more, only the least probable stays, the lowest of such. Nothing is
 * lost if there is but one.
 *
 * @returns false where it is not known which these are
 */
function dropTop(pool: Pool, threshold: number): boolean {
  const { values, start, end, rest, cut } = pool;
  const base = values[start];
  const mass = massOf(pool, base, 1);
  const isTop = (logit: number) => reaches(Math.exp(logit - base), threshold, mass);
  let top = start;
  for (; top < end; top++) {
    const found = isTop(values[top]);
    if (found === undefined) return false;
    if (!found) break;
  }
  if (top === end && rest > 0 && isTop(cut) !== false) return false;
  if (top - start < 2) return true;
  const last = top - 1;
  let first = last;
  while (first > start && values[first - 1] === values[last]) first--;
  if (first < last) {
    pool.ids = pool.ids.slice();
    pool.ids[last] = pool.ids[first];
  }
  for (let i = start; i < last; i++) pool.changes.push(values[i], Number.NEGATIVE_INFINITY);
  pool.start = last;
  return true;
}

function drawn(pool: Pool, temperature: number, point: number): number | undefined {
  const [end, other] = endsOf(pool, point, temperature) ?? [];
  return end === undefined || other !== undefined || end > pool.end ? undefined : pool.ids[end - 1];
}

/** Ends that are too many to look at each. */
const mostEnds = 4;

/**
 * Where the fewest of the pool may end, best first, that together reach `share` of all weight, e^((l - best) / T).
 *
 * @returns rising; more than `pool.end` where the pool does not reach it, and undefined where it may be anywhere
 */
function endsOf(pool: Pool, share: number, temperature: number): number[] | undefined {
  const { values, start, end } = pool;
  const base = values[start];
  const mass = massOf(pool, base, temperature);
  const ends: number[] = [];
  let reached = 0;
  for (let i = start; i < end; i++) {
    reached += Math.exp((values[i] - base) / temperature);
    const isEnough = reaches(reached, share, mass);
    if (isEnough === false) continue;
    ends.push(i + 1);
    if (isEnough) return ends;
    if (ends.length === mostEnds) return undefined;
  }
  return [...ends, end + 1];
}

/** Whether `sum` is `share` of the mass or more; undefined where its bounds do not tell. */
function reaches(sum: number, share: number, { low, high }: Bounds): boolean | undefined {
  if (sum >= share * high) return true;
  return sum < share * low ? false : undefined;
}

/**
 * The `counter`-th number of the stream that belongs to `seed`, in [0, 1): no state, so a request's draws do not
 * depend on what else runs. Two rounds of a 32-bit mixer (Wellons, "lowbias32") over each half of the seed.
 */
export function uniform(seed: number, counter: number): number {
  const low = mix(mix(seed >>> 0) ^ mix(Math.floor(seed / 2 ** 32) >>> 0) ^ Math.imul(counter, 0x9e3779b9));
  const high = mix(low ^ 0x5bd1e995);
  return ((low >>> 5) * 2 ** 26 + (high >>> 6)) / 2 ** 53;
}

function mix(v: number): number {
  let x = v | 0;
  x = Math.imul(x ^ (x >>> 16), 0x21f0aaad);
  x = Math.imul(x ^ (x >>> 15), 0x735a2d97);
  return (x ^ (x >>> 15)) >>> 0;
}
