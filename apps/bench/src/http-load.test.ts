import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { createAdaptorServer } from "@hono/node-server";
import { afterAll, beforeEach, expect, test } from "vitest";
import { chatApp } from "./http-app.ts";
import { type Load, run } from "./http-load.ts";

/** What the engine was asked, and how many tokens fewer than asked it says. */
let asked: { text: string; tokens: number }[];
let missing: number;
beforeEach(() => {
  asked = [];
  missing = 0;
});

const app = chatApp({
  async answer(text, tokens) {
    asked.push({ text, tokens });
    return { text: "so", promptTokens: text.length, newTokens: tokens - missing };
  },
});
const server = createAdaptorServer({ fetch: app.fetch });
await once(server.listen(0, "127.0.0.1"), "listening");
afterAll(() => void server.close());

function loadOf(contents: readonly (readonly string[])[]): Load {
  const body = (content: string) => JSON.stringify({ messages: [{ content: "so " }, { content }], max_tokens: 3 });
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1/chat/completions`,
    bodies: contents.map((each) => each.map(body)),
    usage: { prompt_tokens: 5, completion_tokens: 3 },
  };
}

const contents = [
  ["aa", "ab", "ac"],
  ["ba", "bb", "bc"],
];

test("every body is asked once, each client's in its order, and every answer is counted", async () => {
  const { answers, errors, seconds, latencyMs } = await run(loadOf(contents));
  expect([answers, errors]).toEqual([6, 0]);
  for (const each of contents) expect(asked.map(({ text }) => text.slice(3)).filter((text) => text[0] === each[0][0])).toEqual(each);
  expect(asked.every(({ tokens }) => tokens === 3)).toBe(true);
  expect(seconds).toBeGreaterThan(0);
  expect(latencyMs.p50).toBeLessThanOrEqual(latencyMs.p99);
});

test("an answer of another length is an error, of prompts too", async () => {
  missing = 1;
  expect((await run(loadOf(contents))).errors).toBe(6);
  missing = 0;
  expect((await run(loadOf([["aa"], ["bbb"]]))).errors).toBe(1);
});

test("answers that are none are errors and no end", async () => {
  const { url, ...load } = loadOf(contents);
  const { answers, errors } = await run({ ...load, url: `${url}/nothing` });
  expect(answers).toBe(6);
  expect(errors).toBeGreaterThanOrEqual(6);
});
