import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { type Message, parseToolCalls, renderChat } from "./index.ts";

const user = (content: string): Message => ({ role: "user", content });
const assistant = (content: string): Message => ({ role: "assistant", content });
const weather = {
  type: "function",
  function: {
    name: "get_weather",
    description: "Weather of a place",
    parameters: { type: "object", properties: { place: { type: "string" } } },
  },
};

describe("the Jamba 1.5 form", () => {
  const render = (messages: Message[], options = {}) => renderChat(messages, { form: "jamba", ...options });

  test("always has a system message, and ends where the answer begins", () => {
    expect(render([user("Hi")])).toBe("<|startoftext|><|bom|><|system|> <|eom|><|bom|><|user|> Hi<|eom|><|bom|><|assistant|>");
    expect(render([{ role: "system", content: "You are X." }, user("Hi")])).toBe(
      "<|startoftext|><|bom|><|system|> You are X.<|eom|><|bom|><|user|> Hi<|eom|><|bom|><|assistant|>",
    );
    expect(render([user("Hi"), assistant("Ho")], { addGenerationPrompt: false })).toBe(
      "<|startoftext|><|bom|><|system|> <|eom|><|bom|><|user|> Hi<|eom|><|bom|><|assistant|> Ho<|eom|>",
    );
    expect(render([user("Hi")], { generationPreamble: "Sure," })).toMatch(/<\|assistant\|> Sure,$/);
  });

  test("tools stand in the system message", () => {
    expect(render([{ role: "system", content: "S" }, user("Hi")], { tools: [weather] })).toContain(
      `S\n\n<tool_definitions>\n# Tools\n\n## Functions\n\n${JSON.stringify(weather.function, null, 2)}\n</tool_definitions><|eom|>`,
    );
    expect(render([user("Hi")], { tools: [weather] })).toContain("<|system|> <tool_definitions>");
  });

  test("calls are written as Python writes JSON, results follow", () => {
    const calls = [
      { name: "get_weather", arguments: { place: "Köln", days: [1, 2] } },
      { name: "other", arguments: '{"raw":1}' },
    ];
    const text = render([user("?"), { role: "assistant", content: null, toolCalls: calls }, { role: "tool", content: "sunny" }]);
    expect(text).toContain(
      '<|assistant|> <tool_calls>[\n    {"name": "get_weather", "arguments": {"place": "Köln", "days": [1, 2]}},\n    {"name": "other", "arguments": {"raw": 1}}\n]</tool_calls><|eom|>',
    );
    expect(text).toContain("<|bom|><|tool|> sunny<|eom|>");
    const openai = calls.map((call) => ({ type: "function" as const, function: call }));
    expect(render([user("?"), { role: "assistant", tool_calls: openai }, { role: "tool", content: "sunny" }])).toBe(text);
  });

  test("documents and modes stand before the last question", () => {
    const text = render([user("a"), assistant("b"), user("c")], {
      documents: [{ title: "T", source_url: "u", "page-no": 3, draft: false, text: "x" }],
      knobs: { response_format: "json_object" },
    });
    expect(text).toContain(
      "b<|eom|><|bom|><|system|> <documents>\n# Documents\n\nYou can use the following documents for reference:\n\n## Document ID: 0\nTitle: T\nSource_url: u\nPage-No: 3\nDraft: False\nText: x\n</documents>\n\n<active_output_modes>\n# Active Modes\n\n",
    );
    expect(text).toContain("</active_output_modes><|eom|><|bom|><|user|> c");
    expect(render([assistant("b")], { documents: [{ text: "x" }] })).toContain("</documents><|eom|><|bom|><|assistant|> b");
  });

  test("knobs name the modes in force", () => {
    const modes = (knobs: object) => [...render([user("a")], { knobs }).matchAll(/## (.*)\n/g)].map(([, name]) => name);
    expect(modes({ citation_mode: "fast" })).toEqual(["Citation Mode"]);
    expect(modes({ citation_mode: "fast", response_format: "json_object" })).toEqual(["Citation Mode", "JSON Mode"]);
    expect(modes({ is_set: false, citation_mode: "fast" })).toEqual([]);
    expect(render([user("a")], { knobs: {} })).toBe(render([user("a")]));
  });

  test("an answer's citations follow it unless citation is off", () => {
    const messages: Message[] = [user("a"), { role: "assistant", content: "b", citations: [{ documentId: 0 }, { documentId: 2 }] }];
    expect(render(messages, { knobs: { citation_mode: "fast" } })).toContain("b<citations>[0, 2]</citations><|eom|>");
    expect(render(messages, { knobs: { citation_mode: "off" } })).toContain("b<|eom|>");
  });

  test("a name stands before the content", () => {
    expect(render([{ role: "user", content: "Hi", name: "Mia" }])).toContain("<|user|> (Mia)Hi");
  });

  test("agrees with the small model's own template, which has this form", () => {
    const { chat_template: template } = JSON.parse(
      readFileSync(new URL("../../tiny-model/tokenizer_config.json", import.meta.url), "utf8"),
    );
    const rows = readFileSync(new URL("../../../tooling/tiny-model/eval/questions.jsonl", import.meta.url), "utf8")
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line));
    // The small model was taught its own words for JSON mode.
    const chats = rows.filter((row) => row.messages && !row.knobs);
    expect(chats.length).toBeGreaterThan(200);
    for (const { messages, tools, documents } of chats)
      for (const addGenerationPrompt of [true, false]) {
        const options = { tools, documents, addGenerationPrompt, bosToken: "<|startoftext|>" };
        expect(renderChat(messages, { ...options, form: "jamba" })).toBe(renderChat(messages, { ...options, template }));
      }
  });
});

describe("the ChatML form", () => {
  const render = (messages: Message[], options = {}) => renderChat(messages, { form: "chatml", ...options });
  const prefix =
    "Begin by thinking about the reasoning process in the mind within <think> </think> tags and then proceed to give your response.\n";

  test("asks for thoughts before the last question only", () => {
    expect(render([{ role: "system", content: "S" }, user("a"), assistant("b"), user("c")])).toBe(
      `<|startoftext|><|im_start|>system\nS<|im_end|>\n<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\nb<|im_end|>\n<|im_start|>user\n${prefix}c<|im_end|>\n<|im_start|>assistant\n<think>\n`,
    );
  });

  test("drops the thoughts of earlier answers, keeps their question's prefix, and keeps thoughts after the last question", () => {
    const text = render([
      user("a"),
      assistant("<think>\nhm\n</think>\n\nb"),
      user("c"),
      { role: "assistant", content: "d", reasoning: "well" },
    ]);
    expect(text).toContain(`user\n${prefix}a<|im_end|>\n<|im_start|>assistant\nb<|im_end|>`);
    expect(text).toContain("<|im_start|>assistant\n<think>\nwell\n</think>\n\nd<|im_end|>");
  });

  test("a system message and tools share the first turn", () => {
    expect(render([{ role: "system", content: "S" }, user("a")], { tools: [weather] })).toContain(
      "<|im_start|>system\nS\n\n# Tools\n\nYou may",
    );
    expect(render([user("a")], { tools: [weather] })).toContain("<|im_start|>system\n# Tools\n\nYou may");
  });

  test("a question is not last when a call and its result follow, and the answer to it keeps its thoughts", () => {
    const call = { name: "get_weather", arguments: {} };
    const text = render([
      user("a"),
      { role: "assistant", content: "<think>\nhm\n</think>\n\nLet me see.", toolCalls: [call] },
      { role: "tool", content: "1" },
    ]);
    expect(text).toContain(
      `user\n${prefix}a<|im_end|>\n<|im_start|>assistant\n<think>\nhm\n</think>\n\nLet me see.\n<tool_call>\n{"name": "get_weather", "arguments": {}}\n</tool_call><|im_end|>`,
    );
  });

  test("a question that speaks of thoughts itself gets no prefix", () => {
    expect(render([user("use <think>")])).toContain("user\nuse <think><|im_end|>");
  });

  test("tools, calls and results have Hermes' form; results in a row share a turn", () => {
    const call = { name: "get_weather", arguments: { place: "here" } };
    const text = render(
      [
        user("?"),
        { role: "assistant", content: "", toolCalls: [call, call] },
        { role: "tool", content: "1" },
        { role: "tool", content: "2" },
      ],
      { tools: [weather] },
    );
    expect(text).toContain('<tools>\n{"type": "function", "function": {"name": "get_weather", "description": "Weather of a place"');
    expect(text).toContain('<tool_call>\n{"name": "get_weather", "arguments": {"place": "here"}}\n</tool_call>\n<tool_call>');
    expect(text).toContain("<|im_start|>user\n<tool_response>\n1\n</tool_response>\n<tool_response>\n2\n</tool_response><|im_end|>");
  });
});

describe("messages", () => {
  const form = "jamba" as const;

  test("parts of text are joined, and null is nothing", () => {
    const parts = [
      { type: "text" as const, text: "H" },
      { type: "text" as const, text: "i" },
    ];
    expect(renderChat([{ role: "user", content: parts }], { form })).toBe(renderChat([user("Hi")], { form }));
    expect(renderChat([{ role: "user", content: null }], { form })).toBe(renderChat([user("")], { form }));
  });

  const circular: Record<string, unknown> = { name: "f" };
  circular.arguments = circular;
  test.each<[string, unknown, object?]>([
    ["messages", "Hi"],
    ["messages[0]", [null]],
    ["messages[0].role", [{ role: "robot", content: "" }]],
    ["messages[0].content", [{ role: "user", content: 7 }]],
    ["messages[0].content[0]", [{ role: "user", content: [{ type: "image_url" }] }]],
    ["messages[0].name", [{ role: "user", content: "", name: 1 }]],
    ["messages[0].toolCalls[0]", [{ role: "assistant", toolCalls: [{ arguments: {} }] }]],
    ["messages[0].toolCalls[0].arguments", [{ role: "assistant", tool_calls: [{ function: { name: "f", arguments: 5 } }] }]],
    ["messages[0].citations[0]", [{ role: "assistant", citations: [1] }]],
    ["tools[0]", [user("a")], { tools: [{ type: "web_search", function: { name: "f" } }] }],
    ["documents[0]", [user("a")], { documents: [{ title: "no text" }] }],
    ["knobs", [user("a")], { knobs: "fast" }],
    ["variables", [user("a")], { variables: "mood" }],
    ["template", [user("a")], { template: 5 }],
    ["addGenerationPrompt", [user("a")], { addGenerationPrompt: "false" }],
    ["continueFinalMessage", [user("a"), { role: "assistant", content: "b" }], { continueFinalMessage: "false" }],
    ["form", [user("a")], { form: "alpaca" }],
    ["chat form", [{ role: "assistant", toolCalls: [circular] }]],
    ["messages[0].content", [{ role: "tool", content: circular }]],
    ["messages[0].content", [{ role: "tool", content: { run: () => 1 } }]],
    ["messages[0].content", [{ role: "tool", content: JSON.parse(`${"[".repeat(20000)}${"]".repeat(20000)}`) }]],
  ])("%s that does not fit is named", (where, messages, options) => {
    const render = () => renderChat(messages as Message[], { form, ...options });
    expect(render).toThrow(expect.objectContaining({ code: "TOKENIZER", message: expect.stringMatching(/expected .*, found /) }));
    expect(render).toThrow(`${where}: `);
  });
});

describe("a template of one's own", () => {
  test("reads JSON as Python writes it", () => {
    const template = "{{ tools | tojson }}{{ tools[0].function | tojson(indent=2) }}";
    const tools = [{ type: "function", function: { name: "ü", parameters: {} } }];
    expect(renderChat([], { template, tools })).toBe(
      '[{"type": "function", "function": {"name": "ü", "parameters": {}}}]{\n  "name": "ü",\n  "parameters": {}\n}',
    );
  });

  test("sees that knobs are set, as the published template asks", () => {
    const template = "{{ 'on' if knobs.is_set else 'off' }}";
    const of = (knobs?: Record<string, unknown>) => renderChat([], { template, knobs });
    expect([of(), of({ response_format: "json_object" }), of({ is_set: false })]).toEqual(["off", "on", "off"]);
  });

  test("finds absent tools and documents none, as in Python, and variables by their names", () => {
    const template = "{% if tools is none and documents is none and add_generation_prompt %}{{ bos_token }} {{ mood }}{% endif %}";
    expect(renderChat([], { template, variables: { mood: "glad" }, bosToken: "<s>" })).toBe("<s> glad");
  });
});

test("without template and without words of either form, the error says what to pass", () => {
  expect(() => renderChat([user("Hi")])).toThrow(
    expect.objectContaining({ code: "TOKENIZER", message: expect.stringMatching(/template/) }),
  );
});

describe("parseToolCalls", () => {
  const calls = [{ name: "add", arguments: { a: 1, b: 2 } }];

  test.each([
    ["Jamba 1.5", ' <tool_calls>[\n    {"name": "add", "arguments": {"a": 1, "b": 2}}\n]</tool_calls>', ""],
    ["ChatML", 'Let me see.\n<tool_call>\n{"name": "add", "arguments": {"a": 1, "b": 2}}\n</tool_call>', "Let me see."],
  ])("reads the calls of %s", (_, text, content) => {
    expect(parseToolCalls(text)).toEqual({ content, toolCalls: calls });
  });

  test("reads several", () => {
    expect(parseToolCalls('<tool_call>{"name":"a"}</tool_call><tool_call>{"name":"b"}</tool_call>').toolCalls).toEqual([
      { name: "a", arguments: {} },
      { name: "b", arguments: {} },
    ]);
  });

  test.each([
    "",
    "text",
    "<tool_calls>[oops]</tool_calls>",
    "<tool_calls>[7]</tool_calls>",
    '<tool_calls>[{"nam":1}]</tool_calls>',
    "<tool_calls>[",
    "</tool_calls><tool_calls>",
    "<tool_calls>[]</tool_calls>",
    '<tool_call>{"name":"a"}</tool_call><tool_call>oops</tool_call>',
  ])("leaves %j as text", (text) => {
    expect(parseToolCalls(text)).toEqual({ content: text, toolCalls: [] });
  });
});
