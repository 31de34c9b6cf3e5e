// /v1/messages: Anthropic's shape, in the words of its own client and of an agent that codes.

import { readFileSync } from "node:fs";
import Anthropic from "@anthropic-ai/sdk";
import { betaZodTool } from "@anthropic-ai/sdk/helpers/beta/zod";
import { zodOutputFormat } from "@anthropic-ai/sdk/helpers/zod";
import { type JambaModel, loadModel } from "jamba";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { z } from "zod";
import { friendFunction, type Json, posted } from "../test/requests.ts";
import { createApp, Service } from "./index.ts";
import { countAnswer, messageAnswer } from "./schemas/messages.ts";

const lines: Json[] = [];
let model: JambaModel;
let app: ReturnType<typeof createApp>;
let client: Anthropic;
beforeAll(async () => {
  model = await loadModel("tiny");
  app = createApp(new Service(model, "tiny", { temperature: 0, apiKeys: ["key"], log: (line) => lines.push(line) }));
  const fetch = async (url: string | URL | Request, init?: RequestInit) => app.request(String(url), init);
  client = new Anthropic({ baseURL: "http://localhost", apiKey: "key", fetch, maxRetries: 0 });
});
afterAll(() => model.dispose());

const story = [{ role: "user" as const, content: "Write a story about Mia and a fox." }];
const { parameters: input_schema, ...described } = friendFunction;
const tools = [{ ...described, input_schema }];
const agent: Json = JSON.parse(readFileSync(new URL("../test/coding-agent.json", import.meta.url), "utf8"));

async function post(path: string, body: object, headers: Record<string, string> = { "x-api-key": "key" }): Promise<Response> {
  return app.request(path, posted(body, headers));
}

async function json(body: object, path = "/v1/messages"): Promise<Json> {
  const response = await post(path, { max_tokens: 20, ...body });
  const found = await response.json();
  if (response.ok) (path.endsWith("count_tokens") ? countAnswer : messageAnswer).parse(found);
  return found;
}

function eventsOf(text: string): Json[] {
  return [...text.matchAll(/^event: (.*)\ndata: (.*)$/gm)].map(([, type, data]) => {
    const event = JSON.parse(data);
    expect(event.type).toBe(type);
    return event;
  });
}

describe("its own client", () => {
  test("creates a message: usage counts cached tokens apart, and why it ended is told", async () => {
    model.clearCache();
    const ask = (more: object = {}) => client.messages.create({ model: "tiny", messages: story, max_tokens: 8, ...more });
    const first = await ask();
    expect(first).toMatchObject({ type: "message", role: "assistant", model: "tiny", stop_reason: "max_tokens", stop_sequence: null });
    expect(first.content).toEqual([{ type: "text", text: "Once upon a time, a little girl" }]);
    expect(first.usage).toMatchObject({ input_tokens: 19, cache_read_input_tokens: 0, cache_creation_input_tokens: 0, output_tokens: 8 });
    expect((await ask()).usage).toMatchObject({ input_tokens: 0, cache_read_input_tokens: 19 });
    expect(await ask({ stop_sequences: ["", "nowhere", " time"] })).toMatchObject({
      ...{ content: [{ text: "Once upon a" }], stop_reason: "stop_sequence", stop_sequence: " time" },
    });
    expect((await ask({ messages: [{ role: "user", content: "Hi" }], max_tokens: 60 })).stop_reason).toBe("end_turn");
    expect((await ask())._request_id).toMatch(/^req_/);
  });

  test("streams: the events of a text, whole and in order, and the helper puts the same message together", async () => {
    const body = { model: "tiny", messages: story, max_tokens: 4 };
    const response = await post("/v1/messages?beta=true", { ...body, stream: true });
    const text = await response.text();
    const events = eventsOf(text);
    expect(events.map(({ type }) => type)).toEqual([
      ...["message_start", "ping", "content_block_start", ...Array(4).fill("content_block_delta"), "content_block_stop"],
      ...["message_delta", "message_stop"],
    ]);
    const { input_tokens, cache_read_input_tokens } = events[0].message.usage;
    expect(input_tokens + cache_read_input_tokens).toBe(19);
    expect(events[0].message).toMatchObject({ content: [], stop_reason: null, usage: { output_tokens: 0 } });
    expect(events.at(-2)).toMatchObject({ delta: { stop_reason: "max_tokens", stop_sequence: null }, usage: { output_tokens: 4 } });
    const whole = await client.messages.create(body);
    const { id: _, ...streamed } = await client.messages.stream(body).finalMessage();
    expect(streamed).toMatchObject({ content: whole.content, stop_reason: whole.stop_reason, usage: whole.usage });
    expect(await client.messages.stream({ ...body, stop_sequences: ["Once"] }).finalMessage()).toMatchObject({
      ...{ content: [], stop_reason: "stop_sequence", stop_sequence: "Once" },
    });
  });

  test("calls a tool, streamed or not, and answers its result", async () => {
    const messages: Anthropic.MessageParam[] = [{ role: "user", content: "Call Omar." }];
    const body = { model: "tiny", max_tokens: 60, tools, messages };
    const called = await client.messages.create(body);
    expect(called).toMatchObject({
      stop_reason: "tool_use",
      content: [{ type: "tool_use", name: "call_friend", input: { name: "Omar" } }],
    });
    const pieces: string[] = [];
    const stream = client.messages.stream(body).on("inputJson", (piece) => pieces.push(piece));
    expect((await stream.finalMessage()).content).toMatchObject([{ type: "tool_use", name: "call_friend", input: { name: "Omar" } }]);
    expect(pieces.join("")).toBe('{"name": "Omar"}');
    const [call] = called.content as Anthropic.ToolUseBlock[];
    messages.push({ role: "assistant", content: called.content });
    messages.push({ role: "user", content: [{ type: "tool_result", tool_use_id: call.id, content: "He is on his way." }] });
    const { content } = await client.messages.create({ ...body, tool_choice: { type: "none" } });
    expect(content).toMatchObject([{ type: "text" }]);
  });

  test("runs tools by its helper, and parses what a zod schema describes", async () => {
    const called: string[] = [];
    const friend = betaZodTool({
      name: "call_friend",
      description: "Call a friend",
      inputSchema: z.object({ name: z.string() }),
      run: ({ name }) => {
        called.push(name);
        return `${name} is on the way.`;
      },
    });
    const asked = { model: "tiny", max_tokens: 40, max_iterations: 2, messages: [{ role: "user" as const, content: "Call Omar." }] };
    await client.beta.messages.toolRunner({ ...asked, tools: [friend] });
    expect(called[0]).toBe("Omar");
    const mood = z.object({ mood: z.enum(["glad", "sad"]) });
    const { parsed_output } = await client.messages.parse({
      ...{ model: "tiny", max_tokens: 40, messages: story, output_config: { format: zodOutputFormat(mood) } },
    });
    expect(mood.parse(parsed_output)).toEqual(parsed_output);
  });

  test("chooses tools: any, one, none, and one call at most", async () => {
    const more = [...tools, { name: "wait", input_schema: { type: "object" as const, properties: {}, additionalProperties: false } }];
    const ask = async (choice: Anthropic.ToolChoice, more_: object = {}) => {
      const { content } = await client.messages.create({
        model: "tiny",
        max_tokens: 120,
        tools: more,
        messages: story,
        tool_choice: choice,
        ...more_,
      });
      return content.flatMap((block) => (block.type === "tool_use" ? [block.name] : []));
    };
    expect((await ask({ type: "any" })).length).toBeGreaterThan(0);
    expect(await ask({ type: "tool", name: "wait" })).toEqual(["wait"]);
    expect(await ask({ type: "none" })).toEqual([]);
    const wanted = [model.tokenizer.idOf("<tool_calls>")!, ...model.tokenizer.encode(",")];
    const logit_bias = Object.fromEntries(wanted.map((id) => [id, 100]));
    expect((await ask({ type: "any" }, { logit_bias, tools: [more[1]] })).length).toBeGreaterThan(1);
    expect(await ask({ type: "any", disable_parallel_tool_use: true }, { logit_bias, tools: [more[1]] })).toEqual(["wait"]);
  });

  test("counts the tokens that the same request is asked with", async () => {
    const bodies: Json[] = [
      { messages: story },
      { messages: story, tools, system: "Be kind." },
      { messages: [...story, { role: "assistant", content: "Once" }] },
    ];
    for (const body of bodies) {
      const { usage } = await client.messages.create({ model: "tiny", max_tokens: 1, ...body });
      const { input_tokens } = await client.messages.countTokens({ model: "tiny", ...body });
      expect(input_tokens).toBe(usage.input_tokens + usage.cache_read_input_tokens!);
    }
  });

  test("max_tokens: 0 reads the prompt for the next request, and answers nothing", async () => {
    model.clearCache();
    const body = { model: "tiny", max_tokens: 0, messages: [{ role: "user" as const, content: "Who has the kite?" }] };
    const { content, usage, stop_reason } = await client.messages.create(body);
    expect([content, usage.output_tokens, stop_reason, usage.cache_read_input_tokens]).toEqual([[], 0, "max_tokens", 0]);
    const streamed = await client.messages.stream(body).finalMessage();
    expect([streamed.content, streamed.usage.input_tokens, streamed.usage.cache_read_input_tokens]).toEqual([[], 0, usage.input_tokens]);
  });

  test("lists models", async () => {
    const [found] = (await client.models.list()).data;
    expect(found).toMatchObject({ id: "tiny", type: "model", display_name: "tiny" });
    expect(Date.parse((await client.models.retrieve("tiny")).created_at)).toBeGreaterThan(0);
  });

  test("a last message of the assistant is gone on with", async () => {
    const messages = [...story, { role: "assistant" as const, content: [{ type: "text" as const, text: "Once upon" }] }];
    const { content } = await client.messages.create({ model: "tiny", max_tokens: 2, messages });
    expect(content).toEqual([{ type: "text", text: " a time" }]);
  });

  test("an answer keeps to a schema", async () => {
    const schema = { type: "object", properties: { mood: { enum: ["glad", "sad"] } }, required: ["mood"], additionalProperties: false };
    const format = { type: "json_schema", schema } as const;
    for (const body of [{ output_config: { format } }, { output_format: format }]) {
      const { content } = await client.messages.create({ model: "tiny", max_tokens: 60, messages: story, ...body });
      expect(["glad", "sad"]).toContain(JSON.parse((content[0] as Anthropic.TextBlock).text).mood);
    }
  });

  test("errors are the client's own kinds, in their shape", async () => {
    const failing = (body: object) => client.messages.create({ model: "tiny", messages: story, max_tokens: 1, ...body } as never);
    const shape = (type: string, message: RegExp) => ({
      error: { type: "error", error: { type, message: expect.stringMatching(message) }, request_id: expect.stringMatching(/^req_/) },
    });
    await expect(failing({ model: "x" })).rejects.toMatchObject({
      constructor: Anthropic.NotFoundError,
      ...shape("not_found_error", /model/),
    });
    const wrong: [object, RegExp][] = [
      [{ max_tokens: undefined }, /^max_tokens: /],
      [{ messages: [] }, /^messages: /],
      [{ messages: [{ role: "user", content: [] }] }, /^messages: /],
      [{ temperature: 9 }, /^temperature: /],
      [{ system: [{ type: "text" }] }, /^system\[0\]\.text: /],
      [{ tools: [{ name: "a b", input_schema: {} }] }, /^tools\[0\]\.name: /],
      [{ tools, tool_choice: { type: "tool", name: "x" } }, /^tool_choice: .*call_friend/],
      [
        { tools: [{ type: "web_search_20250305", name: "web_search" }], tool_choice: { type: "tool", name: "web_search" } },
        /^tool_choice: /,
      ],
      [
        { tools: [{ ...tools[0], strict: true, input_schema: { type: "object", prohibited: ["x"] } }] },
        /^tools\[0\]\.input_schema\.prohibited: expected a keyword of/,
      ],
      [
        { messages: [...story, { role: "assistant", content: [{ type: "tool_use", id: "a", name: "b", input: {} }] }] },
        /^messages\[1\]: expected the results/,
      ],
      [
        { messages: [{ role: "user", content: [{ type: "tool_use", id: "a", name: "b", input: {} }] }] },
        /^messages\[0\]\.content\[0\]: .*assistant/,
      ],
      [{ messages: [{ role: "user", content: "fox ".repeat(300_000) }] }, /context/],
    ];
    for (const [body, message] of wrong)
      await expect(failing(body)).rejects.toMatchObject({
        constructor: Anthropic.BadRequestError,
        ...shape("invalid_request_error", message),
      });
    const stranger = new Anthropic({
      baseURL: "http://localhost",
      apiKey: "wrong",
      fetch: async (url, init) => app.request(String(url), init),
    });
    await expect(stranger.messages.countTokens({ model: "tiny", messages: story })).rejects.toMatchObject({
      constructor: Anthropic.AuthenticationError,
      ...shape("authentication_error", /key/),
    });
    expect((await post("/v1/messages", { messages: story, max_tokens: 1 }, { authorization: "Bearer key" })).status).toBe(200);
    const unknown = await app.request("/v1/messages/batches", { headers: { "x-api-key": "key" } });
    expect([unknown.status, ((await unknown.json()) as Json).error.type]).toEqual([404, "not_found_error"]);
  });

  test("images and files are refused by what they are", async () => {
    const image = { type: "image", source: { type: "base64", media_type: "image/png", data: "aGk=" } };
    const pdf = { type: "document", source: { type: "base64", media_type: "application/pdf", data: "aGk=" } };
    const refused: [object, string, RegExp][] = [
      [image, "messages[0].content[0]", /an image/],
      [pdf, "messages[0].content[0].source.type", /no files/],
      [
        { type: "tool_result", tool_use_id: "a", content: [{ type: "text", text: "a" }, image] },
        "messages[0].content[0].content[1]",
        /an image/,
      ],
    ];
    for (const [block, where, what] of refused) {
      const { error } = await json({ messages: [{ role: "user", content: [block] }] });
      expect(error).toMatchObject({ type: "invalid_request_error", message: expect.stringMatching(what) });
      expect(error.message.startsWith(`${where}: `)).toBe(true);
    }
  });

  test("an error after the first event is an event", async () => {
    const stream = model.stream.bind(model);
    model.stream = (prompt, options) => {
      const answer = stream(prompt, options);
      const parts = async function* () {
        yield* answer;
        throw new Error("secret");
      };
      return {
        [Symbol.asyncIterator]: parts,
        get result() {
          return answer.result;
        },
      } as never;
    };
    const response = await post("/v1/messages", { messages: story, max_tokens: 2, stream: true });
    model.stream = stream;
    const last = eventsOf(await response.text()).at(-1);
    expect(last).toMatchObject({ type: "error", error: { type: "api_error" }, request_id: response.headers.get("request-id") });
    expect(JSON.stringify(last)).not.toContain("secret");
  });
});

describe("thoughts", () => {
  const begun = [...story, { role: "assistant" as const, content: "<think>Mia is" }];

  test("are blocks for who asked for them, and nothing for who did not", async () => {
    for (const thinking of [{ type: "enabled", budget_tokens: 1024 }, { type: "adaptive" }]) {
      const { content, usage } = await json({ messages: begun, thinking });
      expect(content).toEqual([{ type: "thinking", thinking: expect.stringMatching(/./), signature: expect.stringMatching(/./) }]);
      expect(usage.output_tokens_details.thinking_tokens).toBe(usage.output_tokens);
      const events = eventsOf(await (await post("/v1/messages", { messages: begun, thinking, max_tokens: 20, stream: true })).text());
      const deltas = events.flatMap(({ delta }) => (delta?.type ? [delta] : []));
      expect(deltas.map((delta) => delta.thinking ?? "").join("")).toBe(content[0].thinking);
      expect(deltas.at(-1)).toEqual({ type: "signature_delta", signature: content[0].signature });
    }
    for (const thinking of [undefined, null, { type: "disabled" }, { type: "adaptive", display: "omitted" }])
      expect((await json({ messages: begun, thinking })).content).toEqual([]);
  });
});

describe("a coding agent's request", () => {
  test("is answered, in events", async () => {
    const headers = {
      authorization: "Bearer key",
      "anthropic-version": "2023-06-01",
      "anthropic-beta": "claude-code-20250219,interleaved-thinking-2025-05-14",
      "x-app": "cli",
    };
    const response = await post("/v1/messages?beta=true", { ...agent, max_tokens: 30, temperature: 0 }, headers);
    expect(response.status).toBe(200);
    const types = eventsOf(await response.text()).map(({ type }) => type);
    expect([types[0], types.at(-1)]).toEqual(["message_start", "message_stop"]);
    expect(response.headers.get("x-jamba-left-out")).toBe(
      [
        ...[
          "thinking.budget_tokens",
          "context_management",
          "system[0] (x-anthropic-billing-header)",
          "messages[4].content[0] (redacted_thinking)",
        ],
        "tools[16] (web_search_20250305)",
      ].join(", "),
    );
    expect(response.headers.get("x-jamba-not-enforced")).toBe("tools[15].input_schema.properties.labels.uniqueItems");
    expect(lines.at(-1)).toMatchObject({ route: "/v1/messages", status: 200, stream: true });
    expect(JSON.stringify(lines)).not.toMatch(/fox|Mend/);
  });

  test("counts, and goes on from what was read before although its first line is new each time", async () => {
    const { model: name, messages, system, tools: all, thinking } = agent;
    const counted = await json({ model: name, messages, system, tools: all, thinking }, "/v1/messages/count_tokens");
    const asked = (header: string) => ({
      ...agent,
      max_tokens: 1,
      stream: false,
      system: [{ type: "text", text: header }, ...system.slice(1)],
    });
    await json(asked("x-anthropic-billing-header: cch=1;"));
    const { usage } = await json(asked("x-anthropic-billing-header: cch=2;"));
    expect([usage.input_tokens, usage.cache_read_input_tokens]).toEqual([0, counted.input_tokens]);
  });
});
