// One file of the hub to one blob of the cache: parts at the same time, from where an earlier process stopped, and
// nothing gets its final name before its hash was found right.

import { LoadError } from "@jamba/core";
import { asLoadError } from "../source/byte-source.ts";
import { type Answer, type Client, shown } from "./client.ts";
import { type Held, LostLock, withLock } from "./lock.ts";
import type { Node } from "./node.ts";
import { inParallel } from "./parallel.ts";
import { openPartial, type Partial, type Range } from "./partial.ts";
import type { HubFile } from "./repository.ts";
import { Transient } from "./transient.ts";

export interface BlobOptions {
  readonly url: string;
  readonly blobPath: string;
  /** Whether the blob is there. */
  readonly isDone: () => Promise<boolean>;
  readonly signal?: AbortSignal;
  /** The longest range that one request asks for. */
  readonly partBytes: number;
  readonly noteEveryBytes: number;
  /** Bytes of this file that are there, of which `fetched` came over the network. */
  readonly onBytes: (doneBytes: number, fetched: number) => void;
  readonly onVerified: (doneBytes: number) => void;
}

// Of one file; two files are fetched at once.
const connections = 4;

/** The server sends whole files only. */
class IgnoresRanges extends Error {}

/**
 * @param options the blob's folder must be there
 * @throws LoadError when the file can't be had or is not what its hash says; the signal's reason when aborted
 */
export async function fetchBlob(node: Node, client: Client, file: HubFile, options: BlobOptions): Promise<void> {
  const { blobPath, isDone, signal } = options;
  const attempt = async ({ expectMine }: Held) => {
    const partial = await openPartial(node, blobPath, file.sizeBytes, options.noteEveryBytes).catch((cause) => {
      throw asLoadError(blobPath, cause);
    });
    try {
      await fillVerified(node, client, file, owned(partial, expectMine), options);
      await expectMine();
      await partial.finish(blobPath);
    } catch (error) {
      // Another process may have taken this lock for left behind, and have finished first.
      if (signal?.aborted || !(await isDone())) throw error;
    } finally {
      await partial.close(expectMine);
    }
  };
  for (let isLost = true; isLost; ) {
    isLost = false;
    await withLock(node, `${blobPath}.jamba-lock`, { signal, wait: client.options.wait, isDone }, attempt).catch((error) => {
      if (!(error instanceof LostLock)) throw error;
      isLost = true; // waits for whoever has it
    });
  }
  options.onBytes(file.sizeBytes, 0);
  options.onVerified(file.sizeBytes);
}

/** Writes only while the lock is this process's own: another one's bytes may be in the same file. */
function owned(partial: Partial, expectMine: Held["expectMine"]): Partial {
  return {
    get doneBytes() {
      return partial.doneBytes;
    },
    missing: () => partial.missing(),
    read: (...args) => partial.read(...args),
    finish: (...args) => partial.finish(...args),
    close: (...args) => partial.close(...args),
    write: (...args) => expectMine().then(() => partial.write(...args)),
    restart: () => expectMine().then(() => partial.restart()),
  };
}

async function fillVerified(node: Node, client: Client, file: HubFile, partial: Partial, options: BlobOptions): Promise<void> {
  for (let last = false; ; last = true) {
    options.onBytes(partial.doneBytes, 0);
    await fill(client, file, partial, options);
    const found = await hashOf(node, file, partial, options);
    if (found === file.etag) return;
    await partial.restart();
    if (!last) continue;
    const what = file.etag.length === 64 ? "SHA-256" : "git hash";
    throw new LoadError(
      `${shown(options.url)}: expected ${what} ${file.etag}, found ${found} twice; the file is damaged on its way, for example by a proxy`,
    );
  }
}

async function fill(client: Client, file: HubFile, partial: Partial, options: BlobOptions): Promise<void> {
  const parts = partial.missing().flatMap(({ begin, end }) => {
    const count = Math.ceil((end - begin) / options.partBytes);
    return Array.from({ length: count }, (_, i) => {
      const from = begin + i * options.partBytes;
      return { begin: from, end: Math.min(end, from + options.partBytes) };
    });
  });
  try {
    await inParallel(parts, connections, options.signal, (part, signal) => fetchPart(client, file, partial, options, part, signal));
  } catch (error) {
    if (!(error instanceof IgnoresRanges)) throw error;
    await fetchWhole(client, file, partial, options);
  }
}

async function fetchPart(
  client: Client,
  { sizeBytes }: HubFile,
  partial: Partial,
  options: BlobOptions,
  { begin, end }: Range,
  signal: AbortSignal,
): Promise<void> {
  let at = begin;
  const attempt = async () => {
    while (at < end) {
      const whole = at === 0 && end === sizeBytes;
      const headers: Record<string, string> = whole ? {} : { range: `bytes=${at}-${end - 1}` };
      await client.get(options.url, headers, signal, async (answer) => {
        if (answer.status === 200 && !whole) throw new IgnoresRanges();
        const stop =
          answer.status === 200 ? checkWhole(answer, sizeBytes, options.url) : checkRange(answer, at, end, sizeBytes, options.url);
        await receive(answer, partial, options, at, stop, (next) => {
          at = next;
        });
      });
    }
  };
  await client.persist(attempt, () => at, signal);
}

async function fetchWhole(client: Client, { sizeBytes }: HubFile, partial: Partial, options: BlobOptions): Promise<void> {
  const attempt = () =>
    client.get(options.url, {}, options.signal, async (answer) => {
      if (answer.status !== 200) throw new LoadError(`${shown(options.url)}: expected status 200 for a whole file, found ${answer.status}`);
      await receive(answer, partial, options, 0, checkWhole(answer, sizeBytes, options.url), () => undefined);
    });
  await client.persist(attempt, () => partial.doneBytes, options.signal);
}

/** Writes the body, which must reach from `begin` to `end`. */
async function receive(
  answer: Answer,
  partial: Partial,
  { url, onBytes }: BlobOptions,
  begin: number,
  end: number,
  onWritten: (at: number) => void,
): Promise<void> {
  let at = begin;
  for await (const chunk of answer.chunks()) {
    if (at + chunk.length > end) throw new LoadError(`${shown(url)}: expected ${end - begin} bytes at ${begin}, found more`);
    await partial.write(at, chunk);
    at += chunk.length;
    onWritten(at);
    onBytes(partial.doneBytes, chunk.length);
  }
  if (at < end)
    throw new Transient(`${shown(url)}: expected ${end - begin} bytes at ${begin}, found ${at - begin}; the connection was cut`);
}

const isPlain = ({ headers }: Answer) => (headers.get("content-encoding") ?? "identity") === "identity";

function checkWhole(answer: Answer, sizeBytes: number, url: string): number {
  const promised = isPlain(answer) ? answer.headers.get("content-length") : null;
  if (promised === null || Number(promised) === sizeBytes) return sizeBytes;
  throw new LoadError(`${shown(url)}: expected ${sizeBytes} bytes, as the list of files says, found ${promised}`);
}

/** @returns the end of what the answer brings, which may be less than was asked for */
function checkRange(answer: Answer, begin: number, end: number, sizeBytes: number, url: string): number {
  const range = answer.headers.get("content-range") ?? "";
  if (answer.status === 416) {
    const [, total] = /^bytes \*\/(\d+)$/i.exec(range) ?? [];
    // A server that refuses what it should have may still send the whole.
    if (total === undefined || Number(total) === sizeBytes) throw new IgnoresRanges();
    throw new LoadError(`${shown(url)}: expected ${sizeBytes} bytes, as the list of files says, found ${total}`);
  }
  if (!isPlain(answer)) throw new IgnoresRanges();
  const [, first, last, total] = /^bytes (\d+)-(\d+)\/(\d+|\*)$/i.exec(range) ?? [];
  const stop = Number(last) + 1;
  if (Number(first) === begin && stop > begin && stop <= end && (total === "*" || Number(total) === sizeBytes)) return stop;
  throw new LoadError(`${shown(url)}: expected Content-Range bytes ${begin}-${end - 1}/${sizeBytes}, found ${range || "none"}`);
}

/** SHA-256 of an LFS file; of another git's SHA-1, which counts a header too. */
async function hashOf({ createHash }: Node, { sizeBytes, etag }: HubFile, partial: Partial, options: BlobOptions): Promise<string> {
  const hash = etag.length === 64 ? createHash("sha256") : createHash("sha1").update(`blob ${sizeBytes}\0`);
  const buffer = new Uint8Array(Math.min(2 ** 20, sizeBytes));
  for (let at = 0; at < sizeBytes; ) {
    options.signal?.throwIfAborted();
    const length = await partial.read(at, buffer);
    if (length === 0) return `none: ${at} bytes`;
    hash.update(buffer.subarray(0, length));
    at += length;
    options.onVerified(at);
  }
  return hash.digest("hex");
}
