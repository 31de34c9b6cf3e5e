// From logits to a token: a pure function of logits, options, what was said so far, and a counter.

import { BackendError } from "@jamba/core";
import type { GenerateOptions } from "./options.ts";

export type SamplingOptions = Pick<
  GenerateOptions,
  "temperature" | "topK" | "topP" | "minP" | "repetitionPenalty" | "frequencyPenalty" | "presencePenalty" | "logitBias"
>;

export interface TokenLogprob {
  readonly id: number;
  readonly logprob: number;
}

/** Tokens so far, for the penalties. */
export interface Said {
  readonly prompt: readonly number[];
  readonly answer: readonly number[];
}

/**
 * Penalties and bias, topK, topP, minP, temperature, in llama.cpp's order, then a draw with `uniform` in [0, 1).
 * topP and minP see probabilities before temperature.
 *
 * logits [vocabSize], left as they are
 * @throws BackendError when no logit is a finite number
 */
export function sample(logits: Float32Array, options: SamplingOptions, said: Said, uniform: number): number {
  const adjusted = adjust(logits, options, said);
  const { temperature = 0, topK = 0, topP = 1, minP = 0 } = options;
  const best = argmax(adjusted);
  if (temperature === 0) return best;
  // Ties go to the lower id: the sort is stable.
  const ids = Array.from(adjusted.keys()).filter((id) => adjusted[id] > Number.NEGATIVE_INFINITY);
  ids.sort((a, b) => adjusted[b] - adjusted[a]);
  let kept = ids.slice(0, topK || ids.length);
  const share = (id: number, temperature: number) => Math.exp((adjusted[id] - adjusted[best]) / temperature);
  if (topP < 1) {
    let rest = topP * sum(kept.map((id) => share(id, 1)));
    const last = kept.findIndex((id) => {
      rest -= share(id, 1);
      return rest <= 0;
    });
    if (last >= 0) kept = kept.slice(0, last + 1);
  }
  if (minP > 0) kept = kept.filter((id) => share(id, 1) >= minP); // the best has 1
  const weights = kept.map((id) => share(id, temperature));
  let point = uniform * sum(weights);
  const drawn = weights.findIndex((weight) => {
    point -= weight;
    return point < 0;
  });
  return kept[drawn < 0 ? kept.length - 1 : drawn];
}

function sum(values: readonly number[]): number {
  return values.reduce((a, b) => a + b, 0);
}

function adjust(logits: Float32Array, options: SamplingOptions, { prompt, answer }: Said): Float32Array {
  const { repetitionPenalty = 1, frequencyPenalty = 0, presencePenalty = 0, logitBias } = options;
  if (repetitionPenalty === 1 && frequencyPenalty === 0 && presencePenalty === 0 && !logitBias) return logits;
  const out = logits.slice();
  if (repetitionPenalty !== 1) {
    for (const id of new Set([...prompt, ...answer])) out[id] = out[id] > 0 ? out[id] / repetitionPenalty : out[id] * repetitionPenalty;
  }
  for (const id of answer) out[id] -= frequencyPenalty;
  for (const id of new Set(answer)) out[id] -= presencePenalty;
  for (const [id, bias] of Object.entries(logitBias ?? {})) if (Number(id) < out.length) out[Number(id)] += bias;
  return out;
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
