// Conversations as files and as forks: saved here, resumed elsewhere, refused where they do not belong.

import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { type GenerateOptions, type JambaModel, loadModel, type Message } from "../src/index.ts";
import { goldenFolder } from "./golden.ts";

let folder: string;
let model: JambaModel;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "jamba-sessions-"));
  model = await loadModel("tiny");
});
afterAll(async () => {
  await model.dispose();
  await rm(folder, { recursive: true });
});

const ask = "Write a story about Mia and a fox.";
const turns = ["Who is Mia?", "Who are you?"];

async function talk(session: ReturnType<JambaModel["session"]>): Promise<string[]> {
  const texts: string[] = [];
  for (const turn of turns) texts.push((await session.send(turn, { maxTokens: 12, seed: 1, temperature: 0.7 })).text);
  return texts;
}

describe("a saved session", () => {
  test.each(["cpu", "wasm", "reference"] as const)("goes on, on the %s backend, as if it had not been away", async (backend) => {
    const path = join(folder, `from-${backend}.state`);
    await using session = model.session({ system: "You are a helpful assistant." });
    await session.send(ask, { maxTokens: 20 });
    await session.save(path);
    const expected = await talk(session);
    await using elsewhere = await loadModel("tiny", { backend });
    await using resumed = await elsewhere.openSession(path);
    expect(resumed.messages.length).toBe(3);
    const before = resumed.tokens.length;
    const first = await resumed.send(turns[0], { maxTokens: 12, seed: 1, temperature: 0.7 });
    expect([first.text, first.usage.cachedTokens]).toEqual([expected[0], before]);
    expect((await resumed.send(turns[1], { maxTokens: 12, seed: 1, temperature: 0.7 })).text).toBe(expected[1]);
    await resumed.dispose();
    expect(elsewhere.inUse()).toEqual({ slots: 0, pages: 0 });
  });

  test("goes through a stream and a blob, where there are no files", async () => {
    const chunks: Uint8Array<ArrayBuffer>[] = [];
    let closed = false;
    const to = () =>
      new WritableStream<Uint8Array>({
        write: (chunk) => void chunks.push(chunk.slice()),
        close: () => {
          closed = true;
        },
      });
    await using session = model.session();
    await session.send(ask, { maxTokens: 20 });
    await session.save(to());
    const path = join(folder, "beside.state");
    await session.save(path);
    expect([closed, Buffer.concat(chunks).equals(await readFile(path))]).toEqual([true, true]);
    await using elsewhere = await loadModel("tiny");
    await using resumed = await elsewhere.openSession(new Blob(chunks));
    expect(resumed.messages).toEqual(session.messages);
    const { usage } = await resumed.send(turns[0], { maxTokens: 1 });
    expect(usage.cachedTokens).toBe(session.tokens.length);

    const half = new File([Buffer.concat(chunks).subarray(0, 5000)], "half.state");
    await expect(elsewhere.openSession(half)).rejects.toThrow("half.state");
    let reason: unknown;
    const full = new WritableStream<Uint8Array>({
      write: () => Promise.reject(new DOMException("no room", "QuotaExceededError")),
      abort: (why) => {
        reason = why;
      },
    });
    await expect(session.save(full)).rejects.toMatchObject({ name: "QuotaExceededError" });
    const slow = new WritableStream<Uint8Array>({
      abort: (why) => {
        reason = why;
      },
    });
    const signal = AbortSignal.abort(new Error("left"));
    await expect(session.save(slow, { signal })).rejects.toThrow("left");
    expect([reason, (await session.send(turns[0], { maxTokens: 1 })).ids.length]).toEqual([undefined, 1]);
  });

  test("of the wasm backend goes on, on the one that writes files here by itself", async () => {
    const path = join(folder, "of-wasm.state");
    await using there = await loadModel("tiny", { backend: "wasm" });
    await using session = there.session({ system: "You are a helpful assistant." });
    await session.send(ask, { maxTokens: 20 });
    await session.save(path);
    await using resumed = await model.openSession(path);
    expect(resumed.messages).toEqual(session.messages);
    const before = resumed.tokens.length;
    const first = await resumed.send(turns[0], { maxTokens: 12, seed: 1, temperature: 0.7 });
    expect(first.usage.cachedTokens).toBe(before);
    expect(first.text).toBe((await talk(session))[0]);
  });

  test("may be new, forked or rewound, and may be loaded over another", async () => {
    const path = join(folder, "new.state");
    await using session = model.session({ system: "Be brief." });
    await session.save(path);
    await using loaded = await model.openSession(path);
    expect(loaded.messages).toEqual(session.messages);
    await loaded.send(ask, { maxTokens: 8 });
    await using fork = await loaded.fork();
    await loaded.rewind(1);
    await loaded.save(path);
    await fork.load(path);
    expect(fork.messages).toEqual(session.messages);
    expect((await fork.send(ask, { maxTokens: 8 })).usage.cachedTokens).toBeGreaterThan(0);
  });

  test("is refused by another model and when it is damaged; what was there stays", async () => {
    const path = join(folder, "good.state");
    await using session = model.session();
    await session.send(ask, { maxTokens: 5 });
    await session.save(path);
    const [bytes, before] = [await readFile(path), session.messages];
    const damaged = join(folder, "damaged.state");
    for (const at of [0, 9, 100, bytes.length >> 1, bytes.length - 1]) {
      await writeFile(
        damaged,
        bytes.map((byte, i) => (i === at ? byte ^ 1 : byte)),
      );
      await expect(session.load(damaged)).rejects.toMatchObject({ code: "LOAD" });
    }
    await writeFile(damaged, bytes.subarray(0, -1));
    await expect(session.load(damaged)).rejects.toMatchObject({ code: "LOAD" });
    await expect(session.load(join(folder, "absent.state"))).rejects.toMatchObject({ code: "LOAD" });
    expect(session.messages).toEqual(before);
    await using golden = await loadModel(goldenFolder("odd"));
    await expect(golden.openSession(path)).rejects.toMatchObject({ code: expect.stringMatching(/SESSION_MISMATCH|TOKENIZER/) });
    expect((await session.send("Who is Mia?", { maxTokens: 3 })).usage.completionTokens).toBe(3);
  });
});

describe("the messages of a session have of an answer what its result has", () => {
  const find = { name: "find", parameters: { type: "object", properties: { what: { enum: ["ring", "bell"] } }, required: ["what"] } };
  const user: Message = { role: "user", content: "Where is the ring?" };
  const think: readonly Message[] = [user, { role: "assistant", content: "<think>So", prefix: true }];
  const bias = (token: string) => ({ logitBias: { [model.tokenizer.encode(token).at(-1)!]: 100 } });

  test.each<[string, readonly Message[], () => GenerateOptions]>([
    ["that ends like a tag begins", [user], () => ({ ...bias("<"), maxTokens: 3 })],
    ["the same, with tools", [user], () => ({ ...bias("<"), maxTokens: 3, tools: [find] })],
    ["with calls that nobody asked for", [user], () => ({ maxTokens: 60 })],
    ["with what would be calls", [user], () => ({ maxTokens: 60, tools: [find], toolChoice: "none" })],
    ["cut before its call", [user], () => ({ maxTokens: 6, tools: [find], toolChoice: "required" })],
    ["cut within its call", [user], () => ({ maxTokens: 18, tools: [find], toolChoice: "required" })],
    ["cut within its thoughts", think, () => ({ maxTokens: 6, stop: "." })],
    ["that thinks to its end", think, () => ({ ...bias("</think>"), maxTokens: 40 })],
  ])("%s", async (_, said, options) => {
    await using session = model.session();
    const { content, toolCalls, reasoning } = await session.send(said, options());
    const last = session.messages.at(-1)!;
    expect([last.content, last.toolCalls ?? []]).toEqual([content, toolCalls]);
    expect(last.reasoning).toBe(reasoning === undefined ? undefined : said === think ? `So${reasoning}` : reasoning);
    const path = join(folder, "messages.state");
    await session.save(path);
    await using loaded = await model.openSession(path);
    expect(loaded.messages).toEqual(session.messages);
  });

  test.each(["5 <", "a <tool", "<tool_calls>[", " so \n"])("that was given: %j", async (content) => {
    await using session = model.session({ messages: [user, { role: "assistant", content }] });
    expect(session.messages).toEqual([user, { role: "assistant", content }]);
  });
});

test("a turn that is cancelled while it waits for another does not wait on, and the others do", async () => {
  await using session = model.session();
  const order: string[] = [];
  const note = async <T>(name: string, turn: Promise<T>) => {
    const result = await turn;
    order.push(name);
    return result;
  };
  const stop = new AbortController();
  const first = note("first", session.send(ask, { maxTokens: 40, ignoreEos: true, onToken: () => stop.abort("enough") }));
  const second = note("second", session.send("Who is Mia?", { maxTokens: 3, signal: stop.signal }));
  const third = note("third", session.send("Who are you?", { maxTokens: 3 }));
  expect(await second).toMatchObject({ finishReason: "cancelled", cancelReason: "enough", ids: [] });
  await expect(session.save(join(folder, "late.state"), { signal: AbortSignal.abort("late") })).rejects.toBe("late");
  await Promise.all([first, third]);
  expect(order).toEqual(["second", "first", "third"]);
  expect(session.messages.map(({ content, role }) => (role === "user" ? content : role))).toEqual([
    ask,
    "assistant",
    "Who are you?",
    "assistant",
  ]);
});

test("states come back from a folder, in another model and in the one that had no room for them", async () => {
  const dir = join(folder, "cache");
  const prompt = Array.from({ length: 300 }, (_, i) => 300 + (i % 1500));
  const other = prompt.map((id) => id + 7);
  const read = async (cached: JambaModel, ids: number[]) => (await cached.generate([...ids, 5], { maxTokens: 4 })).usage.cachedTokens;
  const options = { cache: { bytes: 1 << 19, dir } };
  const first = await loadModel("tiny", options);
  expect(await read(first, prompt)).toBe(0);
  for (let i = 0; i < 4; i++) await read(first, [...other.slice(i), i]);
  // A state that is on its way to the disk is not found. The prompt is kept 128 tokens before its end, and in whole, which is no beginning of it.
  const isWritten = (name: string) => /-173-[0-9a-f]+\.state$/.test(name);
  await vi.waitFor(async () => expect((await readdir(dir, { recursive: true })).some(isWritten)).toBe(true), { timeout: 10_000 });
  expect(await read(first, prompt)).toBeGreaterThan(0);
  await first.dispose();
  const second = await loadModel("tiny", options);
  expect(await read(second, prompt)).toBeGreaterThan(150);
  await second.dispose();
  // Damage is heard of, and costs no more than reading again.
  for (const name of await readdir(dir)) await writeFile(join(dir, name), "damaged");
  const errors: unknown[] = [];
  const third = await loadModel("tiny", { cache: { ...options.cache, onError: (error) => errors.push(error) } });
  expect(await read(third, prompt)).toBe(0);
  expect(errors[0]).toMatchObject({ code: "LOAD" });
  await third.dispose();
});
