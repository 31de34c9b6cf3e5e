// Reads generation_config.json: how the makers of a checkpoint want answers to be drawn, and where these end.

import { LoadError } from "@jamba/core";
import { configReader, type Json } from "./config-reader.ts";

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

/**
 * As transformers reads it: an answer is drawn only where `do_sample` is true, at temperature 1 if none is given; without it, and what
 * `do_sample: false` says in so many words, the most probable token is taken whatever else stands there. `repetition_penalty`,
 * `stop_strings` and `max_new_tokens` hold for both. Null is as good as absent.
 *
 * `max_length`, which counts the prompt too, does not count: files have it from a time when it named the context, which is the model's own here.
 * @throws LoadError naming the key of a value that is out of range or no number
 */
export function parseGenerationConfig(json: unknown, file = "generation_config.json"): GenerationConfig {
  if (json === undefined) return { eosIds: [], defaults: {} };
  if (typeof json !== "object" || json === null || Array.isArray(json))
    throw new LoadError(
      `${file}: expected a JSON object, found ${Array.isArray(json) ? "an array" : json === null ? "null" : typeof json}`,
    );
  const read = configReader(json as Json, file);
  const share = (key: string) => read.within(key, 0, 1);
  const draws = read.has("do_sample") ? read.boolean("do_sample", false) : undefined;
  const stop = read.texts("stop_strings").filter((text) => text !== "");
  const defaults: GenerationDefaults = {
    ...(draws === false && { temperature: 0 }),
    ...(draws && {
      temperature: read.within("temperature", 0, 100) ?? 1,
      topK: read.optionalInteger("top_k", 0, Number.MAX_SAFE_INTEGER),
      topP: share("top_p"),
      minP: share("min_p"),
      typicalP: share("typical_p"),
    }),
    repetitionPenalty: read.within("repetition_penalty", 0.01, 100),
    stop: stop.length > 0 ? stop : undefined,
    maxTokens: read.optionalInteger("max_new_tokens", 1, Number.MAX_SAFE_INTEGER),
  };
  const given = Object.entries(defaults).filter(([, value]) => value !== undefined);
  return { eosIds: read.ids("eos_token_id", []), defaults: Object.fromEntries(given) };
}
