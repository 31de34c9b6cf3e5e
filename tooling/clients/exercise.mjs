// Run by clients.test.ts in a Node that these clients take: asks the server at the given URL, and prints what came of it as JSON.

import { createAnthropic } from "@ai-sdk/anthropic";
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateText, Output, stepCountIs, streamText, tool } from "ai";
import OpenAI from "openai";
import { zodResponseFormat } from "openai/helpers/zod";
import { z } from "zod";

const [, , url] = process.argv;
const story = "Write a story about Mia and a fox.";
const mood = z.object({ mood: z.enum(["glad", "sad"]), size: z.enum(["small", "big"]) });

async function withOpenai() {
  const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: "key" });
  const ask = { model: "tiny", messages: [{ role: "user", content: story }], max_tokens: 8 };
  const plain = (await client.chat.completions.create(ask)).choices[0].message.content;
  let streamed = "";
  for await (const { choices } of await client.chat.completions.create({ ...ask, stream: true }))
    streamed += choices[0]?.delta.content ?? "";
  const parsed = await client.chat.completions.parse({ ...ask, max_tokens: 60, response_format: zodResponseFormat(mood, "mood") });
  const called = [];
  const parameters = { type: "object", properties: { name: { type: "string" } }, required: ["name"] };
  const call = {
    ...{ name: "call_friend", description: "Call a friend", parameters, parse: JSON.parse },
    function: ({ name }) => {
      called.push(name);
      return `${name} is on the way.`;
    },
  };
  const asked = {
    model: "tiny",
    messages: [{ role: "user", content: "Call Omar." }],
    max_tokens: 40,
    tools: [{ type: "function", function: call }],
  };
  const runner = client.chat.completions.runTools(asked, { maxChatCompletions: 2 });
  await runner.done().catch(() => undefined); // the small model may call once more in its last turn
  const first = await client.responses.create({ model: "tiny", input: story, max_output_tokens: 4 });
  const next = await client.responses.create({ model: "tiny", input: "Go on.", previous_response_id: first.id, max_output_tokens: 4 });
  const error = await client.chat.completions.create({ ...ask, temperature: 9 }).catch((failed) => failed);
  return {
    ...{ plain, streamed, structured: parsed.choices[0].message.parsed, called: called[0] },
    roles: runner.messages.map(({ role }) => role).slice(0, 4),
    responses: [first.output_text, next.previous_response_id === first.id],
    error: [error instanceof OpenAI.BadRequestError, error.param],
  };
}

async function withAi(model, missing) {
  const ask = { model, prompt: story, maxOutputTokens: 8, maxRetries: 0 };
  const { text: plain, finishReason, response } = await generateText(ask);
  const messages = [{ role: "user", content: story }, ...response.messages, { role: "user", content: "Go on." }];
  const next = await generateText({ ...ask, prompt: undefined, messages });
  let streamed = "";
  for await (const piece of streamText(ask).textStream) streamed += piece;
  const { output } = await generateText({ ...ask, maxOutputTokens: 60, output: Output.object({ schema: mood }) });
  const called = [];
  const execute = async ({ name }) => {
    called.push(name);
    return `${name} is on the way.`;
  };
  const tools = { call_friend: tool({ description: "Call a friend", inputSchema: z.object({ name: z.string() }), execute }) };
  const { steps } = await generateText({ ...ask, prompt: "Call Omar.", maxOutputTokens: 40, tools, stopWhen: stepCountIs(2) });
  const error = await generateText({ ...ask, model: missing }).catch((failed) => failed);
  return {
    plain,
    streamed,
    finishReason,
    structured: output,
    called: called[0],
    steps: steps.length,
    next: next.text.length > 0,
    error: [error.statusCode, error.message],
  };
}

const compatible = createOpenAICompatible({ name: "jamba", baseURL: `${url}/v1`, apiKey: "key", supportsStructuredOutputs: true });
// By /v1/responses, whose items it refers to by their ids.
let references = 0;
const counting = (to, init) => {
  references += init.body.split('"item_reference"').length - 1;
  return fetch(to, init);
};
const responses = createOpenAI({ baseURL: `${url}/v1`, apiKey: "key", fetch: counting });
const anthropic = createAnthropic({ baseURL: `${url}/v1`, apiKey: "key" });
const found = {
  node: process.versions.node,
  openai: await withOpenai(),
  ai: await withAi(compatible("tiny"), compatible("missing")),
  responses: await withAi(responses("tiny"), responses("missing")),
  anthropic: await withAi(anthropic("tiny"), anthropic("missing")),
};
process.stdout.write(JSON.stringify({ ...found, references }));
