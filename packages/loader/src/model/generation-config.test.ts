import { describe, expect, test } from "vitest";
import { parseGenerationConfig } from "./generation-config.ts";

const drawn = { temperature: 0.6, top_k: 20, top_p: 0.95, min_p: 0.05, typical_p: 0.9 };

describe("generation_config.json", () => {
  test.each<[claim: string, json: unknown, defaults: object]>([
    ["says nothing where there is none", undefined, {}],
    ["without do_sample, nothing that only draws count", drawn, {}],
    ["with do_sample: false, the most probable token", { do_sample: false, ...drawn }, { temperature: 0 }],
    ["with do_sample: null, as without it", { do_sample: null, ...drawn }, {}],
    [
      "with do_sample: true, all of it",
      { do_sample: true, ...drawn },
      { temperature: 0.6, topK: 20, topP: 0.95, minP: 0.05, typicalP: 0.9 },
    ],
    ["that draws at no temperature draws at 1", { do_sample: true, top_p: 0.9 }, { temperature: 1, topP: 0.9 }],
    ["that draws at temperature null draws at 1", { do_sample: true, temperature: null }, { temperature: 1 }],
    [
      "has values that change nothing",
      { do_sample: true, temperature: 1, top_k: 0, top_p: 1, min_p: 0, typical_p: 1, repetition_penalty: 1 },
      { temperature: 1, topK: 0, topP: 1, minP: 0, typicalP: 1, repetitionPenalty: 1 },
    ],
    ["draws from all tokens in vLLM's word", { do_sample: true, top_k: -1 }, { temperature: 1, topK: 0 }],
    [
      "has nulls",
      {
        do_sample: true,
        top_k: null,
        top_p: null,
        min_p: null,
        typical_p: null,
        repetition_penalty: null,
        stop_strings: null,
        max_new_tokens: null,
      },
      { temperature: 1 },
    ],
    ["penalises repetition however tokens are chosen", { repetition_penalty: 1.3 }, { repetitionPenalty: 1.3 }],
    [
      "penalises repetition of the most probable",
      { do_sample: false, repetition_penalty: 1.3 },
      { temperature: 0, repetitionPenalty: 1.3 },
    ],
    ["has a stop text", { stop_strings: "###" }, { stop: ["###"] }],
    ["has stop texts, one of them empty", { stop_strings: ["###", "", "\n\n"] }, { stop: ["###", "\n\n"] }],
    ["has no stop texts", { stop_strings: [] }, {}],
    ["bounds new tokens", { max_new_tokens: 256 }, { maxTokens: 256 }],
    ["does not bound the whole by max_length", { max_length: 20 }, {}],
    ["of a model that draws has what does not count wrong", { do_sample: false, temperature: "hot", top_k: -1 }, { temperature: 0 }],
    ["has keys that this package does not know", { num_beams: 1, transformers_version: "5.0.0" }, {}],
  ])("%s", (_, json, defaults) => {
    expect(parseGenerationConfig(json)).toEqual({ eosIds: [], defaults });
    expect(Object.values(parseGenerationConfig(json).defaults)).not.toContain(undefined);
  });

  test.each([
    [2, [2]],
    [
      [2, 4],
      [2, 4],
    ],
    [null, []],
    [[], []],
  ])("with eos_token_id %j ends answers at %j", (eos_token_id, eosIds) => {
    expect(parseGenerationConfig({ eos_token_id })).toEqual({ eosIds, defaults: {} });
  });

  test.each<[key: string, value: unknown, others?: object]>([
    ["do_sample", "true"],
    ["do_sample", 1],
    ...["temperature", "top_p", "min_p", "typical_p", "top_k"].flatMap((key) =>
      ["0.5", -2, Number.NaN, [0.5], {}, true].map((value): [string, unknown, object] => [key, value, { do_sample: true }]),
    ),
    ["top_p", 1.5, { do_sample: true }],
    ["top_k", 2.5, { do_sample: true }],
    ...["1.2", 0, -1.2, Number.NaN, Number.POSITIVE_INFINITY, [], false].map((value): [string, unknown] => ["repetition_penalty", value]),
    ...["20", 0, -1, 1.5, Number.NaN, []].map((value): [string, unknown] => ["max_new_tokens", value]),
    ...[7, [7], [["a"]], { a: 1 }].map((value): [string, unknown] => ["stop_strings", value]),
    ...["2", -1, [2, null], [2.5], {}].map((value): [string, unknown] => ["eos_token_id", value]),
  ])("with %s: %j is refused, naming the key", (key, value, others) => {
    expect(() => parseGenerationConfig({ ...others, [key]: value }, "here/generation_config.json")).toThrow(
      expect.objectContaining({ code: "LOAD", message: expect.stringMatching(`^here/generation_config.json: ${key}: expected`) }),
    );
  });

  test.each([null, [], "x", 7])("%j is none", (json) => {
    expect(() => parseGenerationConfig(json)).toThrow(expect.objectContaining({ code: "LOAD" }));
  });

  test.each<[json: object, named: string | undefined]>([
    [{}, undefined],
    [
      { num_beams: 1, no_repeat_ngram_size: 0, min_length: 0, encoder_repetition_penalty: 1, bad_words_ids: null, guidance_scale: null },
      undefined,
    ],
    [{ suppress_tokens: [], bad_words_ids: [], sequence_bias: [] }, undefined],
    [{ num_beams: 4, do_sample: true }, "num_beams"],
    [{ no_repeat_ngram_size: 3, suppress_tokens: [5] }, "no_repeat_ngram_size, suppress_tokens"],
    [{ min_new_tokens: 5 }, "min_new_tokens"],
    [{ eta_cutoff: 0.1 }, undefined],
    [{ eta_cutoff: 0.1, do_sample: true }, "eta_cutoff"],
  ])("of %j what this package lacks is told: %s", (json, named) => {
    const warnings: string[] = [];
    parseGenerationConfig(json, "here", (warning) => warnings.push(warning));
    expect(warnings.map((warning) => warning.split(": ")[1])).toEqual(named === undefined ? [] : [named]);
  });
});
