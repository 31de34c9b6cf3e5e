// The small model end to end: its published texts, sessions, and what callers may do wrong.

import { readFileSync } from "node:fs";
import { openWasmBackend, type WasmLevel } from "@jamba/backend-cpu";
import type { Backend } from "@jamba/core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { JambaModel, Message, WrappedTool } from "../src/index.ts";
import { loadModel } from "../src/index.ts";

let model: JambaModel;
beforeAll(async () => {
  // f32: the texts were written by f32 maths on the bf16 weights.
  model = await loadModel("tiny", { dtype: "f32" });
});
afterAll(() => model.dispose());

interface Expected {
  prompt?: string;
  messages?: Message[];
  tools?: WrappedTool[];
  documents?: unknown[];
  knobs?: Record<string, unknown>;
  promptIds: number[];
  newIds: number[];
  text: string;
}
const expected: Expected[] = readFileSync(new URL("../../../tooling/tiny-model/eval/expected.jsonl", import.meta.url), "utf8")
  .trim()
  .split("\n")
  .map((line) => JSON.parse(line));

const rows = expected.map((row, i) => [i, row] as const);
test.each(rows)("expected text %i is written token by token", (_, row) => expectText(model, row));

// engines.mjs names all modules that an engine runs.
describe.each((process.env.JAMBA_WASM_LEVELS ?? "simd128").split(",") as WasmLevel[])("on the module %s", (level) => {
  let own: JambaModel;
  let backend: Backend;
  beforeAll(async () => {
    backend = await openWasmBackend({ level, threads: 2 });
    own = await loadModel("tiny", { dtype: "f32", backend });
  });
  afterAll(async () => {
    await own.dispose();
    await backend.dispose();
  });

  test.each(rows)("expected text %i is written token by token", (_, row) => expectText(own, row));
});

async function expectText(model: JambaModel, row: Expected): Promise<void> {
  const { tools, documents, knobs } = row;
  const result = await model.generate(row.prompt ?? row.messages!, { maxTokens: 64, tools, documents, knobs });
  expect(result.ids).toEqual(row.newIds);
  expect(result.text).toBe(row.text);
  expect(result.usage).toMatchObject({ promptTokens: row.promptIds.length, completionTokens: row.newIds.length });
  const called = row.text.includes("<tool_calls>");
  expect(result.finishReason).toBe(row.newIds.length === 64 ? "length" : called ? "tool-calls" : "stop");
  expect(result.toolCalls.length > 0).toBe(called);
}

describe("generate", () => {
  const story = "Once upon a time";

  test("prompts as text and as ids give the same", async () => {
    const ids = model.tokenizer.encode(story, { addBos: true });
    expect((await model.generate(ids, { maxTokens: 5 })).ids).toEqual((await model.generate(story, { maxTokens: 5 })).ids);
  });

  test("same seed, same text; another seed, another; whatever runs beside it", async () => {
    const options = { maxTokens: 12, temperature: 0.9, seed: 11 };
    const alone = await model.generate(story, options);
    const beside = await Promise.all([
      model.generate("A fox", { maxTokens: 9 }),
      model.generate(story, options),
      model.generate(story, { ...options, seed: 12 }),
    ]);
    expect(beside[1].ids).toEqual(alone.ids);
    expect(beside[2].ids).not.toEqual(alone.ids);
  });

  test("a stream's parts add up to its result", async () => {
    const stream = model.stream(story, { maxTokens: 10 });
    const parts = [];
    for await (const part of stream) parts.push(part);
    const result = await stream.result;
    expect(parts.map((part) => part.text).join("")).toBe(result.text);
    expect(parts.flatMap((part) => part.ids)).toEqual(result.ids);
  });

  test("a result can be had without a loop, a second loop is refused", async () => {
    const stream = model.stream(story, { maxTokens: 3 });
    expect((await stream.result).ids.length).toBe(3);
    await expect(stream[Symbol.asyncIterator]().next()).rejects.toMatchObject({ code: "OPTION" });
  });

  test("leaving the loop cancels the answer and keeps what was said", async () => {
    const stream = model.stream(story, { maxTokens: 500 });
    for await (const part of stream) if (part.text) break;
    const result = await stream.result;
    expect(result.finishReason).toBe("cancelled");
    expect(result.ids.length).toBeLessThan(5);
  });

  test("stop texts end the answer before them", async () => {
    const result = await model.generate(story, { maxTokens: 60, stop: ["Alice", " lived ne"] });
    expect(result).toMatchObject({ text: ", a little girl named Ines", finishReason: "stop", stopString: " lived ne" });
  });

  describe("a cancelled answer has what there is and says why", () => {
    const reason = new Error("enough");

    test.each([false, true])("before the first token, which is nothing; throwOnCancel: %s", async (throwOnCancel) => {
      const controller = new AbortController();
      const long = model.generate(Array(3000).fill(throwOnCancel ? 500 : 501), { signal: controller.signal, throwOnCancel });
      setImmediate(() => controller.abort(reason));
      if (throwOnCancel) await expect(long).rejects.toBe(reason);
      else {
        const result = await long;
        expect(result).toMatchObject({ text: "", ids: [], finishReason: "cancelled", usage: { promptTokens: 3000, cachedTokens: 0 } });
        expect(result.cancelReason).toBe(reason);
      }
    });

    test.each([false, true])("after it; throwOnCancel: %s", async (throwOnCancel) => {
      const controller = new AbortController();
      let count = 0;
      const onToken = () => ++count === 4 && controller.abort(reason);
      const answer = model.generate(story, { maxTokens: 100, signal: controller.signal, onToken, throwOnCancel });
      if (throwOnCancel) await expect(answer).rejects.toBe(reason);
      else expect(await answer).toMatchObject({ finishReason: "cancelled", cancelReason: reason, ids: { length: 4 } });
    });

    test("with several answers too", async () => {
      const controller = new AbortController();
      const answers = model.generate(Array(3000).fill(502), { n: 2, signal: controller.signal });
      setImmediate(() => controller.abort(reason));
      const { choices, usage } = await answers;
      for (const { finishReason, cancelReason } of choices!) expect([finishReason, cancelReason]).toEqual(["cancelled", reason]);
      expect(usage).toEqual({ promptTokens: 3000, cachedTokens: 0, completionTokens: 0 });
    });

    test("by a signal that was aborted before the call throws at once", async () => {
      const signal = AbortSignal.abort(reason);
      await expect(model.generate(story, { signal })).rejects.toBe(reason);
      await expect(model.generate(story, { signal, n: 2 })).rejects.toBe(reason);
      await expect(model.stream(story, { signal })[Symbol.asyncIterator]().next()).rejects.toBe(reason);
    });
  });

  test("logprobs are those of the tokens drawn, best alternative first", async () => {
    const { ids, text, logprobs } = await model.generate(story, { maxTokens: 3, topLogprobs: 2 });
    expect(logprobs!.map(({ id }) => id)).toEqual(ids);
    expect(logprobs!.map(({ text }) => text).join("")).toBe(text);
    for (const { top, ...own } of logprobs!) {
      expect(top[0]).toEqual(own);
      expect(top[0].logprob).toBeGreaterThanOrEqual(top[1].logprob);
    }
    const score = await model.score(story, ids);
    expect(score.tokens.map(({ logprob }) => logprob)).toEqual(logprobs!.map(({ logprob }) => expect.closeTo(logprob, 5)));
  });

  test("maxTokens 0 reads nothing and says so", async () => {
    expect(await model.generate(story, { maxTokens: 0 })).toMatchObject({ text: "", ids: [], finishReason: "length" });
  });

  test("ignoreEos goes on", async () => {
    const greeting = { messages: [{ role: "user", content: "Who are you?" }] as Message[] };
    expect((await model.generate(greeting.messages, { maxTokens: 40 })).finishReason).toBe("stop");
    expect((await model.generate(greeting.messages, { maxTokens: 40, ignoreEos: true })).ids.length).toBe(40);
  });

  test.each([
    ["an unknown option", { maxToken: 3 }, "OPTION", /did you mean maxTokens/],
    ["a snake_case option", { max_tokens: 3 }, "OPTION", /did you mean maxTokens/],
    ["a negative temperature", { temperature: -1 }, "OPTION", /temperature: expected a number in/],
    ["a bigint", { maxTokens: 5n }, "OPTION", /maxTokens: expected an integer in .*, found 5$/],
    ["null", null, "OPTION", /options: expected an object, found null/],
    ["an empty stop text", { stop: "" }, "OPTION", /stop/],
    ["a format of no known type", { format: { type: "xml" } }, "OPTION", /format: expected/],
    ["a schema that can't be kept", { format: { type: "json", strict: true, schema: { uniqueItems: true } } }, "OPTION", /uniqueItems/],
    ["a forced tool without tools", { toolChoice: "required" }, "OPTION", /toolChoice: expected tools/],
  ])("%s is refused", async (_, options, code, message) => {
    await expect(model.generate(story, options as never)).rejects.toMatchObject({
      code,
      message: expect.stringMatching(message),
    });
  });

  test.each([
    ["no tokens", [], "OPTION"],
    ["an id beyond the vocabulary", [1, 2048], "SHAPE"],
    ["a negative id", [1, -1], "SHAPE"],
    ["a role that there isn't", [{ role: "robot", content: "x" }], "TOKENIZER"],
    ["a message without shape", [{ role: "user", content: 7 }], "TOKENIZER"],
    ["a number", 7, "OPTION"],
  ])("a prompt of %s is refused", async (_, prompt, code) => {
    await expect(model.generate(prompt as never, { maxTokens: 1 })).rejects.toMatchObject({ code });
  });
});

describe("forward", () => {
  const ids = [1, 845, 598, 406, 564, 288, 406, 812];

  test("shapes are those of the tokens read", async () => {
    const { dModel, nLayers, vocabSize } = model.config;
    const { logits, hidden, routes, state } = await model.forward(ids, { logits: "all", hidden: true, routes: true });
    expect(logits.dims).toEqual([8, vocabSize]);
    expect(hidden!.map((h) => h.dims)).toEqual(Array(nLayers + 1).fill([8, dModel]));
    expect(routes!.map((route) => route?.experts.dims)).toEqual(model.config.ffnKinds.map((kind) => (kind === "moe" ? [8, 2] : undefined)));
    expect([state.seen, state.ids]).toEqual([8, ids]);
    state.dispose();
  });

  test("a state is a value: it can be gone on from twice, forked, exported and imported", async () => {
    const first = await model.forward(ids.slice(0, 5));
    const whole = await model.forward(ids);
    const fork = await first.state.fork();
    const host = await first.state.export();
    for (const state of [first.state, first.state, fork, host]) {
      const rest = await model.forward(ids.slice(5), { state });
      expect(rest.logits.data).toEqual(whole.logits.data);
      expect(rest.state.seen).toBe(8);
      rest.state.dispose();
    }
    for (const state of [first.state, whole.state, fork]) state.dispose();
    await expect(model.forward([1], { state: fork })).rejects.toMatchObject({ code: "DISPOSED" });
  });

  test("forks that share a page do not write into each other", async () => {
    const base = await model.forward(ids);
    const [a, b] = [
      await model.forward([500, 501, 502], { state: base.state }),
      await model.forward([700, 701, 702], { state: base.state }),
    ];
    const [afterA, aloneA] = [await model.forward([9], { state: a.state }), await model.forward([...ids, 500, 501, 502, 9])];
    expect(afterA.logits.data).toEqual(aloneA.logits.data);
    for (const { state } of [base, a, b, afterA, aloneA]) state.dispose();
  });

  test("an unknown option or kind of logits is refused", async () => {
    await expect(model.forward(ids, { logits: "first" as never })).rejects.toMatchObject({ code: "OPTION" });
    await expect(model.forward(ids, { hiden: true } as never)).rejects.toMatchObject({
      code: "OPTION",
      message: expect.stringMatching(/hidden/),
    });
  });

  test("a state of another model is refused", async () => {
    const other = await loadModel("tiny");
    const { state } = await other.forward([1]);
    await expect(model.forward([1], { state })).rejects.toMatchObject({ code: "SESSION_MISMATCH" });
    const host = await state.export();
    await expect(model.forward([1], { state: { ...host, layers: host.layers.slice(1) } })).rejects.toMatchObject({ code: "SHAPE" });
    await other.dispose();
    await expect(other.forward([1])).rejects.toMatchObject({ code: "DISPOSED" });
  });
});

describe("sessions", () => {
  const ask = "Write a story about Mia and a fox.";

  test("each turn reads only what is new, and says what it would say from scratch", async () => {
    const own = await loadModel("tiny", { cache: { bytes: 0 } });
    const session = own.session({ system: "You are a helpful assistant." });
    const turns = [ask, "Who is Mia?", "Tell me a story about a bell."];
    for (const [i, turn] of turns.entries()) {
      const fresh = await own.generate([...session.messages, { role: "user", content: turn }], { maxTokens: 20 });
      const before = session.tokens.length;
      const kept = await session.send(turn, { maxTokens: 20 });
      expect(kept.text).toBe(fresh.text);
      expect(kept.usage.cachedTokens).toBe(before);
      expect(before > 0).toBe(i > 0);
    }
    expect(session.messages.map(({ role }) => role)).toEqual(["system", "user", "assistant", "user", "assistant", "user", "assistant"]);
    await own.dispose();
  });

  test("a fork goes its own way", async () => {
    const session = model.session();
    await session.send(ask, { maxTokens: 10 });
    const fork = await session.fork();
    const [a, b] = [await session.send("Who is Mia?", { maxTokens: 8 }), await fork.send("Who are you?", { maxTokens: 8 })];
    expect(a.text).not.toBe(b.text);
    expect(b.usage.cachedTokens).toBeGreaterThan(0);
    expect(session.messages[2].content).toBe("Who is Mia?");
    expect(fork.messages[2].content).toBe("Who are you?");
    await Promise.all([session.dispose(), fork.dispose()]);
  });

  test("tool calls and their results go through a session", async () => {
    const row = expected.find(({ text }) => text.includes("<tool_calls>"))!;
    const session = model.session({ tools: row.tools });
    const called = await session.send(row.messages!, { maxTokens: 64 });
    expect(called.finishReason).toBe("tool-calls");
    expect(session.messages.at(-1)).toMatchObject({ role: "assistant", content: "", toolCalls: called.toolCalls });
    const answer = await session.send([{ role: "tool", content: "done" }], { maxTokens: 10 });
    expect(answer.usage.cachedTokens).toBeGreaterThan(called.usage.promptTokens);
    await session.dispose();
  });

  test("a refused turn leaves the session as it was, and the next one works", async () => {
    const session = model.session();
    await session.send(ask, { maxTokens: 5 });
    const before = [session.messages.length, session.tokens.length];
    await expect(session.send([{ role: "robot" } as never])).rejects.toMatchObject({ code: "TOKENIZER" });
    await expect(session.send("x", { signal: AbortSignal.abort() })).rejects.toMatchObject({ name: "AbortError" });
    expect([session.messages.length, session.tokens.length]).toEqual(before);
    expect((await session.send("Who is Mia?", { maxTokens: 5 })).usage.cachedTokens).toBe(before[1]);
    await session.dispose();
    await expect(session.send("x")).rejects.toMatchObject({ code: "DISPOSED" });
  });

  test("a stream that nobody reads holds up no later turn", async () => {
    const session = model.session();
    session.stream("never read");
    expect((await session.send("Who are you?", { maxTokens: 3 })).usage.completionTokens).toBe(3);
    expect(session.messages.length).toBe(2);
    await session.dispose();
  });

  test("turns sent together are answered in order", async () => {
    const session = model.session();
    await Promise.all([session.send("Who are you?", { maxTokens: 3 }), session.send(ask, { maxTokens: 3 })]);
    expect(session.messages.map(({ content }) => content)).toEqual(["Who are you?", expect.any(String), ask, expect.any(String)]);
    await session.dispose();
  });

  test("a conversation that changes at its beginning is a cache miss with a reason", async () => {
    const own = await loadModel("tiny");
    const session = own.session({ system: "You are a helpful assistant." });
    await session.send(ask, { maxTokens: 3 });
    const tools = [{ name: "find", description: "Finds things.", parameters: {} }];
    const missed = await session.send("Who is Mia?", { maxTokens: 3, tools });
    expect(missed.cacheMissReason).toMatch(/^differs from the cached conversation at token \d+ of \d+, inside message \d$/);
    const hit = await session.send("And Sam?", { maxTokens: 3, tools });
    expect([hit.cacheMissReason, 2 * hit.usage.cachedTokens > hit.usage.promptTokens]).toEqual([undefined, true]);
    await own.dispose();
  });

  test("what is rewound is said no more, and what stays is not read again", async () => {
    const session = model.session();
    await session.send(ask, { maxTokens: 10 });
    const first = await session.send("Who is Mia?", { maxTokens: 6 });
    await session.rewind(2);
    expect(session.messages.length).toBe(2);
    const edited = await session.send("Who is Sam?", { maxTokens: 6 });
    expect(edited.usage.cachedTokens).toBeGreaterThan(edited.usage.promptTokens / 2);
    await session.rewind(2);
    const again = await session.send("Who is Mia?", { maxTokens: 6 });
    expect([again.text, again.usage.cachedTokens]).toEqual([first.text, again.usage.promptTokens]);
    await session.rewind(3);
    expect((await session.send([], { maxTokens: 6 })).text).toBe(first.text);
    await expect(session.rewind(5)).rejects.toMatchObject({ code: "OPTION" });
    await session.dispose();
  });
});

test("a context that is full says so with code CONTEXT_FULL, and the model goes on", async () => {
  const small = await loadModel("tiny", { contextLength: 12 });
  await expect(small.generate(Array(13).fill(500))).rejects.toMatchObject({ code: "CONTEXT_FULL" });
  // Counted before they are looked at: millions of them would hold the process.
  await expect(small.generate(Array(13).fill(-1))).rejects.toMatchObject({ code: "CONTEXT_FULL" });
  await expect(small.score([5], Array(12).fill(-1))).rejects.toMatchObject({ code: "CONTEXT_FULL" });
  const result = await small.generate("Once upon a time", { maxTokens: 100 });
  expect(result).toMatchObject({ finishReason: "length", ids: { length: 8 } });
  await small.dispose();
});

test("embeddings are one row per text, and alike for texts that are", async () => {
  const { dims, data } = await model.embed(["a green ring", "a green bell", "<tool_calls>[{}]"]);
  expect(dims).toEqual([3, 192]);
  const row = (i: number) => (data as Float32Array).subarray(i * 192, (i + 1) * 192);
  const cosine = (a: Float32Array, b: Float32Array) => {
    const dot = (x: Float32Array, y: Float32Array) => x.reduce((sum, v, i) => sum + v * y[i], 0);
    return dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b));
  };
  expect(cosine(row(0), row(1))).toBeGreaterThan(cosine(row(0), row(2)));
});

test("nothing is left behind: after all of this no slot and no page is in use", async () => {
  const own = await loadModel("tiny");
  const floor = own.memory().weightBytes;
  const session = own.session();
  await Promise.all([
    own.generate("a", { maxTokens: 2 }),
    session.send("Who are you?", { maxTokens: 2 }),
    own.score("a", " b"),
    own.embed("x"),
  ]);
  await Promise.allSettled([own.generate([5000]), own.generate("a", { signal: AbortSignal.abort() })]);
  const stream = own.stream("Once", { maxTokens: 50 });
  for await (const _ of stream) break;
  await session.dispose();
  expect(own.inUse()).toEqual({ slots: 0, pages: 0 });
  expect(own.memory().weightBytes).toBe(floor);
  await own.dispose();
  expect(own.memory()).toMatchObject({ weightBytes: 0, stateBytes: 0 });
});
