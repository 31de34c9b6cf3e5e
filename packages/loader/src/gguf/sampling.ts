// How the makers of a model want answers to be drawn: llama.cpp's keys in a GGUF file, and generation_config.json's words for them.

import type { GenerationDefaults } from "../model/generation-config.ts";
import type { Warn } from "../source/untrusted.ts";
import type { GgufValue } from "./header.ts";

const prefix = "general.sampling.";
const words: Readonly<Record<string, { readonly word: string; readonly max: number }>> = {
  temp: { word: "temperature", max: 100 },
  top_k: { word: "top_k", max: Number.MAX_SAFE_INTEGER },
  top_p: { word: "top_p", max: 1 },
  min_p: { word: "min_p", max: 1 },
};

/**
 * An object for `parseGenerationConfig`; none where the file has no temperature, without which nothing is drawn.
 * @param warn hears of keys that have no such word, and of values that are none: a file is not refused for these
 */
export function ggufGeneration(metadata: ReadonlyMap<string, GgufValue>, warn: Warn): Record<string, unknown> | undefined {
  const found: Record<string, number> = {};
  const passedOver: string[] = [];
  for (const [key, value] of metadata) {
    if (!key.startsWith(prefix)) continue;
    const known = words[key.slice(prefix.length)];
    // A count or a temperature below 0 is llama.cpp's "off".
    const number = typeof value === "number" ? Math.max(0, value) : Number.NaN;
    if (known && number <= known.max) found[known.word] = number;
    else passedOver.push(key);
  }
  if (passedOver.length > 0)
    warn(`${passedOver.join(", ")}: passed over, since there is no such option or value; answers do not follow it`);
  const { temperature } = found;
  return temperature === undefined ? undefined : { do_sample: temperature > 0, ...found };
}

export function samplingKeys({ temperature, topK, topP, minP }: GenerationDefaults): [string, GgufValue][] {
  const keys: [string, number | undefined][] = [
    ["temp", temperature],
    ["top_k", topK],
    ["top_p", topP],
    ["min_p", minP],
  ];
  return keys.flatMap(([key, value]) => (value === undefined ? [] : [[prefix + key, value]]));
}
