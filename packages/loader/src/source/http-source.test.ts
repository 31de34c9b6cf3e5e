import { readFile } from "node:fs/promises";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, it } from "vitest";
import { openCheckpoint } from "../checkpoint.ts";
import { openBlob } from "./blob-source.ts";
import { openFile } from "./file-source.ts";
import { openUrl } from "./http-source.ts";

const fixture = fileURLToPath(new URL("../../../../tooling/golden/fixtures/one-token", import.meta.url));
const files = new Map<string, Uint8Array>([["empty", new Uint8Array()]]);
const requests: string[] = [];
let server: Server;
let origin: string;

type Answer = (bytes: Uint8Array, first: number, last: number, response: ServerResponse, count: number) => void;

const range = (bytes: Uint8Array, first: number, last: number, headers: Record<string, string> = {}) => ({
  "content-range": `bytes ${first}-${last}/${bytes.length}`,
  "content-length": String(last - first + 1),
  etag: '"1"',
  ...headers,
});
const send = (response: ServerResponse, headers: Record<string, string>, body: Uint8Array) => response.writeHead(206, headers).end(body);

function drip(bytes: Uint8Array, first: number, last: number, response: ServerResponse, isWhole: boolean): void {
  if (isWhole) return void send(response, range(bytes, first, last), bytes.subarray(first, last + 1));
  response.writeHead(206, range(bytes, first, last));
  let at = first;
  const timer = setInterval(() => void response.write(bytes.subarray(at, ++at)), 20);
  response.once("close", () => clearInterval(timer));
}

// One path prefix per fault; `count` is the number of requests for this path before this one.
const answers: Record<string, Answer> = {
  good: (bytes, first, last, response) => {
    if (bytes.length === 0) response.writeHead(416, { "content-range": "bytes */0" }).end();
    else send(response, range(bytes, first, last), bytes.subarray(first, last + 1));
  },
  // The head as it should be; then a byte now and then, but for the third request.
  drips: (bytes, first, last, response, count) => drip(bytes, first, last, response, count === 0 || count === 2),
  "only-drips": (bytes, first, last, response, count) => drip(bytes, first, last, response, count === 0),
  silent: () => undefined,
  "no-ranges": (bytes, _first, _last, response) => response.writeHead(200, { "content-length": String(bytes.length) }).end(bytes),
  "no-ranges-chunked": (bytes, _first, _last, response) => {
    response.writeHead(200).write(bytes.subarray(0, 10));
    response.end(bytes.subarray(10));
  },
  shifted: (bytes, first, last, response) => send(response, range(bytes, first + 1, last), bytes.subarray(first + 1, last + 1)),
  shorter: (bytes, first, last, response) => send(response, range(bytes, first, last - 1), bytes.subarray(first, last)),
  "unknown-total": (bytes, first, last, response) =>
    send(response, range(bytes, first, last, { "content-range": `bytes ${first}-${last}/*` }), bytes.subarray(first, last + 1)),
  "no-content-range": (bytes, first, last, response) => response.writeHead(206).end(bytes.subarray(first, last + 1)),
  zipped: (bytes, first, last, response) =>
    send(response, range(bytes, first, last, { "content-encoding": "br" }), bytes.subarray(first, last + 1)),
  "body-short": (bytes, first, last, response) => {
    const { "content-length": _, ...headers } = range(bytes, first, last);
    response.writeHead(206, headers).end(bytes.subarray(first, last));
  },
  "body-long": (bytes, first, last, response) => {
    const { "content-length": _, ...headers } = range(bytes, first, last);
    response.writeHead(206, headers).end(new Uint8Array(last - first + 2));
  },
  cut: (bytes, first, last, response) => {
    response.writeHead(206, range(bytes, first, last)).write(bytes.subarray(first, first + 5), () => response.destroy());
  },
  forbidden: (_bytes, _first, _last, response) => response.writeHead(403).end("no"),
  broken: (_bytes, _first, _last, response) => response.writeHead(500).end("oops"),
  "other-etag": (bytes, first, last, response, count) =>
    send(response, range(bytes, first, last, { etag: `"${count}"` }), bytes.subarray(first, last + 1)),
  "other-size": (bytes, first, last, response, count) => {
    const grown = new Uint8Array(bytes.length + count);
    send(response, range(grown, first, last), grown.subarray(first, last + 1));
  },
  "ranges-once": (bytes, first, last, response, count) => answers[count === 0 ? "good" : "no-ranges"](bytes, first, last, response, count),
  // The head, then 1000 bytes and no more, then all.
  halts: (bytes, first, last, response, count) => {
    if (count === 1) response.writeHead(206, range(bytes, first, last)).write(bytes.subarray(first, first + 1000));
    else send(response, range(bytes, first, last), bytes.subarray(first, last + 1));
  },
  slow: (bytes, first, last, response, count) => {
    if (count === 0) send(response, range(bytes, first, last), bytes.subarray(first, last + 1));
    else response.writeHead(206, range(bytes, first, last)).write(bytes.subarray(first, first + 5));
  },
};

function answer(request: IncomingMessage, response: ServerResponse): void {
  const path = request.url!.replace(/\?.*/, "");
  const count = requests.filter((url) => url === path).length;
  requests.push(path);
  const [, kind, name] = path.split("/");
  const bytes = files.get(name);
  if (!bytes) {
    response.writeHead(404).end();
    return;
  }
  const [first, last] = (/^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? "") ?? []).slice(1).map(Number);
  answers[kind](bytes, first, Math.min(last, bytes.length - 1), response, count);
}

beforeAll(async () => {
  for (const name of ["config.json", "model.safetensors"]) files.set(name, await readFile(`${fixture}/${name}`));
  server = createServer(answer);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});
afterAll(() => {
  server.closeAllConnections();
  server.close();
});

const url = (kind: string, file = "model.safetensors") => `${origin}/${kind}/${file}`;

it("file, blob and URL give the same bytes", async () => {
  const bytes = files.get("model.safetensors") as Uint8Array<ArrayBuffer>;
  const sources = [await openFile(`${fixture}/model.safetensors`), openBlob(new Blob([bytes])), await openUrl(url("good"))];
  for (const [offset, length] of [
    [0, 0],
    [0, 1],
    [65535, 1],
    [65535, 2],
    [65536, 1],
    [1, 65535],
    [0, bytes.length],
    [bytes.length - 1, 1],
  ]) {
    for (const source of sources) {
      expect(source.size).toBe(bytes.length);
      // As Buffers, since element-wise equality of large arrays is slow.
      const found = Buffer.from(await source.read(offset, length));
      expect(found.equals(bytes.subarray(offset, offset + length)), `${source.name} ${offset} ${length}`).toBe(true);
    }
  }
  await Promise.all(sources.map((source) => source.close()));
});

it.each(["", "/", "/model.safetensors", "?token=secret"])(
  "a checkpoint from a URL that ends in '%s' equals the directory's",
  async (end) => {
    const local = await openCheckpoint(fixture);
    const remote = await openCheckpoint(`${origin}/good${end}`);
    expect(remote.config).toEqual(local.config);
    expect(remote.tensors).toEqual(local.tensors);
    expect(remote.tokenizer).toBeUndefined();
    for (const name of local.tensors.keys()) {
      expect(Buffer.compare(await remote.read(name), await local.read(name)), name).toBe(0);
    }
    expect(remote.name).not.toContain("secret");
    await local.close();
    await remote.close();
  },
);

it("opening a small model costs one request a file", async () => {
  requests.length = 0;
  await openUrl(url("good"));
  expect(requests).toEqual(["/good/model.safetensors"]);
});

it("reads of a small file cost one more request, in any order", async () => {
  const bytes = files.get("model.safetensors")!;
  const source = await openUrl(url("good"));
  requests.length = 0;
  for (const [offset, length] of [
    [150_000, 384],
    [65_000, 2000],
    [100_000, 63_704],
    [65_536, 10],
  ])
    expect(Buffer.compare(await source.read(offset, length), bytes.subarray(offset, offset + length))).toBe(0);
  expect(requests).toEqual(["/good/model.safetensors"]);
});

it("reads of a small file at the same time cost one more request together", async () => {
  const bytes = files.get("model.safetensors")!;
  const source = await openUrl(url("good"));
  requests.length = 0;
  const reads = Array.from({ length: 20 }, (_, i) => [60_000 + 5000 * i, 3000] as const);
  const found = await Promise.all(reads.map(([offset, length]) => source.read(offset, length)));
  for (const [i, [offset, length]] of reads.entries())
    expect(Buffer.compare(found[i], bytes.subarray(offset, offset + length)), `${offset}`).toBe(0);
  expect(requests).toEqual(["/good/model.safetensors"]);
});

it("who waits for bytes that another asked for has them as they come, and asks where the other gives up", async () => {
  const bytes = files.get("model.safetensors")!;
  const source = await openUrl(url("halts"));
  const [first, stop, reason] = [new AbortController(), new AbortController(), new Error("enough")];
  const asked = source.read(100_000, 10, first.signal);
  asked.catch(() => undefined);
  expect(Buffer.compare(await source.read(66_000, 10), bytes.subarray(66_000, 66_010))).toBe(0);
  const [waits, gives] = [source.read(150_000, 10), source.read(150_000, 10, stop.signal)];
  setTimeout(() => stop.abort(reason), 20);
  await expect(gives).rejects.toBe(reason);
  first.abort(reason);
  await expect(asked).rejects.toBe(reason);
  expect(Buffer.compare(await waits, bytes.subarray(150_000, 150_010))).toBe(0);
});

it("short reads of a large file take along what follows them, long ones nothing", async () => {
  const bytes = Uint8Array.from({ length: 2 ** 24 + 2 ** 20 }, (_, i) => (i * 7) ^ (i >> 8));
  files.set("large", bytes);
  const source = await openUrl(url("good", "large"));
  const requestsOf = async (...reads: [offset: number, length: number][]) => {
    requests.length = 0;
    for (const [offset, length] of reads)
      expect(Buffer.compare(await source.read(offset, length), bytes.subarray(offset, offset + length)), `${offset}`).toBe(0);
    return requests.length;
  };
  expect(await requestsOf([2 ** 20, 384], [2 ** 20 + 384, 100_000], [2 ** 20 + 200_000, 62_144])).toBe(1);
  expect(await requestsOf([2 ** 21, 2 ** 18], [2 ** 20 + 10, 20])).toBe(1);
  expect(await requestsOf([0, 70_000], [100, 80_000])).toBe(1);
  expect(await requestsOf([bytes.length - 5, 5], [bytes.length - 9, 4], [bytes.length - 8, 8])).toBe(2);
  files.delete("large");
});

it("an empty file has size 0", async () => {
  const source = await openUrl(url("good", "empty"));
  expect(source.size).toBe(0);
  expect(await source.read(0, 0)).toEqual(new Uint8Array());
});

it.each(["no-ranges", "no-ranges-chunked"])("%s: a small file is read whole, a larger one is refused", async (kind) => {
  const size = files.get("model.safetensors")!.length;
  const whole = await openUrl(url(kind));
  expect(Buffer.compare(await whole.read(5, size - 5), files.get("model.safetensors")!.subarray(5))).toBe(0);
  await expect(openUrl(url(kind), { wholeUpToBytes: size - 1 })).rejects.toThrow("the server ignores byte ranges");
});

it.each([
  ["shifted", "expected Content-Range bytes 0-65535, found bytes 1-65535/163704"],
  ["shorter", "expected Content-Range bytes 0-65535, found bytes 0-65534/163704"],
  ["unknown-total", "expected Content-Range bytes 0-65535, found bytes 0-65535/*"],
  ["no-content-range", "expected Content-Range bytes 0-65535, found none"],
  ["zipped", "expected plain bytes in a byte range, found Content-Encoding br"],
  ["body-short", "expected 65536 bytes, found 65535"],
  ["body-long", "expected 65536 bytes, found more"],
  ["cut", "terminated"],
  ["forbidden", "expected status 206 for a byte range, found 403; the server refuses access"],
  ["broken", "expected status 206 for a byte range, found 500; try again later"],
])("a server with the fault '%s' is a LoadError", async (kind, message) => {
  const error = await openUrl(`${url(kind)}?token=secret`).catch((e) => e);
  expect(error).toMatchObject({ name: "LoadError", message: expect.stringContaining(message) });
  expect(error.message).toContain(url(kind));
  expect(error.message).not.toContain("secret");
});

it.each([
  ["other-etag", 'expected 163704 bytes with ETag "0", found 163704 with "1"; the file changed'],
  ["other-size", 'expected 163704 bytes with ETag "1", found 163705 with "1"; the file changed'],
  ["ranges-once", "found 200; the server ignores byte ranges"],
])("a server with the fault '%s' between reads is a LoadError", async (kind, message) => {
  const source = await openUrl(url(kind));
  await expect(source.read(100_000, 10)).rejects.toMatchObject({ name: "LoadError", message: expect.stringContaining(message) });
});

it("a missing file and a dead server are LoadErrors that say so", async () => {
  await expect(openUrl(url("good", "missing"))).rejects.toThrow("found 404; no such file; check the URL");
  await expect(openCheckpoint(`${origin}/good/sub/dir`)).rejects.toThrow("expected config.json, found none on the server");
  await expect(openUrl("http://127.0.0.1:1/x")).rejects.toMatchObject({
    name: "LoadError",
    message: expect.stringContaining("127.0.0.1:1/x"),
  });
  await expect(openCheckpoint("http://")).rejects.toMatchObject({ name: "LoadError" });
});

it("an abort during a slow read throws the signal's reason", async () => {
  const source = await openUrl(url("slow"));
  const controller = new AbortController();
  const reason = new Error("enough");
  const read = source.read(100_000, 1000, controller.signal);
  setTimeout(() => controller.abort(reason), 20);
  await expect(read).rejects.toBe(reason);
  await expect(openUrl(url("good"), { signal: controller.signal })).rejects.toBe(reason);
});

it("a server that sends a byte now and then is asked again where it stopped, and given up in the end", async () => {
  const pace = { idleMs: 200, leastBytesPerSecond: 1024 };
  const expected = await (await openUrl(url("good"))).read(100_000, 2000);
  expect(await (await openUrl(url("drips"), pace)).read(100_000, 2000)).toEqual(expected);
  const dripping = await openUrl(url("only-drips"), pace);
  await expect(dripping.read(100_000, 2000)).rejects.toMatchObject({
    code: "LOAD",
    message: expect.stringMatching(/at least 1024 bytes a second/),
  });
  await expect(openUrl(url("silent"), pace)).rejects.toMatchObject({ code: "LOAD", message: expect.stringMatching(/silent for 0\.2 s/) });
});
