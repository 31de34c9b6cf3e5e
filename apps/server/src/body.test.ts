import { connect, type Socket } from "node:net";
import { type JambaModel, loadModel } from "jamba";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { posted } from "../test/requests.ts";
import { BodyRoom } from "./body.ts";
import { type ServeOptions, type Server, serve } from "./index.ts";

const never = new AbortController().signal;
const MiB = 2 ** 20;

test("room is given in the order of asking, and all of it comes back", async () => {
  const room = new BodyRoom(4 * MiB);
  const order: string[] = [];
  const noted = (name: string) => (free: () => void) => {
    order.push(name);
    return free;
  };
  const free = await room.take(3 * MiB, undefined, never);
  const second = room.take(2 * MiB, undefined, never).then(noted("second"));
  const third = room.take(MiB, undefined, never).then(noted("third"));
  (await room.take(1000, undefined, never))(); // a small one passes
  expect(order).toEqual([]);
  free();
  free(); // once
  for (const taken of [second, third]) (await taken)();
  expect([order, room.bytes]).toEqual([["second", "third"], 0]);
});

test("one tenant holds half at most, and holds up no other", async () => {
  const room = new BodyRoom(4 * MiB);
  const mine = await room.take(1.5 * MiB, "a", never);
  const next = room.take(MiB, "a", never);
  (await room.take(1.5 * MiB, "b", never))();
  mine();
  (await next)();
  expect(room.bytes).toBe(0);
});

test("who leaves waits no more and holds up nobody", async () => {
  const room = new BodyRoom(4 * MiB);
  const free = await room.take(2 * MiB, undefined, never);
  const left = new AbortController();
  const waiting = room.take(4 * MiB, undefined, left.signal);
  const behind = room.take(MiB, undefined, never);
  left.abort(new Error("left"));
  await expect(waiting).rejects.toThrow("left");
  (await behind)();
  free();
  expect(room.bytes).toBe(0);
});

test("a body that is larger than all the room is read alone", async () => {
  const room = new BodyRoom(MiB);
  const free = await room.take(2 * MiB, "a", never);
  expect(room.bytes).toBe(2 * MiB);
  free();
});

let model: JambaModel;
beforeAll(async () => {
  model = await loadModel("tiny");
});
afterAll(() => model.dispose());

const ends: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end();
});

async function start(options: ServeOptions): Promise<Server> {
  const server = await serve(model, "tiny", { port: 0, ...options });
  ends.push(() => server.close({ graceMs: 0 }));
  return server;
}

const ask = { messages: [{ role: "user", content: "Hi" }], max_tokens: 1 };
const bodyBytes = async (server: Server) =>
  Number(/^jamba_body_bytes (\d+)/m.exec(await (await fetch(`${server.url}/metrics`)).text())![1]);

/** Sends all of a body of `length` bytes but its last one. */
async function holds(server: Server, length: number, path = "/v1/chat/completions"): Promise<{ socket: Socket; heard: () => string }> {
  const socket = connect(server.port, "127.0.0.1");
  let heard = "";
  socket.on("data", (data) => {
    heard += data;
  });
  socket.on("error", () => undefined);
  const head = `POST ${path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: ${length}\r\n\r\n`;
  socket.write(head + JSON.stringify(ask).padEnd(length - 1));
  ends.push(() => void socket.destroy());
  return { socket, heard: () => heard };
}

test("150 bodies that are held take no more than there is room for, and small requests are answered meanwhile", {
  timeout: 60_000,
}, async () => {
  const server = await start({ maxBodyBytesInFlight: 8 * MiB });
  const all = await Promise.all(Array.from({ length: 150 }, () => holds(server, 2 * MiB)));
  await expect.poll(() => bodyBytes(server)).toBe(6 * MiB);
  expect((await fetch(`${server.url}/v1/chat/completions`, posted(ask))).status).toBe(200);
  // Those that wait for room are told to come back, those that hold it that they are too slow.
  const told = () => all.map(({ heard }) => /^HTTP\/1.1 (\d+)/.exec(heard())?.[1]);
  await expect.poll(() => told().filter((status) => status === "503").length, { timeout: 20_000 }).toBeGreaterThan(100);
  for (const { socket } of all) socket.destroy();
  await expect.poll(() => bodyBytes(server)).toBe(0);
});

test("what is unfit is told before its body is read", async () => {
  const server = await start({ apiKeys: ["key"] });
  const { heard } = await holds(server, 2 * MiB);
  await expect.poll(heard).toMatch(/^HTTP\/1.1 401/);
  expect(server.stats().requests.total).toBe(1);
});

test("a chunked body is counted like another, and given back", async () => {
  const server = await start({});
  const body = new Blob([JSON.stringify({ content: "a ".repeat(100_000) })]).stream();
  const response = await fetch(`${server.url}/tokenize`, { ...posted(""), body, duplex: "half" } as RequestInit);
  expect(response.status).toBe(200);
  await response.text();
  await expect.poll(() => bodyBytes(server)).toBe(0);
});
