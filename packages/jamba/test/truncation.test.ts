// Conversations that are longer than the context: refused, or without their oldest turns if that is wanted.

import { afterAll, beforeAll, expect, test } from "vitest";
import { type GenerateOptions, type JambaModel, loadModel, type Message } from "../src/index.ts";

const contextLength = 100;
let model: JambaModel;
beforeAll(async () => {
  model = await loadModel("tiny", { contextLength });
});
afterAll(() => model.dispose());

const turn = (i: number): Message[] => [
  { role: "user", content: `Tell me of fox number ${i}.` },
  { role: "assistant", content: `Fox number ${i} is red and small.` },
];
const long: Message[] = [
  { role: "system", content: "Be short." },
  ...[0, 1, 2, 3, 4, 5].flatMap(turn),
  { role: "user", content: "Who is Mia?" },
];
const auto = { truncation: "auto", maxTokens: 10, temperature: 0 } as const;
const essence = ({ text, ids, usage: { promptTokens } }: { text: string; ids: readonly number[]; usage: { promptTokens: number } }) => ({
  text,
  ids,
  promptTokens,
});

test("by default a conversation that is too long is refused with code CONTEXT_FULL", async () => {
  for (const options of [{}, { truncation: "none" }, { truncation: undefined }] as const)
    await expect(model.generate(long, options)).rejects.toMatchObject({ code: "CONTEXT_FULL" });
  for (const truncation of ["disabled", true, null])
    await expect(model.generate(long, { truncation } as never)).rejects.toMatchObject({ code: "OPTION" });
});

test("the answer is that to the messages that stay, of which as many stay as leave room for maxTokens", async () => {
  for (const maxTokens of [1, 10, 40, 60]) {
    const result = await model.generate(long, { ...auto, maxTokens });
    const dropped = result.dropped!;
    expect(dropped.length).toBeGreaterThan(0);
    expect(dropped).toEqual(dropped.map((_, i) => i + 1)); // behind the system message
    const kept = long.filter((_, i) => !dropped.includes(i));
    expect(essence(result)).toEqual(essence(await model.generate(kept, { ...auto, truncation: "none", maxTokens })));
    expect(model.countTokens(kept) + maxTokens).toBeLessThanOrEqual(contextLength);
    const more = long.filter((_, i) => !dropped.slice(0, -2).includes(i));
    expect(model.countTokens(more) + maxTokens).toBeGreaterThan(contextLength);
    expect(model.countTokens(long, { ...auto, maxTokens })).toBe(model.countTokens(kept));
  }
});

test("what fits is left whole, and says so", async () => {
  const short = long.slice(-3);
  const result = await model.generate(short, auto);
  expect(result.dropped).toEqual([]);
  expect(essence(result)).toEqual(essence(await model.generate(short, { ...auto, truncation: "none" })));
  expect((await model.generate(short, { maxTokens: 1 })).dropped).toBeUndefined();
  expect((await model.generate(long, { ...auto, maxTokens: 0 })).dropped).toEqual(
    (await model.generate(long, { ...auto, maxTokens: 1 })).dropped,
  );
});

test("what can't be cut to fit is refused as it is without truncation: one long message, texts, ids", async () => {
  const words = "fox ".repeat(200);
  for (const prompt of [
    words,
    Array<number>(200).fill(500),
    [{ role: "user", content: words }],
    [...long, { role: "user", content: words }],
  ] as const)
    await expect(model.generate(prompt as string, auto)).rejects.toMatchObject({ code: "CONTEXT_FULL" });
  expect(model.inUse()).toEqual({ slots: 0, pages: 0 });
});

test("tools and documents count, a begun answer stays, and each of n answers says the same", async () => {
  const tools = [{ type: "function", function: { name: "call_friend", description: "Call a friend", parameters: { type: "object" } } }];
  const plain = (await model.generate(long, auto)).dropped!;
  const more: [Message[], GenerateOptions][] = [
    [long, { tools }],
    [long, { documents: [{ text: "Foxes are red and live in holes." }] }],
    [[...long, { role: "assistant", content: "Mia is a girl who" }], { continueFinalMessage: true }],
  ];
  for (const [messages, options] of more) {
    const { dropped, usage } = await model.generate(messages, { ...auto, ...options, toolChoice: undefined });
    expect(dropped!.length).toBeGreaterThanOrEqual(plain.length);
    const kept = messages.filter((_, i) => !dropped!.includes(i));
    expect(usage.promptTokens).toBe(model.countTokens(kept, options));
  }
  const { choices } = await model.generate(long, { ...auto, n: 2 });
  expect(choices!.map(({ dropped }) => dropped)).toEqual([plain, plain]);
});

test("a session goes on for ever, keeps all its messages, and says what each answer did not see", async () => {
  await using session = model.session({ system: "Be short.", truncation: "auto" });
  const counts: number[] = [];
  for (let i = 0; i < 9; i++) {
    const asked = session.messages;
    const { dropped, usage, ids } = await session.send(`Tell me of fox number ${i}.`, { maxTokens: 8, temperature: 0 });
    expect(usage.promptTokens + ids.length).toBeLessThanOrEqual(contextLength + 1);
    expect(dropped).toEqual(dropped!.map((_, at) => at + 1));
    expect(session.messages.length).toBe(asked.length + 2);
    counts.push(dropped!.length);
  }
  expect(counts[0]).toBe(0);
  expect(counts.at(-1)).toBeGreaterThan(2);
  expect(counts).toEqual([...counts].sort((a, b) => a - b));
  await expect(session.send("And?", { truncation: "none", maxTokens: 8 })).rejects.toMatchObject({ code: "CONTEXT_FULL" });
  expect(session.messages.length).toBe(19);
});
