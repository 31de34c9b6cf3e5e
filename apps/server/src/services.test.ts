// One server with several models, which come when they are asked for and go when there is no room or no use for them.

import { cpSync, existsSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { planMemory } from "jamba";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from "vitest";
import { eventsOf, type Json, posted } from "../test/requests.ts";
import { type ModelsOptions, type Server, Service, Services, serve } from "./index.ts";

const root = mkdtempSync(join(tmpdir(), "jamba-services-"));
afterAll(() => rmSync(root, { recursive: true }));
const tiny = dirname(createRequire(import.meta.url).resolve("@jamba/tiny-model/package.json"));

const contextLength = 2048;
/** Bytes that one takes. */
let each = 0;
beforeAll(async () => {
  each = (await planMemory("tiny", { contextLength })).totalBytes;
});

const open: Server[] = [];
afterEach(async () => {
  await Promise.all(open.splice(0).map((server) => server.close({ graceMs: 0 })));
});

const one = { source: "tiny", contextLength };
async function start(options: Partial<ModelsOptions> = {}): Promise<Server> {
  const server = await serve({ models: { one, two: one }, port: 0, ...options });
  open.push(server);
  return server;
}

function post(server: Server, path: string, body: object, signal?: AbortSignal): Promise<Response> {
  return fetch(`${server.url}${path}`, { ...posted(body), signal });
}

const messages = [{ role: "user", content: "Write a story about Mia, a fox and a red kite that flies over the green hill by the sea." }];
const chat = async (server: Server, model: string | undefined, more: object = {}): Promise<Json> =>
  (await post(server, "/v1/chat/completions", { model, messages, max_tokens: 4, temperature: 0, ...more })).json();
const get = async (server: Server, path: string): Promise<Json> => (await fetch(`${server.url}${path}`)).json();
const loaded = async (server: Server): Promise<string> => {
  const { data } = await get(server, "/v1/models");
  return data
    .filter((one: Json) => one.loaded)
    .map(({ id }: Json) => id)
    .join();
};

describe("names", () => {
  test("a request goes to the model of its id, source, last part of a path or alias, and to the first without any", async () => {
    const folder = join(root, "Mia-3B");
    cpSync(tiny, folder, { recursive: true, filter: (from) => !from.includes("node_modules") });
    const server = await start({ models: { small: one, [folder]: { ...one, source: folder, aliases: ["big"] } } });
    for (const [name, expected] of [
      [undefined, "small"],
      [null, "small"],
      ["small", "small"],
      ["tiny", "small"],
      [folder, folder],
      ["Mia-3B", folder],
      ["big", folder],
    ] as const)
      expect([name, (await chat(server, name as string)).model]).toEqual([name, expected]);
    expect((await get(server, "/v1/models/Mia-3B")).id).toBe(folder);
    for (const name of ["other", "", "SMALL", "mia-3b", root]) {
      const response = await post(server, "/v1/chat/completions", { model: name, messages });
      expect([response.status, (await response.json()) as Json]).toMatchObject([
        404,
        {
          error: {
            code: "model_not_found",
            param: "model",
            message: `model: expected one of "small", ${JSON.stringify(folder)}, found ${JSON.stringify(name)}`,
          },
        },
      ]);
    }
  });

  test("every route takes the model's name", async () => {
    const server = await start({ slotsDir: join(root, "slots-of-all") });
    const bodies: [path: string, body: object][] = [
      ["/v1/completions", { prompt: "Once", max_tokens: 1 }],
      ["/v1/responses", { input: "Hi", max_output_tokens: 1 }],
      ["/v1/embeddings", { input: "Hi" }],
      ["/tokenize", { content: "Hi" }],
      ["/detokenize", { tokens: [5] }],
      ["/apply-template", { messages }],
      ["/slots/0?action=erase", {}],
    ];
    for (const [path, body] of bodies) {
      expect([path, (await post(server, path, { ...body, model: "two" })).status]).toEqual([path, 200]);
      expect([path, (await post(server, path, { ...body, model: "three" })).status]).toEqual([path, 404]);
    }
    expect((await get(server, "/props?model=two")).model_alias).toBe("two");
    expect((await get(server, "/props")).model_alias).toBe("one");
    expect((await fetch(`${server.url}/slots?model=three`)).status).toBe(404);
  });

  test("that two models would share, or no model at all, is an error before anything listens", async () => {
    const twice = { one, two: { ...one, aliases: ["one"] } };
    for (const models of [twice, {}])
      await expect(serve({ models, port: 0 })).rejects.toMatchObject({ code: "OPTION", message: expect.stringMatching(/^models: /) });
    // A source that several have names none of them.
    const services = new Services({ models: { one, two: one } });
    expect(() => services.find("tiny")).toThrow(/expected one of "one", "two"/);
  });
});

test("the first model is loaded at once, others when they are asked for; the list and the metrics tell which are there", async () => {
  const before = Math.floor(Date.now() / 1000);
  const server = await start();
  await server.ready;
  expect(await get(server, "/health")).toEqual({ status: "ok" });
  const [first, second] = (await get(server, "/v1/models")).data;
  expect(first).toMatchObject({ id: "one", object: "model", owned_by: "jamba", loaded: true, meta: { n_ctx: contextLength } });
  expect(first.memory_bytes).toBeGreaterThanOrEqual(first.meta.size);
  expect(second).toMatchObject({ id: "two", object: "model", created: expect.any(Number), owned_by: "jamba", loaded: false });
  for (const name of ["loading", "last_used", "memory_bytes", "meta"]) expect(second).not.toHaveProperty(name);
  await chat(server, "two");
  const { loaded, last_used, loading } = await get(server, "/v1/models/two");
  expect([loaded, loading]).toEqual([true, undefined]);
  expect(last_used).toBeGreaterThanOrEqual(before);
  expect(last_used).toBeLessThanOrEqual(Date.now() / 1000);
  const metrics = await (await fetch(`${server.url}/metrics`)).text();
  expect(metrics).toContain('jamba_model_loaded{model="two"} 1\n');
  expect(metrics).toContain('jamba_model_loads_total{model="one"} 1\n');
});

describe("within memory for one model", () => {
  const tight = () => start({ memoryBytes: Math.round(1.5 * each) });

  test("the other makes room, and comes back with the states of its conversations", async () => {
    const server = await tight();
    const first = await chat(server, "one", { max_tokens: 60, ignore_eos: true });
    const next = [...messages, first.choices[0].message, { role: "user", content: "Go on." }];
    expect(await loaded(server)).toBe("one");
    await chat(server, "two");
    expect(await loaded(server)).toBe("two");
    const { usage } = await chat(server, "one", { messages: next });
    expect(await loaded(server)).toBe("one");
    expect(usage.prompt_tokens_details.cached_tokens).toBeGreaterThan(usage.prompt_tokens / 2);
    const metrics = await (await fetch(`${server.url}/metrics`)).text();
    expect(metrics).toContain('jamba_model_loads_total{model="one"} 2\n');
    expect(Number(/^jamba_n_decode_total (\d+)$/m.exec(metrics)?.[1])).toBeGreaterThan(60); // also of what is gone
  });

  test("an answer that runs is not cut", async () => {
    const server = await tight();
    const stream = await post(server, "/v1/chat/completions", { model: "one", messages, max_tokens: 150, ignore_eos: true, stream: true });
    const [text, other] = await Promise.all([stream.text(), chat(server, "two")]);
    expect(text).toMatch(/"finish_reason":"length"[\s\S]*\[DONE\]/);
    expect(other.choices[0].finish_reason).toBe("length");
  });

  test("a model that is to make room is not there for the next request", async () => {
    const services = new Services({ models: { one, two: one }, memoryBytes: Math.round(1.5 * each) });
    const { signal } = new AbortController();
    const [first, second] = services.all;
    const release = await services.use(first, signal);
    expect(services.isThere(first)).toBe(true);
    const next = services.use(second, signal);
    await expect.poll(() => services.isThere(first)).toBe(false);
    release();
    (await next)();
    await services.dispose();
  });

  test("many requests for both at once are all answered, each by its model", async () => {
    const server = await tight();
    const names = Array.from({ length: 12 }, (_, i) => ["one", "two"][i % 2]);
    const answers = await Promise.all(names.map((name, seed) => chat(server, name, { seed })));
    expect(answers.map(({ model }) => model)).toEqual(names);
    expect(new Set(answers.map(({ choices }) => choices[0].message.content)).size).toBe(1);
    for (const { memory_bytes = 0 } of (await get(server, "/v1/models")).data) expect(memory_bytes).toBeLessThanOrEqual(1.5 * each);
  });

  test("a slot's conversation outlives its model", async () => {
    const server = await start({ memoryBytes: Math.round(1.5 * each), slotsDir: join(root, "slots") });
    await chat(server, "one", { id_slot: 1 });
    const [, before] = await get(server, "/slots?model=one");
    await chat(server, "two");
    const saved = (await (await post(server, "/slots/1?action=save", { model: "one", filename: "kept" })).json()) as Json;
    expect(saved).toMatchObject({ n_saved: before.n_tokens, n_written: expect.any(Number) });
    expect((await (await post(server, "/slots/0?action=restore", { model: "one", filename: "kept" })).json()) as Json).toMatchObject({
      n_restored: before.n_tokens,
    });
  });
});

test("a model that takes more than there is for all is refused without numbers, one whose conversations can be shorter is not", async () => {
  const server = await start({ memoryBytes: Math.round(0.99 * each), models: { one: { source: "tiny" }, two: one } });
  await chat(server, "one");
  expect((await get(server, "/v1/models/one")).meta.n_ctx).toBeLessThan(contextLength);
  const response = await post(server, "/v1/chat/completions", { model: "two", messages });
  expect([response.status, response.headers.get("x-should-retry"), await response.json()]).toEqual([
    507,
    "false",
    {
      error: {
        code: "model_too_large",
        param: "model",
        type: "server_error",
        message: expect.stringMatching(/^model: "two" takes more memory than this server has/),
      },
    },
  ]);
  const told = (await (await post(server, "/v1/messages", { model: "two", messages, max_tokens: 1 })).json()) as Json;
  expect(told.error.type).toBe("api_error");
  expect(await loaded(server)).toBe("one");
});

test("a model that can't be loaded is told as such, and tried again", async () => {
  const folder = join(root, "late");
  const lines: Json[] = [];
  const server = await start({ models: { one, late: { ...one, source: folder } }, log: (line) => lines.push(line) });
  const failed = await Promise.all([1, 2].map(() => post(server, "/v1/chat/completions", { model: "late", messages })));
  for (const response of failed)
    expect([response.status, await response.json()]).toMatchObject([503, { error: { code: "model_failed", type: "server_error" } }]);
  expect(JSON.stringify(lines)).toContain(folder); // the log says why
  cpSync(tiny, folder, { recursive: true, filter: (from) => !from.includes("node_modules") });
  expect((await chat(server, "late", { max_tokens: 2 })).usage.completion_tokens).toBe(2);
});

test("what nobody uses is unloaded after its time, also an only one, and comes back with its states", async () => {
  const server = await start({ models: { one }, idleUnloadMs: 30 });
  const { usage } = await chat(server, "one", { max_tokens: 60, ignore_eos: true });
  await expect.poll(() => loaded(server)).toBe("");
  expect(await get(server, "/health")).toEqual({ status: "ok" });
  expect(server.stats().memory.weights).toBe(0);
  const again = await chat(server, "one");
  expect(again.usage.prompt_tokens).toBe(usage.prompt_tokens);
  expect(again.usage.prompt_tokens_details.cached_tokens).toBeGreaterThan(usage.prompt_tokens / 2);
});

test("a model whose slots can't be written goes all the same, and comes back", async () => {
  const lines: Json[] = [];
  const models = { one: { ...one, cache: { dir: join(root, "chosen") } } };
  const server = await start({ models, idleUnloadMs: 30, slotsDir: join(root, "unwritten"), log: (line) => lines.push(line) });
  await server.ready;
  vi.stubEnv("TMPDIR", join(root, "missing")).stubEnv("TEMP", join(root, "missing"));
  try {
    await chat(server, "one", { id_slot: 0 });
    await expect.poll(() => loaded(server)).toBe("");
    expect(server.stats().memory.weights).toBe(0);
    expect(lines).toContainEqual(expect.objectContaining({ event: "slots lost", model: "one" }));
  } finally {
    vi.unstubAllEnvs();
  }
  expect((await post(server, "/slots/0?action=save", { filename: "lost" })).status).toBe(404);
  await chat(server, "one", { id_slot: 0 });
  await expect.poll(() => loaded(server)).toBe("");
  expect((await post(server, "/slots/0?action=save", { filename: "kept" })).status).toBe(200);
});

describe("a stream whose model is not there", () => {
  test.each(["/v1/chat/completions", "/v1/messages", "/v1/completions"])(
    "%s has signs of life until it is, then the answer",
    async (path) => {
      const server = await start({ pingMs: 5 });
      const body = { model: "two", messages, prompt: "Once", max_tokens: 3, temperature: 0, stream: true };
      const response = await post(server, path, body);
      expect([response.status, response.headers.get("content-type")]).toEqual([200, "text/event-stream; charset=utf-8"]);
      const text = await response.text();
      expect(text).toMatch(/^: ping\n\n/);
      const said = (found: string) => [...found.matchAll(/"(?:text|content)":"([^"]*)"/g)].map(([, text]) => text).join("");
      expect(said(text)).toBe(said(await (await post(server, path, body)).text()));
      expect(said(text).length).toBeGreaterThan(3);
      await expect.poll(() => get(server, "/v1/models/two").then(({ last_used }) => last_used)).toBeGreaterThan(0);
    },
  );

  test("is told of what fails: by a status if it is soon, else as the last event in the words of its API", async () => {
    const late = { ...one, source: join(root, "nowhere") };
    const server = await start({ models: { one, late } });
    const soon = await post(server, "/v1/chat/completions", { model: "late", messages, stream: true });
    expect([soon.status, ((await soon.json()) as Json).error.code]).toEqual([503, "model_failed"]);
    const impatient = await start({ models: { one, late: { ...one, contextLength: 1_000_000 } }, pingMs: 1 });
    for (const [path, expected] of [
      ["/v1/chat/completions", /\ndata: \{"error":\{[^}]*"code":"model_failed"\}\}\n\ndata: \[DONE\]\n\n$/],
      ["/v1/messages", /\nevent: error\ndata: \{"type":"error","error":\{"type":"overloaded_error"[^}]*\},"request_id":"req_\w+"\}\n\n$/],
    ] as const) {
      const text = await (await post(impatient, path, { model: "late", messages, max_tokens: 3, stream: true })).text();
      expect(`\n${text}`).toMatch(expected);
    }
  });

  test("is told of a wrong field by the request's own word for it", async () => {
    const server = await start({ pingMs: 1 });
    const tools = [{ type: "mcp" }, { name: "call", input_schema: { type: "array" } }];
    const text = await (await post(server, "/v1/messages", { model: "two", messages, tools, max_tokens: 1, stream: true })).text();
    expect(text).toMatch(/^: ping\n\n/);
    expect(eventsOf(text).map(({ error }) => error.message)).toEqual([expect.stringMatching(/^tools\[1\]\.input_schema\.type: /)]);
  });

  test("and that is left while it loads lets its model go", async () => {
    const server = await start({ pingMs: 5, idleUnloadMs: 20 });
    const controller = new AbortController();
    const response = await post(server, "/v1/chat/completions", { model: "two", messages, stream: true }, controller.signal);
    await response.body!.getReader().read();
    controller.abort();
    await expect.poll(() => loaded(server)).toBe("");
  });
});

test.each([0, 1, 5, 20, 60, 150])("a client that leaves after %i ms lets its model go, streamed or not, and is logged", async (ms) => {
  const lines: Json[] = [];
  const server = await start({ idleUnloadMs: 10, slotsDir: join(root, "left"), log: (line) => lines.push(line) });
  await server.ready;
  const asks = [
    { max_tokens: 30_000, ignore_eos: true },
    { max_tokens: 30_000, ignore_eos: true, stream: true },
    { max_tokens: 30_000, ignore_eos: true, id_slot: 0 },
  ];
  const answers = asks.map((more) => {
    const controller = new AbortController();
    setTimeout(() => controller.abort(), ms);
    return post(server, "/v1/chat/completions", { model: "two", messages, ...more }, controller.signal).then((response) => response.text());
  });
  for (const one of await Promise.allSettled(answers)) expect(one.status).toBe("rejected");
  await expect.poll(() => loaded(server)).toBe("");
  for (const { status, route } of lines) if (route === "/v1/chat/completions") expect(status).toBe(499);
});

test("a client that leaves while its model loads stops nothing for another", async () => {
  const server = await start();
  const controller = new AbortController();
  const leaver = post(server, "/v1/chat/completions", { model: "two", messages }, controller.signal);
  const other = chat(server, "two");
  controller.abort();
  await expect(leaver).rejects.toThrow();
  expect((await other).model).toBe("two");
});

describe("the end", () => {
  // Its own, since others on this machine may have servers too.
  const temporary = mkdtempSync(join(root, "temporary-"));
  const folders = () => readdirSync(temporary).filter((name) => name.startsWith("jamba-states-"));
  beforeEach(() => void vi.stubEnv("TMPDIR", temporary).stubEnv("TEMP", temporary));
  afterEach(() => void vi.unstubAllEnvs());

  test("while a model loads is clean: who waits is told, nothing stays", async () => {
    const before = folders();
    const server = await serve({ models: { one, two: one }, port: 0 });
    const waiting = post(server, "/v1/chat/completions", { model: "one", messages });
    await expect.poll(async () => (await get(server, "/v1/models/one")).loading || (await get(server, "/v1/models/one")).loaded).toBe(true);
    await server.close();
    await Promise.allSettled([server.ready]);
    const response = await waiting;
    if (response.status !== 200) expect([response.status, ((await response.json()) as Json).error.code]).toEqual([503, "shutting_down"]);
    expect(folders()).toEqual(before);
  });

  test("comes after the answers that run, and takes the folder of states along", async () => {
    const before = folders();
    const server = await serve({ models: { one }, port: 0 });
    const answer = await post(server, "/v1/chat/completions", { messages, max_tokens: 60, ignore_eos: true, stream: true });
    expect(folders()).toHaveLength(before.length + 1);
    const [text] = await Promise.all([answer.text(), server.close()]);
    expect(text).toMatch(/"finish_reason":"length"[\s\S]*\[DONE\]/);
    expect(folders()).toEqual(before);
  });

  test("leaves states in a folder that was chosen", async () => {
    const dir = join(root, "states");
    const models = { one: { ...one, cache: { dir } } };
    const ask = async () => {
      const server = await serve({ models, port: 0 });
      const { usage } = await chat(server, "one");
      await server.close();
      return usage.prompt_tokens_details.cached_tokens;
    };
    expect([await ask(), await ask()]).toEqual([0, expect.any(Number)]);
    expect(existsSync(dir) && readdirSync(dir).length).toBeGreaterThan(0);
  });
});

test("a service that was given its model tells of it in the same list", () => {
  const services = new Services(new Service(Promise.reject(new Error("x")), "owner/name:Q4_K_M"));
  expect(services.find("name:Q4_K_M")).toBe(services.find("owner/name:Q4_K_M"));
});
