import { once } from "node:events";
import { connect } from "node:net";
import { type JambaModel, loadModel } from "jamba";
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from "vitest";
import { posted } from "../test/requests.ts";
import { jsonLog, type ServeOptions, type Server, serve } from "./index.ts";

let model: JambaModel;
beforeAll(async () => {
  model = await loadModel("tiny");
});
afterAll(() => model.dispose());

const open: Server[] = [];
afterEach(async () => {
  await Promise.all(open.splice(0).map((server) => server.close({ graceMs: 0 })));
});
async function start(options: ServeOptions = {}): Promise<Server> {
  const server = await serve(model, "tiny", { port: 0, ...options });
  open.push(server);
  return server;
}

const messages = [{ role: "user", content: "Hi" }];
const long = { messages, max_tokens: 30_000, ignore_eos: true };

function ask(server: Server, body: object, signal?: AbortSignal): Promise<Response> {
  return fetch(`${server.url}/v1/chat/completions`, { ...posted(body), signal });
}

/** What a server says to these bytes until it closes. */
function say(server: Server, text: string): Promise<string> {
  return new Promise((resolve) => {
    let heard = "";
    const socket = connect(server.port, "127.0.0.1", () => socket.write(text, "latin1"));
    socket.setTimeout(1500, () => socket.destroy()); // an open connection says no more
    socket.on("data", (data) => {
      heard += data;
    });
    socket.on("error", () => undefined);
    socket.on("close", () => resolve(heard));
  });
}

test("listens on loopback, tells its port, counts what it does", async () => {
  const server = await start();
  expect(server.url).toBe(`http://127.0.0.1:${server.port}`);
  expect(await (await fetch(`${server.url}/health`)).json()).toEqual({ status: "ok" });
  await (await ask(server, { messages, max_tokens: 3 })).json();
  const { requests, completionTokens, memory } = server.stats();
  expect([requests, completionTokens]).toEqual([{ running: 0, waiting: 0, total: 2 }, 3]);
  expect(memory.weights).toBeGreaterThan(1e7);
});

test("refuses to be reached by others without a key, and a port that is taken", async () => {
  for (const host of ["0.0.0.0", "::", "192.168.0.1", "example.org", "127.0.0.1.example.org"])
    await expect(serve(model, "tiny", { host, port: 0 })).rejects.toMatchObject({
      code: "OPTION",
      message: expect.stringMatching(/^host: /),
    });
  const { port } = await start();
  await expect(serve(model, "tiny", { port })).rejects.toMatchObject({ code: "OPTION", message: expect.stringMatching(/^port: /) });
  const others = await start({ host: "0.0.0.0", apiKeys: ["key"] });
  expect((await fetch(`http://127.0.0.1:${others.port}/v1/models`)).status).toBe(401);
});

test.each([
  [{ port: 65_536 }, "port: expected an integer in [0, 65535], found 65536"],
  [{ port: 1.5 }, "port: expected an integer in [0, 65535], found 1.5"],
  // With 0 no call could begin, room or not.
  [{ maxQueue: 0 }, "maxQueue: expected an integer in [1, 9007199254740991], found 0"],
  [{ maxTokens: 0 }, "maxTokens: expected an integer in [1, 9007199254740991], found 0"],
  [{ maxBodyBytes: Number.NaN }, "maxBodyBytes: expected an integer in [256, 9007199254740991], found NaN"],
  [{ requestTimeoutMs: 0 }, "requestTimeoutMs: expected an integer in [100, 2147483647], found 0"],
  // Longer than a timer can run, where node would take 1 ms.
  [{ requestTimeoutMs: 1e10 }, "requestTimeoutMs: expected an integer in [100, 2147483647], found 10000000000"],
  [{ pingMs: Number.POSITIVE_INFINITY }, "pingMs: expected an integer in [1, 2147483647], found Infinity"],
  [{ models: { tiny: "tiny" }, idleUnloadMs: 1e10 }, "idleUnloadMs: expected an integer in [1, 2147483647], found 10000000000"],
  [{ models: { tiny: "tiny" }, memoryBytes: 0 }, "memoryBytes: expected an integer in [1, 9007199254740991], found 0"],
])("refuses %j before it listens", async (options, message) => {
  const started = "models" in options ? serve({ port: 0, ...options }) : serve(model, "tiny", { port: 0, ...options });
  await expect(started).rejects.toMatchObject({ code: "OPTION", message });
});

test("a name that was made to point to loopback is no way in", async () => {
  const server = await start();
  expect(await say(server, "GET /v1/models HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n")).toMatch(
    /^HTTP\/1.1 403[\s\S]*host_not_allowed/,
  );
  expect(await say(server, "GET /v1/models HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")).toMatch(/^HTTP\/1.1 200/);
});

test("a body that is too large is told of also while it is sent", async () => {
  const server = await start({ maxBodyBytes: 1000 });
  for (const bytes of [1001, 100_000, 5_000_000, 20_000_000]) {
    const response = await ask(server, { messages: [{ role: "user", content: "a".repeat(bytes) }] });
    expect([bytes, response.status]).toEqual([bytes, 413]);
    await response.arrayBuffer();
  }
});

describe("a client that leaves", () => {
  test.for([true, false])("is out of the engine, stream: %s", async (stream) => {
    const lines: { status: number }[] = [];
    const server = await start({ log: (line) => lines.push(line as { status: number }) });
    const before = model.inUse();
    const controller = new AbortController();
    const answer = ask(server, { ...long, stream }, controller.signal).then((response) => response.text());
    await expect.poll(() => model.calls().running).toBe(1);
    controller.abort();
    await expect(answer).rejects.toThrow();
    await expect.poll(() => model.calls()).toEqual({ running: 0, waiting: 0 });
    expect(model.inUse()).toEqual(before);
    await expect.poll(() => lines.map(({ status }) => status)).toEqual([499]);
  });

  test("before its first token too", async () => {
    const server = await start();
    const controller = new AbortController();
    const slow = { messages: [{ role: "user", content: "fox and kite ".repeat(2000) }], stream: true };
    const answer = ask(server, slow, controller.signal);
    await expect.poll(() => model.calls().running).toBe(1);
    controller.abort();
    await expect(answer).rejects.toThrow();
    await expect.poll(() => model.calls()).toEqual({ running: 0, waiting: 0 });
  });
});

test("signs of life come while a prompt is read", async () => {
  const server = await start({ pingMs: 20 });
  const slow = { messages: [{ role: "user", content: "the boat and the lamp ".repeat(400) }], stream: true, max_tokens: 2 };
  const text = await (await ask(server, slow)).text();
  expect(text).toMatch(/^: ping\n\n/);
  expect(text).toMatch(/data: \[DONE\]\n\n$/);
});

describe("the end", () => {
  test("comes after the answers that run, and to no one else", async () => {
    const server = await serve(model, "tiny", { port: 0 });
    const answer = ask(server, { messages, max_tokens: 60, ignore_eos: true, stream: true });
    const text = (await answer).text();
    const closing = server.close();
    await expect(fetch(`${server.url}/health`)).rejects.toThrow();
    expect(await text).toMatch(/"finish_reason":"length"[\s\S]*\[DONE\]/);
    await closing;
  });

  test.for([1, 2])("cancels what takes longer than the grace, and says so, n: %d", async (n) => {
    const server = await serve(model, "tiny", { port: 0 });
    const response = await ask(server, { ...long, n, stream: true });
    const [text] = await Promise.all([response.text(), server.close({ graceMs: 50 })]);
    expect(text).toMatch(
      /data: \{"error":\{"message":"The server is shutting down.","type":"server_error","param":null,"code":"shutting_down"\}\}\n\ndata: \[DONE\]\n\n$/,
    );
    expect(text).not.toMatch(/"finish_reason":"/);
    expect(model.calls()).toEqual({ running: 0, waiting: 0 });
  });
});

describe("a stream that outlasts the grace ends as its API documents", () => {
  test.for([
    ["/v1/chat/completions", { ...long, stream: true }, /"code":"shutting_down"[\s\S]*data: \[DONE\]\n\n$/],
    [
      "/v1/completions",
      { prompt: "A fox", max_tokens: 30_000, ignore_eos: true, stream: true },
      /"shutting_down"[\s\S]*data: \[DONE\]\n\n$/,
    ],
    ["/v1/messages", { ...long, stream: true }, /event: error\ndata: \{"type":"error".*\n\n$/],
    [
      "/v1/responses",
      { input: "Hi", max_output_tokens: 30_000, ignore_eos: true, stream: true },
      /event: response\.failed\ndata: .*"status":"failed","error":\{"code":"shutting_down".*\n\n$/,
    ],
  ] as const)("%s", async ([path, body, end]) => {
    const server = await serve(model, "tiny", { port: 0 });
    const response = await fetch(server.url + path, posted(body));
    const [text] = await Promise.all([response.text(), server.close({ graceMs: 50 })]);
    expect(text).toMatch(end);
  });
});

describe("what could be read as two requests is refused", () => {
  const head = "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n";
  const hidden = "GET /props HTTP/1.1\r\nHost: localhost\r\n\r\n";
  test.for([
    ["two lengths", `${head}Content-Length: 2\r\nContent-Length: 44\r\n\r\n{}${hidden}`],
    ["a length and chunks", `${head}Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n${hidden}`],
    ["chunks twice", `${head}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n${hidden}`],
    ["chunks twice in one line", `${head}Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n${hidden}`],
    ["chunks that are not last", `${head}Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n${hidden}`],
    ["a length that is no number", `${head}Content-Length: +2\r\n\r\n{}${hidden}`],
    ["a space before the colon", `${head}Content-Length : 2\r\n\r\n{}${hidden}`],
    ["a folded header", `${head}X-A: b\r\n Content-Length: 2\r\n\r\n{}${hidden}`],
    ["a chunk size with a sign", `${head}Transfer-Encoding: chunked\r\n\r\n-1\r\n${hidden}`],
    ["bare line feeds in a chunk", `${head}Transfer-Encoding: chunked\r\n\r\n2\n{}\n0\n\n${hidden}`],
    ["two hosts", `GET /props HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\nConnection: close\r\n\r\n`],
    ["no host", "GET /props HTTP/1.1\r\nConnection: close\r\n\r\n"],
    ["no HTTP", "fox\r\n\r\n"],
    ["headers without end", `GET / HTTP/1.1\r\nHost: localhost\r\nX-A: ${"a".repeat(20_000)}\r\n\r\n`],
  ])("%s", async ([, text]) => {
    const heard = await say(await start(), text);
    expect(heard).not.toMatch(/^HTTP\/1.1 2/m);
    expect(heard).not.toContain("default_generation_settings");
    expect(heard).toMatch(/^HTTP\/1.1 4/);
  });
});

test("requests that a connection sends at once are answered one at a time, in order", async () => {
  const server = await start();
  const tokens = [40, 1, 40, 2];
  const bodies = tokens.map((max_tokens) =>
    JSON.stringify({ messages, max_tokens, ignore_eos: true, stream: true, stream_options: { include_usage: true } }),
  );
  let most = 0;
  const watch = setInterval(() => {
    most = Math.max(most, server.stats().requests.running);
  }, 1);
  const head = "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: ";
  const heard = await say(server, bodies.map((body) => `${head}${body.length}\r\n\r\n${body}`).join(""));
  clearInterval(watch);
  const answers = heard.split("HTTP/1.1 200 OK").slice(1);
  expect(answers.map((answer) => Number(/"completion_tokens":(\d+)/.exec(answer)?.[1] ?? Number.NaN))).toEqual(tokens);
  expect(most).toBe(1);
});

test("requests behind one whose connection ends are never begun", async () => {
  const server = await start();
  const body = JSON.stringify({ ...long, stream: true });
  const head = "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: ";
  const socket = connect(server.port, "127.0.0.1");
  socket.write(`${head}${body.length}\r\n\r\n${body}`.repeat(8));
  await once(socket, "data");
  socket.destroy();
  await vi.waitFor(() => expect(server.stats().requests.running).toBe(0));
  await server.close();
  expect(server.stats().requests).toEqual({ running: 0, waiting: 0, total: 1 });
});

test("odd methods get a JSON error", async () => {
  const server = await start();
  for (const method of ["TRACE", "PUT", "DELETE", "PATCH", "PROPFIND", "OPTIONS"]) {
    const heard = await say(server, `${method} /v1/models HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n`);
    expect([method, heard]).toEqual([method, expect.stringMatching(/^HTTP\/1.1 4[\s\S]*\{"error":/)]);
  }
});

test("a log line is a line of JSON with a level and a time", () => {
  let text = "";
  const log = jsonLog({ write: (line) => (text += line) });
  log({ route: "/v1/models", status: 200 });
  log({ route: "/v1/models", status: 500 });
  const lines = text
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line));
  expect(lines).toMatchObject([
    { level: 30, time: expect.any(Number), route: "/v1/models" },
    { level: 50, status: 500 },
  ]);
});
