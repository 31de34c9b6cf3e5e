// Files and directories of the local disk. The only file that knows Node; elsewhere its functions throw.

import { fromNode, JambaError, LoadError } from "@jamba/core";
import { asLoadError, type ByteSource, byteSource, type FileStamp } from "./byte-source.ts";

export async function openFile(path: string, options: { signal?: AbortSignal } = {}): Promise<ByteSource> {
  options.signal?.throwIfAborted();
  const { open, stat } = await fileSystem();
  try {
    // Looked at first, since opening a pipe waits for its writer.
    const found = await stat(path);
    if (!found.isFile()) throw new LoadError(`${path}: expected a file, found a ${found.isDirectory() ? "directory" : "device or pipe"}`);
    const handle = await open(path, "r");
    try {
      const stats = await handle.stat({ bigint: true });
      const stamp = stampOf(stats);
      return byteSource({
        name: path,
        size: Number(stats.size),
        fill: (target, offset) => fill(path, handle, target, offset),
        release: () => handle.close(),
        stamp,
        expectUnchanged: async ({ mayBeReplaced = false } = {}) => {
          const named = await stat(path, { bigint: true }).then(stampOf, () => undefined);
          const isNamed = named?.ino === stamp.ino && named.dev === stamp.dev;
          if (!isNamed && !mayBeReplaced)
            throw new LoadError(
              `${path}: expected the file that was opened, found ${named ? "another in its place" : "none"}; load it again`,
            );
          // Renamed, it has another ctime and the same bytes.
          const found = named && isNamed ? named : { ...stampOf(await handle.stat({ bigint: true })), ctimeNs: stamp.ctimeNs };
          const what = changeOf(stamp, found);
          if (what) throw new LoadError(`${path}: expected the file as it was when it was opened, found ${what}; load it again`);
        },
      });
    } catch (cause) {
      await handle.close();
      throw cause;
    }
  } catch (cause) {
    throw asLoadError(path, cause);
  }
}

/** The stamp of the file that `path` leads to. @throws the system's error */
export async function lookAtStamp(path: string): Promise<FileStamp> {
  const { stat } = await fileSystem();
  return stampOf(await stat(path, { bigint: true }));
}

export async function realPathOf(path: string): Promise<string> {
  return (await fileSystem()).realpath(path);
}

/**
 * The text of a file that this user or the system's own wrote and nobody else may: of others there is none.
 * @throws the system's error
 */
export async function readTrusted(path: string, maxBytes: number): Promise<string | undefined> {
  const { lstat, readFile } = await fileSystem();
  const found = await lstat(path);
  const own = process.getuid?.();
  const isTrusted = own === undefined || ((found.uid === own || found.uid === 0) && (found.mode & 0o022) === 0);
  return found.isFile() && isTrusted && found.size <= maxBytes ? readFile(path, "utf8") : undefined;
}

function stampOf({ dev, ino, size, mtimeNs, ctimeNs, mode, uid, gid, nlink }: import("node:fs").BigIntStats): FileStamp {
  const rights = [mode, uid, gid, nlink].join();
  return { dev: `${dev}`, ino: `${ino}`, size: `${size}`, mtimeNs: `${mtimeNs}`, ctimeNs: `${ctimeNs}`, rights };
}

function changeOf(then: FileStamp, now: FileStamp): string | undefined {
  if (now.size !== then.size) return `${now.size} bytes instead of ${then.size}`;
  if (now.mtimeNs !== then.mtimeNs) return "that it was written to";
  // New rights and names change no bytes; a time that was set back may hide that they did.
  return now.ctimeNs !== then.ctimeNs && now.rights === then.rights ? "that it was changed and its time set back" : undefined;
}

async function fill(path: string, handle: import("node:fs/promises").FileHandle, target: Uint8Array, offset: number): Promise<void> {
  for (let done = 0; done < target.length; ) {
    const { bytesRead } = await handle.read(target, done, target.length - done, offset + done);
    if (bytesRead === 0) {
      throw new LoadError(
        `${path}: expected ${target.length} bytes at ${offset}, found ${done}; the file became shorter after it was opened`,
      );
    }
    done += bytesRead;
  }
}

/** What lies at `path`, and `path` cut into the directory that holds it and its last part. */
export async function lookAt(path: string): Promise<{ kind: "file" | "directory" | "absent"; directory: string; base: string }> {
  const { basename, dirname, stat } = await fileSystem();
  const parts = { directory: dirname(path), base: basename(path) };
  try {
    return { kind: (await stat(path)).isDirectory() ? "directory" : "file", ...parts };
  } catch (cause) {
    if ((cause as { code?: string }).code === "ENOENT") return { kind: "absent", ...parts };
    throw asLoadError(path, cause);
  }
}

export async function listDirectory(path: string): Promise<string[]> {
  const { readdir } = await fileSystem();
  try {
    return (await readdir(path)).sort();
  } catch (cause) {
    throw asLoadError(path, cause);
  }
}

async function fileSystem() {
  try {
    // Awaited right inside the try: there bundlers for browsers warn, and put an empty module or a throw.
    const files = await fromNode<typeof import("node:fs/promises")>("node:fs/promises");
    const paths = await fromNode<typeof import("node:path")>("node:path");
    if (typeof files.stat !== "function") throw new TypeError("node:fs/promises is empty");
    return { ...files, ...paths };
  } catch (cause) {
    throw new JambaError(
      "UNSUPPORTED",
      "paths and hub ids need a file system, which this runtime lacks; pass File objects, Blobs or a URL",
      { cause },
    );
  }
}
