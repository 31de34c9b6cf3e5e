// Tokens that a format leaves no choice about are read, not drawn; nobody can tell from the answer.

import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type GenerateOptions, type JambaModel, loadModel } from "../src/index.ts";

let model: JambaModel;
beforeAll(async () => {
  model = await loadModel("tiny");
});
afterAll(() => model.dispose());

const object = (properties: object) => ({ type: "object", properties, required: Object.keys(properties), additionalProperties: false });
const colours = { enum: ["dark blue", "dark green", "light grey"] };
const fields = { location: colours, unit_of_measurement: { enum: ["degrees celsius"] }, is_confirmed: { type: "boolean" } };
const tools = [{ type: "function", function: { name: "get_current_weather", parameters: object(fields) } }] as const;
const ask = [{ role: "user", content: "What is the weather like?" }] as const;

const cases: Record<string, GenerateOptions> = {
  "a strict schema": { format: { type: "json", strict: true, schema: object(fields) } },
  "a call that must come": { tools, toolChoice: "required" },
  "a named call": { tools, toolChoice: { name: "get_current_weather" } },
  "a pattern": { format: { type: "regex", pattern: "reference number: (north|south) of the river [0-9]{2}" } },
  "a constant, which leaves nothing to draw": { format: { type: "regex", pattern: "once upon a time there was a cat" } },
};
/** Each reads forced tokens in another way: with the next draw, with their rows, beside guesses, and one by one. */
const ways: Record<string, GenerateOptions> = {
  "in one step": {},
  "with log probabilities": { logprobs: true, topLogprobs: 3 },
  "beside guesses": { promptLookup: { ngram: 1 } },
  "drawn one by one": { logprobs: true, topLogprobs: 3, stop: ["§"] },
};

describe.each(Object.keys(cases))("%s", (name) => {
  test.each([0, 1.3])("at temperature %s says the same however its tokens are read", async (temperature) => {
    for (const seed of [1, 2]) {
      const options = { ...cases[name], temperature, seed, maxTokens: 120 };
      const answers = await Promise.all(Object.values(ways).map((way) => model.generate(ask, { ...options, ...way })));
      const [one, withLogprobs, guessed, drawn] = answers;
      for (const answer of answers) expect(answer.ids).toEqual(drawn.ids);
      expect(withLogprobs.logprobs).toEqual(drawn.logprobs);
      expect(drawn.timings.forcedTokens).toBe(0);
      expect(one.timings.forcedTokens).toBeGreaterThan(one.ids.length / 4);
      expect(guessed.timings.forcedTokens).toBe(one.timings.forcedTokens);
      expect(withLogprobs.timings.forcedTokens).toBeGreaterThan(0);
    }
  });

  test("may be cut anywhere", async () => {
    const options = { ...cases[name], seed: 1 };
    const whole = await model.generate(ask, { ...options, maxTokens: 120 });
    for (const maxTokens of [1, 2, 3, 5, 8, 13])
      for (const way of Object.values(ways)) {
        const { ids, finishReason } = await model.generate(ask, { ...options, ...way, maxTokens });
        expect(ids).toEqual(whole.ids.slice(0, maxTokens));
        if (maxTokens < whole.ids.length) expect(finishReason).toBe("length");
      }
  });

  test("leaves a conversation that goes on as if all had been drawn", async () => {
    const next = await Promise.all(
      Object.values(ways).map(async (way) => {
        await using session = model.session();
        await session.send("What is the weather like?", { ...cases[name], ...way, seed: 3, maxTokens: 120 });
        const { ids, usage } = await session.send("And tomorrow?", { maxTokens: 8 });
        return { ids, promptTokens: usage.promptTokens };
      }),
    );
    for (const one of next) expect(one).toEqual(next[0]);
  });
});

test("fewer steps are taken than tokens given", async () => {
  const before = model.steps();
  const { ids, timings } = await model.generate(ask, { ...cases["a call that must come"], temperature: 0, maxTokens: 120 });
  const steps = model.steps().steps - before.steps;
  expect(steps).toBeLessThanOrEqual(ids.length - timings.forcedTokens + 1);
});

test("a stop text within forced tokens ends the answer there", async () => {
  const { text, stopString } = await model.generate(ask, { ...cases["a constant, which leaves nothing to draw"], stop: "time" });
  expect([text.trim(), stopString]).toEqual(["once upon a", "time"]);
});
