import { createServer, type Server as HttpServer } from "node:http";
import { type AddressInfo, connect, type Socket } from "node:net";
import { afterEach, expect, test } from "vitest";
import { type ConnectionLimits, guardSockets, peerOf, type SocketCounts } from "./sockets.ts";

const ends: (() => void)[] = [];
afterEach(() => {
  for (const end of ends.splice(0)) end();
});

interface Door {
  readonly port: number;
  readonly counts: SocketCounts;
  readonly lines: object[];
  readonly server: HttpServer;
  /** Requests that it heard. */
  heard(): number;
  /** Ends the answers to /wait. */
  answer(): void;
}

async function door(limits: Partial<ConnectionLimits>): Promise<Door> {
  const counts = { open: 0, refused: 0, closedIdle: 0 };
  const lines: object[] = [];
  let answer!: () => void;
  const waiting = new Promise<void>((resolve) => {
    answer = resolve;
  });
  let heard = 0;
  const server = createServer(async (request, response) => {
    heard++;
    request.on("error", () => undefined);
    if (request.url === "/wait") await waiting;
    if (request.method === "POST") await new Promise((resolve) => request.resume().once("close", resolve));
    response.end("fine");
  });
  guardSockets(server, { maxConnections: 10, maxConnectionsPerAddress: 10, silentMs: 60_000, keptMs: 60_000, ...limits }, counts, (line) =>
    lines.push(line),
  );
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  ends.push(() => {
    server.closeAllConnections();
    server.close();
  });
  return { port: (server.address() as AddressInfo).port, counts, lines, server, answer, heard: () => heard };
}

interface Client {
  readonly socket: Socket;
  text: string;
  isClosed: boolean;
}

async function client(port: number, text = "", localAddress = "127.0.0.1"): Promise<Client> {
  const socket = connect({ port, host: "127.0.0.1", localAddress });
  const found: Client = { socket, text: "", isClosed: false };
  socket.on("data", (data) => {
    found.text += data;
  });
  socket.on("error", () => undefined);
  socket.on("close", () => {
    found.isClosed = true;
  });
  ends.push(() => socket.destroy());
  await new Promise((resolve) => socket.once("connect", resolve).once("close", resolve));
  if (text !== "") socket.write(text);
  return found;
}

/** One whose request has been heard. */
async function asking(to: Door, text: string, localAddress?: string): Promise<Client> {
  const before = to.heard();
  const found = await client(to.port, text, localAddress);
  await expect.poll(() => found.isClosed || to.heard() > before).toBe(true);
  return found;
}

const get = (path = "/") => `GET ${path} HTTP/1.1\r\nHost: a\r\n\r\n`;

test("a connection that never sends a byte, and one that asks nothing more, are closed", async () => {
  const { port, counts } = await door({ silentMs: 300, keptMs: 300 });
  const silent = await client(port);
  const kept = await client(port, get());
  await expect.poll(() => kept.text).toContain("fine");
  await expect.poll(() => [silent.isClosed, kept.isClosed]).toEqual([true, true]);
  expect(counts).toEqual({ open: 0, refused: 0, closedIdle: 2 });
});

test("one that has asked may ask again when others that began with it are closed for their silence", async () => {
  const { port, counts } = await door({ silentMs: 300 });
  const kept = await client(port, get());
  await expect.poll(() => kept.text).toContain("fine");
  const silent = await client(port);
  await expect.poll(() => silent.isClosed).toBe(true);
  kept.text = "";
  kept.socket.write(get());
  await expect.poll(() => kept.text).toContain("fine");
  expect(counts).toEqual({ open: 1, refused: 0, closedIdle: 1 });
});

test("one that waits for its answer is left in peace", async () => {
  const { port, answer } = await door({ silentMs: 100, keptMs: 100 });
  const waits = await client(port, get("/wait"));
  await new Promise((resolve) => setTimeout(resolve, 500));
  expect(waits.isClosed).toBe(false);
  answer();
  await expect.poll(() => waits.text).toContain("fine");
});

test("who asks is answered beside 2,000 that do not", async () => {
  const { port, counts } = await door({ maxConnections: 100, maxConnectionsPerAddress: 100 });
  for (let i = 0; i < 20; i++) {
    await Promise.all(Array.from({ length: 100 }, () => client(port)));
    const good = await client(port, get());
    await expect.poll(() => good.text).toContain("fine");
  }
  expect(counts.open).toBeLessThanOrEqual(100);
});

test("what makes room: first who never asked, then who asks nothing, then who has not sent all, never who is answered", async () => {
  const to = await door({ maxConnections: 4, maxConnectionsPerAddress: 4 });
  const answered = await asking(to, get("/wait"));
  const sending = await asking(to, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf");
  const kept = await asking(to, get());
  await expect.poll(() => kept.text).toContain("fine");
  const silent = await client(to.port);
  await expect.poll(() => to.counts.open).toBe(4);
  for (const victim of [silent, kept, sending]) {
    expect(victim.isClosed).toBe(false);
    const next = await asking(to, get("/wait"));
    await expect.poll(() => victim.isClosed).toBe(true);
    expect(next.isClosed).toBe(false);
  }
  const refused = await asking(to, get("/wait"));
  await expect.poll(() => refused.isClosed).toBe(true);
  expect(to.counts).toEqual({ open: 4, refused: 1, closedIdle: 3 });
  to.answer();
  await expect.poll(() => answered.text).toContain("fine");
});

test("one address fills its own share only", async () => {
  const to = await door({ maxConnections: 6, maxConnectionsPerAddress: 4 });
  for (let i = 0; i < 9; i++) await asking(to, get("/wait"), "127.0.0.2");
  expect(to.counts.refused).toBe(5);
  const other = await asking(to, get("/wait"));
  to.answer();
  await expect.poll(() => other.text).toContain("fine");
});

test("many requests at once on one connection end it", async () => {
  const { port, counts } = await door({});
  const flood = await client(port, get("/wait").repeat(1000));
  await expect.poll(() => flood.isClosed).toBe(true);
  expect(counts.open).toBe(0);
});

test("accept without a file to spare ends nothing, and makes room", async () => {
  const { port, counts, server } = await door({});
  const silent = await client(port);
  await expect.poll(() => counts.open).toBe(1);
  for (let i = 0; i < 3; i++) server.emit("error", Object.assign(new Error("accept EMFILE"), { code: "EMFILE" }));
  await expect.poll(() => silent.isClosed).toBe(true);
  expect((await fetch(`http://127.0.0.1:${port}/`)).status).toBe(200);
});

test("addresses of one machine count together", () => {
  for (const [address, peer] of [
    ["127.0.0.1", "127.0.0.1"],
    ["::ffff:10.0.0.7", "10.0.0.7"],
    ["::1", "0:0:0:0"],
    ["2001:db8::5:6:7:8", "2001:db8:0:0"],
    ["2001:db8::1", "2001:db8:0:0"],
    ["2001:db8:1:2:3:4:5:6", "2001:db8:1:2"],
    ["fe80::1%eth0", "fe80:0:0:0"],
  ])
    expect(peerOf(address)).toBe(peer);
});
