// A file on the local disk that appears whole or not at all.

import { fromNode, JambaError, LoadError } from "@jamba/core";
import { isSeenDead, leaseMs, machineOf, renewMs, timeIn } from "./lease.ts";

export interface WholeFileOptions {
  /** Of the file when it is done: the disk must have room. */
  readonly sizeBytes: number;
  /** Paths that the file is made from, which it can't replace. */
  readonly sources?: readonly string[];
  readonly overwrite?: boolean;
  /** Who may read it, as a number; what the process gives its files if not given. */
  readonly mode?: number;
  /** Whether files are looked for that killed processes left, which reads the whole folder; true if not given. */
  readonly sweep?: boolean;
  readonly signal?: AbortSignal;
}

/**
 * Lets `fill` write a file beside `path` and renames it when all is on the disk. Files that killed processes left there are removed
 * first.
 * @throws JambaError OPTION for a path that is taken, or that looks like one of those files; LoadError DISK_FULL
 */
export async function wholeFile(
  path: string,
  { sizeBytes, sources = [], overwrite = false, mode, sweep = true, signal }: WholeFileOptions,
  fill: (write: (bytes: Uint8Array) => Promise<void>) => Promise<void>,
): Promise<void> {
  const files = await fileSystem();
  const target = await files.realpath(path).catch(() => files.resolve(path));
  if (partialPattern.test(files.basename(target)))
    throw new JambaError(
      "OPTION",
      `${path}: expected another name than one of a file that is being written, which is removed when its writer is gone`,
    );
  const expectFree = async () => {
    const found = await files.stat(target).catch(ifAbsent);
    if (!found) return;
    if (!found.isFile()) throw new JambaError("OPTION", `${path}: expected a file to write to, found a directory or device`);
    for (const source of sources) {
      const { dev, ino } = await files.stat(source);
      if (dev === found.dev && ino === found.ino)
        throw new JambaError("OPTION", `${path}: expected another file than the one that is read; name a new one`);
    }
    if (!overwrite) throw new JambaError("OPTION", `${path}: expected no file of this name, found one; pass overwrite to replace it`);
  };
  await expectFree();
  const folder = files.dirname(target);
  if (sweep) await removePartials(folder, (base) => base === files.basename(target));
  await expectRoom(files, folder, path, sizeBytes);
  // Names who writes, so that others can tell when nobody does any more.
  const own = `${(await machineOf(files)) ?? "unseen"}-${process.pid}-${crypto.randomUUID().slice(0, 8)}`;
  const partial = `${folder}/${files.basename(target)}.partial-${own}`;
  const handle = await files.open(partial, "wx", mode);
  const renew = setInterval(() => void handle.utimes(new Date(), new Date()).catch(() => undefined), renewMs);
  renew.unref();
  try {
    try {
      await fill(async (bytes) => {
        for (let done = 0; done < bytes.length; ) done += (await handle.write(bytes, done, bytes.length - done)).bytesWritten;
      });
      await handle.sync(); // so that a power cut leaves no zeros behind the final name
    } finally {
      clearInterval(renew);
      await handle.close();
    }
    signal?.throwIfAborted();
    await expectFree(); // once more: writing may have taken hours
    await files.rename(partial, target).catch((cause) => {
      if (cause.code !== "ENOENT") throw cause;
      const hint = `as nothing renewed it for ${leaseMs / 1000} s; write it again`;
      throw new LoadError(`${path}: expected the file that was written, found that another process took it for left behind, ${hint}`, {
        cause,
      });
    });
    await syncFolder(files, folder);
  } finally {
    await files.rm(partial, { force: true });
  }
}

type Files = Awaited<ReturnType<typeof fileSystem>>;

/** What a file is called while it is written, behind its own name: machine, process, and a random part. */
const partialPattern = /\.partial-(.+)-(\d+)-[\da-f]{8}$/;

/**
 * Removes what killed processes left in `folder` of the files whose names `isOurs` knows: at once where they ran beside this one, and
 * else when nobody renewed them for a minute.
 */
export async function removePartials(folder: string, isOurs: (name: string) => boolean, leftMs = leaseMs): Promise<void> {
  const files = await fileSystem();
  const here = await machineOf(files);
  let now: number | undefined;
  for (const name of await files.readdir(folder)) {
    const found = partialPattern.exec(name);
    if (!found || !isOurs(name.slice(0, found.index))) continue;
    const path = `${folder}/${name}`;
    const [, machine, pid] = found;
    if (!isSeenDead({ machine, pid: Number(pid) }, here)) {
      const state = await files.stat(path).catch(ifAbsent);
      now ??= await timeIn(files, folder);
      // The time of any change, which the folder's own clock gives.
      if (!state || now - state.ctimeMs < leftMs) continue;
    }
    await files.rm(path, { force: true });
  }
}

async function expectRoom(files: Files, folder: string, path: string, sizeBytes: number): Promise<void> {
  const { bavail, bsize } = await files.statfs(folder);
  if (bavail * bsize < sizeBytes)
    throw new LoadError(`${path}: expected ${sizeBytes} bytes of free disk, found ${bavail * bsize}; make room or name another disk`, {
      code: "DISK_FULL",
    });
}

/** So that a power cut can't take the new name back. Some systems and network disks do this for files only. */
async function syncFolder(files: Files, folder: string): Promise<void> {
  const ifUnable = (error: NodeJS.ErrnoException): undefined => {
    if (!/^(EACCES|EBADF|EINVAL|EISDIR|EPERM)$/.test(error.code ?? "")) throw error;
  };
  const handle = await files.open(folder, "r").catch(ifUnable);
  try {
    await handle?.sync().catch(ifUnable);
  } finally {
    await handle?.close();
  }
}

/**
 * Also makes its parents. Without mkdir's own recursion, which never ends where a system like /proc says that no folder can be made.
 * @param mode of all that is made
 * @throws the system's EEXIST
 */
export async function makeFolder(path: string, mode?: number): Promise<void> {
  const files = await fileSystem();
  const parent = files.resolve(path, "..");
  if (!(await files.stat(parent).catch(ifAbsent))) await makeFolder(parent, mode).catch(ifThere); // another process may be making it
  await files.mkdir(path, { mode });
}

function ifThere(error: NodeJS.ErrnoException): void {
  if (error.code !== "EEXIST") throw error;
}

function ifAbsent(error: NodeJS.ErrnoException): undefined {
  if (error.code !== "ENOENT") throw error;
}

async function fileSystem() {
  try {
    const [files, { basename, dirname, resolve }] = await Promise.all([
      fromNode<typeof import("node:fs/promises")>("node:fs/promises"),
      fromNode<typeof import("node:path")>("node:path"),
    ]);
    return { ...files, basename, dirname, resolve };
  } catch (cause) {
    throw new JambaError("UNSUPPORTED", "expected a file system to write to, found none in this runtime", { cause });
  }
}
