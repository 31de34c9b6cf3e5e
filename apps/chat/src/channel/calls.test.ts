import { expect, test } from "vitest";
import { Caller, serve } from "./calls.ts";

let count = 0;
const service = {
  double: async (n: number) => 2 * n,
  fail: async () => {
    throw Object.assign(new Error("no room"), { code: "QUOTA" });
  },
  async *upTo(n: number, signal: AbortSignal) {
    for (let i = 0; i < n && !signal.aborted; i++) {
      yield i;
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
    count = signal.aborted ? -1 : n;
  },
  never: () => new Promise<void>(() => undefined),
};
type Events = { owner: string; news: string };

test("calls made before there is an owner are answered once there is one, to the tab that asked", async () => {
  const [a, b] = [new Caller<typeof service, Events>("early"), new Caller<typeof service, Events>("early")];
  const asked = [a.call("double", 2), b.call("double", 3)];
  serve(service, "early");
  expect(await Promise.all(asked)).toEqual([4, 6]);
});

test("errors keep their message and code; streams come in order and can be left", async () => {
  serve(service, "streams");
  const caller = new Caller<typeof service, Events>("streams");
  await expect(caller.call("fail", undefined as never)).rejects.toMatchObject({ message: "no room", code: "QUOTA" });
  const all: number[] = [];
  await caller.stream("upTo", 5).pipeTo(new WritableStream({ write: (n) => void all.push(n) }));
  expect([all, count]).toEqual([[0, 1, 2, 3, 4], 5]);
  const reader = caller.stream("upTo", 100_000).getReader();
  expect((await reader.read()).value).toBe(0);
  await reader.cancel();
  while (count !== -1) await new Promise((resolve) => setTimeout(resolve, 1));
});

test("another owner is asked what the first one left open, once, and heard from then on", async () => {
  const first = serve({ ...service, double: service.never }, "owners");
  const caller = new Caller<typeof service, Events>("owners");
  const news: string[] = [];
  caller.on("news", (value) => news.push(value));
  while (!news.length) {
    first("news", "one");
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  const open = caller.call("double", 4);
  const never = caller.call("never", undefined as never);
  const left = expect(never).rejects.toMatchObject({ code: "OWNER_GONE" });
  serve(service, "owners");
  expect(await open).toBe(8);
  serve(service, "owners");
  await left;
  expect(await caller.call("double", 4)).toBe(8);
});

test("a stream that has begun ends with its owner; one that has not begins at the next", async () => {
  serve(service, "streams left");
  const caller = new Caller<typeof service, Events>("streams left");
  const begun = caller.stream("upTo", 1_000).getReader();
  await begun.read();
  const held = { ...service, upTo: service.never };
  serve(held, "streams left");
  await expect(
    (async () => {
      while (!(await begun.read()).done);
    })(),
  ).rejects.toMatchObject({ code: "OWNER_GONE" });
  const waiting = caller.stream("upTo", 1).getReader();
  await caller.call("double", 1);
  serve(service, "streams left");
  expect(await waiting.read()).toEqual({ value: 0, done: false });
});
