import { expect, test } from "vitest";
import { parseGenerationConfig } from "../model/generation-config.ts";
import type { GgufValue } from "./header.ts";
import { ggufGeneration, samplingKeys } from "./sampling.ts";

const read = (keys: Record<string, GgufValue>) => {
  const warnings: string[] = [];
  const metadata = new Map<string, GgufValue>([["general.name", "x"]]);
  for (const [key, value] of Object.entries(keys)) metadata.set(`general.sampling.${key}`, value);
  const { defaults } = parseGenerationConfig(ggufGeneration(metadata, (warning) => warnings.push(warning)));
  return { defaults, warnings };
};

test.each<[keys: Record<string, GgufValue>, defaults: object, passedOver?: RegExp]>([
  [{}, {}],
  [
    { temp: 0.5, top_k: 20, top_p: 0.75, min_p: 0.125 },
    { temperature: 0.5, topK: 20, topP: 0.75, minP: 0.125 },
  ],
  [
    { temp: 1, top_k: -1 },
    { temperature: 1, topK: 0 },
  ],
  [{ temp: 0, top_k: 20 }, { temperature: 0 }],
  [{ temp: -1 }, { temperature: 0 }],
  [{ top_k: 20 }, {}], // no temperature, nothing is drawn
  [{ temp: 0.5, top_p: 1.5 }, { temperature: 0.5 }, /sampling\.top_p/],
  [{ temp: Number.NaN }, {}, /sampling\.temp/],
  [{ temp: "hot" }, {}, /sampling\.temp/],
  [{ temp: 0.5, mirostat: 2, penalty_repeat: 1.5 }, { temperature: 0.5 }, /sampling\.mirostat, general\.sampling\.penalty_repeat/],
])("of %j counts %j", (keys, defaults, passedOver) => {
  const found = read(keys);
  expect(found.defaults).toEqual(defaults);
  expect(found.warnings).toEqual(passedOver ? [expect.stringMatching(passedOver)] : []);
});

test("what generation_config.json says of drawing comes back from the keys that are written for it", () => {
  for (const json of [{ do_sample: true, temperature: 0.5, top_k: 20, top_p: 0.75, min_p: 0.125 }, { do_sample: false }, {}]) {
    const { defaults } = parseGenerationConfig(json);
    const keys = samplingKeys(defaults).map(([key, value]) => [key.replace("general.sampling.", ""), value]);
    expect(read(Object.fromEntries(keys)).defaults).toEqual(defaults);
  }
});
