// A hub that is not there is said to be not there, at once and with what to do instead; one that is slow is waited for.

import { EventEmitter } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, test, vi } from "vitest";
import { hubForTests } from "../../../../tooling/hub/hub-for-tests.ts";
import { expectReachable, isUnconnected, proxyOf } from "./connect.ts";
import { downloadIn } from "./download.ts";
import { node } from "./node.ts";

const id = "owner/model";
const hub = await hubForTests();
let cacheDir: string;
/** What the client would have waited before trying again. */
let waits: number[];
beforeEach(async () => {
  cacheDir = await mkdtemp(join(tmpdir(), "jamba-connect-"));
  waits = [];
  hub.add(id, { "config.json": new Uint8Array(20), "x.gguf": { bytes: new Uint8Array(30), lfs: true } });
});
afterEach(async () => {
  vi.useRealTimers();
  await rm(cacheDir, { recursive: true, force: true });
});

const get = (endpoint: string, env: Record<string, string> = {}, signal?: AbortSignal) =>
  downloadIn({ env, wait: async (ms) => void waits.push(ms) }, id, { endpoint, cacheDir, signal });
/** A network in which connections do what `then` does with them. */
async function networkOf(then: (socket: EventEmitter) => void) {
  const asked: unknown[] = [];
  const connect = (options: unknown) => {
    asked.push(options);
    const socket = Object.assign(new EventEmitter(), { destroy: () => socket.emit("close") });
    queueMicrotask(() => then(socket));
    return socket as unknown as Socket;
  };
  const tools = await node();
  return { asked, tools: { ...tools, net: { ...tools.net, connect } } as typeof tools };
}
const failing = (code: string, message: string) => (socket: EventEmitter) =>
  socket.emit("error", Object.assign(new Error(message), { code }));
const hint =
  /; is this machine online\? HF_ENDPOINT names another hub\. Without one: offline \(--offline, HF_HUB_OFFLINE=1\) takes what was downloaded before, and the path of a folder or file is a model too$/;

describe("a hub that is not there", () => {
  it("refuses the connection: nothing is tried again", async () => {
    const closed = createServer();
    await new Promise<void>((resolve) => closed.listen(0, "127.0.0.1", resolve));
    const { port } = closed.address() as { port: number };
    await new Promise((resolve) => closed.close(resolve));
    const error = await get(`http://127.0.0.1:${port}`).catch((error) => error);
    expect(error).toMatchObject({ code: "LOAD", message: expect.stringMatching(hint) });
    expect(error.message).toContain(`owner/model: http://127.0.0.1:${port} can't be reached: connect ECONNREFUSED 127.0.0.1:${port};`);
    expect(waits).toEqual([]);
  });

  it.each([
    ["ENOTFOUND", "getaddrinfo ENOTFOUND hub.example"],
    ["EAI_AGAIN", "getaddrinfo EAI_AGAIN hub.example"],
    ["ENETUNREACH", "connect ENETUNREACH 192.0.2.1:443"],
  ])("has no address or no way to it: %s", async (code, message) => {
    const { tools, asked } = await networkOf(failing(code, message));
    const error = await expectReachable(tools, "https://hub.example", id, {}).catch((error) => error);
    expect(error.message).toMatch(hint);
    expect(error.message).toContain(`https://hub.example can't be reached: ${message};`);
    expect(asked).toEqual([{ host: "hub.example", port: 443 }]);
  });

  it("swallows what is sent to it: a second and a half are waited, no more", async () => {
    vi.useFakeTimers();
    const { tools } = await networkOf(() => undefined);
    const found = expectReachable(tools, "http://[::1]:99", id, {}).catch((error) => error);
    await vi.advanceTimersByTimeAsync(1499);
    expect(vi.getTimerCount()).toBe(1);
    await vi.advanceTimersByTimeAsync(1);
    expect((await found).message).toContain("http://[::1]:99 can't be reached: no connection within 1.5 s;");
    expect(vi.getTimerCount()).toBe(0);
  });

  it("speaks something else than TLS: nothing is tried again", async () => {
    const error = await get(hub.endpoint.replace("http:", "https:")).catch((error) => error);
    expect([error.code, waits]).toEqual(["LOAD", []]);
    expect(error.message).toMatch(hint);
  });

  it("is behind a proxy that is not there, which the error names", async () => {
    const { tools, asked } = await networkOf(failing("ECONNREFUSED", "connect ECONNREFUSED"));
    const error = await expectReachable(tools, "https://hub.example", id, { HTTPS_PROXY: "http://proxy:3128" }).catch((error) => error);
    expect(error.message).toContain("https://hub.example through the proxy that HTTPS_PROXY names, proxy:3128 can't be reached: connect");
    expect(asked).toEqual([{ host: "proxy", port: 3128 }]);
  });

  it("is left when the signal aborts", async () => {
    const stop = new AbortController();
    const { tools } = await networkOf(() => stop.abort(new Error("enough")));
    await expect(expectReachable(tools, "http://x", id, {}, stop.signal)).rejects.toThrow("enough");
  });
});

it("a hub whose answer takes longer than a connection may is waited for", async () => {
  hub.fault = (request, response) => {
    if (request.count > 0 || !request.path.includes("/revision/")) return false;
    setTimeout(
      () => response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify({ sha: hub.repos.get(id)!.commit })),
      1700,
    );
    return true;
  };
  expect(await get(hub.endpoint)).toMatchObject({ fetchedBytes: 30 });
  expect(waits).toEqual([]);
});

it("a connection that fails after the hub has answered is tried again", () => {
  const unconnected = (code: string) => isUnconnected(new TypeError("fetch failed", { cause: Object.assign(new Error(), { code }) }));
  expect(["ECONNREFUSED", "ENOTFOUND", "UND_ERR_CONNECT_TIMEOUT", "SELF_SIGNED_CERT_IN_CHAIN"].every(unconnected)).toBe(true);
  expect(["ECONNRESET", "UND_ERR_SOCKET", "UND_ERR_HEADERS_TIMEOUT", ""].some(unconnected)).toBe(false);
});

test.each<[string, Record<string, string>, string | undefined]>([
  ["https://huggingface.co", {}, undefined],
  ["https://huggingface.co", { HTTPS_PROXY: "http://p:1" }, "HTTPS_PROXY p:1"],
  ["https://huggingface.co", { https_proxy: "p:1" }, "https_proxy p:1"],
  ["https://huggingface.co", { HTTP_PROXY: "http://p:1" }, undefined],
  ["http://mirror.local", { HTTP_PROXY: "http://user:secret@p:1" }, "HTTP_PROXY p:1"],
  ["https://huggingface.co", { HTTPS_PROXY: "http://p:1", NO_PROXY: "*" }, undefined],
  ["https://huggingface.co", { HTTPS_PROXY: "http://p:1", NO_PROXY: "a, huggingface.co" }, undefined],
  ["https://huggingface.co", { HTTPS_PROXY: "http://p:1", no_proxy: ".co" }, undefined],
  ["https://huggingface.co", { HTTPS_PROXY: "http://p:1", NO_PROXY: "face.co,other:443" }, "HTTPS_PROXY p:1"],
  ["https://huggingface.co", { HTTPS_PROXY: "http://p:1", NO_PROXY: "huggingface.co:8443" }, "HTTPS_PROXY p:1"],
  ["https://huggingface.co", { HTTPS_PROXY: "" }, undefined],
  ["http://127.0.0.1:8080", { HTTP_PROXY: "http://p:1" }, undefined],
  ["http://localhost", { HTTP_PROXY: "http://p:1" }, undefined],
  ["http://[::1]:80", { HTTP_PROXY: "http://p:1" }, undefined],
])("%s with %j goes by the proxy %s", (url, env, expected) => {
  const found = proxyOf(new URL(url), env);
  expect(found && `${found.variable} ${found.url.host}`).toBe(expected);
});
