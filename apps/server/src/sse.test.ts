import { Hono } from "hono";
import { expect, test } from "vitest";
import type { Env, Exchange } from "./route.ts";
import type { Service } from "./service.ts";
import { eventStream } from "./sse.ts";

test("what waits for a client that reads nothing is bounded, and its answer ends", async () => {
  let made = 0;
  const left = new AbortController();
  async function* events() {
    while (!left.signal.aborted) {
      made += 1024;
      yield "a".repeat(1024);
      await new Promise(setImmediate);
    }
  }
  let ended = 0;
  const exchange = { left, notes: {}, end: () => ended++ } as unknown as Exchange;
  const app = new Hono<Env>();
  app.get("/", (c) => eventStream(events(), { c, exchange, service: { options: { pingMs: 60_000 } } as Service }));
  const response = await app.request("/");
  await expect.poll(() => ended, { timeout: 10_000 }).toBe(1);
  expect([exchange.error?.details.code, made < 5 * 2 ** 20]).toEqual(["client_too_slow", true]);
  await expect(response.text()).rejects.toThrow("did not read");
});
