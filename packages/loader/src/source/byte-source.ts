// Random access to the bytes of one file, wherever it lies. What the bytes mean is not known here.

import { JambaError, LoadError } from "@jamba/core";

export interface ByteSource {
  /** For errors: path, URL or file name. */
  readonly name: string;
  /** Bytes. */
  readonly size: number;
  /**
   * Exactly `length` bytes from `offset` on.
   * @throws LoadError when the range leaves the file, or the file is cut, changed or unreachable; the signal's reason when aborted
   */
  read(offset: number, length: number, signal?: AbortSignal): Promise<Uint8Array>;
  /** Of a file on the local disk: what told it from others, and from itself at another time, when it was opened. */
  readonly stamp?: FileStamp;
  /**
   * That a file on the local disk is still what it was when it was opened; others say nothing.
   * @param mayBeReplaced another file may have its name by now: what is open stays what it was
   * @throws LoadError
   */
  expectUnchanged?(options?: { readonly mayBeReplaced?: boolean }): Promise<void>;
  /** What is read, where that is a blob: a worker may read it itself. */
  readonly blob?: Blob;
  close(): Promise<void>;
}

/** Whole numbers as texts, times in nanoseconds. The time of the last change of any kind (ctime) can't be set, as that of the bytes can. */
export interface FileStamp {
  readonly dev: string;
  readonly ino: string;
  readonly size: string;
  readonly mtimeNs: string;
  readonly ctimeNs: string;
  /** Mode, owner, group and count of names: what else moves `ctimeNs`. */
  readonly rights: string;
}

export interface ByteReader {
  readonly name: string;
  readonly size: number;
  /** Fills all of `target` with the bytes from `offset` on, or throws. */
  fill(target: Uint8Array, offset: number, signal?: AbortSignal): Promise<void>;
  release?(): Promise<void>;
  readonly stamp?: FileStamp;
  readonly expectUnchanged?: ByteSource["expectUnchanged"];
  readonly blob?: Blob;
}

// Single reads of 2 GiB and more fail in Node and in browsers.
const maxReadBytes = 2 ** 30;

export function byteSource(reader: ByteReader, pieceBytes = maxReadBytes): ByteSource {
  const { name, size, stamp, expectUnchanged, blob } = reader;
  let closed: Promise<void> | undefined;
  const check = (signal?: AbortSignal) => {
    signal?.throwIfAborted();
    if (closed) throw new JambaError("DISPOSED", `${name}: expected an open file, found a closed one`);
  };
  return {
    name,
    size,
    stamp,
    expectUnchanged,
    blob,
    async read(offset, length, signal) {
      check(signal);
      if (!isCount(offset) || !isCount(length) || offset + length > size) {
        throw new LoadError(`${name}: expected a range within its ${size} bytes, found ${length} bytes at ${offset}`);
      }
      const target = allocate(name, length);
      for (let done = 0; done < length; done += pieceBytes) {
        try {
          await reader.fill(target.subarray(done, done + pieceBytes), offset + done, signal);
        } catch (cause) {
          signal?.throwIfAborted();
          throw asLoadError(name, cause);
        }
        check(signal);
      }
      return target;
    },
    close: () => {
      closed ??= Promise.resolve(reader.release?.()).catch((cause) => {
        throw asLoadError(name, cause);
      });
      return closed;
    },
  };
}

export function isCount(v: unknown): v is number {
  return Number.isSafeInteger(v) && (v as number) >= 0;
}

export function allocate(name: string, length: number): Uint8Array<ArrayBuffer> {
  try {
    return new Uint8Array(length);
  } catch (cause) {
    throw new JambaError("OUT_OF_MEMORY", `${name}: no memory for ${length} bytes in one piece; read fewer rows at a time`, { cause });
  }
}

interface Thrown {
  readonly code?: string;
  readonly message?: string;
  readonly cause?: { readonly code?: string; readonly message?: string };
}

const hints: Readonly<Partial<Record<string, string>>> = {
  ENOENT: "no such file or directory; check the path",
  ENOTDIR: "a part of the path is a file, not a directory",
  EACCES: "permission denied; check who may read it",
  EPERM: "permission denied; check who may read it",
  EISDIR: "expected a file, found a directory",
  EMFILE: "too many open files; raise the limit (ulimit -n)",
  ENFILE: "too many open files on this machine",
  EIO: "the disk failed to read it",
};

/** What the system threw, as an error that names the file. */
export function asLoadError(name: string, cause: unknown): JambaError {
  if (cause instanceof JambaError) return cause;
  const { code = "", message = String(cause), cause: inner } = (cause ?? {}) as Thrown;
  // fetch says only "fetch failed" itself.
  const reason = inner?.message || inner?.code;
  return new LoadError(`${name}: ${hints[code] ?? (reason ? `${message}: ${reason}` : message)}`, { cause });
}
