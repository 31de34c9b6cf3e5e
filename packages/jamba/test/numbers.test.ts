// Any number as any option: an error in words at once, or a model and answers as ever.

import fc from "fast-check";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type GenerateOptions, JambaError, type JambaModel, type LoadOptions, loadModel } from "../src/index.ts";

let model: JambaModel;
beforeAll(async () => {
  model = await loadModel("tiny");
});
afterAll(() => model.dispose());

const odd = [0, -0, 1, -1, 0.5, 1.5, 1e-9, Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
const large = [2 ** 31 - 1, 2 ** 31, 2 ** 32, 2 ** 53 - 1, 2 ** 53, 1e300, 30 * 86_400_000];
const numbers = fc.oneof(fc.constantFrom(...odd, ...large), fc.integer(), fc.double());

const generate: Readonly<Record<string, (value: number) => GenerateOptions>> = {
  ...Object.fromEntries(
    [
      "maxTokens temperature topK topP minP typicalP repetitionPenalty frequencyPenalty presencePenalty seed topLogprobs",
      "maxRounds priority timeoutMs",
    ]
      .join(" ")
      .split(" ")
      .map((name) => [name, (value: number) => ({ [name]: value })]),
  ),
  "xtc.probability": (probability) => ({ xtc: { probability } }),
  "xtc.threshold": (threshold) => ({ xtc: { probability: 0.5, threshold } }),
  "dry.multiplier": (multiplier) => ({ dry: { multiplier } }),
  "dry.base": (base) => ({ dry: { multiplier: 1, base } }),
  "dry.allowedLength": (allowedLength) => ({ dry: { multiplier: 1, allowedLength } }),
  "dry.lastN": (lastN) => ({ dry: { multiplier: 1, lastN } }),
  "promptLookup.maxTokens": (maxTokens) => ({ promptLookup: { maxTokens } }),
  "promptLookup.ngram": (ngram) => ({ promptLookup: { ngram } }),
  "logitBias value": (bias) => ({ logitBias: { 5: bias } }),
  "logitBias id": (id) => ({ logitBias: { [id]: 1 } }),
};

test.for(Object.entries(generate))("of an answer: %s", { timeout: 60_000 }, async ([, options]) => {
  const property = fc.asyncProperty(numbers, async (value) => {
    const { maxTokens = 2, ...rest } = options(value);
    // Whoever asks for many tokens gets them: not here.
    const given = { ...rest, maxTokens: maxTokens > 4 && Number.isSafeInteger(maxTokens) ? 4 : maxTokens, throwOnCancel: true };
    const text = await model.generate("A fox", given).then(
      () => undefined,
      (error) => error,
    );
    if (text instanceof DOMException && value < 1000) return; // out of time, as it was asked for
    if (text !== undefined) expect(text).toMatchObject({ code: "OPTION", message: expect.stringMatching(/expected .*, found /) });
  });
  await fc.assert(property, { numRuns: 40, examples: [...odd, ...large].map((value) => [value]) });
});

const load: Readonly<Record<string, (value: number) => LoadOptions>> = {
  contextLength: (contextLength) => ({ contextLength }),
  threads: (threads) => ({ threads }),
  "cache.bytes": (bytes) => ({ cache: { bytes } }),
  "cache.dirBytes": (dirBytes) => ({ cache: { dirBytes } }),
  "limits.sequences": (sequences) => ({ limits: { sequences } }),
  "limits.tokens": (tokens) => ({ limits: { tokens } }),
  "limits.bytes": (bytes) => ({ limits: { bytes } }),
};

test.for(Object.entries(load))("of a model: %s", { timeout: 120_000 }, async ([, options]) => {
  for (const value of [...odd, ...large]) {
    const found = await loadModel("tiny", { formats: "when-used", ...options(value) }).catch((error) => error);
    if (found instanceof Error) {
      expect(found).toBeInstanceOf(JambaError);
      expect(["OPTION", "OUT_OF_MEMORY", "CONTEXT_FULL"]).toContain((found as JambaError).code);
      continue;
    }
    const answer = await found.generate("A", { maxTokens: 2 }).catch((error: unknown) => error);
    await found.dispose();
    if (answer instanceof Error) expect([value, answer]).toMatchObject([value, { code: "CONTEXT_FULL" }]);
  }
});
