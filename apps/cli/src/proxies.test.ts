import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { getGlobalDispatcher, setGlobalDispatcher } from "undici";
import { afterEach, expect, test } from "vitest";
import { useProxies } from "./proxies.ts";

const before = getGlobalDispatcher();
const servers: Server[] = [];
afterEach(async () => {
  setGlobalDispatcher(before);
  for (const server of servers.splice(0)) {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  }
});
/** @returns the address, and whom it was asked for */
async function listen(text: string) {
  const asked: string[] = [];
  const server = createServer((request, response) => {
    asked.push(request.url!);
    response.end(text);
  });
  // Proxies are asked for a way through, even for plain HTTP.
  server.on("connect", (request, socket) => {
    asked.push(request.url!);
    socket.write("HTTP/1.1 200 OK\r\n\r\n");
    socket.once("data", () => socket.end(`HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: ${text.length}\r\n\r\n${text}`));
  });
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, asked };
}

test.each([
  [{ HTTP_PROXY: true }, "http://hub.example/x", "proxy"],
  [{ http_proxy: true, NO_PROXY: "other.example" }, "http://hub.example/x", "proxy"],
  [{ HTTP_PROXY: true, NO_PROXY: "hub.example" }, "http://hub.example/x", undefined],
  [{ HTTPS_PROXY: true }, "http://hub.example/x", undefined],
  [{ HTTP_PROXY: true, HTTPS_PROXY: true }, "here", "here"],
  [{}, "here", "here"],
])("with %j %s is answered by %s", async (given, url, from) => {
  const [here, proxy] = [await listen("here"), await listen("proxy")];
  const env = Object.fromEntries(Object.entries(given).map(([name, value]) => [name, value === true ? proxy.url : (value as string)]));
  await useProxies(env);
  const text = fetch(url === "here" ? here.url : url).then((response) => response.text());
  expect(await text.catch(() => undefined)).toBe(from);
  expect([here.asked.length, proxy.asked.length]).toEqual([from === "here" ? 1 : 0, from === "proxy" ? 1 : 0]);
});
