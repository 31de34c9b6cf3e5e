// What options and earlier text take from single logits: bias, penalties, DRY.

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

/** Tokens so far, for the penalties. */
export interface Said {
  readonly prompt: readonly number[];
  readonly answer: readonly number[];
  /** Whether a token ends what `dry` compares. */
  readonly isBreaker?: (id: number) => boolean;
}

/** Whether `options` can change a logit. */
export function changesLogits(options: SamplingOptions): boolean {
  const { repetitionPenalty = 1, frequencyPenalty = 0, presencePenalty = 0, logitBias, dry } = options;
  return (
    repetitionPenalty !== 1 || frequencyPenalty !== 0 || presencePenalty !== 0 || !!logitBias || (dry !== undefined && dry.multiplier > 0)
  );
}

/**
 * The ids below `vocabSize` whose logits `options` change, each once: those that a draw's evidence must have been asked for.
 * `said` is what will have been said when that draw happens.
 */
export function askedIds(options: SamplingOptions, said: Said, vocabSize: number): number[] {
  const { repetitionPenalty = 1, frequencyPenalty = 0, presencePenalty = 0, logitBias = {} } = options;
  const ids = new Set<number>(Object.keys(logitBias).map(Number));
  if (repetitionPenalty !== 1) for (const id of said.prompt) ids.add(id);
  if (repetitionPenalty !== 1 || frequencyPenalty !== 0 || presencePenalty !== 0) for (const id of said.answer) ids.add(id);
  for (const id of dryCosts(options, said).keys()) ids.add(id);
  return [...ids].filter((id) => id >= 0 && id < vocabSize && Number.isInteger(id));
}

/** `asked`, raw logits by id, as the options leave them: rounded to f32 after each change. */
export function adjust(asked: ReadonlyMap<number, number>, options: SamplingOptions, said: Said): ReadonlyMap<number, number> {
  if (!changesLogits(options)) return asked;
  const { repetitionPenalty = 1, frequencyPenalty = 0, presencePenalty = 0, logitBias = {} } = options;
  const logits = new Map(asked);
  const add = (id: number, amount: number) => {
    const logit = logits.get(id);
    if (logit !== undefined) logits.set(id, Math.fround(logit + amount));
  };
  for (const [id, bias] of Object.entries(logitBias)) add(Number(id), bias);
  if (repetitionPenalty !== 1) {
    for (const id of new Set([...said.prompt, ...said.answer])) {
      const logit = logits.get(id);
      if (logit !== undefined) logits.set(id, Math.fround(logit > 0 ? logit / repetitionPenalty : logit * repetitionPenalty));
    }
  }
  if (frequencyPenalty !== 0) for (const id of said.answer) add(id, -frequencyPenalty);
  if (presencePenalty !== 0) for (const id of new Set(said.answer)) add(id, -presencePenalty);
  for (const [id, cost] of dryCosts(options, said)) add(id, -cost);
  return logits;
}

/** What DRY takes from each id's logit: multiplier base^(length - allowedLength). */
function dryCosts({ dry }: SamplingOptions, said: Said): Map<number, number> {
  const costs = new Map<number, number>();
  if (!dry || !(dry.multiplier > 0)) return costs;
  const { multiplier, base = 1.75, allowedLength = 2 } = dry;
  for (const [id, length] of repeats(said, dry.lastN))
    if (length >= allowedLength) costs.set(id, multiplier * base ** (length - allowedLength));
  return costs;
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
