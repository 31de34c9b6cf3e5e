// /v1/responses: items in, items out, and what is kept between requests.

import { type JambaModel, loadModel } from "jamba";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { eventsOf, friendFunction, type Json, posted } from "../test/requests.ts";
import { type AppOptions, createApp, Service } from "./index.ts";
import { responseAnswer } from "./schemas/answers.ts";

let model: JambaModel;
let app: ReturnType<typeof createApp>;
const restart = (options: AppOptions = {}) => {
  app = createApp(new Service(model, "tiny", { temperature: 0, ...options }));
};
beforeAll(async () => {
  model = await loadModel("tiny");
  restart();
});
afterAll(() => model.dispose());

const story = "Write a story about Mia and a fox.";

async function post(path: string, body: object): Promise<Response> {
  return app.request(path, posted(body));
}

async function json(path: string, body: object): Promise<Json> {
  const response = await post(path, body);
  const found = await response.json();
  if (response.ok) responseAnswer.parse(found);
  return found;
}

test("a stream tells every item from its beginning to its end", async () => {
  const response = await post("/v1/responses", { input: story, max_output_tokens: 2, stream: true });
  const text = await response.text();
  expect(text.startsWith("event: response.created\ndata: ")).toBe(true);
  const events = eventsOf(text);
  expect(events.map(({ type }) => type.replace("response.", ""))).toEqual([
    ...["created", "in_progress", "output_item.added", "content_part.added", "output_text.delta", "output_text.delta"],
    ...["output_text.done", "content_part.done", "output_item.done", "incomplete"],
  ]);
  expect(events.map(({ sequence_number }) => sequence_number)).toEqual(events.map((_, i) => i));
  expect(events.at(-1)?.response).toMatchObject({
    status: "incomplete",
    incomplete_details: { reason: "max_output_tokens" },
    output: [{ type: "message", content: [{ type: "output_text", text: "Once upon" }] }],
    usage: { input_tokens: 19, output_tokens: 2, total_tokens: 21 },
  });
});

test("a conversation comes as items, tools in their flat form", async () => {
  const tools = [{ type: "function", ...friendFunction, strict: true }];
  const [item] = (await json("/v1/responses", { input: [{ role: "user", content: "Call Omar." }], tools })).output;
  expect(item).toMatchObject({ type: "function_call", status: "completed", name: "call_friend" });
  const input = [
    { role: "user", content: [{ type: "input_text", text: "Call Omar." }] },
    item,
    { type: "function_call_output", call_id: item.call_id, output: "He is on his way." },
  ];
  const next = await json("/v1/responses", { input, tools, tool_choice: "none", max_output_tokens: 8, instructions: "Be kind." });
  expect(next.output[0]).toMatchObject({ type: "message", role: "assistant" });
});

test("what can't be had is refused with the field's name", async () => {
  for (const [param, value] of Object.entries({ conversation: "conv_1", background: true, prompt: { id: "pmpt_1" } }))
    expect((await json("/v1/responses", { input: "Hi", [param]: value })).error).toMatchObject({
      param,
      message: expect.stringMatching(/: expected (false|none)/),
    });
});

test("thoughts, text and calls that follow one another are one answer of the history", async () => {
  const input = [
    { role: "developer", content: "Be kind." },
    {
      type: "message",
      role: "user",
      content: [
        { type: "input_text", text: "Where is " },
        { type: "input_text", text: "the kite?" },
      ],
    },
    { type: "reasoning", id: "rs_1", summary: [{ type: "summary_text", text: "Look." }], encrypted_content: "abc" },
    {
      type: "message",
      id: "msg_1",
      role: "assistant",
      status: "completed",
      phase: "commentary",
      content: [{ type: "output_text", text: "I look.", annotations: [] }],
    },
    { type: "function_call", id: "fc_1", call_id: "a", name: "find", arguments: '{"a": 1}', status: "completed" },
    { type: "function_call", call_id: "b", name: "find", arguments: "{}" },
    {
      type: "function_call_output",
      call_id: "a",
      output: [
        { type: "input_text", text: "in the " },
        { type: "input_text", text: "tree" },
      ],
    },
    { type: "function_call_output", call_id: "b", output: "no" },
    { role: "assistant", content: [{ type: "refusal", refusal: "I can't tell." }] },
    { type: "custom_tool_call", call_id: "c", name: "patch", input: "+ fox" },
    { type: "custom_tool_call_output", call_id: "c", output: "done" },
    { role: "user", content: "Go on." },
    { type: "reasoning", id: "rs_2", summary: [] },
  ];
  const call = (id: string, args: string) => ({ id, type: "function", function: { name: "find", arguments: args } });
  const messages = [
    { role: "system", content: "Be kind." },
    { role: "user", content: "Where is the kite?" },
    { role: "assistant", content: "I look.", tool_calls: [call("a", '{"a": 1}'), call("b", "{}")] },
    { role: "tool", tool_call_id: "a", content: "in the tree" },
    { role: "tool", tool_call_id: "b", content: "no" },
    {
      ...{ role: "assistant", content: "I can't tell." },
      tool_calls: [{ id: "c", type: "custom", custom: { name: "patch", input: "+ fox" } }],
    },
    { role: "tool", tool_call_id: "c", content: "done" },
    { role: "user", content: "Go on." },
  ];
  const { prompt } = (await (await post("/apply-template", { messages })).json()) as Json;
  expect(prompt).toContain('{"name": "patch", "arguments": {"input": "+ fox"}}');
  const tokens = model.tokenizer.encode(prompt).length;
  expect((await json("/v1/responses", { input, max_output_tokens: 1 })).usage.input_tokens).toBe(tokens);
});

test("what a coding agent sends is answered, with what only its vendor runs left out", async () => {
  const parameters = {
    type: "object",
    properties: { command: { type: "array", items: { type: "string" } } },
    required: ["command"],
    additionalProperties: false,
  };
  const patch = { type: "custom", name: "apply_patch", format: { type: "grammar", syntax: "lark", definition: "start: /.+/" } };
  const body = {
    ...{
      model: "tiny",
      instructions: "You are a coding agent.",
      store: false,
      stream: true,
      parallel_tool_calls: false,
      tool_choice: "auto",
    },
    ...{
      include: ["reasoning.encrypted_content"],
      prompt_cache_key: "a",
      text: { verbosity: "low" },
      reasoning: { effort: "medium", summary: "auto" },
    },
    tools: [
      { type: "function", name: "shell", description: "Runs", strict: false, parameters },
      patch,
      { type: "web_search", external_web_access: true },
    ],
    input: [
      { type: "message", role: "developer", content: [{ type: "input_text", text: "<permissions>" }] },
      { type: "message", role: "user", content: [{ type: "input_text", text: "Mend it." }] },
      { type: "reasoning", summary: [], content: null, encrypted_content: "gAAAA" },
      { type: "custom_tool_call", status: "completed", call_id: "a", name: "apply_patch", input: "*** Begin Patch" },
      { type: "custom_tool_call_output", call_id: "a", output: "Done" },
      { type: "function_call", name: "shell", arguments: '{"command":["ls"]}', call_id: "b" },
      { type: "function_call_output", call_id: "b", output: '{"output":"fox.ts"}' },
    ],
    max_output_tokens: 5,
  };
  const response = await post("/v1/responses", body);
  expect(response.headers.get("x-jamba-left-out")).toBe(
    "include[0] (reasoning.encrypted_content), tools[1] (custom), tools[2] (web_search)",
  );
  expect(eventsOf(await response.text()).at(-1)).toMatchObject({ response: { store: false, error: null } });
});

describe("what is kept", () => {
  const tools = [{ type: "function", ...friendFunction }];
  const ask = (input: unknown, more: object = {}) => json("/v1/responses", { input, tools, max_output_tokens: 30, ...more });

  test("a response goes on from an earlier one, streamed or not, as if all of it had been sent", async () => {
    const first = await ask("Call Omar.");
    const [{ call_id }] = first.output;
    const result = { type: "function_call_output", call_id, output: "He comes." };
    const whole = await ask([{ role: "user", content: "Call Omar." }, ...first.output, result], { tool_choice: "none" });
    const next = await ask([result], { previous_response_id: first.id, tool_choice: "none" });
    expect(next.previous_response_id).toBe(first.id);
    expect([next.usage.input_tokens, next.output[0].content]).toEqual([whole.usage.input_tokens, whole.output[0].content]);
    const streamed = await post("/v1/responses", { input: "Go on.", previous_response_id: next.id, max_output_tokens: 2, stream: true });
    const last = eventsOf(await streamed.text()).at(-1).response;
    expect(last.usage.input_tokens).toBeGreaterThan(next.usage.input_tokens);
    const kept = await (await app.request(`/v1/responses/${last.id}`)).json();
    expect(kept).toEqual(last);
    expect((await ask("And?", { previous_response_id: last.id })).usage.input_tokens).toBeGreaterThan(last.usage.input_tokens);
  });

  test("what is left out is told by its place in the request that brings it, and by no other", async () => {
    const search = { type: "web_search_call", id: "ws_1", status: "completed" };
    const first = await ask([search, { role: "user", content: "Hi" }]);
    const more = { previous_response_id: first.id, max_output_tokens: 1 };
    const next = await post("/v1/responses", {
      input: [
        { type: "compaction", id: "c" },
        { role: "user", content: "Go on." },
      ],
      ...more,
    });
    expect(next.headers.get("x-jamba-left-out")).toBe("input[0] (compaction)");
    expect((await post("/v1/responses", { input: "Go on.", ...more })).headers.get("x-jamba-left-out")).toBe(null);
  });

  test("an item is referred to by its id, with its type or without", async () => {
    const first = await ask("Call Omar.");
    const [{ id, call_id }] = first.output;
    const result = { type: "function_call_output", call_id, output: "He comes." };
    const asked = { role: "user", content: "Call Omar." };
    const whole = await ask([asked, ...first.output, result]);
    for (const reference of [{ type: "item_reference", id }, { id }])
      expect((await ask([asked, reference, result])).usage.input_tokens).toBe(whole.usage.input_tokens);
  });

  test("a short request that refers to more than a request may bring is refused", async () => {
    const { output } = await ask("Hi", { max_output_tokens: 100, ignore_eos: true });
    const maxBodyBytes = 20 * JSON.stringify(output[0]).length;
    restart({ maxBodyBytes });
    const [{ id }] = (await ask("Hi", { max_output_tokens: 100, ignore_eos: true })).output;
    const refer = (count: number) => post("/v1/responses", { input: Array(count).fill({ id }), max_output_tokens: 1 });
    expect((await refer(15)).status).toBe(200);
    const refused = await refer(25);
    expect([refused.status, ((await refused.json()) as Json).error]).toMatchObject([
      413,
      { param: "input[20].id", code: "request_too_large", message: expect.stringContaining(`${maxBodyBytes} bytes`) },
    ]);
    restart();
  });

  test("what is unknown, was not to be kept, is forgotten or too old is a 404 that says what to do", async () => {
    const refused = async (body: object, param: string) => {
      const response = await post("/v1/responses", { input: "Hi", ...body });
      expect(response.status).toBe(404);
      expect(((await response.json()) as Json).error).toMatchObject({
        param,
        message: expect.stringContaining("send the whole conversation"),
      });
    };
    await refused({ previous_response_id: "resp_1" }, "previous_response_id");
    await refused(
      {
        input: [
          { role: "user", content: "Hi" },
          { type: "item_reference", id: "msg_1" },
        ],
      },
      "input[1].id",
    );
    const unkept = await ask("Hi", { store: false });
    expect(unkept.store).toBe(false);
    await refused({ previous_response_id: unkept.id }, "previous_response_id");
    await refused({ input: [{ id: unkept.output[0].id }] }, "input[0].id");
    const first = await ask("Hi");
    const second = await ask("Go on.", { previous_response_id: first.id });
    expect(await (await app.request(`/v1/responses/${first.id}`, { method: "DELETE" })).json()).toMatchObject({
      id: first.id,
      deleted: true,
    });
    for (const method of ["GET", "DELETE"]) expect((await app.request(`/v1/responses/${first.id}`, { method })).status).toBe(404);
    await refused({ previous_response_id: second.id }, "previous_response_id");
    restart({ maxResponseBytes: 0 });
    expect((await ask("Hi")).store).toBe(false);
    restart({ maxResponseBytes: 5000 });
    const ids: string[] = [];
    for (let i = 0; i < 8; i++) ids.push((await ask("Hi", { tools: [] })).id);
    const there = await Promise.all(ids.map(async (id) => (await app.request(`/v1/responses/${id}`)).status));
    expect([there[0], there.at(-1)]).toEqual([404, 200]);
    restart();
  });
});
