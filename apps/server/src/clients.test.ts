// The clients that people use, as they come from npm, against a server that listens.

import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { ChatAnthropic } from "@langchain/anthropic";
import { HumanMessage, type ToolMessage } from "@langchain/core/messages";
import { tool as langchainTool } from "@langchain/core/tools";
import { ChatOpenAI, OpenAIEmbeddings } from "@langchain/openai";
import { generateObject, generateText, stepCountIs, streamText, tool } from "ai";
import { type JambaModel, loadModel } from "jamba";
import OpenAI from "openai";
import { zodResponseFormat } from "openai/helpers/zod";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { z } from "zod";
import { friendFunction } from "../test/requests.ts";
import { type Server, serve } from "./index.ts";

let model: JambaModel;
let server: Server;
let openai: OpenAI;
beforeAll(async () => {
  model = await loadModel("tiny");
  server = await serve(model, "tiny", { port: 0, apiKeys: ["key"], temperature: 0 });
  openai = new OpenAI({ baseURL: `${server.url}/v1`, apiKey: "key" });
});
afterAll(async () => {
  await server.close();
  await model.dispose();
});

const story = "Write a story about Mia and a fox.";
const messages = [{ role: "user" as const, content: story }];
const callFriend = z.object({ name: z.string() });
const mood = z.object({ mood: z.enum(["glad", "sad"]), size: z.enum(["small", "big"]) });

describe("openai", () => {
  const friendTool = { type: "function" as const, function: friendFunction };

  test("lists models", async () => {
    const ids = [];
    for await (const { id } of openai.models.list()) ids.push(id);
    expect(ids).toEqual(["tiny"]);
    expect((await openai.models.retrieve("tiny")).object).toBe("model");
  });

  test("chats, with seeds, stops and several answers", async () => {
    const ask = (more: object) => openai.chat.completions.create({ model: "tiny", messages, max_tokens: 16, ...more });
    const { choices, usage } = await ask({});
    expect(choices[0].message.content).toMatch(/^Once upon a time/);
    expect(usage?.total_tokens).toBe(usage!.prompt_tokens + usage!.completion_tokens);
    const drawn = async (seed: number) => (await ask({ seed, temperature: 1 })).choices[0].message.content;
    expect(await drawn(1)).toBe(await drawn(1));
    expect(await drawn(1)).not.toBe(await drawn(2));
    expect((await ask({ stop: " time" })).choices[0].message.content).toBe("Once upon a");
    expect((await ask({ n: 2, temperature: 1, seed: 3 })).choices.map(({ index }) => index)).toEqual([0, 1]);
  });

  test("streams, by itself and by its helper", async () => {
    const stream = await openai.chat.completions.create({
      model: "tiny",
      messages,
      max_tokens: 12,
      stream: true,
      stream_options: { include_usage: true },
    });
    let text = "";
    let tokens = 0;
    for await (const { choices, usage } of stream) {
      text += choices[0]?.delta.content ?? "";
      tokens = usage?.completion_tokens ?? tokens;
    }
    expect(tokens).toBe(12);
    const helper = openai.chat.completions.stream({ model: "tiny", messages, max_tokens: 12, logprobs: true, top_logprobs: 1 });
    const pieces: string[] = [];
    helper.on("content", (delta) => pieces.push(delta));
    const whole = await helper.finalChatCompletion();
    expect(pieces.join("")).toBe(text);
    expect(whole.choices[0].message.content).toBe(text);
    expect(whole.choices[0].logprobs?.content).toHaveLength(12);
  });

  test("parses what a zod schema describes", async () => {
    const { choices } = await openai.chat.completions.parse({ model: "tiny", messages, response_format: zodResponseFormat(mood, "mood") });
    expect(mood.parse(choices[0].message.parsed)).toEqual(choices[0].message.parsed);
  });

  test("calls tools, streamed and run by its helper", async () => {
    const asked = [{ role: "user" as const, content: "Call Omar." }];
    const stream = openai.chat.completions.stream({ model: "tiny", messages: asked, tools: [friendTool] });
    const [call] = (await stream.finalMessage()).tool_calls!;
    expect(call.type === "function" && JSON.parse(call.function.arguments)).toEqual({ name: "Omar" });
    const called: string[] = [];
    const runner = openai.chat.completions.runTools(
      {
        model: "tiny",
        messages: asked,
        max_tokens: 40,
        tools: [
          {
            type: "function",
            function: {
              ...friendTool.function,
              parse: (text: string) => callFriend.parse(JSON.parse(text)),
              function: ({ name }: { name: string }) => {
                called.push(name);
                return `${name} is on the way.`;
              },
            },
          },
        ],
      },
      { maxChatCompletions: 2 },
    );
    await runner.done().catch(() => undefined); // the small model may call once more in its last turn
    expect(called[0]).toBe("Omar");
    expect(runner.messages.map(({ role }) => role).slice(0, 4)).toEqual(["user", "assistant", "tool", "assistant"]);
  });

  test("completes texts, embeds them, and asks for responses", async () => {
    const { choices } = await openai.completions.create({ model: "tiny", prompt: "Once upon", max_tokens: 2 });
    expect(choices[0].text).toBe(" a time");
    const { data } = await openai.embeddings.create({ model: "tiny", input: ["a fox", "a kite"] });
    expect(data.map(({ embedding }) => embedding.length)).toEqual([192, 192]);
    const response = await openai.responses.create({ model: "tiny", input: story, max_output_tokens: 4 });
    expect(response.output_text).toBe("Once upon a time");
    const stream = openai.responses.stream({ model: "tiny", input: story, max_output_tokens: 4 });
    let text = "";
    stream.on("response.output_text.delta", ({ delta }) => {
      text += delta;
    });
    expect((await stream.finalResponse()).output_text).toBe("Once upon a time");
    expect(text).toBe("Once upon a time");
  });

  test("an abort is seen by the engine", async () => {
    const stream = await openai.chat.completions.create({
      model: "tiny",
      messages,
      max_tokens: 30_000,
      stream: true,
      logit_bias: { 2: -100, 4: -100 },
    });
    for await (const _ of stream) break;
    await expect.poll(() => model.calls()).toEqual({ running: 0, waiting: 0 });
  });

  test("errors are the client's own kinds, with their fields", async () => {
    const failing = (body: object) => openai.chat.completions.create({ model: "tiny", messages, ...body } as never);
    await expect(failing({ model: "gpt" })).rejects.toMatchObject({
      constructor: OpenAI.NotFoundError,
      code: "model_not_found",
      param: "model",
    });
    await expect(failing({ temperature: 9 })).rejects.toMatchObject({
      constructor: OpenAI.BadRequestError,
      param: "temperature",
      type: "invalid_request_error",
    });
    const stranger = new OpenAI({ baseURL: `${server.url}/v1`, apiKey: "wrong" });
    await expect(stranger.models.list()).rejects.toMatchObject({ constructor: OpenAI.AuthenticationError, code: "invalid_api_key" });
  });

  test("tries again while the model loads", async () => {
    let loaded!: (model: JambaModel) => void;
    const lines: { status: number }[] = [];
    const late = await serve(new Promise<JambaModel>((resolve) => (loaded = resolve)), "tiny", {
      port: 0,
      log: (line) => {
        lines.push(line as { status: number });
        loaded(model);
      },
    });
    const client = new OpenAI({ baseURL: `${late.url}/v1`, apiKey: "none" });
    expect((await client.models.list()).data).toHaveLength(1);
    expect(lines.map(({ status }) => status)).toEqual([503, 200]);
    await late.close();
  });
});

describe("ai with @ai-sdk/openai-compatible", () => {
  const ai = (model = "tiny") =>
    createOpenAICompatible({
      name: "jamba",
      baseURL: `${server.url}/v1`,
      apiKey: "key",
      supportsStructuredOutputs: true,
      includeUsage: true,
    })(model);

  test("text, streamed or not, with usage", async () => {
    const { text, usage, finishReason } = await generateText({ model: ai(), prompt: story, maxOutputTokens: 10 });
    expect([usage.outputTokens, finishReason]).toEqual([10, "length"]);
    const stream = streamText({ model: ai(), prompt: story, maxOutputTokens: 10 });
    let streamed = "";
    for await (const piece of stream.textStream) streamed += piece;
    expect(streamed).toBe(text);
    expect((await stream.usage).cachedInputTokens).toBeGreaterThan(0);
  });

  test("objects of a schema", async () => {
    expect(mood.safeParse((await generateObject({ model: ai(), schema: mood, prompt: story })).object).success).toBe(true);
  });

  test("tools, over several steps", async () => {
    const called: string[] = [];
    const tools = {
      call_friend: tool({
        description: "Call a friend",
        inputSchema: callFriend,
        execute: async ({ name }) => {
          called.push(name);
          return `${name} is on the way.`;
        },
      }),
    };
    const { steps } = await generateText({ model: ai(), prompt: "Call Omar.", tools, stopWhen: stepCountIs(2), maxOutputTokens: 40 });
    expect(called[0]).toBe("Omar");
    expect(steps).toHaveLength(2);
    const stream = streamText({ model: ai(), prompt: "Call Omar.", tools, maxOutputTokens: 40 });
    expect((await stream.toolCalls)[0]).toMatchObject({ toolName: "call_friend", input: { name: "Omar" } });
  });

  test("errors have the server's own words", async () => {
    const asked = generateText({ model: ai("missing"), prompt: story, maxRetries: 0 });
    await expect(asked).rejects.toMatchObject({ statusCode: 404, message: expect.stringContaining("missing") });
  });

  test("an abort is seen by the engine", async () => {
    const controller = new AbortController();
    const stream = streamText({
      model: ai(),
      prompt: story,
      maxOutputTokens: 30_000,
      abortSignal: controller.signal,
      onError: () => undefined,
    });
    for await (const _ of stream.textStream) controller.abort();
    await expect.poll(() => model.calls()).toEqual({ running: 0, waiting: 0 });
  });
});

const chats = {
  "@langchain/openai": (model = "tiny") =>
    new ChatOpenAI({ model, apiKey: "key", configuration: { baseURL: `${server.url}/v1` }, maxTokens: 60, maxRetries: 0, temperature: 0 }),
  // By an older @anthropic-ai/sdk, of its own.
  "@langchain/anthropic": (model = "tiny") =>
    new ChatAnthropic({ model, apiKey: "key", anthropicApiUrl: server.url, maxTokens: 60, maxRetries: 0, temperature: 0 }),
};

describe.each(Object.entries(chats))("%s", (name, chat) => {
  test("invokes and streams", async () => {
    const { text, usage_metadata } = await chat().invoke([new HumanMessage(story)]);
    expect(text).toMatch(/^Once upon a time/);
    expect(usage_metadata?.output_tokens).toBeGreaterThan(10);
    let streamed = "";
    for await (const chunk of await chat().stream(story)) streamed += chunk.text;
    expect(streamed).toBe(text);
  });

  test("structured output", async () => {
    // The other's jsonSchema method tells of enums in prose only.
    const method = name === "@langchain/openai" ? "jsonSchema" : "functionCalling";
    const structured = await chat().withStructuredOutput(mood, { method }).invoke(story);
    expect(mood.safeParse(structured).success).toBe(true);
  });

  test("tools, with the answer to their result", async () => {
    const friend = langchainTool(({ name }) => `${name} is on the way.`, {
      name: "call_friend",
      description: "Call a friend",
      schema: callFriend,
    });
    const asked = [new HumanMessage("Call Omar.")];
    const called = await chat().bindTools([friend]).invoke(asked);
    expect(called.tool_calls).toMatchObject([{ name: "call_friend", args: { name: "Omar" } }]);
    const result: ToolMessage = await friend.invoke(called.tool_calls![0] as never);
    const { text, tool_calls } = await chat()
      .bindTools([friend], { tool_choice: "none" })
      .invoke([...asked, called, result]);
    expect([text.length > 0, tool_calls]).toEqual([true, []]);
  });

  test("errors have the server's own words", async () => {
    await expect(chat("missing").invoke(story)).rejects.toThrow(/missing/);
  });
});

test("@langchain/openai embeds", async () => {
  const embeddings = new OpenAIEmbeddings({ model: "tiny", apiKey: "key", configuration: { baseURL: `${server.url}/v1` } });
  expect((await embeddings.embedQuery("a fox")).length).toBe(192);
});
