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

test("another owner ends the calls that the first one left open, and hears those that follow", async () => {
  const first = serve(service, "owners");
  const caller = new Caller<typeof service, Events>("owners");
  const news: string[] = [];
  caller.on("news", (value) => news.push(value));
  await caller.call("double", 1);
  first("news", "one");
  const open = caller.call("never", undefined as never);
  const left = expect(open).rejects.toMatchObject({ code: "OWNER_GONE" });
  serve(service, "owners");
  await left;
  expect([await caller.call("double", 4), news]).toEqual([8, ["one"]]);
});
