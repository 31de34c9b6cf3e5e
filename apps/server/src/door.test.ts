// What one request, or one key, leaves to the others.

import { type JambaModel, loadModel } from "jamba";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { type Json, posted } from "../test/requests.ts";
import { type AppOptions, createApp, Service } from "./index.ts";

let model: JambaModel;
beforeAll(async () => {
  model = await loadModel("tiny", { limits: { sequences: 8 } });
});
afterAll(() => model.dispose());

const messages = [{ role: "user", content: "Who are you, and what is a kite made of?" }];
const appOf = (options: AppOptions = {}) => createApp(new Service(model, "tiny", options));

describe("a request counts once", () => {
  const large: [path: string, body: object][] = [
    ["/v1/chat/completions", { messages, n: 128, max_tokens: 6, ignore_eos: true }],
    ["/v1/completions", { prompt: Array(128).fill("A fox"), max_tokens: 6, ignore_eos: true }],
    ["/v1/completions", { prompt: ["A fox", "A kite"], n: 4, best_of: 32, max_tokens: 6, ignore_eos: true }],
    ["/v1/rerank", { query: "fox", documents: Array.from({ length: 128 }, (_, i) => `A text about ${i} kites`) }],
    ["/v1/embeddings", { input: Array.from({ length: 128 }, (_, i) => `A text about ${i} kites`) }],
  ];
  test.for(large)("%s, while 63 others are answered", { timeout: 60_000 }, async ([path, body]) => {
    const app = appOf({ maxQueue: 64 });
    const first = app.request(path, posted(body));
    await expect.poll(() => model.calls().running).toBeGreaterThan(0);
    const others = Array.from({ length: 63 }, () => app.request("/v1/chat/completions", posted({ messages, max_tokens: 2 })));
    expect(new Set((await Promise.all(others)).map(({ status }) => status))).toEqual(new Set([200]));
    expect((await first).status).toBe(200);
    expect(model.calls()).toEqual({ running: 0, waiting: 0 });
  });

  test("and may ask for as many answers as the server gives one", async () => {
    const app = appOf({ maxChoices: 4 });
    for (const [path, body, param] of [
      ["/v1/chat/completions", { messages, n: 5 }, "n"],
      ["/v1/completions", { prompt: ["a", "b", "c"], n: 2 }, "n"],
      ["/v1/completions", { prompt: ["a", "b", "c"], best_of: 2 }, "best_of"],
    ] as const) {
      const response = await app.request(path, posted(body));
      expect([response.status, ((await response.json()) as Json).error.param]).toEqual([400, param]);
    }
    expect((await app.request("/v1/completions", posted({ prompt: ["a", "b"], n: 2, max_tokens: 1 }))).status).toBe(200);
  });
});

test("a prompt that is too long, and a queue that is full, are told of before anything is compiled", async () => {
  const compile = vi.spyOn(model, "notEnforced");
  try {
    const long = [{ role: "user", content: "fox ".repeat(model.contextLength) }];
    const tool = { name: "find", parameters: { type: "object", properties: { a: { type: "string" } } } };
    const format = { type: "json_schema", json_schema: { name: "a", schema: { type: "object" } } };
    for (const [path, body] of [
      ["/v1/chat/completions", { messages: long, tools: [{ type: "function", function: tool }] }],
      ["/v1/chat/completions", { messages: long, response_format: format, stream: true }],
      ["/v1/responses", { input: long, tools: [{ type: "function", ...tool }] }],
      ["/v1/messages", { messages: long, max_tokens: 1, tools: [{ name: "find", input_schema: tool.parameters }] }],
      ["/v1/completions", { prompt: ["a", long[0].content], json_schema: {} }],
    ] as const) {
      const response = await appOf().request(path, posted(body));
      expect([path, response.status, JSON.stringify(await response.json())]).toEqual([path, 400, expect.stringContaining("contextLength")]);
    }
    expect(compile).not.toHaveBeenCalled();
    const full = appOf({ maxQueue: 1 });
    const asked = Array.from({ length: 30 }, () => full.request("/v1/chat/completions", posted({ messages, response_format: format })));
    const refused = (await Promise.all(asked)).filter(({ status }) => status === 429);
    expect(refused.length).toBeGreaterThan(0);
    expect(compile).toHaveBeenCalledTimes(30 - refused.length);
  } finally {
    compile.mockRestore();
  }
});

describe("of two keys", () => {
  const app = () => appOf({ apiKeys: ["one", "two"] });
  const as = (key: string) => ({ authorization: `Bearer ${key}` });

  test("neither finds the other's responses: as if there were none", async () => {
    const server = app();
    const made = (await (await server.request("/v1/responses", posted({ input: "Hi", max_output_tokens: 2 }, as("one")))).json()) as Json;
    const ids = [made.id, `resp_${"0".repeat(32)}`];
    const heard = async (method: string, path: (id: string) => string, body?: (id: string) => object) =>
      Promise.all(
        ids.map(async (id) => {
          const init = body ? posted(body(id), as("two")) : { method, headers: as("two") };
          const response = await server.request(path(id), init);
          return [response.status, (await response.text()).replaceAll(id, "ID")];
        }),
      );
    const item = made.output[0].id;
    for (const answers of [
      await heard("GET", (id) => `/v1/responses/${id}`),
      await heard("DELETE", (id) => `/v1/responses/${id}`),
      await heard(
        "POST",
        () => "/v1/responses",
        (id) => ({ input: "Hi", previous_response_id: id }),
      ),
    ]) {
      expect(answers[0]).toEqual([404, answers[1][1]]);
      expect(answers[1][0]).toBe(404);
    }
    const referred = await server.request("/v1/responses", posted({ input: [{ type: "item_reference", id: item }] }, as("two")));
    expect(referred.status).toBe(404);
    expect((await server.request(`/v1/responses/${made.id}`, { headers: as("one") })).status).toBe(200);
  });

  test("one whose requests all wait leaves the other's place free", { timeout: 60_000 }, async () => {
    const server = appOf({ apiKeys: ["one", "two"], maxQueue: 12 });
    const asked = (key: string, body: object) =>
      server.request("/v1/chat/completions", posted({ messages, ignore_eos: true, ...body }, as(key)));
    const ask = (count: number) => Array.from({ length: count }, () => asked("one", { max_tokens: 40 }));
    const many = ask(12);
    await expect.poll(() => model.calls().waiting, { timeout: 10_000 }).toBe(4);
    many.push(...ask(20));
    expect((await asked("two", { max_tokens: 2 })).status).toBe(200);
    const statuses = (await Promise.all(many)).map(({ status }) => status);
    expect(new Set(statuses)).toEqual(new Set([200, 429]));
    expect(statuses.filter((status) => status === 200).length).toBe(20);
  });

  test("one that keeps a lot takes nothing of the other's share", async () => {
    const server = appOf({ apiKeys: ["one", "two"], maxResponseBytes: 40_000 });
    const made = async (key: string) => {
      const response = await server.request("/v1/responses", posted({ input: "Hi", max_output_tokens: 2 }, as(key)));
      return ((await response.json()) as Json).id;
    };
    const kept = await made("one");
    for (let i = 0; i < 30; i++) await made("two");
    expect((await server.request(`/v1/responses/${kept}`, { headers: as("one") })).status).toBe(200);
  });
});
