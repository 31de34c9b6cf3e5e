// Reads generation_config.json: how the makers of a checkpoint want answers to be drawn, and where these end.

import type { Warn } from "../source/untrusted.ts";
import { configReader } from "./config-reader.ts";

/** What holds where a call does not say. */
export interface GenerationDefaults {
  readonly temperature?: number;
  readonly topK?: number;
  readonly topP?: number;
  readonly minP?: number;
  readonly typicalP?: number;
  readonly repetitionPenalty?: number;
  readonly stop?: readonly string[];
  readonly maxTokens?: number;
}

export interface GenerationConfig {
  /** Ids that end an answer, beside those of config.json: some checkpoints keep them only here. */
  readonly eosIds: readonly number[];
  readonly defaults: GenerationDefaults;
}

/** What transformers has beside these, with the values that change nothing; null and an empty list never do. */
const lacking: Readonly<Record<string, readonly unknown[]>> = {
  num_beams: [1],
  no_repeat_ngram_size: [0],
  encoder_repetition_penalty: [1],
  encoder_no_repeat_ngram_size: [0],
  bad_words_ids: [],
  force_words_ids: [],
  suppress_tokens: [],
  begin_suppress_tokens: [],
  forced_bos_token_id: [],
  forced_eos_token_id: [],
  sequence_bias: [],
  exponential_decay_length_penalty: [],
  min_length: [0],
  min_new_tokens: [0],
  guidance_scale: [1],
  penalty_alpha: [0],
};
const lackingInDraws: Readonly<Record<string, readonly unknown[]>> = { epsilon_cutoff: [0], eta_cutoff: [0], top_h: [] };

/**
 * As transformers reads it: an answer is drawn only where `do_sample` is true, at temperature 1 if none is given; without it, and what
 * `do_sample: false` says in so many words, the most probable token is taken whatever else stands there. `repetition_penalty`,
 * `stop_strings` and `max_new_tokens` hold for both. Null is as good as absent.
 *
 * `max_length`, which counts the prompt too, does not count: files have it from a time when it named the context, which is the model's own here.
 * @param warn hears of what this package does not have
 * @throws LoadError naming the key of a value that is out of range or no number
 */
export function parseGenerationConfig(json: unknown, file = "generation_config.json", warn: Warn = () => undefined): GenerationConfig {
  if (json === undefined) return { eosIds: [], defaults: {} };
  const read = configReader(json, file);
  const share = (key: string) => read.within(key, 0, 1);
  const draws = read.has("do_sample") ? read.boolean("do_sample", false) : undefined;
  const stop = read.texts("stop_strings").filter((text) => text !== "");
  const defaults: GenerationDefaults = {
    ...(draws === false && { temperature: 0 }),
    ...(draws && {
      temperature: read.within("temperature", 0, 100) ?? 1,
      // Files that were made for vLLM say -1 for all tokens.
      topK: read.value("top_k") === -1 ? 0 : read.optionalInteger("top_k", 0, Number.MAX_SAFE_INTEGER),
      topP: share("top_p"),
      minP: share("min_p"),
      typicalP: share("typical_p"),
    }),
    repetitionPenalty: read.within("repetition_penalty", 0.01, 100),
    stop: stop.length > 0 ? stop : undefined,
    maxTokens: read.optionalInteger("max_new_tokens", 1, Number.MAX_SAFE_INTEGER),
  };
  const passedOver = Object.entries({ ...lacking, ...(draws && lackingInDraws) })
    .filter(([key, neutral]) => [read.value(key) ?? []].flat().length > 0 && !neutral.includes(read.value(key)))
    .map(([key]) => key);
  if (passedOver.length > 0)
    warn(`${file}: ${passedOver.join(", ")}: passed over, since there is no such option; answers do not follow it`);
  const given = Object.entries(defaults).filter(([, value]) => value !== undefined);
  return { eosIds: read.ids("eos_token_id", []), defaults: Object.fromEntries(given) };
}
