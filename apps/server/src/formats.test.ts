// What formats cost, who is told of it, and who waits for it: nobody but who asks.

import { type JambaModel, loadModel } from "jamba";
import { afterAll, beforeAll, expect, test } from "vitest";
import { eventsOf, type Json, posted } from "../test/requests.ts";
import { createApp, Service } from "./index.ts";

const lines: Json[] = [];
let model: JambaModel;
let app: ReturnType<typeof createApp>;
beforeAll(async () => {
  model = await loadModel("tiny");
  app = createApp(new Service(model, "tiny", { temperature: 0, log: (line) => lines.push(line) }));
});
afterAll(() => model.dispose());

const path = "/v1/chat/completions";
const messages = [{ role: "user", content: "Write a story about Mia and a fox." }];

/** Of as many texts as a schema may have: they take a while. */
function words(name: string, count: number): object {
  return {
    type: "object",
    properties: { word: { enum: Array.from({ length: count }, (_, i) => `${name} ${i * 7919} ${"x".repeat(i % 9)}`) } },
  };
}

function bound(schema: object): object {
  return { messages, max_tokens: 8, response_format: { type: "json_schema", json_schema: { name: "a", schema } } };
}

function tenTools(): object[] {
  return Array.from({ length: 10 }, (_, i) => {
    const properties = {
      [`name_${i}`]: { type: "string", minLength: 1, maxLength: 80 },
      mail: { type: "string", format: "email" },
      count: { type: "integer", minimum: i, maximum: 1000 + i },
      tags: { type: "array", items: { type: "string" }, maxItems: 5 },
      when: { type: "string", format: "date-time" },
    };
    return { type: "function", function: { name: `take_${i}`, parameters: { type: "object", properties, required: [`name_${i}`] } } };
  });
}

test("answers, the log and the metrics tell what a format took and what it left no choice about", async () => {
  const schema = { type: "object", properties: { story: { enum: ["long", "short"] } }, required: ["story"], additionalProperties: false };
  const seen = async (name: string) => Number(new RegExp(`^${name} (.*)$`, "m").exec(await (await app.request("/metrics")).text())![1]);
  const { timings } = (await (await app.request(path, posted(bound(schema)))).json()) as Json;
  expect(timings).toMatchObject({ format_ms: expect.any(Number), forced_n: expect.any(Number) });
  expect([timings.format_ms > 0, timings.forced_n > 3]).toEqual([true, true]);
  expect(lines.at(-1)).toMatchObject({ formatMs: Math.round(timings.format_ms), forcedTokens: timings.forced_n });
  expect(await seen("jamba_forced_tokens_total")).toBe(timings.forced_n);
  expect(await seen("jamba_format_seconds_total")).toBeCloseTo(timings.format_ms / 1000, 9);
  const streamed = eventsOf(await (await app.request(path, posted({ ...bound(schema), stream: true }))).text());
  expect(streamed.at(-1).timings).toMatchObject({ forced_n: timings.forced_n });
  const free = (await (await app.request(path, posted({ messages, max_tokens: 2 }))).json()) as Json;
  expect(free.timings).toMatchObject({ format_ms: 0, forced_n: 0 });
  expect(lines.at(-1)).not.toHaveProperty("formatMs");
});

test("a client that leaves while its format is compiled is gone at once", async () => {
  await model.format({ type: "json" });
  const ends: string[] = [];
  const controller = new AbortController();
  const left = app.request(path, { ...posted(bound(words("left", 5000))), signal: controller.signal });
  const gone = Promise.resolve(left).finally(() => ends.push("left"));
  const smaller = new Promise((resolve) =>
    setImmediate(() => {
      controller.abort();
      resolve(model.format({ type: "json", schema: words("smaller", 1500) }).then(() => ends.push("smaller")));
    }),
  );
  await Promise.all([gone, smaller]);
  expect(ends).toEqual(["left", "smaller"]);
  expect(model.calls()).toEqual({ running: 0, waiting: 0 });
  expect(lines.at(-1)).toMatchObject({ status: 499 });
});

test.each([
  ["ten tools that nobody has seen", { tools: tenTools(), tool_choice: "required", max_tokens: 4 }, 1],
  ["a format of 5,000 texts", bound(words("many", 5000)), 10],
])("while %s are compiled, another's answer goes on", async (_, body, least) => {
  await model.format({ type: "json" });
  const other = await app.request(path, posted({ messages, max_tokens: 5000, ignore_eos: true, stream: true }));
  const reader = other.body!.getReader();
  await reader.read();
  let [parts, isOver] = [0, false];
  const read = (async () => {
    while (!isOver && !(await reader.read()).done) parts++;
  })();
  const before = parts;
  const asked = await app.request(path, posted({ messages, ...body }));
  expect([asked.status, ((await asked.json()) as Json).timings.format_ms > 0]).toEqual([200, true]);
  // Of its own answer there are a few steps too.
  expect(parts - before).toBeGreaterThan(least + 8);
  isOver = true;
  await reader.cancel();
  await read;
  await expect.poll(() => model.calls().running).toBe(0);
});
