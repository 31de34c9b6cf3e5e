// Calls that share steps and states: each gives what it gives alone, takes its turn, and leaves nothing behind.

import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { type GenerateOptions, type JambaModel, loadModel, type Message, type Part, type Prompt, type Result } from "../src/index.ts";
import { backends, cpuAbsent } from "./golden.ts";

const essence = ({ text, ids, finishReason, stopString, logprobs }: Result) => ({ text, ids, finishReason, stopString, logprobs });
const asked = (text: string): Message[] => [{ role: "user", content: text }];
const readTokens = (results: readonly Result[]) => results.reduce((sum, { usage }) => sum + usage.promptTokens - usage.cachedTokens, 0);
/** Some prompt that no other call has. */
const idsOf = (count: number, seed: number) => Array.from({ length: count }, (_, i) => 300 + ((i * i * 31 + i * 7 + seed * 101) % 1700));
const settled = () => new Promise((resolve) => setTimeout(resolve, 5));

const calls: readonly [Prompt, GenerateOptions][] = [
  ["Once upon a time", { maxTokens: 24, topLogprobs: 2 }],
  ["Once upon a time", { maxTokens: 20, temperature: 0.9, seed: 3 }],
  ["Once upon a time", { maxTokens: 24, temperature: 1.2, seed: 4, topK: 20, repetitionPenalty: 1.3 }],
  [asked("Who are you?"), { maxTokens: 24 }],
  [asked("Tell me a story about a fox."), { maxTokens: 24, temperature: 0.7, seed: 5, frequencyPenalty: 0.5, stop: ["day", " Su"] }],
  [idsOf(150, 1), { maxTokens: 3, ignoreEos: true, logprobs: true }],
  [idsOf(530, 2), { maxTokens: 8, ignoreEos: true, logitBias: { 290: -5 } }],
  [[...idsOf(150, 1), 400, 401, 402], { maxTokens: 1, topLogprobs: 3 }],
];

describe.each(backends)("on $name", ({ name: backend, absent }) => {
  test("requests together give exactly what each gives alone", async ({ skip }) => {
    if (absent) skip(absent);
    await using alone = await loadModel("tiny", { backend, cache: { bytes: 0 } });
    await using model = await loadModel("tiny", { backend });
    const small = backend === "reference";
    const some = small ? calls.slice(0, 3).map(([prompt, options]) => [prompt, { ...options, maxTokens: 3 }] as const) : calls;
    const expected = [];
    for (const [prompt, options] of some) expected.push(essence(await alone.generate(prompt, options)));
    const together = await Promise.all(some.map(([prompt, options]) => model.generate(prompt, options)));
    expect(together.map(essence)).toEqual(expected);
    // And once more, where everything is known.
    const again = await Promise.all(some.map(([prompt, options]) => model.generate(prompt, options)));
    expect(again.map(essence)).toEqual(expected);
    for (const { usage } of again) expect(usage.cachedTokens).toBe(usage.promptTokens);
    expect([model.inUse(), alone.inUse(), alone.cached()]).toEqual([
      { slots: 0, pages: 0 },
      { slots: 0, pages: 0 },
      { states: 0, bytes: 0 },
    ]);
  });
});

describe("on cpu", () => {
  let plain: JambaModel;
  let model: JambaModel;
  beforeAll(async () => {
    if (cpuAbsent) return;
    plain = await loadModel("tiny", { backend: "cpu", cache: { bytes: 0 } });
    model = await loadModel("tiny", { backend: "cpu" });
  });
  afterAll(() => Promise.all([plain?.dispose(), model?.dispose()]));
  beforeEach(({ skip }) => {
    if (cpuAbsent) skip(cpuAbsent);
    model.clearCache();
  });
  const idle = (of: JambaModel = model) => {
    expect(of.inUse()).toEqual({ slots: 0, pages: 0 });
    expect(of.calls()).toEqual({ running: 0, waiting: 0 });
  };

  describe("what is shared", () => {
    test("n reads the prompt once, and each choice is the call alone with its seed", async () => {
      const options = { maxTokens: 10, temperature: 1, seed: 40, repetitionPenalty: 1.2, logitBias: { 290: -3 }, topLogprobs: 2 };
      for (const prompt of [idsOf(300, 10), asked("Tell me of the fox and the owl.")]) {
        const { choices, usage } = await model.generate(prompt, { ...options, n: 4 });
        for (const [i, choice] of choices!.entries()) {
          expect(essence(choice)).toEqual(essence(await plain.generate(prompt, { ...options, seed: 40 + i })));
        }
        expect(choices!.map(({ usage }) => usage.cachedTokens)).toEqual([0, ...Array(3).fill(usage.promptTokens)]);
        expect(new Set(choices!.map(({ text }) => text)).size).toBeGreaterThan(1);
      }
      idle();
    });

    test("n within limits that let one in at a time gives the same", async () => {
      await using narrow = await loadModel("tiny", { backend: "cpu", limits: { sequences: 1 } });
      const options = { maxTokens: 6, temperature: 1, seed: 7, n: 3 };
      const stream = narrow.stream("The fox", options);
      const parts: Part[] = [];
      for await (const part of stream) parts.push(part);
      const choices = (await stream.result).choices!;
      const { steps, sequences, tokens } = narrow.steps();
      const read = choices.map(({ usage }) => usage.promptTokens - usage.cachedTokens + usage.completionTokens - 1);
      expect([sequences, tokens]).toEqual([steps, read.reduce((a, b) => a + b)]);
      // Each tells of its end before the next begins.
      expect(parts.map(({ index }) => index)).toEqual(parts.map(({ index }) => index).sort());
      for (const [i, choice] of choices.entries()) {
        const own = parts.filter(({ index }) => index === i);
        expect(own.map(({ result }) => result)).toEqual([...own.slice(1).fill(undefined as never), choice]);
        expect(own.map(({ text }) => text).join("")).toBe(choice.text);
      }
      const before = model.steps();
      expect(choices.map(essence)).toEqual((await model.generate("The fox", options)).choices!.map(essence));
      expect(model.steps().sequences - before.sequences).toBeGreaterThan(model.steps().steps - before.steps);
      idle(narrow);
    });

    test("a prompt that many ask for together is read once, and what many share is read once", async () => {
      const base = idsOf(600, 11);
      const same = await Promise.all([1, 2, 3, 4].map((seed) => model.generate(base, { maxTokens: 2, temperature: 1, seed })));
      expect(readTokens(same)).toBe(base.length);
      model.clearCache();
      const prompts = [0, 1, 2, 3, 4].map((i) => [...base, ...idsOf(20 + i, 12 + i)]);
      const apart = await Promise.all(prompts.map((ids) => model.generate(ids, { maxTokens: 2 })));
      expect(readTokens(apart)).toBe(base.length + prompts.reduce((sum, ids) => sum + ids.length - base.length, 0));
      for (const [i, ids] of prompts.entries()) expect(apart[i].ids).toEqual((await plain.generate(ids, { maxTokens: 2 })).ids);
      model.clearCache();
      // One that ends in the middle of another reads its last token itself: there are no logits there.
      const within = await Promise.all([base, base.slice(0, 450)].map((ids) => model.generate(ids, { maxTokens: 2 })));
      expect(readTokens(within)).toBe(base.length + 1);
      idle();
    });

    test("with prompts that end in and part from one another anywhere, texts and log probabilities are those without a cache", async () => {
      const base = idsOf(300, 20);
      const options = { maxTokens: 5, topLogprobs: 3, ignoreEos: true };
      const prompts = [300, 1, 299, 64, 65, 128, 257].flatMap((at) => [base.slice(0, at), [...base.slice(0, at), 500, 501, 502]]);
      const expected = [];
      for (const ids of prompts) expected.push(essence(await plain.generate(ids, options)));
      const together = await Promise.all(prompts.map((ids) => model.generate(ids, options)));
      expect(together.map(essence)).toEqual(expected);
      for (const [i, ids] of prompts.entries()) expect(essence(await model.generate(ids, options))).toEqual(expected[i]);
      model.clearCache();
      for (const [i, ids] of [...prompts.entries()].reverse()) expect(essence(await model.generate(ids, options))).toEqual(expected[i]);
      idle();
    });

    test("the first of those who read together may give up: the others get all of it", async () => {
      const ids = idsOf(800, 21);
      const expected = await plain.generate(ids, { maxTokens: 3 });
      for (const ms of [0, 5, 30]) {
        model.clearCache();
        const stop = new AbortController();
        const first = model.generate(ids, { maxTokens: 3, signal: stop.signal }).catch((error) => error);
        const others = [1, 2].map(() => model.generate(ids, { maxTokens: 3 }));
        const shorter = model.generate(ids.slice(0, 700), { maxTokens: 1 });
        setTimeout(() => stop.abort(new Error("enough")), ms);
        for (const { ids } of await Promise.all(others)) expect(ids).toEqual(expected.ids);
        await Promise.all([first, shorter]);
        idle();
      }
    });

    test("why a prompt was not there already is said in words that fit", async () => {
      const options = { maxTokens: 1 };
      const reason = async (ids: readonly number[]) => (await model.generate(ids, options)).cacheMissReason;
      const [base, other] = [idsOf(600, 30), idsOf(600, 31)];
      expect(await reason(base)).toBe("nothing that begins like this was read before");
      expect(await reason(base)).toBeUndefined();
      expect(await reason([...base, 500])).toBeUndefined();
      expect(await reason([...base, 500, ...other, ...other])).toBe("only the first 601 of 1,801 tokens were read before");
      expect(await reason([...base.slice(0, 40), ...other])).toBe(
        "differs from the cached conversation at token 40 of 640, inside message 1",
      );
      // A prefix of what was read differs from nothing.
      const prefix = await reason(base.slice(0, 30));
      expect(prefix).toBe("all 30 tokens were read before, but no state was kept among them");
      await using small = await loadModel("tiny", { backend: "cpu", cache: { bytes: 0 } });
      await small.generate(base, options);
      expect((await small.generate(base, options)).cacheMissReason).toBe(
        "the first 600 of 600 tokens were read before, but their states were dropped to stay within cache.bytes = 0",
      );
    });

    test("cache.bytes = 0 keeps nothing but what sessions hold", async () => {
      const session = plain.session();
      await session.send("Who are you?", { maxTokens: 12 });
      const { usage } = await session.send("Tell me more.", { maxTokens: 4 });
      expect(usage.cachedTokens).toBeGreaterThan(usage.promptTokens / 2);
      expect(plain.cached()).toEqual({ states: 0, bytes: 0 });
      expect(plain.inUse().slots).toBe(1);
      await session.dispose();
      idle(plain);
    });

    test("cache.bytes holds whatever is asked for", async () => {
      const bytes = 2_000_000;
      await using small = await loadModel("tiny", { backend: "cpu", cache: { bytes } });
      for (let i = 0; i < 4; i++) {
        await Promise.all([1, 2, 3].map((j) => small.generate(idsOf(90 * j, 40 + 3 * i + j), { maxTokens: 2 })));
        expect(small.cached().bytes).toBeLessThanOrEqual(bytes);
        expect(small.cached().states).toBeGreaterThan(0);
        idle(small);
      }
    });
  });

  describe("promptLookup", () => {
    const list = "red fox, blue owl, green frog, red fox, blue owl, green frog, red fox, blue owl,";
    const options: readonly GenerateOptions[] = [
      {},
      { topLogprobs: 2 },
      { temperature: 0.8, seed: 1 },
      { temperature: 1.5, seed: 2, minP: 0.02 },
      { repetitionPenalty: 1.2 },
      { presencePenalty: 1, frequencyPenalty: 0.3, temperature: 0.5, seed: 3 },
      { dry: { multiplier: 0.5 } },
      { stop: ["fr", "blue fox"] },
      { maxTokens: 1 },
      { maxTokens: 2 },
    ];

    const expected = new Map<string, unknown>();

    test.each([{}, { maxTokens: 1 }, { maxTokens: 3, ngram: 1 }, { maxTokens: 20, ngram: 2 }])(
      "%j gives identical answers",
      async (promptLookup) => {
        const counts = { drafted: 0, accepted: 0 };
        for (const [at, prompt] of [list, asked(`Repeat: ${list}`)].entries()) {
          for (const given of options) {
            const all = { maxTokens: 20, ignoreEos: true, ...given };
            const name = JSON.stringify([at, given]);
            if (!expected.has(name)) expected.set(name, essence(await plain.generate(prompt, all)));
            const { speculation, ...found } = await model.generate(prompt, { ...all, promptLookup });
            expect(essence(found)).toEqual(expected.get(name));
            expect(speculation!.accepted).toBeLessThanOrEqual(Math.min(speculation!.drafted, found.ids.length));
            counts.drafted += speculation!.drafted;
            counts.accepted += speculation!.accepted;
          }
        }
        expect(counts.accepted).toBeGreaterThan(10);
        idle();
      },
    );

    test("beside others, up to the end of the context, and into the next turn of a session", async () => {
      await using short = await loadModel("tiny", { backend: "cpu", contextLength: 60 });
      const all = { maxTokens: 100, ignoreEos: true };
      const expected = await short.generate(list, all);
      expect(expected.finishReason).toBe("length");
      const found = await Promise.all([1, 2, 3].map(() => short.generate(list, { ...all, promptLookup: { ngram: 1, maxTokens: 20 } })));
      for (const one of found) expect(one.ids).toEqual(expected.ids);
      const [session, other] = [model.session(), model.session()];
      for (const text of [`Repeat: ${list}`, "Again!", "And again."]) {
        const turn = await session.send(text, { maxTokens: 20, promptLookup: { ngram: 1 } });
        expect(turn.ids).toEqual((await other.send(text, { maxTokens: 20 })).ids);
      }
      await Promise.all([session.dispose(), other.dispose()]);
      idle();
    });
  });

  describe("cancelling", () => {
    const reason = new Error("enough");

    test.each([
      ["a new prompt", () => idsOf(90, Math.floor(Math.random() * 1e6)), {}],
      ["a prompt that is there already", () => idsOf(90, 50), {}],
      ["a long prompt", () => idsOf(600, Math.floor(Math.random() * 1e6)), {}],
      ["an answer with drafts", () => idsOf(90, 50), { promptLookup: { ngram: 1 } }],
    ] as const)("%s: it ends with what there is, and the reason", async (_, ids, more) => {
      await model.generate(idsOf(90, 50), { maxTokens: 1 });
      let empty = 0;
      for (let turns = 0; turns < 400; turns = Math.ceil(turns * 1.1 + 1)) {
        const stop = new AbortController();
        let tokens = 0;
        let tokensAtAbort = -1;
        const call = model.generate(ids(), { maxTokens: 12, ignoreEos: true, signal: stop.signal, onToken: () => tokens++, ...more });
        // Not by the clock: after so many turns of promises, and then of the event loop.
        for (let i = 0; i < turns; i++) await (i < 60 ? undefined : new Promise((resolve) => setImmediate(resolve)));
        tokensAtAbort = tokens;
        stop.abort(reason);
        const found = await call;
        if (tokensAtAbort < 12) {
          expect([found.finishReason, found.cancelReason], `after ${turns} turns`).toEqual(["cancelled", reason]);
          // The token that was on its way may come, but none begins an answer.
          expect(found.ids.length).toBeLessThanOrEqual(tokensAtAbort && tokensAtAbort + 1);
          if (tokensAtAbort === 0) empty++;
        } else expect(found.finishReason).toBe("length");
        idle();
      }
      expect(empty).toBeGreaterThan(0);
    });

    test("a timeout is such an abort", async () => {
      const early = await model.generate(idsOf(3000, 51), { timeoutMs: 1 });
      expect(early).toMatchObject({ finishReason: "cancelled", cancelReason: { name: "TimeoutError" }, ids: [] });
      const late = await model.generate("Once upon a time", { timeoutMs: 100, maxTokens: 100_000, ignoreEos: true });
      expect(late.finishReason).toBe("cancelled");
      expect((await model.generate("Once", { timeoutMs: 60_000, maxTokens: 2 })).finishReason).toBe("length");
      idle();
    });

    test("in line it lets go at once, and those behind it in", async () => {
      await using narrow = await loadModel("tiny", { backend: "cpu", limits: { sequences: 1 } });
      const first = narrow.generate("Once upon a time", { maxTokens: 40, ignoreEos: true });
      const stop = new AbortController();
      const second = narrow.generate("The fox", { maxTokens: 5, signal: stop.signal });
      const third = narrow.generate("The owl", { maxTokens: 5 });
      await settled();
      expect(narrow.calls()).toEqual({ running: 1, waiting: 2 });
      stop.abort(reason);
      expect((await second).cancelReason).toBe(reason);
      expect(narrow.calls()).toEqual({ running: 1, waiting: 1 });
      expect((await first).ids.length).toBe(40);
      expect((await third).ids).toEqual((await plain.generate("The owl", { maxTokens: 5 })).ids);
      idle(narrow);
    });
  });

  describe("limits", () => {
    test("whoever reads what a call of higher priority waits for goes first with it", async () => {
      const order: string[] = [];
      const call = (name: string, ids: readonly number[], priority: number) =>
        model.generate(ids, { maxTokens: 1, priority }).then(() => order.push(name));
      const shared = idsOf(1200, 55);
      await Promise.all([call("low", shared, -10), call("plain", idsOf(2000, 56), 0), settled().then(() => call("high", shared, 10))]);
      expect(order).toEqual(["low", "high", "plain"]);
      idle();
    });

    test("one sequence at a time serialises calls: priority first, then who is due", async () => {
      await using narrow = await loadModel("tiny", { backend: "cpu", limits: { sequences: 1 } });
      const order: string[] = [];
      const promptOf = (name: string) => [500, ...Buffer.from(name.padEnd(6))].map((code) => 300 + code);
      const call = async (name: string, priority: number) => {
        const result = await narrow.generate(promptOf(name), {
          maxTokens: 4,
          priority,
          onToken: () => expect(narrow.calls().running).toBe(1),
        });
        order.push(name);
        return result;
      };
      const names = [
        ["first", 0],
        ["low", -1],
        ["plain", 0],
        ["high", 2],
        ["higher", 3],
        ["late", 0],
      ] as const;
      const results = await Promise.all(names.map(([name, priority]) => call(name, priority)));
      expect(order).toEqual(["first", "higher", "high", "plain", "late", "low"]);
      for (const [i, [name]] of names.entries())
        expect(results[i].ids).toEqual((await plain.generate(promptOf(name), { maxTokens: 4 })).ids);
      idle(narrow);
    });

    test.each([{ tokens: 300 }, { bytes: 500_000 }, { sequences: 2 }])(
      "%j holds at any time, and everybody comes through",
      async (limits) => {
        await using narrow = await loadModel("tiny", { backend: "cpu", limits });
        let most = 0;
        const onToken = () => {
          most = Math.max(most, narrow.calls().running);
        };
        const results = await Promise.all(
          [100, 20, 400, 50, 90, 10, 5].map((count, i) =>
            narrow.generate(idsOf(count, 60 + i), { maxTokens: 5, ignoreEos: true, onToken }),
          ),
        );
        for (const { ids } of results) expect(ids.length).toBe(5);
        expect(most).toBeGreaterThan(1);
        expect(most).toBeLessThan(7);
        idle(narrow);
      },
    );

    test("a full context is said so; the session goes on from where it was", async () => {
      await using short = await loadModel("tiny", { backend: "cpu", contextLength: 64 });
      await expect(short.generate(idsOf(65, 70))).rejects.toMatchObject({ code: "CONTEXT_FULL" });
      const last = await short.generate(idsOf(64, 71), { ignoreEos: true });
      expect(last).toMatchObject({ finishReason: "length", ids: { length: 1 } });
      const session = short.session();
      await session.send("Who are you?", { maxTokens: 10 });
      const { messages } = session;
      for (let i = 0; i < 3; i++) {
        await expect(session.send("Tell me a story. ".repeat(20))).rejects.toMatchObject({ code: "CONTEXT_FULL" });
        expect(session.messages).toEqual(messages);
      }
      const filled = await session.send("Tell me a story.", { ignoreEos: true });
      expect(filled.finishReason).toBe("length");
      await expect(session.send("And?")).rejects.toMatchObject({ code: "CONTEXT_FULL" });
      await session.rewind(2);
      const other = short.session({ messages });
      expect((await session.send("Hi", { maxTokens: 4 })).ids).toEqual((await other.send("Hi", { maxTokens: 4 })).ids);
      await Promise.all([session.dispose(), other.dispose()]);
      idle(short);
    });
  });
});
