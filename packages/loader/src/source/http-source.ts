// A file on a web server, read by byte ranges. Every answer is checked: servers and proxies ignore, clamp and cut ranges.

import { LoadError, unlessAborted } from "@jamba/core";
import { allocate, asLoadError, type ByteSource, byteSource } from "./byte-source.ts";
import { ComingBytes } from "./coming-bytes.ts";
import { defaultIdleMs, defaultLeastBytesPerSecond, stallMeter } from "./rate.ts";

export interface UrlOptions {
  readonly signal?: AbortSignal;
  /** Bytes: a file up to this size is read whole when the server ignores ranges. */
  readonly wholeUpToBytes?: number;
  /** Sent along, such as `authorization`, which fetch leaves out where a redirect leads to another origin. */
  readonly headers?: Readonly<Record<string, string>>;
  /** Over `idleMs`; what is slower is asked for again where it stopped, three times before that is an error. 1024 if not given; 0 waits. */
  readonly leastBytesPerSecond?: number;
  /** The longest silence of the server; a minute if not given. */
  readonly idleMs?: number;
}

/** A server that sends nothing, or next to it. */
class Stalled extends LoadError {}

const mostStalls = 4;

// Covers the header of most safetensors files, so that opening one costs one request.
const headBytes = 2 ** 16;

// A request costs more than bytes do: a short read takes along what follows it, which the next one mostly wants. Next to large tensors
// this wastes a hundredth.
const aheadBytes = 2 ** 18;
/** Stretches that are kept, for reads at several places by turns. */
const mostAhead = 4;
/** Files up to this size come in one request after the head. */
const mostAtOnce = 2 ** 24;

export async function openUrl(url: string, options: UrlOptions = {}): Promise<ByteSource> {
  const { signal, wholeUpToBytes = 2 ** 22, headers, leastBytesPerSecond = defaultLeastBytesPerSecond, idleMs = defaultIdleMs } = options;
  signal?.throwIfAborted();
  const name = url.replace(/[?#].*/s, ""); // queries hold access tokens, which errors must not repeat
  try {
    const pace: Pace = { name, idleMs, leastBytesPerSecond };
    const get: Get = (first, last, signal, use) => request(url, first, last, headers, signal, pace, use);
    for (let stalls = 1; ; stalls++) {
      try {
        return await get(0, headBytes - 1, signal, (answer) => openFrom(answer, get, name, wholeUpToBytes));
      } catch (error) {
        if (!(error instanceof Stalled) || stalls === mostStalls) throw error;
      }
    }
  } catch (cause) {
    signal?.throwIfAborted();
    throw asLoadError(name, cause);
  }
}

interface Pace extends Required<Pick<UrlOptions, "idleMs" | "leastBytesPerSecond">> {
  readonly name: string;
}

interface Answer {
  readonly response: Response;
  /** @throws Stalled */
  eachChunk(use: (chunk: Uint8Array) => void): Promise<void>;
}

async function openFrom(answer: Answer, get: Get, name: string, wholeUpToBytes: number): Promise<ByteSource> {
  const { response } = answer;
  if (response.status === 200) return inMemory(name, await readWhole(answer, name, wholeUpToBytes));
  if (response.status === 416 && response.headers.get("content-range") === "bytes */0") return inMemory(name, new Uint8Array());
  const size = checkRange(response, name, 0, headBytes - 1);
  const head = new Uint8Array(Math.min(size, headBytes));
  await readBody(answer, name, head);
  const etag = response.headers.get("etag");

  const check = (next: Response, offset: number, length: number) => {
    const found = checkRange(next, name, offset, offset + length - 1);
    if (found === size && next.headers.get("etag") === etag) return;
    throw new LoadError(
      `${name}: expected ${size} bytes with ETag ${etag}, found ${found} with ${next.headers.get("etag")}; the file changed, open it again`,
    );
  };
  const first = new ComingBytes(0, head, head.length);
  let ahead: readonly ComingBytes[] = [];
  const fill = async (target: Uint8Array, offset: number, signal?: AbortSignal) => {
    const found = () => [...ahead, first].find((one) => one.covers(offset, target.length));
    for (let coming = found(); coming; coming = found()) {
      const { from, bytes } = coming;
      // Whoever asked for it may have failed or given up: then the next one asks.
      const isThere = await unlessAborted(() => coming!.has(offset, target.length), signal);
      if (isThere) return target.set(bytes.subarray(offset - from, offset - from + target.length));
    }
    // A small file from its head to its end, so that the order of reads does not matter.
    const isSmall = size <= mostAtOnce;
    const [from, known] = isSmall ? [0, head.length] : [offset, 0];
    const room = isSmall ? size : Math.min(aheadBytes, size - from);
    if (room - known <= target.length) return fetchInto(target, offset, signal);
    const bytes = allocate(name, room);
    bytes.set(head.subarray(0, known));
    const coming = new ComingBytes(from, bytes, known);
    ahead = [coming, ...ahead].slice(0, mostAhead);
    try {
      await fetchInto(bytes.subarray(known), from + known, signal, (count) => coming.arrive(count));
    } catch (error) {
      ahead = ahead.filter((one) => one !== coming);
      throw error;
    } finally {
      coming.end();
    }
    target.set(bytes.subarray(offset - from, offset - from + target.length));
  };
  const fetchInto = async (target: Uint8Array, offset: number, signal?: AbortSignal, onRead?: (bytes: number) => void) => {
    const end = offset + target.length;
    let done = 0;
    for (let stalls = 1; done < target.length; stalls++) {
      const [from, rest] = [offset + done, target.subarray(done)];
      const read = async (answer: Answer) => {
        check(answer.response, from, rest.length);
        await readBody(answer, name, rest, (bytes) => {
          done += bytes;
          onRead?.(bytes);
        });
      };
      try {
        await get(from, end - 1, signal, read);
      } catch (error) {
        if (!(error instanceof Stalled) || stalls === mostStalls) throw error;
      }
    }
  };
  return byteSource({ name, size, fill });
}

function inMemory(name: string, bytes: Uint8Array): ByteSource {
  const fill = async (target: Uint8Array, offset: number) => target.set(bytes.subarray(offset, offset + target.length));
  return byteSource({ name, size: bytes.length, fill });
}

type Get = <T>(first: number, last: number, signal: AbortSignal | undefined, use: (answer: Answer) => Promise<T>) => Promise<T>;

async function request<T>(
  url: string,
  first: number,
  last: number,
  headers: UrlOptions["headers"],
  signal: AbortSignal | undefined,
  pace: Pace,
  use: (answer: Answer) => Promise<T>,
): Promise<T> {
  const silence = new AbortController();
  const either = signal ? AbortSignal.any([signal, silence.signal]) : silence.signal;
  const asked = fetch(url, { headers: { ...headers, range: `bytes=${first}-${last}` }, signal: either });
  const response = await timed(asked, pace, () => silence.abort());
  try {
    return await use({ response, eachChunk: (use) => eachChunk(response, pace, use) });
  } finally {
    // Frees the connection when the body was not wanted; a body that was read ignores it.
    await response.body?.cancel().catch(() => undefined);
  }
}

/** @throws Stalled when `work` takes longer than a server may be silent */
async function timed<T>(work: Promise<T>, { name, idleMs }: Pace, stop: () => void): Promise<T> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const silent = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      reject(new Stalled(`${name}: expected bytes, found that the server was silent for ${idleMs / 1000} s; try again later`));
      stop();
    }, idleMs);
  });
  try {
    return await Promise.race([work, silent]);
  } finally {
    clearTimeout(timer);
    work.catch(() => undefined); // it may fail later, when nobody waits
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

async function readBody(answer: Answer, name: string, target: Uint8Array, onRead?: (bytes: number) => void): Promise<void> {
  let done = 0;
  await answer.eachChunk((chunk) => {
    if (done + chunk.length > target.length) throw new LoadError(`${name}: expected ${target.length} bytes, found more`);
    target.set(chunk, done);
    done += chunk.length;
    onRead?.(chunk.length);
  });
  if (done < target.length) throw new LoadError(`${name}: expected ${target.length} bytes, found ${done}; the connection was cut`);
}

async function readWhole({ response, eachChunk }: Answer, name: string, maxBytes: number): Promise<Uint8Array> {
  const tooLong = (found: string) =>
    new LoadError(`${name}: expected status 206 for a byte range, found 200 with ${found}; ${statusHints[200]}`);
  const promised = response.headers.get("content-encoding") === null ? response.headers.get("content-length") : null;
  if (Number(promised) > maxBytes) throw tooLong(`${promised} bytes`);
  const chunks: Uint8Array[] = [];
  let size = 0;
  await eachChunk((chunk) => {
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

async function eachChunk(response: Response, pace: Pace, use: (chunk: Uint8Array) => void): Promise<void> {
  const reader = response.body?.getReader();
  if (!reader) return;
  const { name, leastBytesPerSecond, idleMs } = pace;
  const isStalled = stallMeter(leastBytesPerSecond, idleMs);
  const read = () => timed(reader.read(), pace, () => undefined);
  try {
    for (let next = await read(); !next.done; next = await read()) {
      use(next.value);
      if (isStalled(next.value.length))
        throw new Stalled(`${name}: expected at least ${leastBytesPerSecond} bytes a second, found less; try again later`);
    }
  } finally {
    await reader.cancel().catch(() => undefined);
    reader.releaseLock();
  }
}
