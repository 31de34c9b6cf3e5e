// What is only read: scores of continuations, embeddings, counts of tokens.

import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { type JambaModel, loadModel, type Message, type TextOrIds } from "../src/index.ts";
import { cpuAbsent, goldenFolder } from "./golden.ts";

let model: JambaModel;
beforeAll(async () => {
  if (!cpuAbsent) model = await loadModel("tiny", { backend: "cpu", cache: { bytes: 0 } });
});
afterAll(() => model?.dispose());
beforeEach(({ skip }) => {
  if (cpuAbsent) skip(cpuAbsent);
});

const prompt = "Once upon a time, a little girl named Mia lived near the farm. One day, she met";
const idle = () => {
  expect(model.inUse()).toEqual({ slots: 0, pages: 0 });
  expect(model.calls()).toEqual({ running: 0, waiting: 0 });
};
/** Tokens that the model read meanwhile. */
async function tokensRead<T>(act: () => Promise<T>): Promise<[T, number]> {
  const before = model.steps().tokens;
  const found = await act();
  return [found, model.steps().tokens - before];
}

describe("score", () => {
  const idsOf = (text: string) => model.tokenizer.encode(text);

  test("several continuations have the scores that each has alone, and the prompt is read once", async () => {
    const long = Array.from({ length: 150 }, (_, i) => 300 + ((i * i * 31) % 1700));
    for (const [before, list] of [
      [prompt, [" a fox.", " a big owl who could sing.", " her"]],
      [prompt, [" a", " the", " her", " Tom"]], // as questions with letters for answers have
      [[5], [[7, 8, 9], [7], [10, 8]]],
      [long, [[400], long, long.slice(0, 30), " and then"]],
      [prompt, [""]],
      [prompt, [" a fox."]],
      [prompt, [" a fox.", " a fox.", "", " a fox.", idsOf(" a fox.")]],
      [prompt, ["", ""]],
    ] as const) {
      const alone = [];
      for (const one of list) alone.push(await model.score(before, one));
      const [together, read] = await tokensRead(() => model.score(before, list));
      expect(together).toEqual(alone);
      const different = new Map(list.map((one) => (typeof one === "string" ? idsOf(one) : one)).map((ids) => [ids.join(), ids.length]));
      different.delete("");
      const promptTokens = typeof before === "string" ? model.countTokens(before) : before.length;
      // The last token of each is not read: no row after it is wanted.
      const rest = [...different.values()].reduce((sum, count) => sum + count - 1, 0);
      expect(read).toBe(different.size === 0 ? 0 : promptTokens + rest);
    }
    idle();
  });

  test("it is the log probability of the same text drawn, with the text of each token", async () => {
    const { ids, logprobs } = await model.generate(prompt, { maxTokens: 5, logprobs: true });
    const { logprob, tokens } = await model.score(prompt, ids);
    expect(tokens).toEqual(logprobs!.map(({ top: _, ...one }) => ({ ...one, logprob: expect.closeTo(one.logprob, 5) })));
    expect(logprob).toBe(tokens.reduce((sum, one) => sum + one.logprob, 0));
    const accented = await model.score(prompt, " é");
    expect(accented.tokens.map(({ text }) => text)).toEqual([" ", "\ufffd", "\ufffd"]);
    expect(new TextDecoder().decode(Uint8Array.from(accented.tokens.flatMap(({ bytes }) => bytes)))).toBe(" é");
  });

  test("alternatives are the most probable tokens of the same row, best first, for one continuation and for several", async () => {
    const ids = [...idsOf(" a fox and"), 7, 1900];
    const { tokens } = await model.score(prompt, ids, { topLogprobs: 4 });
    const before = [...model.tokenizer.encode(prompt, { addBos: true })];
    const { logits, state } = await model.forward([...before, ...ids], { logits: "all" });
    state.dispose();
    const data = logits.data as Float32Array;
    const [, columns] = logits.dims;
    for (const [i, { id, logprob, top }] of tokens.entries()) {
      const row = data.subarray((before.length - 1 + i) * columns, (before.length + i) * columns);
      const sum = Math.log(row.reduce((sum, logit) => sum + Math.exp(logit - row[0]), 0)) + row[0];
      const best = Array.from(row, (logit, id) => ({ id, logprob: logit - sum })).sort((a, b) => b.logprob - a.logprob);
      expect(logprob).toBeCloseTo(row[id] - sum, 3);
      expect(top!.map((one) => one.id)).toEqual(best.slice(0, 4).map((one) => one.id));
      for (const [at, one] of top!.entries()) expect(one.logprob).toBeCloseTo(best[at].logprob, 3);
    }
    const [first, second] = await model.score(prompt, [ids, idsOf(" her")], { topLogprobs: 4 });
    expect(first.tokens.map(({ top }) => top!.map(({ id }) => id))).toEqual(tokens.map(({ top }) => top!.map(({ id }) => id)));
    expect(second.tokens[0].top).toEqual(first.tokens[0].top);
    expect((await model.score(prompt, ids)).tokens[0]).not.toHaveProperty("top");
    for (const options of [{ topLogprobs: -1 }, { topLogprobs: 1.5 }, { topLogprobs: 1000 }, { top: 3 }])
      await expect(model.score(prompt, ids, options as object)).rejects.toMatchObject({ code: "OPTION" });
    idle();
  });

  test("what was read is kept for later prompts if asked for, and dropped otherwise", async () => {
    await using keeper = await loadModel("tiny", { backend: "cpu" });
    const ids = keeper.tokenizer.encode(prompt, { addBos: true });
    const cachedAfter = async (options: object) => {
      keeper.clearCache();
      await keeper.score(ids.slice(0, 1), ids.slice(1), options);
      return (await keeper.generate(ids, { maxTokens: 1 })).usage.cachedTokens;
    };
    expect([await cachedAfter({}), await cachedAfter({ keep: true })]).toEqual([0, ids.length - 1]);
    keeper.clearCache();
    await keeper.score(ids, [" a", " her"], { keep: true });
    expect((await keeper.generate([...ids, 300], { maxTokens: 1 })).usage.cachedTokens).toBe(ids.length);
    expect(keeper.inUse()).toEqual({ slots: 0, pages: 0 });
  });

  test("a text is cut at the border, whatever the two would be together", async () => {
    const { tokens } = await model.score("Once upon a ti", "me");
    expect(tokens.map(({ text }) => text).join("")).toBe("me");
    expect(tokens.map(({ id }) => id)).toEqual(idsOf("me"));
  });

  test("without a continuation there is nothing to score", async () => {
    const nothing = { logprob: 0, tokens: [] };
    expect([await model.score(prompt, ""), await model.score(prompt, [])]).toEqual([nothing, nothing]);
  });

  test.each<[what: string, prompt: TextOrIds, list: readonly TextOrIds[], code: string]>([
    ["an id beyond the vocabulary at the end of one", [5], [[7], [8, 5000]], "SHAPE"],
    ["no id in one", [5], [[7], [8, 0.5]], "SHAPE"],
    ["neither text nor ids", [5], [[7], { text: "a" } as never], "OPTION"],
    ["undefined for one", [5], ["a", undefined as never], "OPTION"],
    ["no prompt", [], [[7], [8]], "OPTION"],
    ["one that is longer than the context", Array(262_000).fill(5), [[7], Array(1000).fill(5)], "CONTEXT_FULL"],
  ])("%s is refused before anything is read", async (_, before, list, code) => {
    const [error, read] = await tokensRead(() => model.score(before, list).catch((error) => error));
    expect([error.code, read]).toEqual([code, 0]);
    idle();
  });

  test("an abort while continuations are read rejects with its reason and leaves nothing behind", async () => {
    const before = Array.from({ length: 40 }, (_, i) => 300 + i);
    for (const tokens of [0, 20, 60, 100, 400]) {
      const stop = new AbortController();
      const reason = new Error("enough");
      const start = model.steps().tokens;
      if (tokens === 0) stop.abort(reason);
      const timer = setInterval(() => model.steps().tokens - start >= tokens && stop.abort(reason), 0);
      const list = Array.from({ length: 40 }, (_, i) => Array.from({ length: 60 }, (_, j) => 300 + ((i * 7 + j * 13) % 1000)));
      await expect(model.score(before, list, { signal: stop.signal })).rejects.toBe(reason);
      clearInterval(timer);
      idle();
    }
  });

  test("where one call runs at a time all are scored one after another", async () => {
    await using narrow = await loadModel("tiny", { backend: "cpu", limits: { sequences: 1 } });
    const list = [" a fox.", " an owl.", " her friend Tom."];
    expect(await narrow.score(prompt, list)).toEqual(await model.score(prompt, list));
    expect(narrow.inUse()).toEqual({ slots: 0, pages: 0 });
  });
});

describe("embed", () => {
  const lengthOf = (row: Float32Array) => Math.sqrt(row.reduce((sum, value) => sum + value * value, 0));

  test("each text has one vector of length 1, the direction of its mean hidden state, whatever is asked beside it", async () => {
    const { dModel, nLayers } = model.config;
    const texts = ["a green ring", "", "x", "Once upon a time. ".repeat(60), "é🦊", " ", "a green ring"];
    const { dims, data } = await model.embed(texts);
    expect(dims).toEqual([texts.length, dModel]);
    const rows = texts.map((_, i) => (data as Float32Array).subarray(i * dModel, (i + 1) * dModel));
    for (const [i, text] of texts.entries()) {
      expect(lengthOf(rows[i])).toBeCloseTo(1, 6);
      expect((await model.embed(text)).data).toEqual(rows[i]);
      const { hidden, state } = await model.forward(model.tokenizer.encode(text, { addBos: true }), { hidden: true });
      state.dispose();
      const mean = new Float32Array(dModel);
      for (const [at, value] of (hidden![nLayers].data as Float32Array).entries()) mean[at % dModel] += value;
      const cosine = mean.reduce((sum, value, at) => sum + value * rows[i][at], 0) / lengthOf(mean);
      expect(cosine).toBeCloseTo(1, 5);
    }
    expect(rows[6]).toEqual(rows[0]);
    expect((await model.embed([])).dims).toEqual([0, dModel]);
    idle();
  });

  test.each([[5], [undefined], [["a", 5]], [null]])("%j is refused with a code", async (texts) => {
    await expect(model.embed(texts as never)).rejects.toMatchObject({ code: expect.stringMatching(/OPTION|TOKENIZER/) });
    idle();
  });
});

describe("countTokens", () => {
  const tools = [{ type: "function", function: { name: "call_friend", description: "Call a friend", parameters: { type: "object" } } }];
  const documents = [{ title: "Foxes", text: "Foxes are red." }];
  const messages: Message[] = [
    { role: "system", content: "Be short." },
    { role: "user", content: "Who is Mia?" },
  ];

  test.each<[prompt: TextOrIds | readonly Message[], options: object]>([
    ["", {}],
    ["Once upon a time", {}],
    ["é🦊<|bom|>", {}],
    [[5, 6, 7], {}],
    [messages, {}],
    [messages, { tools }],
    [messages, { tools, toolChoice: "none" }],
    [messages, { documents }],
    [messages, { tools, documents, knobs: { response_format: "json_object" } }],
    [[...messages, { role: "assistant", content: "A girl." }, { role: "user", content: "And Tom?" }], { maxTokens: 5, temperature: 1 }],
  ])("%j with %j takes what generate reads", async (prompt, options) => {
    const { usage } = await model.generate(prompt, { maxTokens: 1, ...options });
    expect(model.countTokens(prompt, options)).toBe(usage.promptTokens);
  });

  test("nothing takes nothing, what can't be read is refused, and so are unknown options", () => {
    expect(model.countTokens([])).toBe(0);
    expect(() => model.countTokens(undefined as never)).toThrow(expect.objectContaining({ code: "OPTION" }));
    expect(() => model.countTokens([{ role: "robot", content: "x" } as never])).toThrow(expect.objectContaining({ code: "TOKENIZER" }));
    expect(() => model.countTokens("x", { tool: [] } as never)).toThrow(expect.objectContaining({ code: "OPTION" }));
  });

  test("ids need no tokenizer, texts do", async () => {
    await using bare = await loadModel(goldenFolder("base"), { backend: "cpu" });
    expect(bare.countTokens([1, 2, 3])).toBe(3);
    expect(() => bare.countTokens("x")).toThrow(expect.objectContaining({ code: "TOKENIZER" }));
    const { logprobs } = await bare.generate([1, 2, 3], { maxTokens: 1, ignoreEos: true, topLogprobs: 2 });
    expect(logprobs![0]).toMatchObject({ text: "", bytes: [], top: [{ text: "" }, { text: "" }] });
    expect((await bare.score([1, 2], [3, 4])).tokens.map(({ text }) => text)).toEqual(["", ""]);
  });
});
