// Files and directories of the local disk. The only file that knows Node; elsewhere its functions throw.

import { JambaError, LoadError } from "@jamba/core";
import { asLoadError, type ByteSource, byteSource } from "./byte-source.ts";

export async function openFile(path: string, options: { signal?: AbortSignal } = {}): Promise<ByteSource> {
  options.signal?.throwIfAborted();
  const { open, stat } = await fileSystem();
  try {
    // Looked at first, since opening a pipe waits for its writer.
    const found = await stat(path);
    if (!found.isFile()) throw new LoadError(`${path}: expected a file, found a ${found.isDirectory() ? "directory" : "device or pipe"}`);
    const handle = await open(path, "r");
    try {
      const { size } = await handle.stat();
      return byteSource({ name: path, size, fill: (target, offset) => fill(path, handle, target, offset), release: () => handle.close() });
    } catch (cause) {
      await handle.close();
      throw cause;
    }
  } catch (cause) {
    throw asLoadError(path, cause);
  }
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
    const files = await import("node:fs/promises");
    const paths = await import("node:path");
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
