// A file that is still being fetched, written at many places, and a note beside it of the places that are done.
// Bytes are written before they are noted, so that a killed process leaves a note that is true. After a power cut it
// may not be; then the hash of the whole tells.

import { LoadError } from "@jamba/core";
import { asLoadError, isCount } from "../source/byte-source.ts";
import { isObject } from "../source/untrusted.ts";
import { codeOf, ifAbsent, type Node } from "./node.ts";

/** Bytes [begin, end). */
export interface Range {
  readonly begin: number;
  readonly end: number;
}

export interface Partial {
  readonly doneBytes: number;
  missing(): Range[];
  write(offset: number, bytes: Uint8Array): Promise<void>;
  /** At most `bytes.length` bytes from `offset` on. */
  read(offset: number, bytes: Uint8Array): Promise<number>;
  /** Forgets all bytes. */
  restart(): Promise<void>;
  /** Closes the file, which must be whole, and gives it the name `path`. */
  finish(path: string): Promise<void>;
  /** Notes what is done, if the file is not finished and `expectMine` does not throw. */
  close(expectMine?: () => Promise<void>): Promise<void>;
}

export const partialPath = (blobPath: string) => `${blobPath}.jamba-partial`;
const notePath = (blobPath: string) => `${blobPath}.jamba-partial.json`;

/** What an earlier process left of a file. */
export async function doneRanges({ files }: Node, blobPath: string, sizeBytes: number): Promise<Range[]> {
  // Names that others can foresee: a link there may lead anywhere.
  const [state, note] = await Promise.all([partialPath, notePath].map((path) => files.lstat(path(blobPath)).catch(ifAbsent)));
  if (!state?.isFile() || !note?.isFile()) return [];
  const text = await files.readFile(notePath(blobPath), "utf8").catch(ifAbsent);
  if (text === undefined) return [];
  const ranges = parseNote(text, sizeBytes);
  return (ranges.at(-1)?.end ?? 0) <= state.size ? ranges : [];
}

function parseNote(text: string, sizeBytes: number): Range[] {
  let note: unknown;
  try {
    note = JSON.parse(text);
  } catch {
    return [];
  }
  if (!isObject(note) || note.sizeBytes !== sizeBytes || !Array.isArray(note.done)) return [];
  const ranges: Range[] = [];
  for (const item of note.done as unknown[]) {
    const [begin, end] = Array.isArray(item) ? item : [];
    if (!isCount(begin) || !isCount(end) || begin < (ranges.at(-1)?.end ?? 0) || begin >= end || end > sizeBytes) return [];
    ranges.push({ begin, end });
  }
  return ranges;
}

export const bytesOf = (ranges: readonly Range[]) => ranges.reduce((sum, { begin, end }) => sum + end - begin, 0);

/** `ranges`, which are sorted and apart, with another one. */
export function withRange(ranges: readonly Range[], added: Range): Range[] {
  if (added.begin >= added.end) return [...ranges];
  const before = ranges.filter(({ end }) => end < added.begin);
  const after = ranges.filter(({ begin }) => begin > added.end);
  const touched = [added, ...ranges.slice(before.length, ranges.length - after.length)];
  const joined = { begin: Math.min(...touched.map(({ begin }) => begin)), end: Math.max(...touched.map(({ end }) => end)) };
  return [...before, joined, ...after];
}

export function gaps(ranges: readonly Range[], sizeBytes: number): Range[] {
  const begins = [0, ...ranges.map(({ end }) => end)];
  const ends = [...ranges.map(({ begin }) => begin), sizeBytes];
  return begins.map((begin, i) => ({ begin, end: ends[i] })).filter(({ begin, end }) => begin < end);
}

/** Goes on with what is there. */
export async function openPartial(node: Node, blobPath: string, sizeBytes: number, noteEveryBytes: number): Promise<Partial> {
  const { files } = node;
  const [path, note] = [partialPath(blobPath), notePath(blobPath)];
  let done = await doneRanges(node, blobPath, sizeBytes);
  // What can't be used is made anew, since opening follows links.
  if (done.length === 0) await files.rm(path, { force: true });
  const { O_CREAT, O_EXCL, O_NOFOLLOW = 0, O_RDWR } = files.constants;
  const handle = await files.open(path, O_RDWR | O_NOFOLLOW | (done.length > 0 ? 0 : O_CREAT | O_EXCL), 0o666);
  let noted = bytesOf(done);
  let noting = Promise.resolve();
  let open = true;
  const keepNote = () => {
    noted = bytesOf(done);
    noting = noting.then(async () => {
      await files.rm(`${note}.new`, { force: true });
      await files.writeFile(`${note}.new`, JSON.stringify({ sizeBytes, done: done.map(({ begin, end }) => [begin, end]) }), { flag: "wx" });
      await files.rename(`${note}.new`, note);
    });
    return noting;
  };
  const onDisk = <T>(work: Promise<T>) =>
    work.catch((cause) => {
      if (codeOf(cause) !== "ENOSPC" && codeOf(cause) !== "EDQUOT") throw asLoadError(path, cause);
      throw new LoadError(`${path}: the disk is full; make room and start again, what was fetched is kept`, { cause });
    });
  return {
    get doneBytes() {
      return bytesOf(done);
    },
    missing: () => gaps(done, sizeBytes),
    async write(offset, bytes) {
      for (let at = 0; at < bytes.length; ) {
        at += (await onDisk(handle.write(bytes, at, bytes.length - at, offset + at))).bytesWritten;
      }
      done = withRange(done, { begin: offset, end: offset + bytes.length });
      if (bytesOf(done) - noted >= noteEveryBytes) await onDisk(keepNote());
    },
    read: async (offset, bytes) => (await onDisk(handle.read(bytes, 0, bytes.length, offset))).bytesRead,
    async restart() {
      // The note first: without it the bytes count for nothing.
      await files.rm(note, { force: true });
      await onDisk(handle.truncate(0));
      done = [];
      noted = 0;
    },
    async finish(target) {
      // Written out before the file gets its name: from then on nobody checks its bytes.
      await onDisk(handle.datasync());
      const [mine, there] = [await handle.stat(), await files.stat(path).catch(ifAbsent)];
      open = false;
      await handle.close();
      // A process that held this lock, slept and woke up too late finds another's file, or none.
      if (mine.ino !== there?.ino)
        throw new LoadError(`${path}: expected the file that was written, found ${there ? "another" : "none"}; start again`);
      await onDisk(files.rename(path, target));
      await files.rm(note, { force: true });
    },
    async close(expectMine) {
      if (!open) return;
      open = false;
      try {
        const isMine = await (expectMine?.() ?? Promise.resolve()).then(
          () => true,
          () => false,
        );
        if (isMine && done.length > 0 && (await files.stat(path).catch(ifAbsent))) await onDisk(keepNote());
      } finally {
        await handle.close();
      }
    },
  };
}
