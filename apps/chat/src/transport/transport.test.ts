// The SDK's own chat over the transport, with the small model behind it.

import { AbstractChat, type ChatState, type ChatStatus, readUIMessageStream } from "ai";
import fc from "fast-check";
import { type JambaModel, loadModel, type Part, type Result, type TextStream } from "jamba";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { type ChatMessage, JambaTransport, toJambaMessages, type UiChunk, uiChunks } from "./index.ts";
import { wholeOf } from "./whole-message.ts";

// A model is loaded, on whatever else the machine does.
vi.setConfig({ hookTimeout: 120_000 });
let model: JambaModel;
beforeAll(async () => {
  model = await loadModel("tiny");
});
afterAll(() => model.dispose());

class State implements ChatState<ChatMessage> {
  status: ChatStatus = "ready";
  error: Error | undefined;
  messages: ChatMessage[] = [];
  pushMessage = (message: ChatMessage) => void this.messages.push(message);
  popMessage = () => void this.messages.pop();
  replaceMessage = (index: number, message: ChatMessage) => void this.messages.splice(index, 1, message);
  snapshot = <T>(thing: T): T => structuredClone(thing);
}

class Chat extends AbstractChat<ChatMessage> {
  constructor(transport: JambaTransport, id = "one") {
    super({ id, transport, state: new State() });
  }
}

const textOf = (message?: ChatMessage) => message?.parts.map((part) => (part.type === "text" ? part.text : "")).join("");
const ask = "Write a story about Mia and a fox.";
const until = async (isThere: () => boolean) => {
  while (!isThere()) await new Promise((resolve) => setTimeout(resolve, 1));
};

test("a chat's answer is the model's, with usage that counts cached tokens in the next turn", async () => {
  const chat = new Chat(new JambaTransport(model, { maxTokens: 24 }));
  await chat.sendMessage({ text: ask });
  const { content, usage } = await model.generate([{ role: "user", content: ask }], { maxTokens: 24 });
  expect([chat.status, textOf(chat.lastMessage)]).toEqual(["ready", content]);
  expect(chat.lastMessage!.metadata).toMatchObject({
    finishReason: "length",
    usage: { inputTokens: usage.promptTokens, outputTokens: 24, totalTokens: usage.promptTokens + 24 },
  });
  await chat.sendMessage({ text: "Who is Mia?" });
  const { inputTokens, inputTokenDetails } = chat.lastMessage!.metadata!.usage;
  expect(inputTokenDetails.cacheReadTokens).toBeGreaterThan(usage.promptTokens);
  expect(inputTokenDetails.noCacheTokens! + inputTokenDetails.cacheReadTokens!).toBe(inputTokens);
});

test("stop ends an answer with what there is; regenerate gives another one", async () => {
  const chat = new Chat(new JambaTransport(model, { maxTokens: 4000, ignoreEos: true, temperature: 1 }));
  const sent = chat.sendMessage({ text: ask });
  await until(() => (textOf(chat.lastMessage)?.length ?? 0) > 20 && chat.lastMessage?.role === "assistant");
  await chat.stop();
  await sent;
  const first = textOf(chat.lastMessage)!;
  expect([chat.status, first.length > 20]).toEqual(["ready", true]);
  await until(() => model.calls().running === 0);
  await chat.regenerate({ body: { seed: 7, maxTokens: 12, ignoreEos: false } });
  expect(chat.messages.map(({ role }) => role)).toEqual(["user", "assistant"]);
  expect(chat.lastMessage!.metadata!.usage.outputTokens).toBeLessThanOrEqual(12);
});

test("a chat that comes back gets an answer from its beginning, and nothing once it has ended", async () => {
  // What answers waits until the other chat is there.
  let goOn: () => void;
  const isThere = new Promise<void>((resolve) => {
    goOn = resolve;
  });
  const stream = () => answerOf([{ text: "Once upon " }, { text: "a time." }], {}, isThere) as unknown as TextStream;
  const transport = new JambaTransport({ stream });
  const chat = new Chat(transport);
  const sent = chat.sendMessage({ text: ask });
  await until(() => textOf(chat.lastMessage) === "Once upon ");
  const other = new Chat(transport);
  other.messages = chat.messages.slice(0, 1);
  const resumed = other.resumeStream();
  await until(() => textOf(other.lastMessage) === "Once upon ");
  goOn!();
  await Promise.all([sent, resumed]);
  expect(textOf(chat.lastMessage)).toBe("Once upon a time.");
  expect(other.lastMessage).toEqual(chat.lastMessage);
  expect(await transport.reconnectToStream({ chatId: "one" })).toBeNull();
  expect(await transport.reconnectToStream({ chatId: "unknown" })).toBeNull();
});

test("tools that run are called and answered, and the next turn reads none of it again", async () => {
  const friends = { type: "object", properties: { name: { enum: ["Mia", "Omar"] } }, required: ["name"] };
  const tools = { call_friend: { description: "Call a friend", parameters: friends, run: () => ({ done: true }) } };
  const chat = new Chat(new JambaTransport(model, { tools, maxRounds: 2, maxTokens: 60 }));
  await chat.sendMessage({ text: "Call Omar." });
  expect(chat.error).toBeUndefined();
  const call = chat.lastMessage!.parts.find((part) => part.type === "dynamic-tool");
  expect(call).toMatchObject({ toolName: "call_friend", state: "output-available", input: { name: "Omar" }, output: { done: true } });
  expect(chat.lastMessage!.parts.filter(({ type }) => type === "step-start")).toHaveLength(2);
  const messages = toJambaMessages(chat.messages);
  expect(messages.map(({ role }) => role)).toEqual(["user", "assistant", "tool", "assistant"]);
  await chat.sendMessage({ text: "Call Mia." });
  const { usage } = chat.lastMessage!.metadata!;
  expect(usage.inputTokenDetails.cacheReadTokens).toBeGreaterThan(100);
});

test("calls that nobody runs end the answer with their arguments", async () => {
  const friends = { type: "object", properties: { name: { enum: ["Omar"] } }, required: ["name"] };
  const tools = { call_friend: { description: "Call a friend", parameters: friends } };
  const chat = new Chat(new JambaTransport(model, { tools, toolChoice: "required", maxTokens: 60 }));
  await chat.sendMessage({ text: "Call Omar." });
  expect(chat.lastMessage!.metadata!.finishReason).toBe("tool-calls");
  expect(chat.lastMessage!.parts.at(-1)).toMatchObject({ type: "dynamic-tool", state: "input-available", input: { name: "Omar" } });
});

test("what a model refuses is the chat's error", async () => {
  const chat = new Chat(new JambaTransport(model, { maxTokens: 4 }));
  await chat.sendMessage({ text: ask }, { body: { temperature: -1 } });
  expect([chat.status, chat.error?.message]).toEqual(["error", expect.stringContaining("temperature: expected a number in [0, 100]")]);
  let loads = 0;
  const load = async () => {
    if (++loads === 1) throw new Error("no room");
    return model;
  };
  const loading = new Chat(new JambaTransport(load, { maxTokens: 2 }));
  await loading.sendMessage({ text: ask });
  expect(loading.error?.message).toBe("no room");
  for (let turn = 0; turn < 2; turn++) await loading.regenerate();
  expect([loading.error, loads]).toEqual([undefined, 2]);
});

test("files of text come before what is asked of them, and others are refused", () => {
  const file = { type: "file", mediaType: "text/plain", filename: "a.txt" } as const;
  const parts = [
    { type: "text" as const, text: "What is it?" },
    { ...file, url: `data:text/plain;base64,${btoa("A fox.")}` },
  ];
  expect(toJambaMessages([{ id: "1", role: "user", parts }])).toEqual([{ role: "user", content: "A fox.\n\nWhat is it?" }]);
  const plain = [{ ...file, url: "data:text/plain,Two%20foxes." }];
  expect(toJambaMessages([{ id: "1", role: "user", parts: plain }])[0].content).toBe("Two foxes.");
  const picture = [{ ...file, mediaType: "image/png", url: "data:image/png;base64,AA==" }];
  expect(() => toJambaMessages([{ id: "1", role: "user", parts: picture }])).toThrow(
    "a.txt: expected a text in a data: URL, found image/png",
  );
});

const result = {
  content: "",
  ids: [1],
  finishReason: "stop",
  toolCalls: [],
  usage: { promptTokens: 3, cachedTokens: 1, completionTokens: 2 },
  timings: { promptMs: 1, firstTokenMs: 1, totalMs: 1, tokensPerSecond: 1, fullRowDraws: 0, forcedTokens: 0, formatMs: 0 },
} as unknown as Result;

/** @param gate what comes before all pieces but the first */
function answerOf(pieces: Part["pieces"], end: Partial<Result> | Error = {}, gate: Promise<void> = Promise.resolve()) {
  const whole = end instanceof Error ? Promise.reject(end) : Promise.resolve({ ...result, ...end });
  whole.catch(() => undefined);
  const parts = pieces.map((piece): Part => ({ text: "", pieces: [piece], ids: [] }));
  async function* all() {
    yield* parts.slice(0, 1);
    await gate;
    yield* parts.slice(1);
    await whole;
  }
  return Object.assign(all(), { result: whole });
}

async function messageOf(chunks: AsyncIterable<UiChunk>) {
  const stream = new ReadableStream<UiChunk>({
    async start(controller) {
      for await (const chunk of chunks) controller.enqueue(chunk);
      controller.close();
    },
  });
  let last: ChatMessage | undefined;
  for await (const message of readUIMessageStream<ChatMessage>({ stream })) last = message;
  return last!;
}

test("thoughts are parts of their own, before and after text", async () => {
  const pieces = [{ reasoning: "A fox " }, { reasoning: "is red." }, { text: "Red" }, { text: "." }];
  const { parts } = await messageOf(uiChunks(answerOf(pieces), { messageId: "m" }));
  expect(parts.map((part) => [part.type, "text" in part && part.text, "state" in part && part.state])).toEqual([
    ["step-start", false, false],
    ["reasoning", "A fox is red.", "done"],
    ["text", "Red.", "done"],
  ]);
});

test("whatever an answer ends with, no part stays open", async () => {
  const ends = [{}, { finishReason: "cancelled", cancelReason: new Error("stopped") } as const, new Error("device lost")];
  const last = ["finish", "abort", "error"];
  for (const [i, end] of ends.entries()) {
    const open = new Set<string>();
    const seen: UiChunk[] = [];
    for await (const chunk of uiChunks(answerOf([{ text: "a" }, { reasoning: "b" }], end), { messageId: "m" })) {
      seen.push(chunk);
      if (chunk.type.endsWith("-start") && "id" in chunk) open.add(chunk.id!);
      if (chunk.type.endsWith("-end") && "id" in chunk) open.delete(chunk.id!);
    }
    expect([open.size, seen.at(-1)!.type]).toEqual([0, last[i]]);
  }
});

test("a call that the answer ended within is an error that shows what there is of it", async () => {
  const call = { id: "c", name: "add", arguments: '{"a": 1', json: '{"a": 1', incomplete: true } as const;
  const pieces = [{ toolCall: { index: 0, id: "c", name: "add", argumentsDelta: '{"a": 1' } }];
  const { parts } = await messageOf(uiChunks(answerOf(pieces, { toolCalls: [call], finishReason: "length" }), { messageId: "m" }));
  expect(parts.at(-1)).toMatchObject({ type: "dynamic-tool", state: "output-error", errorText: "The answer ended within this call." });
});

const text = fc.string({ maxLength: 4 });
/** A call with its arguments in two pieces, run or not. */
const calls = fc.record({
  name: fc.constantFrom("add", "paint"),
  input: fc.dictionary(text, text),
  end: fc.constantFrom("none", "result", "error"),
});
const pieces = fc.oneof(
  text.map((text) => ({ text })),
  text.map((reasoning) => ({ reasoning })),
  calls.map((call) => ({ call })),
);
const ends = fc.constantFrom<Partial<Result> | Error>(
  {},
  { finishReason: "cancelled", cancelReason: new Error("stopped") },
  new Error("lost"),
);

type Tried = { text: string } | { reasoning: string } | { call: { name: string; input: object; end: string } };

/** A piece as parts of a stream: of a call first its arguments, in two pieces, and then what came of it. */
function partsOf(piece: Tried, round: number, index: number): Part[] {
  const part = (pieces: Part["pieces"], more: Partial<Part> = {}): Part => ({ text: "", ids: [], round, pieces, ...more });
  if (!("call" in piece)) return [part([piece])];
  const { name, input, end } = piece.call;
  const [id, json] = [`${round}-${index}`, JSON.stringify(input)];
  const begun = part([
    { toolCall: { index, id, name, argumentsDelta: json.slice(0, 3) } },
    { toolCall: { index, argumentsDelta: json.slice(3) } },
  ]);
  if (end === "none") return [begun];
  const outcome = end === "error" ? { error: new Error("wrong") } : { result: { done: true } };
  return [begun, part([], { toolResult: { id, name, arguments: input, ...outcome } as never })];
}

/** Without what the SDK guesses of arguments that are not whole, and a step that holds nothing yet, which it does not tell. */
function known(message: ChatMessage | undefined): ChatMessage | undefined {
  if (!message) return undefined;
  if (message.parts.at(-1)?.type === "step-start") return known({ ...message, parts: message.parts.slice(0, -1) });
  const isComing = (part: ChatMessage["parts"][number]) => part.type === "dynamic-tool" && part.state === "input-streaming";
  return { ...message, parts: message.parts.map((part) => (isComing(part) ? { ...part, input: undefined, rawInput: undefined } : part)) };
}

test("the whole of an answer is what the SDK makes of its chunks, wherever it ends", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(fc.array(pieces, { maxLength: 4 }), { minLength: 1, maxLength: 3 }), ends, async (rounds, end) => {
      const parts = rounds.flatMap((round, i) => round.flatMap((piece, j) => partsOf(piece, i, j)));
      // Nobody ran these of the last round.
      const toolCalls = rounds.at(-1)!.flatMap((piece, j) => {
        const isLeft = "call" in piece && piece.call.end === "none";
        return isLeft ? [{ id: `${rounds.length - 1}-${j}`, name: piece.call.name, arguments: piece.call.input }] : [];
      });
      const { result } = answerOf([], end instanceof Error ? end : { ...end, toolCalls: toolCalls as never });
      async function* stream() {
        yield* parts;
      }
      const chunks: UiChunk[] = [];
      for await (const chunk of uiChunks(Object.assign(stream(), { result }), { messageId: "m" })) chunks.push(chunk);
      for (let length = 0; length <= chunks.length; length++) {
        const some = chunks.slice(0, length);
        async function* sound() {
          yield* some.filter(({ type }) => type !== "error" && type !== "abort");
        }
        const [ours, theirs] = [known(wholeOf(some)), known(await messageOf(sound()))];
        if (ours) expect(ours).toEqual(theirs);
        else expect(theirs?.parts.filter(({ type }) => type !== "step-start") ?? []).toEqual([]);
      }
    }),
    { numRuns: 50 },
  );
});
