// The workloads that other engines read again and again, in small: how many tokens are read twice, counted by `usage`.

import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { type JambaModel, loadModel, type Message } from "../src/index.ts";
import { cpuAbsent, openCpu } from "./golden.ts";

let model: JambaModel;
beforeAll(async () => {
  if (!cpuAbsent) model = await loadModel("tiny", { backend: "cpu" });
});
afterAll(() => model?.dispose());
beforeEach(({ skip }) => {
  if (cpuAbsent) skip(cpuAbsent);
  model.clearCache();
});

/** Ends a message, as the template of the small model writes it. */
const end = 4;
const idsOf = (count: number, seed: number) => Array.from({ length: count }, (_, i) => 300 + ((i * i * 31 + i * 7 + seed * 101) % 1700));
const message = (count: number, seed: number) => [5, 6, ...idsOf(count - 3, seed), end];

/** @returns tokens of `ids` that were read */
async function ask(ids: readonly number[], maxTokens = 2): Promise<number> {
  const { usage } = await model.generate(ids, { maxTokens, ignoreEos: true });
  return usage.promptTokens - usage.cachedTokens;
}

test("a prompt of 480 tokens with another suffix: from the third request on only what is its own", async () => {
  const prompt = idsOf(480, 1);
  expect(await ask([...prompt, ...idsOf(20, 2)])).toBe(500);
  // States before the end are there, a message end is not.
  expect(await ask([...prompt, ...idsOf(30, 3)])).toBeLessThanOrEqual(30 + 128);
  expect(await ask([...prompt, ...idsOf(25, 4)])).toBe(25);
  expect(await ask([...prompt, ...idsOf(40, 5)])).toBe(40);
});

test("a system text for many users: from the second on only what is the user's, whatever the user's length", async () => {
  const system = message(300, 10);
  expect(await ask([...system, ...message(50, 11)])).toBe(350);
  for (const [i, count] of [50, 5, 200, 3].entries()) expect(await ask([...system, ...message(count, 12 + i)])).toBeLessThanOrEqual(count);
});

test("a system text and its users in a session each: the third reads none of what is shared", async () => {
  const system = "You tell stories to children. Be kind, be short, and never tell of wolves. ".repeat(4);
  const shared = model.tokenizer.encode(model.tokenizer.renderChat([{ role: "system", content: system }], {})).length;
  for (const [i, text] of ["Hello!", "Tell me of a fox.", "Who are you?"].entries()) {
    const session = model.session({ system });
    const { usage } = await session.send(text, { maxTokens: 2 });
    // What the template writes after the messages is not shared.
    if (i > 0) expect(usage.cachedTokens).toBeGreaterThan(shared - 10);
    await session.dispose();
  }
});

test("a time of day in the middle: what stands before it is read once", async () => {
  const [before, after] = [idsOf(1500, 20), idsOf(200, 21)];
  const at = (minute: number) => [...before, 700 + minute, ...after];
  expect(await ask(at(0))).toBe(1701);
  expect(await ask(at(1))).toBeLessThanOrEqual(4 * 201);
  for (let minute = 2; minute < 6; minute++) expect(await ask(at(minute))).toBe(201);
});

test("reasoning that is taken out of the last answer: the prompt before it is not read again", async () => {
  let conversation = message(120, 30);
  for (let turn = 0; turn < 4; turn++) {
    const prompt = [...conversation, ...message(40, 31 + turn), 5, 8];
    const { ids, usage } = await model.generate(prompt, { maxTokens: 30, ignoreEos: true });
    // Of the turn before: the answer without its first half, and its end.
    if (turn > 0) expect(usage.promptTokens - usage.cachedTokens).toBe(15 + 1 + 40 + 2);
    conversation = [...prompt, ...ids.slice(15), end];
  }
});

test("an answer that is kept as it was: only its last token, its end and what is new is read", async () => {
  let conversation = message(120, 40);
  for (let turn = 0; turn < 4; turn++) {
    const prompt = [...conversation, ...message(40, 41 + turn), 5, 8];
    const { ids, usage } = await model.generate(prompt, { maxTokens: 30, ignoreEos: true });
    if (turn > 0) expect(usage.promptTokens - usage.cachedTokens).toBe(1 + 1 + 40 + 2);
    conversation = [...prompt, ...ids, end];
  }
});

const talk = Array.from({ length: 12 }, (_, i) => message(30 + 5 * i, 50 + i));

test("a note five messages above the end: what stands above it is not read again, whether the talk came at once or grew", async () => {
  const noted = [...talk.slice(0, -5), message(8, 70), ...talk.slice(-5)];
  const below = noted.slice(-6).flat().length;
  await ask(talk.flat());
  expect(await ask(noted.flat())).toBe(below);
  expect(await ask([...noted, message(10, 71)].flat())).toBeLessThanOrEqual(10);
  model.clearCache();
  for (let turn = 1; turn <= talk.length; turn++) await ask(talk.slice(0, turn).flat());
  expect(await ask(noted.flat())).toBeLessThanOrEqual(below);
});

test("an earlier message that is edited: what is read again starts at that message, and there only once", async () => {
  await ask(talk.flat());
  for (const at of [9, 4, 1]) {
    const edited = (seed: number) => [...talk.slice(0, at), [...talk[at].slice(0, 10), ...message(20, seed)], ...talk.slice(at + 1)].flat();
    const fromThere = (seed: number) => edited(seed).length - talk.slice(0, at).flat().length;
    expect(await ask(edited(80))).toBe(fromThere(80));
    // Where both part, inside the message, there is a state too.
    expect(await ask(edited(81))).toBe(fromThere(81) - 10);
    expect(await ask(edited(81))).toBe(0);
  }
});

test("a session that goes back and says something else reads only that", async () => {
  const session = model.session({ system: "Be kind. ".repeat(30) });
  await session.send("Who are you?", { maxTokens: 20 });
  await session.send("Tell me of a fox.", { maxTokens: 20 });
  const shared = session.messages.slice(0, 3) as Message[];
  await session.rewind(3);
  const { usage } = await session.send("Tell me of an owl.", { maxTokens: 5 });
  const kept = model.tokenizer.encode(model.tokenizer.renderChat(shared, {})).length;
  // Up to the end of the last message that both have; it was not a prompt's end, so its end token may be missing.
  expect(usage.cachedTokens).toBeGreaterThan(kept - 10);
  await session.dispose();
});

test("a prompt that fills the context, after many others: what is read again is no more than what had to be", async () => {
  const contextLength = 3000;
  await using full = await loadModel("tiny", { backend: "cpu", contextLength });
  const read = async (ids: readonly number[]) => {
    const { usage } = await full.generate(ids, { maxTokens: 1 });
    return usage.promptTokens - usage.cachedTokens;
  };
  const prompt = idsOf(contextLength - 1, 90);
  expect(await read(prompt)).toBe(2999);
  for (let i = 0; i < 20; i++) await read(idsOf(60, 91 + i));
  expect(await read(prompt)).toBe(0);
  expect(await read([...prompt, 500])).toBe(1);
  // It parts from what was read at any point: at most as much again is read as stands behind that point, and a border.
  for (const at of [2990, 2900, 2600, 2000, 1200]) {
    const other = [...prompt.slice(0, at), ...idsOf(contextLength - at, 95)];
    expect(await read(other)).toBeLessThanOrEqual(2 * (contextLength - at) + 256);
    expect(await read([...prompt.slice(0, at), ...idsOf(10, 96)])).toBe(10);
  }
});

test("a state is dropped for others only when it is dear to keep: a long shared prompt outlives many short ones", async () => {
  const small = await loadModel("tiny", { backend: "cpu", cache: { bytes: 6_000_000 } });
  const system = idsOf(1000, 100);
  const read = async (ids: readonly number[]) => {
    const { usage } = await small.generate(ids, { maxTokens: 1 });
    return usage.promptTokens - usage.cachedTokens;
  };
  for (let i = 0; i < 3; i++) await read([...system, ...idsOf(10, 101 + i)]);
  for (let i = 0; i < 60; i++) await read(idsOf(25, 110 + i));
  expect(await read([...system, ...idsOf(10, 105)])).toBeLessThanOrEqual(10 + 128);
  await small.dispose();
});

test.each([
  // Steps have 512 tokens. The cancel comes in the second, which ends all the same on a machine that is quick.
  { where: "in a step of its own", tokens: 2000, atLength: 400, isBeside: false, kept: [512, 1024] },
  // The first piece beside an answer is short, since nobody knows yet how long it takes.
  { where: "in a piece beside an answer", tokens: 200, atLength: 20, isBeside: true, kept: [32] },
])("what was read before a cancel $where is not read again", async ({ tokens, atLength, isBeside, kept }) => {
  const ids = idsOf(tokens, 120);
  const backend = await openCpu();
  const { submit } = backend;
  const stop = new AbortController();
  const reason = new Error("enough");
  let prefills = 0;
  backend.submit = (program, inputs, options) => {
    if (inputs.ids.length > atLength && ++prefills === (isBeside ? 1 : 2)) setImmediate(() => stop.abort(reason));
    return submit.call(backend, program, inputs, options);
  };
  const watched = await loadModel("tiny", { backend });
  let start!: () => void;
  const begun = new Promise<void>((resolve) => {
    start = resolve;
  });
  const beside = isBeside ? watched.generate([300, 301], { maxTokens: 20, ignoreEos: true, onToken: start }) : start();
  await begun;
  expect((await watched.generate(ids, { maxTokens: 1, signal: stop.signal })).cancelReason).toBe(reason);
  await beside;
  expect(watched.inUse()).toEqual({ slots: 0, pages: 0 });
  const { usage, ids: answer } = await watched.generate(ids, { maxTokens: 1 });
  expect(kept).toContain(usage.cachedTokens);
  expect(answer).toEqual((await model.generate(ids, { maxTokens: 1 })).ids);
  await watched.dispose();
  await backend.dispose();
});
