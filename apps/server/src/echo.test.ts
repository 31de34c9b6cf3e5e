// What evaluations ask of completions: how probable each token of a prompt is.

import { type JambaModel, loadModel, type TextOrIds } from "jamba";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { eventsOf, type Json, posted } from "../test/requests.ts";
import { createApp, Service } from "./index.ts";
import { completionAnswer } from "./schemas/answers.ts";

let model: JambaModel;
let app: ReturnType<typeof createApp>;
beforeAll(async () => {
  model = await loadModel("tiny");
  app = createApp(new Service(model, "tiny"));
});
afterAll(() => model.dispose());

async function post(body: object): Promise<Response> {
  return app.request("/v1/completions", posted(body));
}
async function complete(body: object): Promise<Json> {
  const response = await post({ temperature: 0, ...body });
  const found = await response.json();
  expect([response.status, found.error]).toEqual([200, undefined]);
  completionAnswer.parse(found);
  return found;
}
const near = (value: number) => expect.closeTo(value, 4);
const idsOf = (text: string) => model.tokenizer.encode(text);
const textOf = (ids: readonly number[]) => ids.map((id) => model.tokenizer.decode([id]));

/** What the model itself says of the tokens after the first, which may follow one that is not shown. */
async function scored(prompt: TextOrIds): Promise<Json[]> {
  const ids = typeof prompt === "string" ? model.tokenizer.encode(prompt, { addBos: model.tokenizer.addBos }) : prompt;
  const hidden = typeof prompt === "string" ? ids.length - idsOf(prompt).length : 0;
  const { tokens } = await model.score(ids.slice(0, 1), ids.slice(1), { topLogprobs: 2 });
  return tokens.slice(hidden);
}

describe("echo with logprobs", () => {
  test.each<[what: string, prompt: () => TextOrIds, more: object]>([
    ["a text, only scored", () => "Once upon a time, Mia met a fox.", { max_tokens: 0 }],
    ["a text and a token more, as lm-evaluation-harness asks", () => "Once upon a time, Mia met a fox.", { max_tokens: 1 }],
    ["ids", () => idsOf("The red kite flew over the hill."), { max_tokens: 1 }],
    ["ids with the token that begins a text", () => [model.tokenizer.bosId!, ...idsOf("The red kite")], { max_tokens: 0 }],
    ["one token", () => idsOf(" a").slice(0, 1), { max_tokens: 1 }],
    ["one word", () => "Once", { max_tokens: 0 }],
    ["parts of characters", () => "Mia 😀 é — fox", { max_tokens: 2 }],
    ["special tokens spelled out", () => "<|startoftext|>Once<|eom|> upon", { max_tokens: 0 }],
  ])("%s: each token of the prompt after those before it, the first after none", async (_, prompt, more) => {
    const asked = prompt();
    const { choices, usage } = await complete({ prompt: asked, echo: true, logprobs: 2, ...more });
    const [{ text, logprobs, finish_reason }] = choices;
    const ids = typeof asked === "string" ? idsOf(asked) : asked;
    const count = (more as { max_tokens: number }).max_tokens;
    expect(logprobs.tokens.slice(0, ids.length)).toEqual(textOf(ids));
    expect(logprobs.tokens).toHaveLength(ids.length + count);
    const expected = await scored(asked);
    expect(logprobs.token_logprobs.slice(0, ids.length)).toEqual([null, ...expected.map(({ logprob }) => near(logprob))]);
    expect([logprobs.top_logprobs[0], finish_reason]).toEqual([null, "length"]);
    for (const [i, { text, logprob, top }] of expected.entries()) {
      const alternatives = logprobs.top_logprobs[i + 1];
      expect(Math.max(...(Object.values(alternatives) as number[]))).toEqual(near(top[0].logprob));
      for (const one of [...top, { text, logprob }]) expect(alternatives).toHaveProperty([one.text]);
    }
    const before = typeof asked === "string" ? asked : model.tokenizer.decode(asked);
    expect(text.startsWith(before)).toBe(true);
    expect(usage).toMatchObject({ completion_tokens: count, prompt_tokens_details: { cached_tokens: 0 } });
    expect(usage.prompt_tokens).toBe(model.countTokens(asked));
    // Where a token begins in the text; a part of a character where the character does.
    const characters = [...text];
    for (const [i, token] of logprobs.tokens.entries())
      if (!token.includes("\ufffd")) expect(characters.slice(logprobs.text_offset[i]).join("").startsWith(token)).toBe(true);
    expect(logprobs.text_offset).toEqual(logprobs.text_offset.toSorted((a: number, b: number) => a - b));
  });

  test("what is drawn is as without an echo, its log probabilities behind those of the prompt", async () => {
    const prompt = "Once upon a time, Mia";
    const alone = await complete({ prompt, logprobs: 1, max_tokens: 5 });
    const { choices } = await complete({ prompt, logprobs: 1, max_tokens: 5, echo: true });
    const [{ text, logprobs }] = choices;
    const drawn = alone.choices[0].logprobs;
    expect(text).toBe(prompt + alone.choices[0].text);
    for (const list of ["tokens", "top_logprobs"]) expect(logprobs[list].slice(-5).map(Object.keys)).toEqual(drawn[list].map(Object.keys));
    expect(logprobs.token_logprobs.slice(-5)).toEqual(drawn.token_logprobs.map(near));
    expect(logprobs.text_offset.slice(-5)).toEqual(drawn.text_offset.map((at: number) => at + prompt.length));
  });

  test("one token more is always there, also where it ends the answer", async () => {
    const prompt = "<|bom|><|user|> Hi<|eom|><|bom|><|assistant|> Hello.<|eom|>";
    const ids = idsOf(prompt);
    const eom = model.tokenizer.idOf("<|eom|>")!;
    const { choices } = await complete({ prompt: ids.slice(0, -1), logprobs: 1, max_tokens: 1, echo: true, logit_bias: { [eom]: 100 } });
    expect(choices[0].finish_reason).toBe("stop");
    expect(choices[0].logprobs.tokens).toEqual(textOf(ids));
    expect(choices[0].text).toBe(model.tokenizer.decode(ids.slice(0, -1)));
  });

  test("of several prompts each has its own, and of several answers each the same", async () => {
    const prompts = ["Once upon a time", "The fox and the kite"];
    const { choices, usage } = await complete({ prompt: prompts, n: 2, seed: 3, temperature: 1, logprobs: 1, max_tokens: 3, echo: true });
    expect(choices.map(({ index }: Json) => index)).toEqual([0, 1, 2, 3]);
    for (const [i, { text, logprobs }] of choices.entries()) {
      const prompt = prompts[Math.floor(i / 2)];
      expect(text.startsWith(prompt)).toBe(true);
      expect(logprobs.token_logprobs.slice(1, idsOf(prompt).length)).toEqual((await scored(prompt)).map(({ logprob }) => near(logprob)));
      expect(logprobs.tokens).toHaveLength(idsOf(prompt).length + 3);
    }
    expect(usage.completion_tokens).toBe(12);
    const many = await complete({ prompt: prompts.map(idsOf), logprobs: 0, max_tokens: 0, echo: true });
    expect(many.choices.map(({ logprobs }: Json) => logprobs.tokens)).toEqual(prompts.map((prompt) => textOf(idsOf(prompt))));
    // The token itself, without alternatives.
    const [{ logprobs }] = many.choices;
    expect(logprobs.top_logprobs.slice(1)).toEqual(
      logprobs.tokens.slice(1).map((token: string, i: number) => ({ [token]: logprobs.token_logprobs[i + 1] })),
    );
  });

  test.each([0, 1, 4])("a stream has the same, max_tokens: %i", async (max_tokens) => {
    const body = { prompt: ["Once upon a time", "The fox"], n: 2, seed: 3, temperature: 1, logprobs: 1, max_tokens, echo: true };
    const whole = await complete(body);
    const text = await (await post({ ...body, stream: true })).text();
    const events = eventsOf(text);
    for (const { index, text, logprobs, finish_reason } of whole.choices) {
      const parts = events.flatMap(({ choices }) => choices).filter((one) => one.index === index);
      expect(parts.map((part) => part.text).join("")).toBe(text);
      expect(parts.at(-1).finish_reason).toBe(finish_reason);
      for (const list of ["tokens", "token_logprobs", "top_logprobs", "text_offset"])
        expect(parts.flatMap((part) => part.logprobs?.[list] ?? [])).toEqual(logprobs[list]);
    }
  });

  test("the prompt is read once for its scores and for the answer", async () => {
    const prompt = "The small dog ran to the river and found a box with a red ball and a blue hat in it.";
    model.clearCache();
    const before = model.steps().tokens;
    await complete({ prompt, logprobs: 1, max_tokens: 1, echo: true });
    expect(model.steps().tokens - before).toBe(model.countTokens(prompt));
    expect(model.inUse()).toEqual({ slots: 0, pages: 0 });
  });

  test.each<[body: object, param: string]>([
    [{ prompt: [1, 2 ** 30], max_tokens: 0 }, "prompt"],
    [{ prompt: [[5], []] }, "prompt[1]"],
    [{ prompt: "a", logprobs: 21 }, "logprobs"],
    [{ prompt: "a", logprobs: -1 }, "logprobs"],
    [{ prompt: "a", n: 3, best_of: 2 }, "best_of"],
    [{ prompt: ["a", "b"], best_of: 100 }, "best_of"],
    [{ prompt: "a", best_of: 2, stream: true }, "best_of"],
  ])("%j is refused with the field's name", async (body, param) => {
    const response = await post({ echo: true, logprobs: 1, ...body });
    expect([response.status, ((await response.json()) as Json).error.param]).toEqual([400, param]);
  });
});

test("an answer is not drawn where what comes before it fails", async () => {
  const before = model.steps().steps;
  const failing = () => Promise.reject(new Error("unreadable"));
  const { parts } = new Service(model, "tiny").answer("Once", { maxTokens: 500, ignoreEos: true }, undefined, failing);
  await expect(parts[Symbol.asyncIterator]().next()).rejects.toThrow("unreadable");
  expect(model.steps().steps).toBe(before);
  expect(model.inUse()).toEqual({ slots: 0, pages: 0 });
});

test("best_of gives those whose tokens are the most probable", async () => {
  const body = { prompt: "Once upon a time", max_tokens: 8, temperature: 1, seed: 7, logprobs: 0 };
  const all = await complete({ ...body, n: 5 });
  const mean = ({ logprobs }: Json) => logprobs.token_logprobs.reduce((sum: number, one: number) => sum + one, 0) / logprobs.tokens.length;
  const best = all.choices.toSorted((a: Json, b: Json) => mean(b) - mean(a)).slice(0, 2);
  const found = await complete({ ...body, n: 2, best_of: 5 });
  expect(found.choices.map(({ text, index }: Json) => [text, index])).toEqual(best.map(({ text }: Json, i: number) => [text, i]));
  expect(found.usage.completion_tokens).toBe(40);
  expect((await complete({ ...body, logprobs: undefined, best_of: 2 })).choices).toMatchObject([{ index: 0, logprobs: null }]);
});
