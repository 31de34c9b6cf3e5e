// What zod, valibot, TypeBox and pydantic make of 50 shapes each, as the format of an answer and as a tool's parameters, by the clients
// that people use: nothing is refused but what the list says, and what ends is valid. See tooling/schema-shapes.

import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import type { AIMessageChunk } from "@langchain/core/messages";
import { ChatOpenAI } from "@langchain/openai";
import { generateObject, generateText, jsonSchema, streamObject, streamText, tool } from "ai";
import { type JambaModel, loadModel } from "jamba";
import OpenAI from "openai";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { readShapes, type Shape, validates } from "../test/shapes.ts";
import { refusedWhereStrict } from "../test/shapes-refused.ts";
import { type Server, serve } from "./index.ts";
import { noteHeaders } from "./notes.ts";

const prompt = "Write a story about Mia and a fox.";
const messages = [{ role: "user" as const, content: prompt }];
const description = "Takes what was asked for";
const maxTokens = 640;

let model: JambaModel;
let server: Server;
let baseURL: string;
let logit_bias: Record<string, number>;
beforeAll(async () => {
  model = await loadModel("tiny");
  server = await serve(model, "tiny", { port: 0, temperature: 0 });
  baseURL = `${server.url}/v1`;
  logit_bias = closers();
});
afterAll(async () => {
  await server.close();
  await model.dispose();
});

/**
 * The small model has no end in mind: what ends a string, an object or an array is likelier than what goes on, and where a string must
 * not end, likelier is what it may be waiting for.
 */
function closers(): Record<string, number> {
  const biases = {
    ...{ '"': 60, '"}': 55, '"}}': 55, '",': 50, "@": 56, ":": 48, "#": 45, ".": 42, Z: 41 },
    ...{ "}": 40, "}}": 40, "]": 40, ",": 20, "},": 20, null: 25, number: 25 },
  };
  return Object.fromEntries(Object.entries(biases).map(([text, bias]) => [model.tokenizer.encode(text)[0], bias]));
}

interface Question {
  readonly schema: object;
  /** Not given where it is false. */
  readonly strict: boolean;
  readonly stream: boolean;
  readonly fetch: typeof fetch;
}
/** Both give the value that the client read out of the answer. */
interface Client {
  format(question: Question): Promise<unknown>;
  call(question: Question): Promise<unknown>;
}

const openai: Client = {
  async format({ schema, strict, stream, fetch }) {
    const json_schema = { name: "answer", schema: schema as Record<string, unknown>, ...(strict && { strict }) };
    const { content } = await completed({ response_format: { type: "json_schema", json_schema } }, stream, fetch);
    return JSON.parse(content!);
  },
  async call({ schema, strict, stream, fetch }) {
    const parameters = schema as Record<string, unknown>;
    const take = { type: "function" as const, function: { name: "take", description, parameters, ...(strict && { strict }) } };
    const { tool_calls } = await completed({ tools: [take], tool_choice: "required", parallel_tool_calls: false }, stream, fetch);
    const [call] = tool_calls!;
    return call.type === "function" && JSON.parse(call.function.arguments);
  },
};

async function completed(more: Partial<OpenAI.ChatCompletionCreateParamsNonStreaming>, stream: boolean, fetch: Question["fetch"]) {
  const client = new OpenAI({ baseURL, apiKey: "key", fetch, maxRetries: 0 });
  const body = { model: "tiny", messages, max_tokens: maxTokens, logit_bias, ...more };
  const { choices } = await (stream
    ? client.chat.completions.stream({ ...body, stream: true }).finalChatCompletion()
    : client.chat.completions.create(body));
  return choices[0].message;
}

const ai: Client = {
  async format({ schema, strict, stream, fetch }) {
    const asked = { ...askedByAi(strict, fetch), schema: jsonSchema(schema), schemaName: "answer" };
    if (!stream) return (await generateObject(asked)).object;
    const { partialObjectStream, object } = streamObject({ ...asked, onError: () => undefined });
    await last(partialObjectStream);
    return object;
  },
  async call({ schema, strict, stream, fetch }) {
    const take = tool({ description, inputSchema: jsonSchema(schema), ...(strict && { strict }) });
    const asked = { ...askedByAi(strict, fetch), tools: { take }, toolChoice: "required" as const };
    const [call] = stream ? await streamText({ ...asked, onError: () => undefined }).toolCalls : (await generateText(asked)).toolCalls;
    return call?.input;
  },
};

function askedByAi(strictJsonSchema: boolean, fetch: Question["fetch"]) {
  const provider = createOpenAICompatible({ name: "jamba", baseURL, fetch, supportsStructuredOutputs: true });
  const providerOptions = { jamba: { logit_bias, strictJsonSchema, parallel_tool_calls: false } };
  return { model: provider("tiny"), prompt, maxOutputTokens: maxTokens, maxRetries: 0, providerOptions };
}

const langchain: Client = {
  async format({ schema, strict, stream, fetch }) {
    const structured = chat(fetch).withStructuredOutput(schema, { method: "jsonSchema", name: "answer", ...(strict && { strict }) });
    return stream ? last(await structured.stream(prompt)) : structured.invoke(prompt);
  },
  async call({ schema, strict, stream, fetch }) {
    const take = { type: "function", function: { name: "take", description, parameters: schema, ...(strict && { strict }) } };
    const bound = chat(fetch).bindTools([take], { tool_choice: "required", parallel_tool_calls: false });
    if (!stream) return (await bound.invoke(prompt)).tool_calls?.[0]?.args;
    let whole: AIMessageChunk | undefined;
    for await (const chunk of await bound.stream(prompt)) whole = whole?.concat(chunk) ?? chunk;
    return whole?.tool_calls?.[0]?.args;
  },
};

function chat(fetch: Question["fetch"]) {
  return new ChatOpenAI({
    ...{ model: "tiny", apiKey: "key", configuration: { baseURL, fetch }, maxRetries: 0 },
    ...{ maxTokens, temperature: 0, modelKwargs: { logit_bias } },
  });
}

async function last<T>(values: AsyncIterable<T>): Promise<T | undefined> {
  let found: T | undefined;
  for await (const value of values) found = value;
  return found;
}

const clients = { openai, "the AI SDK": ai, LangChain: langchain };
const inTurn = Object.keys(clients) as (keyof typeof clients)[];

/** What the server told: its status, whether it bound the answer to all of the schema, and whether the answer was cut. */
function watch() {
  const seen = { status: 0, isBound: true, isCut: Promise.resolve(false) };
  const watched: Question["fetch"] = async (input, init) => {
    const response = await fetch(input, init);
    seen.status = response.status;
    seen.isBound = !response.headers.has(noteHeaders.notEnforced);
    const text = response.clone().text();
    seen.isCut = text.then((body) => body.includes('"finish_reason":"length"'));
    return response;
  };
  return { seen, fetch: watched };
}

/** The shapes take turns in clients, in streams, and in which of both forms is strict. */
function turnsOf(shape: Shape, i: number) {
  const asked = (isStrict: boolean) =>
    isStrict && shape.strict ? { schema: shape.strict, strict: true } : { schema: shape.schema, strict: false };
  return [
    { form: "format" as const, client: inTurn[i % 3], stream: i % 4 < 2, ...asked(i % 2 === 0) },
    { form: "call" as const, client: inTurn[(i + 1) % 3], stream: i % 4 >= 2, ...asked(i % 2 === 1) },
  ];
}

let cut = 0;

describe.concurrent.each(readShapes())("$library", ({ library, shapes }) => {
  test.for(shapes.map((shape, i) => ({ name: shape.name, turns: turnsOf(shape, i) })))("$name", async ({ name, turns }, { expect }) => {
    for (const { form, client, ...question } of turns) {
      const { seen, fetch } = watch();
      const found = await clients[client][form]({ ...question, fetch }).then(
        (value) => ({ value }),
        (error) => ({ error }),
      );
      if (question.strict && refusedWhereStrict.has(`${library}: ${name}`)) {
        expect({ client, form, status: seen.status }).toEqual({ client, form, status: 400 });
        continue;
      }
      if (await seen.isCut) {
        cut++;
        continue;
      }
      const faults = "value" in found && (question.strict || seen.isBound) ? validates(question.schema, found.value) : [];
      expect({ client, form, ...found, faults }).toEqual({ client, form, value: expect.anything(), faults: [] });
    }
  });
});

// A pattern that may stand anywhere, or that ends with a text, waits for what the small model may never say.
test("all but a few answers ended", () => {
  expect(cut).toBeLessThan(20);
});
