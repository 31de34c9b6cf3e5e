// From logits to a token: a pure function of logits, options, what was said so far, and a counter.

import { BackendError } from "@jamba/core";
import type { GenerateOptions } from "./options.ts";

export type SamplingOptions = Pick<
  GenerateOptions,
  | "temperature"
  | "topK"
  | "topP"
  | "minP"
  | "typicalP"
  | "xtc"
  | "dry"
  | "repetitionPenalty"
  | "frequencyPenalty"
  | "presencePenalty"
  | "logitBias"
>;

export interface TokenLogprob {
  readonly id: number;
  readonly logprob: number;
}

/** Tokens so far, for the penalties. */
export interface Said {
  readonly prompt: readonly number[];
  readonly answer: readonly number[];
  /** Whether a token ends what `dry` compares. */
  readonly isBreaker?: (id: number) => boolean;
}

/**
 * Penalties and bias, DRY, topK, typicalP, topP, minP, XTC, temperature: llama.cpp's order. Then a draw with `uniform` in [0, 1).
 * All but the draw see probabilities before temperature.
 *
 * logits [vocabSize], left as they are
 * @param uniforms two numbers in [0, 1): for the draw, and for whether XTC takes effect
 * @throws BackendError when no logit is a finite number
 */
export function sample(
  logits: Float32Array,
  options: SamplingOptions,
  said: Said,
  [draw, chance]: readonly [draw: number, chance: number],
): number {
  const adjusted = adjust(logits, options, said);
  const { temperature = 0, topK = 0, topP = 1, minP = 0, typicalP = 1, xtc } = options;
  const best = argmax(adjusted);
  if (temperature === 0) return best;
  // Sorted only where the order matters: a vocabulary takes as long to sort as a small model to run.
  let kept = topK > 0 && topK < adjusted.length ? largest(adjusted, topK) : possible(adjusted);
  const isCut = typicalP < 1 || topP < 1 || minP > 0 || xtc;
  const shares = isCut ? exponentials(adjusted, kept, adjusted[best], 1) : scratch;
  if (typicalP < 1) kept = typical(kept, adjusted, shares, typicalP, adjusted[best]);
  if (topP < 1) kept = nucleus(kept, adjusted, shares, topP);
  if (minP > 0) kept = kept.filter((id) => shares[id] >= minP); // the best has 1
  if (xtc && chance < xtc.probability) kept = withoutTop(kept, shares, xtc.threshold ?? 0.1);
  const weights = temperature === 1 && isCut ? shares : exponentials(adjusted, kept, adjusted[best], temperature);
  let point = draw * sumOf(weights, kept);
  const drawn = kept.findIndex((id) => {
    point -= weights[id];
    return point < 0;
  });
  return kept[drawn < 0 ? kept.length - 1 : drawn];
}

/** By id, for the ids in question; anything elsewhere. Used until the next call. */
let scratch = new Float64Array(0);

/** e^((logit - most) / temperature) by id. Below e^-40 nothing adds to a sum that has a 1. */
function exponentials(logits: Float32Array, ids: Int32Array, most: number, temperature: number): Float64Array {
  if (scratch.length < logits.length) scratch = new Float64Array(logits.length);
  for (let i = 0; i < ids.length; i++) {
    const exponent = (logits[ids[i]] - most) / temperature;
    scratch[ids[i]] = exponent > -40 ? Math.exp(exponent) : 0;
  }
  return scratch;
}

function sumOf(values: Float64Array, ids: Int32Array): number {
  let sum = 0;
  for (let i = 0; i < ids.length; i++) sum += values[ids[i]];
  return sum;
}

/** Ids with a chance at all, in order. */
function possible(logits: Float32Array): Int32Array {
  const ids = new Int32Array(logits.length);
  let count = 0;
  for (let id = 0; id < logits.length; id++) if (logits[id] > Number.NEGATIVE_INFINITY) ids[count++] = id;
  return ids.subarray(0, count);
}

/** The `count` ids of the largest logits, best first; ties go to the lower id. A heap with the worst on top. */
function largest(logits: Float32Array, count: number): Int32Array {
  const heap: number[] = [];
  const worse = (a: number, b: number) => logits[a] < logits[b] || (logits[a] === logits[b] && a > b);
  const sink = (at: number) => {
    for (let child = 2 * at + 1; child < heap.length; child = 2 * at + 1) {
      if (child + 1 < heap.length && worse(heap[child + 1], heap[child])) child++;
      if (!worse(heap[child], heap[at])) return;
      [heap[at], heap[child]] = [heap[child], heap[at]];
      at = child;
    }
  };
  for (let id = 0; id < logits.length; id++) {
    if (!(logits[id] > Number.NEGATIVE_INFINITY)) continue;
    if (heap.length < count) {
      heap.push(id);
      if (heap.length === count) for (let at = count >> 1; at >= 0; at--) sink(at);
    } else if (worse(heap[0], id)) {
      heap[0] = id;
      sink(0);
    }
  }
  return Int32Array.from(heap.sort((a, b) => (worse(b, a) ? -1 : 1)));
}

/** The fewest most probable ids that together reach `mass`, best first (Holtzman et al. 2019, arXiv 1904.09751). */
function nucleus(ids: Int32Array, logits: Float32Array, shares: Float64Array, mass: number): Int32Array {
  const ranks = new Float64Array(ids.length);
  for (let i = 0; i < ids.length; i++) ranks[i] = -logits[ids[i]];
  return fewest(ids, shares, ranks, mass * sumOf(shares, ids));
}

/** The fewest ids that reach `mass`, those first whose surprise is nearest to the expected one (Meister et al. 2022, arXiv 2202.00666). */
function typical(ids: Int32Array, logits: Float32Array, shares: Float64Array, mass: number, most: number): Int32Array {
  const total = sumOf(shares, ids);
  const ranks = new Float64Array(ids.length); // surprise less log(total), which cancels
  let entropy = 0;
  for (let i = 0; i < ids.length; i++) {
    const id = ids[i];
    ranks[i] = most - logits[id];
    entropy += (shares[id] / total) * ranks[i];
  }
  for (let i = 0; i < ids.length; i++) ranks[i] = Math.abs(ranks[i] - entropy);
  return fewest(ids, shares, ranks, mass * total);
}

/**
 * The fewest ids that together reach `mass`, those of the least rank first, ties to the lower id. Of 512 slices of rank,
 * an eighth each, no more than the first that hold that mass are sorted.
 */
function fewest(ids: Int32Array, shares: Float64Array, ranks: Float64Array, mass: number): Int32Array {
  const slices = 512;
  const masses = new Float64Array(slices);
  let least = Number.POSITIVE_INFINITY;
  for (let i = 0; i < ranks.length; i++) least = Math.min(least, ranks[i]);
  const sliceOf = (rank: number) => Math.min(slices - 1, Math.floor(8 * (rank - least)));
  for (let i = 0; i < ids.length; i++) masses[sliceOf(ranks[i])] += shares[ids[i]];
  let [last, reached] = [0, masses[0]];
  while (reached < mass && last < slices - 1) reached += masses[++last];
  const first: number[] = [];
  for (let i = 0; i < ids.length; i++) if (sliceOf(ranks[i]) <= last) first.push(i);
  first.sort((a, b) => ranks[a] - ranks[b] || ids[a] - ids[b]);
  let rest = mass;
  const end = first.findIndex((i) => {
    rest -= shares[ids[i]];
    return rest <= 0;
  });
  return Int32Array.from(end < 0 ? first : first.slice(0, end + 1), (i) => ids[i]);
}

/** XTC: of the ids with a probability of `threshold` or more, only the least probable stays. Nothing is lost if there is but one. */
function withoutTop(ids: Int32Array, shares: Float64Array, threshold: number): Int32Array {
  const total = sumOf(shares, ids);
  const top = ids.filter((id) => shares[id] / total >= threshold);
  if (top.length < 2) return ids;
  const least = top.reduce((a, b) => (shares[b] < shares[a] ? b : a), top[0]);
  return ids.filter((id) => id === least || shares[id] / total < threshold);
}

function adjust(logits: Float32Array, options: SamplingOptions, said: Said): Float32Array {
  const { repetitionPenalty = 1, frequencyPenalty = 0, presencePenalty = 0, logitBias, dry } = options;
  const plain = repetitionPenalty === 1 && frequencyPenalty === 0 && presencePenalty === 0 && !logitBias;
  if (plain && !(dry && dry.multiplier > 0)) return logits;
  const { prompt, answer } = said;
  const out = logits.slice();
  for (const [id, bias] of Object.entries(logitBias ?? {})) if (Number(id) < out.length) out[Number(id)] += bias;
  if (repetitionPenalty !== 1) {
    for (const id of new Set([...prompt, ...answer])) out[id] = out[id] > 0 ? out[id] / repetitionPenalty : out[id] * repetitionPenalty;
  }
  for (const id of answer) out[id] -= frequencyPenalty;
  for (const id of new Set(answer)) out[id] -= presencePenalty;
  if (dry && dry.multiplier > 0) {
    const { multiplier, base = 1.75, allowedLength = 2 } = dry;
    for (const [id, length] of repeats(said, dry.lastN))
      if (length >= allowedLength) out[id] -= multiplier * base ** (length - allowedLength);
  }
  return out;
}

/**
 * DRY: for each id that came after an earlier copy of the text's end, the length of the longest such copy in tokens.
 * Copies do not reach over breakers. The lengths are those of Z-boxes of the reversed text (Gusfield 1997, §1.4).
 */
function repeats({ prompt, answer, isBreaker = () => false }: Said, lastN = Number.POSITIVE_INFINITY): Map<number, number> {
  const all = [...prompt, ...answer];
  const text = all.slice(Math.max(0, all.length - lastN)).reverse();
  const breaker = text.findIndex(isBreaker);
  const limit = breaker < 0 ? text.length : breaker;
  const lengths = new Map<number, number>();
  const z = new Int32Array(text.length);
  for (let at = 1, from = 0, to = 0; at < text.length; at++) {
    let length = at < to ? Math.min(to - at, z[at - from]) : 0;
    while (at + length < text.length && text[length] === text[at + length]) length++;
    z[at] = length;
    if (at + length > to) [from, to] = [at, at + length];
    const copied = Math.min(length, limit);
    const next = text[at - 1];
    if (copied > 0 && !isBreaker(next)) lengths.set(next, Math.max(copied, lengths.get(next) ?? 0));
  }
  return lengths;
}

/** Ties go to the lower id. */
export function argmax(logits: Float32Array): number {
  let best = -1;
  for (let id = 0; id < logits.length; id++) if (logits[id] > (best < 0 ? Number.NEGATIVE_INFINITY : logits[best])) best = id;
  if (best < 0)
    throw new BackendError("logits: expected at least one finite number, found none; the weights are damaged or the backend overflowed");
  return best;
}

/** log softmax of one logit. */
export function logprobOf(logits: Float32Array, id: number): number {
  let max = Number.NEGATIVE_INFINITY;
  for (const logit of logits) max = Math.max(max, logit);
  let sum = 0;
  for (const logit of logits) sum += Math.exp(logit - max);
  return logits[id] - max - Math.log(sum);
}

/** The `count` most probable tokens, best first. */
export function topLogprobs(logits: Float32Array, count: number): TokenLogprob[] {
  const ids = Array.from(logits.keys()).sort((a, b) => logits[b] - logits[a]);
  return ids.slice(0, count).map((id) => ({ id, logprob: logprobOf(logits, id) }));
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
