import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { Hono } from "hono";
import { JambaError, type JambaModel, loadModel } from "jamba";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { posted } from "../test/requests.ts";
import { type ApiError, toApiError } from "./errors.ts";
import { type AppOptions, createApp, Service } from "./index.ts";
import { fieldsOf } from "./tools.ts";

let model: JambaModel;
beforeAll(async () => {
  model = await loadModel("tiny", { limits: { sequences: 1 } });
});
afterAll(() => model.dispose());

const messages = [{ role: "user", content: "Hi" }];
const type = { "content-type": "application/json" };

function appOf(options: AppOptions = {}) {
  const app = createApp(new Service(model, "tiny", options));
  const ask = (body: unknown, headers: Record<string, string> = type, path = "/v1/chat/completions") =>
    app.request(path, { method: "POST", headers, body: typeof body === "string" ? body : JSON.stringify(body) });
  return { app, ask };
}

async function refusal(response: Response): Promise<[number, string | null, string | null]> {
  const { error } = (await response.json()) as ApiError["body"];
  expect(error.message.length).toBeGreaterThan(10);
  return [response.status, error.code, error.param];
}

describe("a body that does not fit", () => {
  const table: [body: unknown, param: string | null, code?: string][] = [
    [{}, "messages"],
    [{ messages: "Hi" }, "messages"],
    [{ messages: [] }, "messages"],
    [{ messages: [{ role: "wizard", content: "Hi" }] }, "messages[0].role"],
    [{ messages: [{ role: "user" }] }, "messages[0].content"],
    [{ messages: [{ role: "user", content: [{ type: "image_url", image_url: { url: "a" } }] }] }, "messages[0].content[0].type"],
    [{ messages, temperature: "hot" }, "temperature"],
    [{ messages, temperature: 2.1 }, "temperature"],
    [{ messages, top_p: -1 }, "top_p"],
    [{ messages, n: 0 }, "n"],
    [{ messages, n: 1e9 }, "n"],
    [{ messages, max_tokens: 1.5 }, "max_tokens"],
    [{ messages, stop: Array(257).fill("a") }, "stop"],
    [{ messages, stop: ["a", "b".repeat(1025)] }, "stop[1]"],
    [{ messages, stop: [null] }, "stop[0]"],
    [{ messages, logit_bias: { fox: 1 } }, "logit_bias.fox"],
    [{ messages, top_logprobs: 3 }, "top_logprobs"],
    [{ messages, logprobs: true, top_logprobs: 21 }, "top_logprobs"],
    [{ messages, stream: "yes" }, "stream"],
    [{ messages, tool_choice: "required" }, "tool_choice"],
    [{ messages, tools: [{ type: "function", function: { name: "a b" } }] }, "tools[0].function.name"],
    [
      { messages, response_format: { type: "json_schema", json_schema: { name: "a", schema: { type: 7 } } } },
      "response_format.json_schema.schema.type",
    ],
    [{ messages, grammar: 'root ::= "a"' }, "grammar", "unsupported"],
    [[], null],
    ["null", null],
    ["{", null, "invalid_json"],
    [`{"messages":${"[".repeat(100)}${"]".repeat(100)}}`, null, "invalid_json"],
  ];
  test.for(table)("%j", async ([body, param, code = "invalid_value"]) => {
    expect(await refusal(await appOf().ask(body))).toEqual([400, code, param]);
  });

  test("must be JSON by its type and its bytes, and of some size", async () => {
    const { ask, app } = appOf({ maxBodyBytes: 1000 });
    expect(await refusal(await ask({ messages }, { "content-type": "text/plain" }))).toEqual([415, null, null]);
    expect(await refusal(await ask({ messages }, {}))).toEqual([415, null, null]);
    expect((await ask({ messages, max_tokens: 1 }, { "content-type": "application/json; charset=utf-8" })).status).toBe(200);
    const tooLarge = await ask({ messages: [{ role: "user", content: "a".repeat(1000) }] });
    expect(await refusal(tooLarge)).toEqual([413, "request_too_large", null]);
    const bytes = new Uint8Array([0xff, 0xfe, 0]);
    expect((await app.request("/v1/completions", { method: "POST", headers: type, body: bytes })).status).toBe(400);
  });

  test("more than the context holds is told as OpenAI tells it", async () => {
    const small = await loadModel("tiny", { contextLength: 64 });
    const app = createApp(new Service(small, "tiny"));
    const body = { messages: [{ role: "user", content: "fox ".repeat(200) }], stream: true };
    const response = await app.request("/v1/chat/completions", posted(body));
    expect(await refusal(response)).toEqual([400, "context_length_exceeded", "messages"]);
    await small.dispose();
  });

  test("more tokens than the server gives are not asked of the engine", async () => {
    const { ask } = appOf({ maxTokens: 4 });
    for (const max_tokens of [1e12, -1, 5]) {
      const body = (await (await ask({ messages, max_tokens, ignore_eos: true })).json()) as { usage: { completion_tokens: number } };
      expect(body.usage.completion_tokens).toBe(4);
    }
  });
});

test("unknown paths are 404, known ones with another method 405 with what is allowed", async () => {
  const { app } = appOf();
  expect(await refusal(await app.request("/v1/nothing"))).toEqual([404, "unknown_url", null]);
  const response = await app.request("/v1/chat/completions");
  expect(response.headers.get("allow")).toBe("POST");
  expect(await refusal(response)).toEqual([405, "method_not_allowed", null]);
  expect((await app.request("/v1/models", { method: "DELETE" })).headers.get("allow")).toBe("GET");
});

test("keys: any of several, in either header whatever the other says; health needs none", async () => {
  const { app } = appOf({ apiKeys: ["first-key", "second-key"] });
  const get = (headers: Record<string, string>, path = "/v1/models") => app.request(path, { headers });
  for (const key of ["first-key", "second-key"]) {
    expect((await get({ authorization: `Bearer ${key}` })).status).toBe(200);
    expect((await get({ "x-api-key": key })).status).toBe(200);
    expect((await get({ "x-api-key": "of-another-service", authorization: `Bearer ${key}` })).status).toBe(200);
    expect((await get({ "x-api-key": key, authorization: "Bearer of-another-service" })).status).toBe(200);
  }
  for (const authorization of [
    "Bearer first-ke",
    "Bearer first-keyy",
    "Bearer ",
    "Basic first-key",
    "first-key",
    "Bearer first-key second-key",
  ])
    expect(await refusal(await get({ authorization }))).toEqual([401, "invalid_api_key", null]);
  expect((await get({})).headers.get("www-authenticate")).toBe("Bearer");
  for (const path of ["/metrics", "/props", "/slots", "/openapi.json", "/nothing", "//health", "/health/"])
    expect((await get({}, path)).status).toBe(401);
  expect((await get({}, "/health")).status).toBe(200);
});

test("an error quotes no more of a long request than helps, to the client and in the log", async () => {
  const lines: object[] = [];
  const { app } = appOf({ log: (line) => lines.push(line) });
  const long = "k\u{1F98A}".repeat(100_000);
  const schema = { type: "object", properties: { [long]: { type: "none" } } };
  const bodies: [path: string, body: object][] = [
    ["/v1/messages", { model: long, max_tokens: 1, messages: [{ role: "user", content: "Hi" }] }],
    ["/v1/responses", { input: "Hi", previous_response_id: long }],
    ["/v1/chat/completions", { messages: [{ role: "user", content: "Hi" }], json_schema: schema }],
  ];
  for (const [path, body] of bodies) {
    const response = await app.request(path, posted(body));
    expect([path, Math.floor(response.status / 100)]).toEqual([path, 4]);
    expect((await response.text()).length).toBeLessThan(3000);
  }
  for (const line of lines) expect(JSON.stringify(line).length).toBeLessThan(3000);
});

test("pages of other origins may not ask, unless configured", async () => {
  const page = { ...type, origin: "https://page.example" };
  expect(await refusal(await appOf().ask({ messages }, page))).toEqual([403, "origin_not_allowed", null]);
  const { app, ask } = appOf({ cors: ["https://page.example"] });
  const response = await ask({ messages, max_tokens: 1 }, page);
  expect([response.status, response.headers.get("access-control-allow-origin")]).toEqual([200, "https://page.example"]);
  expect((await ask({ messages }, { ...page, origin: "https://other.example" })).status).toBe(403);
  const asks = {
    origin: "https://page.example",
    "access-control-request-method": "POST",
    "access-control-request-headers": "authorization",
  };
  const preflight = await app.request("/v1/chat/completions", { method: "OPTIONS", headers: asks });
  expect([preflight.status, preflight.headers.get("access-control-allow-headers")]).toEqual([204, "authorization"]);
  expect((await appOf({ cors: ["*"] }).ask({ messages, max_tokens: 1 }, page)).headers.get("access-control-allow-origin")).toBe("*");
});

test("with keys and an origin, a preflight needs no key, and an error has the headers that let the page read it", async () => {
  const { app } = appOf({ cors: ["https://page.example"], apiKeys: ["key"] });
  const headers = { origin: "https://page.example", "access-control-request-method": "POST" };
  expect((await app.request("/v1/chat/completions", { method: "OPTIONS", headers })).status).toBe(204);
  const refused = await app.request("/v1/models", { headers });
  expect([refused.status, refused.headers.get("access-control-allow-origin")]).toEqual([401, "https://page.example"]);
});

test("while the model loads all but health's answer is a 503 that says when to come again; health is one too", async () => {
  let loaded!: (model: JambaModel) => void;
  const app = createApp(new Service(new Promise<JambaModel>((resolve) => (loaded = resolve)), "tiny"));
  for (const path of ["/health", "/v1/models", "/props"]) {
    const response = await app.request(path);
    expect(response.headers.get("retry-after")).toBe("1");
    expect(await refusal(response)).toEqual([503, "model_loading", null]);
  }
  expect((await app.request("/metrics")).status).toBe(200);
  loaded(model);
  await Promise.resolve();
  expect(await (await app.request("/health")).json()).toEqual({ status: "ok" });
});

test("a model that can't be loaded is told without its reason", async () => {
  const app = createApp(new Service(Promise.reject(new Error("/secret/path")), "tiny"));
  await Promise.resolve();
  const text = await (await app.request("/health")).text();
  expect(text).toContain("model_failed");
  expect(text).not.toContain("secret");
});

test("whoever comes when too many wait is told to come again later; the others are answered", async () => {
  const { ask } = appOf({ maxQueue: 2 });
  const all = await Promise.all(Array.from({ length: 5 }, (_, seed) => ask({ messages, max_tokens: 30, ignore_eos: true, seed })));
  const statuses = all.map(({ status }) => status).sort();
  expect(statuses).toContain(429);
  expect(statuses.filter((status) => status === 200).length).toBeGreaterThanOrEqual(2);
  const refused = all.find(({ status }) => status === 429)!;
  expect(Number(refused.headers.get("retry-after"))).toBeGreaterThan(0);
  expect(await refusal(refused)).toEqual([429, "rate_limit_exceeded", null]);
  expect((await ask({ messages, max_tokens: 1 })).status).toBe(200);
});

test("an answer that takes longer than allowed ends as if its tokens had run out", async () => {
  const { ask } = appOf({ requestTimeoutMs: 300 });
  const response = await ask({ messages, max_tokens: 30_000, ignore_eos: true });
  const { choices } = (await response.json()) as { choices: { finish_reason: string }[] };
  expect(choices[0].finish_reason).toBe("length");
  expect(model.calls()).toEqual({ running: 0, waiting: 0 });
});

test("whose client leaves a stream, is out of the engine", async () => {
  const { ask } = appOf();
  const before = model.inUse();
  const response = await ask({ messages, max_tokens: 30_000, ignore_eos: true, stream: true });
  const reader = response.body!.getReader();
  await reader.read();
  expect(model.calls().running).toBe(1);
  await reader.cancel();
  await expect.poll(() => model.calls()).toEqual({ running: 0, waiting: 0 });
  expect(model.inUse()).toEqual(before);
});

test("nothing of a request stays in memory once it is over", async () => {
  setFlagsFromString("--expose-gc");
  const gc = runInNewContext("gc");
  const seen: WeakRef<object>[] = [];
  const app = new Hono()
    .use(async (c, next) => {
      seen.push(new WeakRef(c));
      await next();
    })
    .route("/", appOf().app);
  const ask = (body: object) => app.request("/v1/chat/completions", posted({ messages, ...body }));
  for (let i = 0; i < 20; i++) {
    await (await ask({ n: "many" })).text();
    await (await ask({ max_tokens: 2, stream: true })).text();
    const reader = (await ask({ max_tokens: 1000, ignore_eos: true, stream: true })).body!.getReader();
    await reader.read();
    await reader.cancel();
    await expect.poll(() => model.calls().running).toBe(0);
  }
  const left = () => {
    gc();
    return seen.filter((ref) => ref.deref()).length;
  };
  await expect.poll(left, { timeout: 5000 }).toBeLessThan(5); // the last ones may still be on a stack
});

describe("errors", () => {
  test.for([
    [new JambaError("CONTEXT_FULL", "prompt: too long"), 400, "context_length_exceeded", "messages"],
    [new JambaError("OPTION", "maxTokens: expected less"), 400, "invalid_value", "max_tokens"],
    [new JambaError("OPTION", "format.schema.a b: expected"), 400, "invalid_value", "response_format.json_schema.schema.a b"],
    [new JambaError("UNSUPPORTED", "format: expected"), 400, "unsupported", "response_format"],
    [new JambaError("TOKENIZER", "messages[2].content: expected a text"), 400, "invalid_value", "messages[2].content"],
    [new JambaError("SHAPE", "ids: expected others"), 400, "invalid_value", "prompt"],
    [new JambaError("OUT_OF_MEMORY", "none left"), 503, "out_of_memory", null],
    [new JambaError("DISPOSED", "model: gone"), 503, "shutting_down", null],
    [new JambaError("BACKEND", "/secret failed"), 500, "internal_error", null],
    [new Error("/secret failed"), 500, "internal_error", null],
    ["thrown", 500, "internal_error", null],
    [new DOMException("late", "TimeoutError"), 503, "timeout", null],
  ] as const)("%s is %i", ([error, status, code, param]) => {
    const found = toApiError(error, fieldsOf({ schema: "response_format.json_schema.schema" }, { places: [] }));
    expect([found.status, found.body.error.code, found.body.error.param]).toEqual([status, code, param]);
    expect(found.message).not.toContain("secret");
  });
});

test("what is wrong with files is told without paths, bytes of theirs or of the disk; a full disk is no fault of who asks", async () => {
  const secret = '/srv/private/states/slot-7: expected a saved state, found another kind of file, "root:x:0:0", 12,345 bytes free';
  const cases: [code: string, status: number, told: string][] = [
    ["LOAD", 400, "load"],
    ["SESSION_MISMATCH", 400, "session_mismatch"],
    ["OUT_OF_MEMORY", 503, "out_of_memory"],
    ["DISK_FULL", 507, "disk_full"],
  ];
  for (const [code, status, told] of cases) {
    const found = toApiError(new JambaError(code as JambaError["code"], secret));
    expect([found.status, found.details.code]).toEqual([status, told]);
    expect(JSON.stringify(found.body)).not.toMatch(/srv|slot-7|root|12,345/);
  }
});
