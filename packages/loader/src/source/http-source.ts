// A file on a web server, read by byte ranges. Every answer is checked: servers and proxies ignore, clamp and cut ranges.

import { LoadError } from "@jamba/core";
import { allocate, asLoadError, type ByteSource, byteSource } from "./byte-source.ts";

export interface UrlOptions {
  readonly signal?: AbortSignal;
  /** Bytes: a file up to this size is read whole when the server ignores ranges. */
  readonly wholeUpToBytes?: number;
  /** Sent along, such as `authorization`, which fetch leaves out where a redirect leads to another origin. */
  readonly headers?: Readonly<Record<string, string>>;
}

// Covers the header of most safetensors files, so that opening one costs one request.
const headBytes = 2 ** 16;

export async function openUrl(url: string, { signal, wholeUpToBytes = 2 ** 22, headers }: UrlOptions = {}): Promise<ByteSource> {
  signal?.throwIfAborted();
  const name = url.replace(/[?#].*/s, ""); // queries hold access tokens, which errors must not repeat
  try {
    const get: Get = (first, last, signal, use) => request(url, first, last, headers, signal, use);
    return await get(0, headBytes - 1, signal, (response) => openFrom(response, get, name, wholeUpToBytes));
  } catch (cause) {
    signal?.throwIfAborted();
    throw asLoadError(name, cause);
  }
}

async function openFrom(response: Response, get: Get, name: string, wholeUpToBytes: number): Promise<ByteSource> {
  if (response.status === 200) return inMemory(name, await readWhole(response, name, wholeUpToBytes));
  if (response.status === 416 && response.headers.get("content-range") === "bytes */0") return inMemory(name, new Uint8Array());
  const size = checkRange(response, name, 0, headBytes - 1);
  const head = new Uint8Array(Math.min(size, headBytes));
  await readBody(response, name, head);
  const etag = response.headers.get("etag");

  const check = (next: Response, offset: number, length: number) => {
    const found = checkRange(next, name, offset, offset + length - 1);
    if (found === size && next.headers.get("etag") === etag) return;
    throw new LoadError(
      `${name}: expected ${size} bytes with ETag ${etag}, found ${found} with ${next.headers.get("etag")}; the file changed, open it again`,
    );
  };
  const fill = async (target: Uint8Array, offset: number, signal?: AbortSignal) => {
    const end = offset + target.length;
    if (end <= head.length) return target.set(head.subarray(offset, end));
    await get(offset, end - 1, signal, async (next) => {
      check(next, offset, target.length);
      await readBody(next, name, target);
    });
  };
  return byteSource({ name, size, fill });
}

function inMemory(name: string, bytes: Uint8Array): ByteSource {
  const fill = async (target: Uint8Array, offset: number) => target.set(bytes.subarray(offset, offset + target.length));
  return byteSource({ name, size: bytes.length, fill });
}

type Get = <T>(first: number, last: number, signal: AbortSignal | undefined, use: (response: Response) => Promise<T>) => Promise<T>;

async function request<T>(
  url: string,
  first: number,
  last: number,
  headers: UrlOptions["headers"],
  signal: AbortSignal | undefined,
  use: (response: Response) => Promise<T>,
): Promise<T> {
  const response = await fetch(url, { headers: { ...headers, range: `bytes=${first}-${last}` }, signal });
  try {
    return await use(response);
  } finally {
    // Frees the connection when the body was not wanted; a body that was read ignores it.
    await response.body?.cancel().catch(() => undefined);
  }
}

const statusHints: Readonly<Record<number, string>> = {
  200: "the server ignores byte ranges; use one that knows them, or download the files",
  401: "the server asks for a login",
  403: "the server refuses access",
  404: "no such file; check the URL",
  410: "the file was removed",
  416: "the file is shorter than expected",
};

/** @returns the size of the whole file in bytes */
function checkRange(response: Response, name: string, first: number, last: number): number {
  const { status, statusText, headers } = response;
  if (status !== 206) {
    const hint = statusHints[status] ?? "try again later";
    throw new LoadError(`${name}: expected status 206 for a byte range, found ${status}; ${hint}`, { cause: { status, statusText } });
  }
  const coding = headers.get("content-encoding") ?? "identity";
  if (coding !== "identity") throw new LoadError(`${name}: expected plain bytes in a byte range, found Content-Encoding ${coding}`);
  const range = headers.get("content-range");
  const [begin, end, total] = (/^bytes (\d+)-(\d+)\/(\d+)$/i.exec(range ?? "") ?? []).slice(1).map(Number);
  if (begin !== first || end !== Math.min(last, total - 1) || !Number.isSafeInteger(total)) {
    const hint = range === null ? "; a server of another origin must expose it (Access-Control-Expose-Headers)" : "";
    throw new LoadError(`${name}: expected Content-Range bytes ${first}-${last}, found ${range ?? "none"}${hint}`);
  }
  return total;
}

async function readBody(response: Response, name: string, target: Uint8Array): Promise<void> {
  let done = 0;
  await eachChunk(response, (chunk) => {
    if (done + chunk.length > target.length) throw new LoadError(`${name}: expected ${target.length} bytes, found more`);
    target.set(chunk, done);
    done += chunk.length;
  });
  if (done < target.length) throw new LoadError(`${name}: expected ${target.length} bytes, found ${done}; the connection was cut`);
}

async function readWhole(response: Response, name: string, maxBytes: number): Promise<Uint8Array> {
  const tooLong = (found: string) =>
    new LoadError(`${name}: expected status 206 for a byte range, found 200 with ${found}; ${statusHints[200]}`);
  const promised = response.headers.get("content-encoding") === null ? response.headers.get("content-length") : null;
  if (Number(promised) > maxBytes) throw tooLong(`${promised} bytes`);
  const chunks: Uint8Array[] = [];
  let size = 0;
  await eachChunk(response, (chunk) => {
    size += chunk.length;
    if (size > maxBytes) throw tooLong(`more than ${maxBytes} bytes`);
    chunks.push(chunk);
  });
  if (promised !== null && Number(promised) !== size) throw new LoadError(`${name}: expected ${promised} bytes, found ${size}`);
  const bytes = allocate(name, size);
  let offset = 0;
  for (const chunk of chunks) {
    bytes.set(chunk, offset);
    offset += chunk.length;
  }
  return bytes;
}

async function eachChunk(response: Response, use: (chunk: Uint8Array) => void): Promise<void> {
  const reader = response.body?.getReader();
  if (!reader) return;
  try {
    for (let next = await reader.read(); !next.done; next = await reader.read()) use(next.value);
  } finally {
    await reader.cancel().catch(() => undefined);
    reader.releaseLock();
  }
}
