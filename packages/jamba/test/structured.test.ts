// Answers bound to a format or to tools, on the small model: whatever it would like to say, this is what comes out.

import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type AnswerPiece, type GenerateOptions, type JambaModel, loadModel, type Part } from "../src/index.ts";

let model: JambaModel;
beforeAll(async () => {
  model = await loadModel("tiny");
});
afterAll(() => model.dispose());

const schema = {
  type: "object",
  properties: {
    name: { type: "string", maxLength: 12 },
    age: { type: "integer", minimum: 0, maximum: 120 },
    likes: { enum: ["foxes", "bells"] },
  },
  required: ["name", "age", "likes"],
};
const tools = [
  {
    name: "find",
    description: "Finds a thing.",
    parameters: { type: "object", properties: { what: { enum: ["ring", "bell"] } }, required: ["what"] },
  },
  { name: "wait", description: "Waits.", parameters: { type: "object", properties: {}, additionalProperties: false } },
];
const ask = [{ role: "user", content: "Tell me about Mia." }] as const;
/** Greedy and at random, which strays from what a model was taught. */
const ways: GenerateOptions[] = [{}, ...[1, 2, 3].map((seed) => ({ temperature: 3, seed }))];

describe.each(ways)("drawn with %o", (way) => {
  test("JSON of a schema is parsed and fits", async () => {
    const { text, finishReason } = await model.generate(ask, { ...way, format: { type: "json", schema }, maxTokens: 200 });
    expect(finishReason).toBe("stop");
    expect(JSON.parse(text)).toEqual({
      name: expect.any(String),
      age: expect.any(Number),
      likes: expect.stringMatching(/^(foxes|bells)$/),
    });
  });

  test("a regular expression and a grammar hold from the first token to the last", async () => {
    const date = await model.generate("Once", { ...way, format: { type: "regex", pattern: "\\d{4}-\\d{2}-\\d{2}" } });
    expect(date.text).toMatch(/^\d{4}-\d{2}-\d{2}$/);
    const grammar = 'root ::= "yes" | "no" | "per" "haps"';
    expect((await model.generate("Once", { ...way, format: { type: "grammar", grammar } })).text).toMatch(/^(yes|no|perhaps)$/);
  });

  test("a forced tool is called, with arguments that fit, and the call streams", async () => {
    const stream = model.stream(ask, { ...way, tools, toolChoice: { name: "find" }, maxTokens: 100 });
    const pieces: AnswerPiece[] = [];
    for await (const part of stream) pieces.push(...part.pieces);
    const { toolCalls, finishReason, content } = await stream.result;
    expect([finishReason, content]).toEqual(["tool-calls", ""]);
    const calls = pieces.flatMap((piece) => ("toolCall" in piece ? [piece.toolCall] : []));
    expect(toolCalls).toMatchObject([{ id: calls[0].id, name: "find", arguments: { what: expect.stringMatching(/^(ring|bell)$/) } }]);
    expect(calls[0]).toMatchObject({ index: 0, name: "find" });
    expect(JSON.parse(calls.map(({ argumentsDelta }) => argumentsDelta).join(""))).toEqual(toolCalls[0].arguments);
  });

  test("some tool is called when one is required", async () => {
    const { toolCalls } = await model.generate(ask, { ...way, tools, toolChoice: "required", maxTokens: 200 });
    expect(toolCalls.length).toBeGreaterThan(0);
    for (const { name } of toolCalls) expect(["find", "wait"]).toContain(name);
  });
});

test.each(["auto", "required", { name: "find" }] as const)(
  "%j: wherever an answer is cut, its whole result has what was streamed, and markup is no text",
  async (toolChoice) => {
    const logitBias = { [model.tokenizer.idOf("<tool_calls>")!]: 100 };
    const options = { tools, toolChoice, logitBias, parallelToolCalls: toolChoice === "required", logprobs: true };
    const whole = await model.generate(ask, { ...options, maxTokens: 200, stop: ['"', "[", "<tool"] });
    expect([whole.finishReason, whole.content, whole.stopString]).toEqual(["tool-calls", "", undefined]);
    for (let maxTokens = 1; maxTokens <= whole.ids.length; maxTokens++) {
      const stream = model.stream(ask, { ...options, maxTokens });
      const calls: { id?: string; name?: string; json: string }[] = [];
      const streamed: Pick<Part, "ids" | "logprobs">[] = [];
      for await (const { pieces, ids, logprobs } of stream) {
        streamed.push({ ids, logprobs });
        for (const piece of pieces) {
          if (!("toolCall" in piece)) throw new Error(`expected calls alone, found ${JSON.stringify(piece)}`);
          const { index, id, name, argumentsDelta } = piece.toolCall;
          calls[index] ??= { id, name, json: "" };
          calls[index].json += argumentsDelta;
        }
      }
      const { toolCalls, finishReason, content, ids, logprobs } = await stream.result;
      expect(streamed.flatMap((part) => part.ids)).toEqual(ids);
      expect(streamed.flatMap((part) => part.logprobs)).toEqual(logprobs);
      expect([content, finishReason]).toEqual(["", maxTokens < whole.ids.length ? "length" : "tool-calls"]);
      expect(toolCalls.map(({ id, name, json }) => ({ id, name, json }))).toEqual(calls);
      for (const { incomplete, json, arguments: args } of toolCalls) expect(args).toEqual(incomplete ? json : JSON.parse(json));
      expect(toolCalls.slice(0, -1).some(({ incomplete }) => incomplete)).toBe(false);
    }
  },
);

test.each(["auto", "required"] as const)(
  "%s: one call at most, if so many are allowed, however many the model wants",
  async (toolChoice) => {
    const { tokenizer } = model;
    const wanted = [tokenizer.idOf("<tool_calls>")!, ...tokenizer.encode(",")];
    const logitBias = Object.fromEntries(wanted.map((id) => [id, 100]));
    const ask = [{ role: "user", content: "Wait." }] as const;
    const options = { tools: tools.slice(1), toolChoice, logitBias, maxTokens: 120 };
    expect((await model.generate(ask, options)).toolCalls.length).toBeGreaterThan(1);
    const { toolCalls, finishReason } = await model.generate(ask, { ...options, parallelToolCalls: false });
    expect([toolCalls, finishReason]).toMatchObject([[{ name: "wait", arguments: {} }], "tool-calls"]);
    expect(toolCalls).toHaveLength(1);
  },
);

test("of the tools that the model is shown it calls only those that are allowed", async () => {
  const { tokenizer } = model;
  const logitBias = { [tokenizer.idOf("<tool_calls>")!]: 100 };
  for (const [allowed, seed] of [["wait"], ["find"], ["find", "wait"]].flatMap((names) => [1, 2].map((seed) => [names, seed] as const))) {
    for (const mode of [undefined, "auto", "required"] as const) {
      const options = {
        tools,
        toolChoice: { allowed, mode },
        temperature: 2,
        seed,
        maxTokens: 150,
        ...(mode !== "required" && { logitBias }),
      };
      const { toolCalls, usage } = await model.generate(ask, options);
      expect(toolCalls.length).toBeGreaterThan(0);
      for (const { name } of toolCalls) expect(allowed).toContain(name);
      expect(usage.promptTokens).toBe((await model.generate(ask, { tools, maxTokens: 1 })).usage.promptTokens);
    }
  }
  const words = { logitBias: { [tokenizer.encode(" fox")[0]]: 100 }, maxTokens: 5 };
  expect((await model.generate(ask, { tools, toolChoice: { allowed: ["wait"] }, ...words })).content).toMatch(/fox/);
  const refused = { code: "OPTION", message: expect.stringMatching(/^toolChoice: expected/) };
  for (const toolChoice of [{ allowed: ["fly"] }, { allowed: [] }, { allowed: ["wait"], mode: "none" }])
    await expect(model.generate(ask, { tools, toolChoice } as never)).rejects.toMatchObject(refused);
  await expect(model.generate(ask, { toolChoice: { allowed: ["wait"] } })).rejects.toMatchObject(refused);
});

describe("a keyword that can't be enforced", () => {
  const loose = {
    type: "object",
    properties: {
      tags: { type: "array", items: { type: "string", maxLength: 1 }, maxItems: 2, uniqueItems: true },
      name: { type: "string", pattern: "(a)\\1" },
      far: { $ref: "https://example.com/schema" },
    },
    required: ["tags", "name"],
  };
  const paths = (name: string) =>
    ["properties.tags.uniqueItems", "properties.name.pattern", "properties.far.$ref"].map((path) => `${name}.${path}`).sort();

  test("is named in the result where strict is false, and what can be enforced still is", async () => {
    const format = { type: "json", schema: loose, strict: false } as const;
    const { content, notEnforced: found } = await model.generate(ask, { format, temperature: 2, seed: 3, maxTokens: 40 });
    expect([...found!].sort()).toEqual(paths("format.schema"));
    expect(await model.notEnforced({ format })).toEqual(found);
    expect(content).toMatch(/^\{"tags": \[("[^"]?"|,| )*\]/);
    expect(await model.generate(ask, { format: { type: "json", schema, strict: false }, maxTokens: 200 })).not.toHaveProperty(
      "notEnforced",
    );
  });

  test("of a tool is named by its place, unless the tool is strict: then it is refused", async () => {
    const described = { name: "tag", parameters: loose };
    const all = [tools[1], { type: "function", function: described }, { ...described, name: "label" }];
    const { notEnforced: found } = await model.generate(ask, { tools: all, maxTokens: 1 });
    expect([...found!].sort()).toEqual([...paths("tools[1].function.parameters"), ...paths("tools[2].function.parameters")]);
    expect(await model.notEnforced({ tools: all, toolChoice: "none" })).toEqual([]);
    const strict = [{ type: "function", function: { ...described, strict: true } }];
    const message = expect.stringMatching(/^tools\[0\]\.function\.parameters\..*: expected .*, found/);
    await expect(model.generate(ask, { tools: strict })).rejects.toMatchObject({ code: "OPTION", message });
    await expect(model.generate(ask, { format: { type: "json", schema: loose, strict: true } })).rejects.toMatchObject({ code: "OPTION" });
  });

  test("is not one of many: a schema of a thousand fields is held, one of a hundred thousand is refused where it is too large", async () => {
    const many = (n: number) => Object.fromEntries(Array.from({ length: n }, (_, i) => [`p${i}`, { type: "null" }]));
    const wide = (n: number) => ({
      type: "object",
      properties: { mood: { enum: ["glad"] }, far: { type: "object", properties: many(n) } },
      required: ["mood"],
    });
    const { content, notEnforced: found } = await model.generate(ask, { format: { type: "json", schema: wide(1000) }, maxTokens: 20 });
    expect(found).toBeUndefined();
    expect(content).toMatch(/^{"mood": "glad"/);
    await expect(model.notEnforced({ format: { type: "json", schema: wide(100_000) } })).rejects.toThrow(
      /^format\.schema\.properties\.far.*at most/,
    );
  });

  test("is no excuse for a schema that is wrong", async () => {
    for (const wrong of [{ type: 7 }, { enum: [] }, { type: "string", minLength: 2, maxLength: 1 }])
      await expect(model.generate(ask, { format: { type: "json", schema: wrong, strict: false } })).rejects.toMatchObject({
        code: "OPTION",
      });
  });
});

test("formats hold for calls that share steps, with drafts, and what is drawn is the same", async () => {
  const options = { format: { type: "json", schema }, maxTokens: 200, temperature: 1 } as const;
  const alone: string[] = [];
  for (let seed = 0; seed < 4; seed++) alone.push((await model.generate(ask, { ...options, seed })).text);
  const together = await Promise.all(alone.map((_, seed) => model.generate(ask, { ...options, seed, promptLookup: { ngram: 1 } })));
  expect(together.map(({ text }) => text)).toEqual(alone);
});

test("a session goes on after an answer in a format, and reads only what is new", async () => {
  await using session = model.session({ system: "Be brief." });
  const first = await session.send("Who is Mia?", { format: { type: "json", schema }, maxTokens: 200 });
  expect(JSON.parse(first.content)).toBeTypeOf("object");
  const before = session.tokens.length;
  expect((await session.send("And Sam?", { maxTokens: 5 })).usage.cachedTokens).toBe(before);
  expect(session.messages[2]).toEqual({ role: "assistant", content: first.content });
});

test("log probabilities are those without the format", async () => {
  const { logprobs } = await model.generate("Once", { format: { type: "regex", pattern: "[0-9]" }, logprobs: true });
  expect(logprobs![0].logprob).toBeLessThan(-1);
});

test("a format that leads nowhere after a while ends its answer with the reason, and nobody else's", async () => {
  // Behind "ab" nothing that has two lengths at once can follow.
  const grammar = "start: /ab/ NEVER\nNEVER: /[a-z]{3}/ & /[a-z]{4}/";
  const whole = { format: { type: "json", schema }, maxTokens: 200 } as const;
  const alone = await model.generate(ask, whole);
  const [beside, failed, again] = await Promise.all([
    model.generate(ask, whole),
    model.generate(ask, { format: { type: "grammar", syntax: "lark", grammar } }).catch((error) => error),
    model.generate(ask, whole),
  ]);
  expect(failed).toMatchObject({ code: "OPTION", message: expect.stringMatching(/^format: expected .*, found .*: ./) });
  for (const one of [beside, again, await model.generate(ask, whole)]) expect(one.ids).toEqual(alone.ids);
  expect(model.calls()).toEqual({ running: 0, waiting: 0 });
});
