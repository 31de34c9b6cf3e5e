// What of an answer belongs where: log probabilities to their chunks, thoughts to the usage, calls to the form that asked for them.

import { type JambaModel, loadModel, type Result } from "jamba";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { eventsOf, friendFunction, type Json, posted } from "../test/requests.ts";
import { createApp, Service } from "./index.ts";
import { usageOf } from "./wire.ts";

let model: JambaModel;
let app: ReturnType<typeof createApp>;
beforeAll(async () => {
  model = await loadModel("tiny");
  app = createApp(new Service(model, "tiny", { temperature: 0 }));
});
afterAll(() => model.dispose());

const messages = [{ role: "user", content: "Write a story about Mia and a fox." }];

async function post(path: string, body: object): Promise<Response> {
  return app.request(path, posted(body));
}

async function json(path: string, body: object): Promise<Json> {
  return (await post(path, body)).json();
}

test("each chunk has the logprobs of its own text, whatever ends the answer", async () => {
  const hi = [{ role: "user", content: "Hi" }];
  for (const end of [{ messages: hi }, { messages, max_tokens: 9 }, { messages, stop: [" time"] }]) {
    const body = { max_tokens: 40, ...end, logprobs: true, top_logprobs: 1 };
    const { logprobs } = (await json("/v1/chat/completions", body)).choices[0];
    const choices = eventsOf(await (await post("/v1/chat/completions", { ...body, stream: true })).text()).map((event) => event.choices[0]);
    expect(choices.flatMap((choice) => choice.logprobs?.content ?? [])).toEqual(logprobs.content);
    for (const { delta, logprobs: found } of choices.filter((choice) => choice.delta.content))
      expect(found.content.map(({ token }: Json) => token).join("")).toMatch(delta.content);
  }
  const body = { prompt: "Once upon", max_tokens: 8, logprobs: 2, n: 2, temperature: 1, seed: 4 };
  const whole = (await json("/v1/completions", body)).choices;
  const chunks = eventsOf(await (await post("/v1/completions", { ...body, stream: true })).text()).flatMap(({ choices }) => choices);
  for (const { index, logprobs } of whole) {
    const own = chunks.filter((chunk) => chunk.index === index && chunk.text !== "");
    for (const { text, logprobs: found } of own) expect(found.tokens.join("")).toBe(text);
    for (const name of Object.keys(logprobs)) expect(own.flatMap((chunk) => chunk.logprobs[name])).toEqual(logprobs[name]);
  }
});

test("of several choices each ends when it ends", async () => {
  // One at a time: each has ended before the next begins.
  await using narrow = await loadModel("tiny", { limits: { sequences: 1 } });
  app = createApp(new Service(narrow, "tiny", { temperature: 0 }));
  const more = { n: 2, temperature: 1, seed: 4, max_tokens: 5, stream: true };
  const streams = [
    ["/v1/chat/completions", { messages }, 2],
    ["/v1/completions", { prompt: "Once upon" }, 2],
    ["/v1/completions", { prompt: ["Once upon", "The fox"], n: 1 }, 2],
    ["/v1/completions", { prompt: ["Once upon", "The fox"] }, 4],
  ] as const;
  for (const [path, body, count] of streams) {
    const choices = eventsOf(await (await post(path, { ...more, ...body })).text()).flatMap((event) => event.choices);
    const told = choices.filter(({ text, delta, finish_reason }) => text || delta?.content || finish_reason);
    const runs = told.filter(({ index }, i) => index !== told[i + 1]?.index);
    expect(runs.map(({ index }) => index).sort()).toEqual(Array.from({ length: count }, (_, i) => i));
    for (const { finish_reason } of runs) expect(finish_reason).toBe("length");
  }
  app = createApp(new Service(model, "tiny", { temperature: 0 }));
});

test("one call at most where parallel_tool_calls is false", async () => {
  const tools = [
    { type: "function", function: { name: "wait", parameters: { type: "object", properties: {}, additionalProperties: false } } },
  ];
  const wanted = [model.tokenizer.idOf("<tool_calls>")!, ...model.tokenizer.encode(",")];
  const logit_bias = Object.fromEntries(wanted.map((id) => [id, 100]));
  const body = { messages, tools, tool_choice: "required", logit_bias, max_tokens: 120, parallel_tool_calls: false };
  const { message, finish_reason } = (await json("/v1/chat/completions", body)).choices[0];
  expect([message.tool_calls.length, finish_reason]).toEqual([1, "tool_calls"]);
});

test("the form of 2023 with functions is answered in its own way", async () => {
  const functions = [friendFunction];
  const asked = [{ role: "user", content: "Call Omar." }];
  const [choice] = (await json("/v1/chat/completions", { messages: asked, functions })).choices;
  expect(choice).toMatchObject({ finish_reason: "function_call", message: { content: null, function_call: { name: "call_friend" } } });
  expect(JSON.parse(choice.message.function_call.arguments)).toEqual({ name: "Omar" });
  const body = { messages: asked, functions, function_call: { name: "call_friend" }, stream: true };
  const chunks = eventsOf(await (await post("/v1/chat/completions", body)).text()).map(({ choices }) => choices[0]);
  const called = chunks.flatMap(({ delta }) => delta.function_call ?? []);
  expect(called.map(({ name = "" }) => name).join("")).toBe("call_friend");
  expect(Object.keys(JSON.parse(called.map((one) => one.arguments).join("")))).toEqual(["name"]);
  expect(chunks.at(-1)?.finish_reason).toBe("function_call");
  const told = [...asked, choice.message, { role: "function", name: "call_friend", content: "He comes." }];
  const { prompt } = await json("/apply-template", { messages: told });
  expect(prompt).toMatch(/"name": "call_friend"[\s\S]*He comes\./);
});

test("tokens of thoughts are counted with those that end them", () => {
  const result = (text: string, reasoning?: string) => {
    const ids = model.tokenizer.encode(text);
    return { ids, reasoning, usage: { promptTokens: 1, cachedTokens: 0, completionTokens: ids.length } } as unknown as Result;
  };
  const counted = (...results: Result[]) => usageOf(model, results).completion_tokens_details.reasoning_tokens;
  const thoughts = "the fox é </think>";
  const whole = result(`${thoughts} hi </think>`, "the fox é");
  const most = model.tokenizer.encode(thoughts).length;
  expect(counted(whole)).toBe(most);
  expect(counted(result("the fox", "the fox"))).toBe(model.tokenizer.encode("the fox").length);
  expect(counted(result("the fox"))).toBe(0);
  expect(counted({ ...whole, choices: [whole, whole] })).toBe(2 * most);
});

test("what a template reads may come as llama.cpp's clients wrap it", async () => {
  const given = { documents: [{ text: "The kite is red." }], knobs: { citation_mode: "fast" } };
  const plain = await json("/apply-template", { messages, ...given });
  expect(plain.prompt).toContain("The kite is red.");
  expect(await json("/apply-template", { messages, chat_template_kwargs: given })).toEqual(plain);
  const body = { messages, chat_template_kwargs: given, max_tokens: 1 };
  expect((await json("/v1/chat/completions", body)).usage.prompt_tokens).toBe(model.tokenizer.encode(plain.prompt).length);
});

test("a template of the model's own reads what else is wrapped", async () => {
  const { renderQuickly, renderChatAsync } = model.tokenizer;
  const template = "{{ mood }}: {{ messages[0].content }}";
  const spies = [
    vi.spyOn(model.tokenizer, "renderQuickly").mockImplementation((all, options) => renderQuickly(all, { ...options, template })),
    vi.spyOn(model.tokenizer, "renderChatAsync").mockImplementation((all, options) => renderChatAsync(all, { ...options, template })),
  ];
  const body = { messages, chat_template_kwargs: { mood: "glad", messages: [] }, max_tokens: 1 };
  const prompt = `glad: ${messages[0].content}`;
  expect((await json("/apply-template", body)).prompt).toBe(prompt);
  expect((await json("/v1/chat/completions", body)).usage.prompt_tokens).toBe(model.tokenizer.encode(prompt).length);
  expect((await post("/apply-template", { ...body, chat_template_kwargs: { range: 1 } })).status).toBe(400);
  for (const spy of spies) spy.mockRestore();
});

test("stop texts: a dozen and more, empty ones among them, on every route", async () => {
  const stop = ["", ...Array.from({ length: 200 }, (_, i) => `never ${i}`), " time", ""];
  const asked = [
    ["/v1/chat/completions", { messages, stop, max_tokens: 20 }, (body: Json) => body.choices[0].message.content],
    ["/v1/completions", { prompt: "Once", stop, max_tokens: 20 }, (body: Json) => `Once${body.choices[0].text}`],
    ["/v1/responses", { input: messages[0].content, stop, max_output_tokens: 20 }, (body: Json) => body.output[0].content[0].text],
  ] as const;
  for (const [path, body, textOf] of asked) {
    expect(textOf(await json(path, { ...body, temperature: 0 }))).toBe("Once upon a");
    for (const none of [null, [], "", ["", ""]]) {
      const text = textOf(await json(path, { ...body, temperature: 0, stop: none }));
      expect(text).toMatch(/^Once upon a time[, ]/);
    }
  }
});

test("a forced call that max_tokens cuts is the same whole and streamed, on both routes", async () => {
  app = createApp(new Service(model, "tiny", { temperature: 0 }));
  const parameters = { type: "object", properties: { where: { enum: ["the old well", "the tall tree"] } }, required: ["where"] };
  const described = { name: "look", parameters };
  const chat = { messages, tools: [{ type: "function", function: described }], tool_choice: "required", parallel_tool_calls: false };
  const responses = { input: "Look!", tools: [{ type: "function", ...described }], tool_choice: "required", parallel_tool_calls: false };
  let cuts = 0;
  for (let max = 1; max <= 40; max += 3) {
    const body = { ...chat, max_tokens: max, stop: ["[", '"', "look"] };
    const { message, finish_reason } = (await json("/v1/chat/completions", body)).choices[0];
    const calls = (message.tool_calls ?? []).map(({ function: called }: Json) => called);
    const streamed = eventsOf(await (await post("/v1/chat/completions", { ...body, stream: true })).text());
    const deltas = streamed.flatMap(({ choices }) => choices[0].delta.tool_calls ?? []);
    const joined = deltas.map((delta) => delta.function.arguments ?? "").join("");
    expect(deltas.length > 0).toBe(calls.length > 0);
    expect(message.content || "").toBe("");
    expect(streamed.map(({ choices }) => choices[0].delta.content ?? "").join("")).toBe("");
    expect(streamed.at(-1).choices[0].finish_reason).toBe(finish_reason);
    if (finish_reason === "length") cuts++;
    if (calls.length > 0) expect(calls).toEqual([{ name: "look", arguments: joined }]);

    const response = await json("/v1/responses", { ...responses, max_output_tokens: max });
    const events = eventsOf(await (await post("/v1/responses", { ...responses, max_output_tokens: max, stream: true })).text());
    const essence = ({ output, status }: Json) => [status, output.map(({ type, name, arguments: args }: Json) => [type, name, args])];
    expect(essence(events.at(-1).response)).toEqual(essence(response));
    expect(JSON.stringify(response.output)).not.toContain("tool_call>");
  }
  expect(cuts).toBeGreaterThan(3);
});
