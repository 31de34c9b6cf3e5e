// Answers that go on from words which the last message has, on the small model.

import { readFile } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type AnswerPiece, type GenerateOptions, type JambaModel, loadModel, type Message } from "../src/index.ts";

let model: JambaModel;
beforeAll(async () => {
  model = await loadModel("tiny");
});
afterAll(() => model.dispose());

const user: Message = { role: "user", content: "Write a story about Mia and a fox." };
const begun = (content: string, more: Partial<Message> = {}): Message[] => [user, { role: "assistant", content, prefix: true, ...more }];
const tools = [
  {
    name: "find",
    description: "Finds a thing.",
    parameters: { type: "object", properties: { what: { enum: ["ring", "bell"] } }, required: ["what"] },
  },
];
const schema = { type: "object", properties: { age: { type: "integer", minimum: 1, maximum: 99 } }, required: ["age"] };
const json = { type: "json", schema } as const;

test("an answer that goes on from its beginning is the rest of the whole one, wherever it was cut", async () => {
  const { content } = await model.generate([user], { maxTokens: 40 });
  const words = content.split(/(?= )/);
  for (const n of [1, 5, 12, 20]) {
    const [head, rest] = [words.slice(0, n).join(""), words.slice(n, n + 5).join("")];
    const found = await model.generate(begun(head), { maxTokens: 12 });
    expect(found.text.startsWith(rest)).toBe(true);
    expect(found.content).toBe(found.text);
    expect(model.tokenizer.decode(found.ids)).toContain(found.text);
    const asked = await model.generate([user, { role: "assistant", content: head }], { maxTokens: 12, continueFinalMessage: true });
    expect([asked.text, asked.usage.promptTokens]).toEqual([found.text, found.usage.promptTokens]);
  }
});

test("parts of a stream have none of the words that it goes on from", async () => {
  const stream = model.stream(begun("Once upon a "), { maxTokens: 6, logprobs: true });
  let [text, said] = ["", ""];
  for await (const part of stream) {
    text += part.text;
    for (const piece of part.pieces) said += "text" in piece ? piece.text : "";
  }
  const result = await stream.result;
  expect([text, said]).toEqual([result.text, result.text]);
  expect(result.text).not.toContain("Once");
  expect(result.logprobs).toHaveLength(result.ids.length);
});

test("several answers go on from the same words, and a stop text is looked for in what is new", async () => {
  const { choices } = await model.generate(begun("Once upon a time"), { n: 3, temperature: 1.5, seed: 1, maxTokens: 6, stop: "time" });
  expect(new Set(choices!.map(({ text }) => text)).size).toBe(3);
  for (const { text } of choices!) expect(text).not.toMatch(/^Once/);
  const { content } = await model.generate([user], { maxTokens: 20 });
  const stop = content.split(" ")[6];
  const found = await model.generate(begun(content.split(" ").slice(0, 4).join(" ")), { maxTokens: 20, stop });
  expect([found.stopString, found.finishReason]).toEqual([stop, "stop"]);
});

test("without a generation prompt the text ends behind the last message", async () => {
  const prompt = model.tokenizer.renderChat([user], { addGenerationPrompt: false });
  const { usage } = await model.generate([user], { addGenerationPrompt: false, maxTokens: 1 });
  expect(usage.promptTokens).toBe(model.tokenizer.encode(prompt).length);
  expect((await model.generate([user], { maxTokens: 1 })).usage.promptTokens).toBeGreaterThan(usage.promptTokens);
});

test.each<[string, string | number[] | Message[], GenerateOptions, string]>([
  ["a text", "Once", { continueFinalMessage: true }, "OPTION"],
  ["token ids", [1, 2], { addGenerationPrompt: false }, "OPTION"],
  ["both at once", [user, { role: "assistant", content: "So" }], { continueFinalMessage: true, addGenerationPrompt: true }, "OPTION"],
  ["a question", [user], { continueFinalMessage: true }, "TOKENIZER"],
])("is refused for %s", async (_, prompt, options, code) => {
  await expect(model.generate(prompt, options)).rejects.toMatchObject({ code });
});

describe("a format binds the whole answer, with the words that it goes on from", () => {
  test.each(["", "{", '{"a', '{"age": ', '{"age": 4', '{"age": 42}'])("JSON from %j", async (head) => {
    for (const way of [{}, { temperature: 3, seed: 1 }]) {
      const { text, finishReason } = await model.generate(begun(head), { ...way, format: json, maxTokens: 60 });
      expect(finishReason).toBe("stop");
      expect(JSON.parse(head + text)).toEqual({ age: expect.any(Number) });
    }
  });

  test("a regular expression and a grammar", async () => {
    const date = await model.generate(begun("2024-0"), { format: { type: "regex", pattern: "\\d{4}-\\d{2}-\\d{2}" } });
    expect(`2024-0${date.text}`).toMatch(/^\d{4}-\d{2}-\d{2}$/);
    const grammar = 'root ::= "yes" | "no" | "pér" "haps"';
    expect((await model.generate(begun("pé"), { format: { type: "grammar", grammar } })).text).toBe("rhaps");
  });

  test.each<[string, string, GenerateOptions["format"], RegExp]>([
    ["from its first character on", "So {", json, /found "So \{" behind the first 0 characters/],
    ["in the middle", '{"age": "old"}', json, /found "\\"old\\"\}" behind the first 8 characters, which fit and end with "\{\\"age\\": "/],
    ["where it has more than the whole", '{"age": 4} and', json, /found " and" behind the first 10 characters/],
    ["beyond a range", "12345", { type: "regex", pattern: "\\d{3}" }, /found "45" behind the first 3 characters/],
  ])("words that do not fit %s are refused, and the next answer is not hurt", async (_, head, format, message) => {
    await expect(model.generate(begun(head), { format })).rejects.toMatchObject({
      code: "OPTION",
      message: expect.stringMatching(message),
    });
    expect(model.inUse()).toEqual({ slots: 0, pages: 0 });
    expect((await model.generate([user], { format: json, maxTokens: 60 })).finishReason).toBe("stop");
  });
});

describe("tools", () => {
  const call = '<tool_calls>[\n    {"name": "find", "arguments": {"what": "';

  test.each<[string, string, GenerateOptions["toolChoice"]]>([
    ["words", "Let me see.", "required"],
    ["words, for one tool", "Let me see. ", { name: "find" }],
    ["a begun call", `${call}r`, "auto"],
    ["words and a begun call", `Let me see.${call}`, { name: "find" }],
    ["a name that is not whole", '<tool_calls>[\n    {"name": "fi', "auto"],
  ])("%s go on into a call, which comes whole", async (_, head, toolChoice) => {
    const stream = model.stream(begun(head), { tools, toolChoice, parallelToolCalls: false, maxTokens: 60 });
    const pieces: AnswerPiece[] = [];
    for await (const part of stream) pieces.push(...part.pieces);
    const { toolCalls, finishReason, content } = await stream.result;
    expect([finishReason, content]).toEqual(["tool-calls", ""]);
    expect(toolCalls).toMatchObject([
      { id: expect.any(String), name: "find", arguments: { what: expect.stringMatching(/^(ring|bell)$/) } },
    ]);
    const calls = pieces.flatMap((piece) => ("toolCall" in piece ? [piece.toolCall] : []));
    expect(calls.map(({ name }) => name).filter(Boolean)).toEqual(["find"]);
    expect(JSON.parse(calls.map(({ argumentsDelta }) => argumentsDelta).join(""))).toEqual(toolCalls[0].arguments);
  });

  test("a call that no tool has is refused", async () => {
    const head = '<tool_calls>[\n    {"name": "lose';
    await expect(model.generate(begun(head), { tools })).rejects.toMatchObject({ code: "OPTION" });
  });
});

describe("a model that thinks", () => {
  const template =
    "{{ bos_token }}{% for m in messages %}<|bom|><|{{ m.role }}|> {% if m.reasoning_content %}<think>\n{{ m.reasoning_content }}\n</think>\n\n{% endif %}{{ m.content }}<|eom|>{% endfor %}{% if add_generation_prompt %}<|bom|><|assistant|><think>\n{% endif %}";
  let thinking: JambaModel;
  beforeAll(async () => {
    const folder = new URL("../../tiny-model/", import.meta.url);
    const names = ["config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"];
    const files = await Promise.all(names.map(async (name) => ({ name, blob: new Blob([await readFile(new URL(name, folder))]) })));
    const config = { ...JSON.parse(await files[3].blob.text()), chat_template: template };
    files[3] = { name: names[3], blob: new Blob([JSON.stringify(config)]) };
    thinking = await loadModel(files);
  });
  afterAll(() => thinking.dispose());

  test("thinks where nothing was said, and not again where words were", async () => {
    expect((await thinking.generate([user], { maxTokens: 5 })).reasoning).toBeTypeOf("string");
    for (const last of [begun("Once upon"), begun("Once upon", { reasoning: "A fox." }), begun("<think>\nA fox.\n</think>\n\nOnce upon")]) {
      const { reasoning, text, finishReason } = await thinking.generate(last, { maxTokens: 5 });
      expect([reasoning, finishReason]).toEqual([undefined, "length"]);
      expect(text).not.toBe("");
    }
  });

  test.each([
    ["in the content", begun("<think>\nA fo")],
    ["in a field of their own", begun("", { reasoning: "A fo" })],
  ])("goes on with open thoughts %s, and answers behind them", async (_, messages) => {
    const bell = { type: "regex", pattern: "bell" } as const;
    const tag = thinking.tokenizer.encode(">")[0];
    const { reasoning, text } = await thinking.generate(messages, { maxTokens: 3 });
    expect(reasoning).toBeTypeOf("string");
    expect([text, reasoning?.includes("A fo")]).toEqual(["", false]);
    // Half a tag is no thought, and what binds the answer begins behind the whole one.
    const half = messages.map((message) => ({
      ...message,
      reasoning: undefined,
      content: message === user ? user.content : "<think>\nA fox.</think",
    }));
    const bound = await thinking.generate(half, { format: bell, maxTokens: 20, logitBias: { [tag]: 100 } });
    expect([bound.content, bound.reasoning, bound.finishReason]).toEqual(["bell", "", "stop"]);
  });

  test("tells its thoughts in its parts and its result alike, also where its text has them", async () => {
    for (const reasoning of [true, false]) {
      const stream = thinking.stream([user], { maxTokens: 5, reasoning });
      let thought = "";
      for await (const { pieces } of stream) for (const piece of pieces) if ("reasoning" in piece) thought += piece.reasoning;
      const result = await stream.result;
      expect(thought).not.toBe("");
      expect([result.reasoning, result.content, result.text.trim()]).toEqual([thought, "", reasoning ? "" : thought]);
    }
  });

  test("a format binds what follows thoughts that have ended", async () => {
    const format = { type: "regex", pattern: "(bell|ring)" } as const;
    const messages = begun("<think>\nA fox.\n</think>\n\nbe");
    expect((await thinking.generate(messages, { format, maxTokens: 9 })).content).toBe("ll");
    const wrong = begun("<think>\nA fox.\n</think>\n\nfox");
    await expect(thinking.generate(wrong, { format })).rejects.toMatchObject({ code: "OPTION" });
  });
});

describe("a session", () => {
  test("goes on with its last answer, which becomes longer, and reads nothing twice", async () => {
    await using session = model.session({ system: "Be brief." });
    const first = await session.send(user.content as string, { maxTokens: 8 });
    const read = session.tokens.length;
    const more = await session.send([], { maxTokens: 8, continueFinalMessage: true });
    expect(more.usage.cachedTokens).toBeGreaterThanOrEqual(read - 1);
    expect(session.messages).toHaveLength(3);
    expect(session.messages[2]).toEqual({ role: "assistant", content: first.content + more.text });
    const next = await session.send("Who is Mia?", { maxTokens: 4 });
    expect(next.usage.cachedTokens).toBeGreaterThan(read);
    await using whole = model.session({ system: "Be brief." });
    expect((await whole.send(user.content as string, { maxTokens: 16 })).content).toBe(first.content + more.text);
  });

  test("is sent the words that its answer begins with, once", async () => {
    await using session = model.session();
    const { text } = await session.send(begun("Once upon a "), { maxTokens: 6 });
    expect(session.messages).toEqual([user, { role: "assistant", content: `Once upon a ${text}` }]);
    await session.send(begun("A fox"), { maxTokens: 0 });
    await expect(session.send("Hi", { continueFinalMessage: true })).rejects.toMatchObject({ code: "TOKENIZER" });
    expect(session.messages).toHaveLength(2);
  });

  test("ends a call that it had begun, under one id", async () => {
    await using session = model.session({ tools });
    const call = '<tool_calls>[\n    {"name": "find", "arguments": {"what": "';
    const { toolCalls } = await session.send(begun(call), { toolChoice: { name: "find" }, maxTokens: 40 });
    expect(session.messages.at(-1)).toEqual({ role: "assistant", content: "", toolCalls: [{ ...toolCalls[0] }] });
    const { finishReason } = await session.send([{ role: "tool", content: "It is here.", toolCallId: toolCalls[0].id }], { maxTokens: 4 });
    expect(finishReason).not.toBe("cancelled");
  });
});
