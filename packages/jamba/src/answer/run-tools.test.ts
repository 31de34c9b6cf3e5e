import type { Message } from "@jamba/tokenizer";
import { describe, expect, test } from "vitest";
import type { AnswerCall } from "./answer-parts.ts";
import type { Part, Result } from "./generate.ts";
import type { CheckedOptions } from "./options.ts";
import { answerInRounds, type ToolResult } from "./run-tools.ts";
import type { RunTool } from "./tools.ts";

const call = (id: string, name: string, args: unknown = {}): AnswerCall => ({ id, name, arguments: args, json: JSON.stringify(args) });

/** A model that makes these calls, answer by answer, and then says "done". */
function scripted(script: readonly (readonly AnswerCall[])[]) {
  const said: (readonly Message[])[] = [];
  const asked: CheckedOptions[] = [];
  async function* answer(options: CheckedOptions): AsyncGenerator<Part, Result> {
    const toolCalls = script[asked.length] ?? [];
    asked.push(options);
    const content = toolCalls.length > 0 ? "" : "done";
    const ids = [asked.length];
    yield { text: content, pieces: [], ids };
    const usage = { promptTokens: 10 * asked.length, cachedTokens: asked.length, completionTokens: 1 };
    const timings = { promptMs: 0, firstTokenMs: 0, totalMs: 0, tokensPerSecond: 0, fullRowDraws: 0, forcedTokens: 0, formatMs: 0 };
    return { text: content, content, ids, finishReason: toolCalls.length > 0 ? "tool-calls" : "stop", toolCalls, usage, timings };
  }
  return { said, asked, answer, add: (messages: readonly Message[]) => void said.push(messages) };
}

async function run(script: readonly (readonly AnswerCall[])[], tools: Record<string, RunTool>, more: CheckedOptions = {}) {
  const conversation = scripted(script);
  const answers = answerInRounds(conversation, { runners: new Map(Object.entries(tools)), ...more });
  const parts: Part[] = [];
  for (;;) {
    const next = await answers.next();
    if (next.done) return { ...conversation, parts, result: next.value };
    parts.push(next.value);
  }
}

const add: RunTool = async (args) => (args as { a: number; b: number }).a + (args as { a: number; b: number }).b;

test("calls are run and answered until none is made, and every step shows", async () => {
  const script = [[call("1", "add", { a: 1, b: 2 })], [call("2", "add", { a: 3, b: 4 })]];
  const { said, parts, result } = await run(script, { add });
  expect(said).toEqual([
    [{ role: "tool", toolCallId: "1", name: "add", content: "3" }],
    [{ role: "tool", toolCallId: "2", name: "add", content: "7" }],
  ]);
  expect(result).toMatchObject({
    content: "done",
    finishReason: "stop",
    usage: { promptTokens: 60, cachedTokens: 6, completionTokens: 3 },
  });
  expect(result.rounds!.map(({ answer, toolResults }) => [answer.usage.promptTokens, toolResults])).toEqual([
    [10, [{ id: "1", name: "add", arguments: { a: 1, b: 2 }, result: 3 }]],
    [20, [{ id: "2", name: "add", arguments: { a: 3, b: 4 }, result: 7 }]],
  ]);
  expect(parts.map(({ round, ids, toolResult }) => [round, ids[0] ?? toolResult!.result])).toEqual([[0, 1], [0, 3], [1, 2], [1, 7], [2, 3]]); // biome-ignore format: a list
});

test("calls of one answer run at the same time, show as they end, and are answered in their order", async () => {
  const waiting: (() => void)[] = [];
  const wait: RunTool = (args) => new Promise((resolve) => waiting.push(() => resolve(args)));
  const both = [call("1", "wait", "first"), call("2", "wait", "second")];
  const ended = run([both], { wait });
  while (waiting.length < 2) await new Promise(setImmediate);
  waiting[1]();
  await new Promise(setImmediate);
  waiting[0]();
  const { said, parts, result } = await ended;
  expect(parts.flatMap(({ toolResult }) => toolResult?.id ?? [])).toEqual(["2", "1"]);
  expect(said[0].map(({ content }) => content)).toEqual(["first", "second"]);
  expect(result.rounds![0].toolResults.map(({ id }) => id)).toEqual(["1", "2"]);
});

test.each<[string, unknown, string]>([
  ["a text", "sunny", "sunny"],
  ["an object", { c: 21 }, '{"c":21}'],
  ["nothing", undefined, "null"],
  ["null", null, "null"],
  ["an empty text", "", ""],
])("%s that a tool returns is told to the model", async (_, returned, content) => {
  const { said } = await run([[call("1", "f")]], { f: async () => returned });
  expect(said[0][0].content).toBe(content);
});

describe("an error is told to the model, and shows", () => {
  const ring: { self?: unknown } = {};
  ring.self = ring;
  test.each<[string, RunTool, unknown]>([
    ["thrown", async () => Promise.reject(new Error("no such city")), "no such city"],
    ["that is no Error", async () => Promise.reject("no"), "no"],
    ["that is an object", async () => Promise.reject({ status: 404 }), { status: 404 }],
    ["that is nothing", async () => Promise.reject(), "f failed, and did not say why"],
    ["without a prototype", async () => Promise.reject(Object.create(null)), {}],
    ["that can't be shown", async () => Promise.reject(ring), "one that can't be shown"],
    ["of a result without JSON", async () => 1n, /BigInt/],
    ["of a result in a ring", async () => ring, /circular/i],
  ])("%s", async (_, f, message) => {
    const { said, result } = await run([[call("1", "f"), call("2", "add", { a: 1, b: 1 })]], { f, add });
    const [failed, fine] = said[0].map(({ content }) => content as string);
    expect(JSON.parse(failed)).toEqual({ error: message instanceof RegExp ? expect.stringMatching(message) : message });
    expect(fine).toBe("2");
    const [{ error, result: none }] = result.rounds![0].toolResults;
    expect([error !== undefined, none, result.content]).toEqual([true, undefined, "done"]);
  });
});

test("a tool may change its arguments, and what others returned: what is told of them stays", async () => {
  const things: string[] = [];
  const put: RunTool = async (args) => {
    const thing = (args as { list: string[] }).list.pop()!;
    if (thing === "bell") await new Promise(setImmediate);
    things.push(thing);
    return things;
  };
  const calls = ["ring", "bell"].map((thing) => call(thing, "put", { list: [thing] }));
  const { said, result } = await run([calls], { put });
  expect(said[0].map(({ content }) => content)).toEqual(['["ring"]', '["ring","bell"]']);
  expect(result.rounds![0].toolResults.map((one) => one.arguments)).toEqual([{ list: ["ring"] }, { list: ["bell"] }]);
});

test("only the first answer has to call", async () => {
  const once = [[call("1", "add", { a: 1, b: 1 })]];
  const choices = async (toolChoice: CheckedOptions["toolChoice"]) =>
    (await run(once, { add }, { toolChoice })).asked.map((options) => options.toolChoice);
  expect(await choices("required")).toEqual(["required", "auto"]);
  expect(await choices({ name: "add" })).toEqual([{ name: "add" }, "auto"]);
  const allowed = { allowed: ["add"], mode: "required" } as const;
  expect(await choices(allowed)).toEqual([allowed, { allowed: ["add"], mode: "auto" }]);
});

test("a call that nothing runs ends the rounds, and none of its answer is run", async () => {
  const ran: unknown[] = [];
  const counted: RunTool = async (args) => ran.push(args);
  const { result, said } = await run([[call("1", "f")], [call("2", "f"), call("3", "theirs")]], { f: counted });
  expect([result.finishReason, result.toolCalls.length, ran.length, said.length]).toEqual(["tool-calls", 2, 1, 1]);
});

test("rounds are bounded", async () => {
  const forEver = Array.from({ length: 50 }, (_, i) => [call(String(i), "add", { a: 1, b: 1 })]);
  for (const maxRounds of [1, 2, 5]) {
    const { result, asked } = await run(forEver, { add }, { maxRounds });
    expect([asked.length, result.rounds!.length, result.finishReason]).toEqual([maxRounds, maxRounds - 1, "tool-calls"]);
  }
  expect((await run(forEver, { add })).asked).toHaveLength(10);
});

test("a cancel does not wait for tools, and tells what they had returned", async () => {
  const stop = new AbortController();
  const reason = new Error("enough");
  let told: AbortSignal | undefined;
  const never: RunTool = (_, { signal }) => {
    told = signal;
    setImmediate(() => stop.abort(reason));
    return new Promise(() => undefined);
  };
  const { result, said } = await run([[call("1", "add", { a: 1, b: 1 }), call("2", "never")]], { add, never }, { signal: stop.signal });
  expect(result).toMatchObject({ finishReason: "cancelled", cancelReason: reason });
  const results: ToolResult[] = [
    { id: "1", name: "add", arguments: { a: 1, b: 1 }, result: 2 },
    { id: "2", name: "never", arguments: {}, error: reason },
  ];
  expect(result.rounds![0].toolResults).toEqual(results);
  // A conversation that goes on has an answer to every call.
  expect(said[0].map(({ content }) => content)).toEqual(["2", '{"error":"enough"}']);
  expect(told!.aborted).toBe(true);
});
