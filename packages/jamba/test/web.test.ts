// Answers that servers send on: as events, as text, to clients that read slowly, leave, or come for what fails.

import { createServer, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { serve } from "@hono/node-server";
import { Hono } from "hono";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { type JambaModel, loadModel, type Message, type Result, type TextStream, type WebResponseOptions } from "../src/index.ts";

let model: JambaModel;
const unhandled: unknown[] = [];
const note = (reason: unknown) => unhandled.push(reason);
beforeAll(async () => {
  process.on("unhandledRejection", note);
  model = await loadModel("tiny");
});
afterAll(async () => {
  vi.restoreAllMocks();
  await new Promise((resolve) => setTimeout(resolve, 20));
  process.off("unhandledRejection", note);
  expect(unhandled).toEqual([]);
  expect(model.inUse()).toEqual({ slots: 0, pages: 0 });
  await model.dispose();
});

const prompt = "Once upon a time";
const messages: Message[] = [{ role: "user", content: "Write a story about Mia and a fox." }];
// biome-ignore lint/suspicious/noExplicitAny: events are looked into field by field
type Event = any;
const eventsOf = (text: string): Event[] => {
  expect(text).toMatch(/^(data: .+\n\n)*$/);
  return text
    .split("\n\n")
    .slice(0, -1)
    .map((line) => JSON.parse(line.slice("data: ".length)));
};
/** A result as it comes over the web, without what differs from one run to the next. */
const plain = (result: Result) => {
  const {
    timings: _,
    cacheMissReason: __,
    usage: { promptTokens, completionTokens },
    ...rest
  } = JSON.parse(JSON.stringify(result));
  return { ...rest, promptTokens, completionTokens };
};

describe("the stream", () => {
  test("has each part as an event, and at the end the result", async () => {
    for (const options of [
      { maxTokens: 6 },
      { maxTokens: 4, logprobs: true },
      { maxTokens: 5, n: 2, temperature: 1, seed: 3 },
      { maxTokens: 0 },
    ]) {
      const parts = [];
      const own = model.stream(prompt, options);
      for await (const part of own) parts.push(JSON.parse(JSON.stringify({ type: "part", ...part })));
      const stream = model.stream(prompt, options);
      const events = eventsOf(await new Response(stream.toReadableStream()).text());
      const shown = (all: Event[]) => all.map(({ result: _, usage: __, ...part }) => part).sort((a, b) => (a.index ?? 0) - (b.index ?? 0));
      expect(shown(events.slice(0, -1))).toEqual(shown(parts));
      expect(events.at(-1).type).toBe("result");
      expect(plain(events.at(-1).result).choices?.length).toEqual((await own.result).choices?.length);
      if (!options.n) expect(plain(events.at(-1).result)).toEqual(plain(await own.result));
      expect((await stream.result).ids).toEqual((await own.result).ids);
    }
  });

  test("as text is what is said, without thoughts and calls, of the first answer", async () => {
    const textOf = (stream: TextStream) => new Response(stream.toReadableStream({ as: "text" })).text();
    expect(await textOf(model.stream(prompt, { maxTokens: 8 }))).toBe((await model.generate(prompt, { maxTokens: 8 })).text);
    const { choices } = await model.generate(messages, { maxTokens: 8, n: 2, temperature: 1, seed: 5 });
    expect(await textOf(model.stream(messages, { maxTokens: 8, n: 2, temperature: 1, seed: 5 }))).toBe(choices![0].content);
    const called = { maxTokens: 40, toolChoice: "required", tools: [{ name: "look", parameters: { type: "object" } }] } as const;
    expect(await textOf(model.stream(messages, called))).toBe((await model.generate(messages, called)).content);
    expect(await textOf(model.stream(prompt, { maxTokens: 0 }))).toBe("");
  });

  test("draws no part before its reader asks for one", async () => {
    let drawn = 0;
    const stream = model.stream(prompt, { maxTokens: 50, ignoreEos: true, onToken: () => drawn++ });
    const reader = stream.toReadableStream().getReader();
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(drawn).toBe(0);
    for (let parts = 1; parts <= 3; parts++) {
      await reader.read();
      await new Promise((resolve) => setTimeout(resolve, 10));
      expect(drawn).toBeLessThanOrEqual(parts + 1);
    }
    await reader.cancel();
    expect(await stream.result).toMatchObject({ finishReason: "cancelled" });
  });

  test("that is cancelled cancels the answer, whenever that is, with its reason", async () => {
    const long = Array.from({ length: 3000 }, (_, i) => 300 + (i % 1000));
    for (const parts of [0, 1, 3]) {
      const stream = model.stream(parts === 0 ? long : prompt, { maxTokens: 2000, ignoreEos: true });
      const reader = stream.toReadableStream().getReader();
      for (let i = 0; i < parts; i++) await reader.read();
      if (parts === 0) void reader.read(); // while the prompt is read
      await reader.cancel("gone");
      const { finishReason, cancelReason, ids } = await stream.result;
      expect([finishReason, cancelReason]).toEqual(["cancelled", "gone"]);
      expect(ids.length).toBeLessThanOrEqual(parts + 1);
      expect(model.inUse()).toEqual({ slots: 0, pages: 0 });
    }
    const unread = model.stream(prompt, { maxTokens: 5 });
    await unread.toReadableStream().cancel();
    expect(await unread.result).toMatchObject({ finishReason: "cancelled", ids: [] });
  });

  test("may be awaited beside, before or after it is made, but read once", async () => {
    const first = model.stream(prompt, { maxTokens: 3 });
    const early = first.result;
    const [text, { content }] = [await first.toResponse({ as: "text" }).text(), await early];
    expect(text).toBe(content);
    expect(() => first.toReadableStream()).toThrow(expect.objectContaining({ code: "OPTION" }));
    const looped = model.stream(prompt, { maxTokens: 3 });
    const result = looped.result;
    let said = "";
    for await (const part of looped) said += part.text;
    expect((await result).text).toBe(said);
    expect(() => looped.toResponse()).toThrow(expect.objectContaining({ code: "OPTION" }));
    expect(() => model.stream(prompt).toResponse({ as: "json" } as never)).toThrow(expect.objectContaining({ code: "OPTION" }));
  });
});

describe("an error", () => {
  const failing: [what: string, stream: () => TextStream, error: object][] = [
    [
      "of the context",
      () => model.stream(Array(262_145).fill(5)),
      { code: "CONTEXT_FULL", message: expect.stringMatching(/contextLength/) },
    ],
    [
      "of whoever watches the tokens",
      () =>
        model.stream(prompt, {
          maxTokens: 9,
          onToken: () => {
            throw new Error("a secret");
          },
        }),
      { code: "INTERNAL", message: "The answer failed." },
    ],
    [
      "of a cancel that throws",
      () => model.stream(prompt, { signal: AbortSignal.abort() }),
      { code: "ABORTED", message: "This operation was aborted" },
    ],
  ];

  test.each(failing)("%s is the last event, and rejects the result", async (_, make, error) => {
    const stream = make();
    const events = eventsOf(await stream.toResponse().text());
    expect(events.at(-1)).toEqual({ type: "error", error });
    await expect(stream.result).rejects.toBeDefined();
  });

  test.each(failing)("%s breaks off a text", async (_, make) => {
    await expect(make().toResponse({ as: "text" }).text()).rejects.toBeDefined();
  });

  test("of what has no JSON, as tools may throw it, is the last event, and the answer ends", async () => {
    const ring: { self?: unknown } = {};
    ring.self = ring;
    const stream = model.stream(messages, { tools: { now: { run: () => Promise.reject(ring) } }, toolChoice: "required", maxTokens: 60 });
    const events = eventsOf(await new Response(stream.toReadableStream()).text());
    expect(events.at(-1)).toEqual({ type: "error", error: { code: "INTERNAL", message: "The answer failed." } });
    expect((await stream.result).finishReason).toBe("cancelled");
    expect(model.inUse()).toEqual({ slots: 0, pages: 0 });
  });
});

describe("the response", () => {
  test("has the headers that a stream needs, and others in their place", () => {
    const headersOf = (options?: WebResponseOptions) => {
      const response = model.stream(prompt).toResponse(options);
      void response.body!.cancel();
      const found: Record<string, string> = {};
      response.headers.forEach((value, name) => {
        found[name] = value;
      });
      return [response.status, found];
    };
    const needed = { "cache-control": "no-cache, no-transform", "x-accel-buffering": "no", "x-content-type-options": "nosniff" };
    expect(headersOf()).toEqual([200, { "content-type": "text/event-stream; charset=utf-8", ...needed }]);
    expect(headersOf({ as: "text" })).toEqual([200, { "content-type": "text/plain; charset=utf-8", ...needed }]);
    expect(headersOf({ status: 201, headers: { "Content-Type": "text/markdown", "x-mine": "1" } })).toEqual([
      201,
      { "content-type": "text/markdown", "x-mine": "1", ...needed },
    ]);
    expect(headersOf({ headers: new Headers([["cache-control", "no-store"]]) })[1]).toMatchObject({ "cache-control": "no-store" });
  });

  /** As it is said in the README: for node's own server, and Express on it. */
  const send = async (stream: TextStream, options: WebResponseOptions, res: ServerResponse) => {
    const { headers, body } = stream.toResponse(options);
    res.setHeaders(headers);
    await pipeline(Readable.fromWeb(body as never), res).catch(() => undefined);
  };
  const listening = async (server: Server) => {
    await new Promise((resolve) => (server.listening ? resolve(undefined) : server.once("listening", resolve)));
    return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  };
  let last: TextStream;
  const start = (path: string): [TextStream, WebResponseOptions] => {
    const asked = path.startsWith("/fail") ? Array(262_145).fill(5) : prompt;
    last = model.stream(asked, path === "/long" ? { maxTokens: 100_000, ignoreEos: true } : { maxTokens: 12 });
    return [last, { as: path.endsWith("text") ? "text" : "events" }];
  };
  const servers: Record<string, () => Server> = {
    "node:http, which Express is too": () => createServer(({ url }, res) => void send(...start(url!), res)).listen(0),
    Hono: () => {
      // It logs what goes wrong, and here something is to.
      vi.spyOn(console, "error").mockImplementation(() => undefined);
      const app = new Hono().get("*", ({ req }) => {
        const [stream, options] = start(req.path);
        return stream.toResponse(options);
      });
      return serve({ fetch: app.fetch, port: 0 }) as Server;
    },
  };

  describe.each(Object.keys(servers))("through %s", (name) => {
    let server: Server;
    let url: string;
    beforeAll(async () => {
      server = servers[name]();
      url = await listening(server);
    });
    afterAll(() => new Promise((resolve) => server.close(resolve)));

    test("comes whole, as events and as text", async () => {
      const whole = await model.generate(prompt, { maxTokens: 12 });
      const response = await fetch(`${url}/`);
      expect([response.status, response.headers.get("content-type")]).toEqual([200, "text/event-stream; charset=utf-8"]);
      expect(plain(eventsOf(await response.text()).at(-1).result)).toEqual(plain(whole));
      const text = await fetch(`${url}/text`);
      expect([await text.text(), text.headers.get("content-type")]).toEqual([whole.content, "text/plain; charset=utf-8"]);
    });

    test("ends with an event where the answer fails, and breaks off a text", async () => {
      expect(eventsOf(await (await fetch(`${url}/fail`)).text())).toMatchObject([{ type: "error", error: { code: "CONTEXT_FULL" } }]);
      await expect(fetch(`${url}/failtext`).then((response) => response.text())).rejects.toBeDefined();
      expect(await (await fetch(`${url}/`)).text()).toContain('"type":"result"');
    });

    test("is cancelled when its client goes away", async () => {
      const leave = new AbortController();
      const { body } = await fetch(`${url}/long`, { signal: leave.signal });
      await body!.getReader().read();
      leave.abort();
      expect(await last.result).toMatchObject({ finishReason: "cancelled" });
      expect(model.calls()).toEqual({ running: 0, waiting: 0 });
    });
  });
});
