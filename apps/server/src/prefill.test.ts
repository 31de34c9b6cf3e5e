// Conversations whose last message the answer goes on from, as vLLM, Mistral and DeepSeek have them.

import { type JambaModel, loadModel } from "jamba";
import { afterAll, beforeAll, expect, test } from "vitest";
import { eventsOf, type Json, posted } from "../test/requests.ts";
import { createApp, openApiDocument, Service } from "./index.ts";

let model: JambaModel;
let app: ReturnType<typeof createApp>;
beforeAll(async () => {
  model = await loadModel("tiny");
  app = createApp(new Service(model, "tiny", { temperature: 0 }));
});
afterAll(() => model.dispose());

const user = { role: "user", content: "Write a story about Mia and a fox." };
const begun = { role: "assistant", content: "Once upon a time" };

async function post(path: string, body: object): Promise<Response> {
  return app.request(path, posted(body));
}

async function json(path: string, body: object): Promise<Json> {
  return (await post(path, body)).json();
}

const asks: readonly [string, object][] = [
  ["continue_final_message", { messages: [user, begun], continue_final_message: true }],
  ["both, as vLLM's clients send them", { messages: [user, begun], continue_final_message: true, add_generation_prompt: false }],
  ["prefix: true", { messages: [user, { ...begun, prefix: true }] }],
  ["prefix: true on parts", { messages: [user, { role: "assistant", content: [{ type: "text", text: begun.content }], prefix: true }] }],
];

test.each(asks)("%s goes on from the last message, and only what is new is answered", async (_, body) => {
  const head = model.tokenizer.renderChat([user as never, begun as never], { continueFinalMessage: true });
  expect(head.endsWith(begun.content)).toBe(true);
  expect((await json("/apply-template", body)).prompt).toBe(head);
  const answer = await json("/v1/chat/completions", { ...body, max_tokens: 8 });
  const { text } = await model.generate(head, { maxTokens: 8 });
  expect([answer.choices[0].message.content, answer.usage.prompt_tokens]).toEqual([text, model.tokenizer.encode(head).length]);
  const stream = await (await post("/v1/chat/completions", { ...body, max_tokens: 8, stream: true })).text();
  const chunks = eventsOf(stream);
  expect(chunks.map(({ choices }) => choices[0].delta.content ?? "").join("")).toBe(text);
});

test("add_generation_prompt: false ends the text behind the last message", async () => {
  const whole = (await json("/apply-template", { messages: [user] })).prompt;
  const { prompt } = await json("/apply-template", { messages: [user], add_generation_prompt: false });
  expect(whole).toBe(`${prompt}<|bom|><|assistant|>`);
  const { usage } = await json("/v1/chat/completions", { messages: [user], add_generation_prompt: false, max_tokens: 1 });
  expect(usage.prompt_tokens).toBe(model.tokenizer.encode(prompt).length);
  const asked = { messages: [user, begun], add_generation_prompt: null, continue_final_message: null };
  expect((await json("/apply-template", asked)).prompt).toMatch(/Once upon a time<\|eom\|><\|bom\|><\|assistant\|>$/);
});

test("both are read from chat_template_kwargs too, where the request does not say otherwise", async () => {
  const body = { messages: [user, begun], chat_template_kwargs: { continue_final_message: true, add_generation_prompt: false } };
  const { prompt } = await json("/apply-template", body);
  expect(prompt.endsWith(begun.content)).toBe(true);
  const { usage } = await json("/v1/chat/completions", { ...body, max_tokens: 1 });
  expect(usage.prompt_tokens).toBe(model.tokenizer.encode(prompt).length);
  expect((await json("/apply-template", { ...body, continue_final_message: false })).prompt).toMatch(/time<\|eom\|>$/);
});

test("/apply-template shows no tools that may not be called, as an answer has it", async () => {
  const tools = [{ type: "function", function: { name: "wait" } }];
  const ask = { messages: [user], tools, tool_choice: "none" };
  const { prompt } = await json("/apply-template", ask);
  expect(prompt).toBe((await json("/apply-template", { messages: [user] })).prompt);
  const { usage } = await json("/v1/chat/completions", { ...ask, max_tokens: 1 });
  expect(usage.prompt_tokens).toBe(model.tokenizer.encode(prompt).length);
});

test("a format and a tool are bound with the words that are there", async () => {
  const schema = { type: "object", properties: { age: { type: "integer" } }, required: ["age"] };
  const response_format = { type: "json_schema", json_schema: { name: "a", schema } };
  const last = (content: string) => ({ messages: [user, { role: "assistant", content, prefix: true }], max_tokens: 60 });
  const found = await json("/v1/chat/completions", { ...last('{"age": 4'), response_format });
  expect(JSON.parse(`{"age": 4${found.choices[0].message.content}`)).toEqual({ age: expect.any(Number) });
  const refused = await post("/v1/chat/completions", { ...last("Mia is"), response_format });
  expect([refused.status, (await refused.json()).error]).toEqual([
    400,
    expect.objectContaining({ param: "continue_final_message", message: expect.stringContaining('found "Mia is"') }),
  ]);
  const tools = [{ type: "function", function: { name: "wait", parameters: { type: "object", additionalProperties: false } } }];
  const tool_choice = { type: "function", function: { name: "wait" } };
  const { message, finish_reason } = (await json("/v1/chat/completions", { ...last("One moment."), tools, tool_choice })).choices[0];
  expect([finish_reason, message.content, message.tool_calls[0].function]).toEqual(["tool_calls", null, { name: "wait", arguments: "{}" }]);
});

test.each<[object, string]>([
  [{ messages: [user, begun], continue_final_message: true, add_generation_prompt: true }, "continue_final_message"],
  [{ messages: [user, { ...begun, prefix: true }], add_generation_prompt: true }, "messages[1].prefix"],
  [{ messages: [user], continue_final_message: true }, "messages[0].role"],
  [{ messages: [{ ...user, prefix: true }] }, "messages[0].prefix"],
  [{ messages: [user, { role: "assistant" }], continue_final_message: true }, "messages[1].content"],
])("%j is refused by name", async (body, param) => {
  for (const path of ["/v1/chat/completions", "/apply-template"]) {
    const response = await post(path, body);
    expect([response.status, (await response.json()).error.param]).toEqual([400, param]);
  }
});

test("the document has the fields", () => {
  const { paths }: Json = openApiDocument();
  for (const path of ["/v1/chat/completions", "/apply-template"]) {
    const { properties, allOf } = paths[path].post.requestBody.content["application/json"].schema;
    expect(Object.keys(properties)).toEqual(expect.arrayContaining(["continue_final_message", "add_generation_prompt"]));
    expect(JSON.stringify(properties.messages)).toContain('"prefix":{"type":["boolean","null"]}');
    expect(JSON.stringify(allOf)).toContain('"continue_final_message":{"const":true}');
  }
});
