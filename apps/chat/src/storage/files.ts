// Where the page keeps models and conversations: files of the origin's private file system, or in memory where there is none.
// Runs in the worker that owns the model, which alone writes.

import { Turns } from "./turns.ts";

export interface StoredFile {
  readonly path: string;
  readonly sizeBytes: number;
}

export interface Files {
  /** "memory": gone with the tab that owns the model. */
  readonly kind: "private" | "memory";
  /** Why nothing is kept. */
  readonly reason?: string;
  /** Undefined where there is no such file. */
  read(path: string): Promise<Blob | undefined>;
  /** All of it or nothing. @throws StorageFull */
  write(path: string, content: string | Blob | AsyncIterable<Uint8Array>): Promise<void>;
  /** Goes on where a writer before has stopped. @throws StorageFull, of `append` too */
  append(path: string): Promise<Appending>;
  rename(from: string, to: string): Promise<void>;
  /** A file, or a folder with all that is in it. */
  remove(path: string): Promise<void>;
  /** All files below `folder`. */
  list(folder: string): Promise<StoredFile[]>;
}

export interface Appending {
  readonly sizeBytes: number;
  append(bytes: Uint8Array): void;
  close(): void;
}

export class StorageFull extends Error {
  readonly code = "STORAGE_FULL";
}

/** @param cause what the browser threw. @returns it, or what a person can do about it */
export function storageError(cause: unknown): unknown {
  if ((cause as Error | undefined)?.name !== "QuotaExceededError") return cause;
  return new StorageFull("The browser gives this page no more room. Delete models or conversations, or free space on the disk.", { cause });
}

export async function openFiles(): Promise<Files> {
  try {
    if (typeof navigator.storage?.getDirectory !== "function") throw new Error("this browser has no private file system for pages");
    const root = await navigator.storage.getDirectory();
    // Some browsers have folders and refuse to write in a private window.
    const probe = await root.getFileHandle(".probe", { create: true });
    (await accessTo(probe)).close();
    await root.removeEntry(".probe");
    return new PrivateFiles(root);
  } catch (error) {
    const { message, name } = error as Error;
    return new MemoryFiles(name === "SecurityError" ? "this browser denies storage to this page" : message);
  }
}

/** What TypeScript knows in workers alone. */
interface AccessHandle {
  getSize(): number;
  truncate(size: number): void;
  write(bytes: Uint8Array, options: { at: number }): number;
  flush(): void;
  close(): void;
}

async function accessTo(handle: FileSystemFileHandle): Promise<AccessHandle> {
  const { createSyncAccessHandle } = handle as unknown as { createSyncAccessHandle?: () => Promise<AccessHandle> };
  if (!createSyncAccessHandle) throw new Error("this browser can't write private files from a worker");
  return createSyncAccessHandle.call(handle);
}

class PrivateFiles implements Files {
  readonly kind = "private";
  readonly #root: FileSystemDirectoryHandle;
  readonly #writing = new Turns();

  constructor(root: FileSystemDirectoryHandle) {
    this.#root = root;
  }

  async read(path: string): Promise<Blob | undefined> {
    const handle = await this.#file(path).catch(ifAbsent);
    return handle?.getFile();
  }

  /** Writes of one file are made in turn: two would have the same partial one. */
  write(path: string, content: string | Blob | AsyncIterable<Uint8Array>): Promise<void> {
    return this.#writing.take(path, () => this.#writeNow(path, content));
  }

  async #writeNow(path: string, content: string | Blob | AsyncIterable<Uint8Array>): Promise<void> {
    const partial = `${path}.partial`;
    try {
      const writing = await this.#open(partial, true);
      try {
        for await (const bytes of piecesOf(content)) writing.append(bytes);
      } finally {
        writing.close();
      }
      await this.rename(partial, path);
    } catch (cause) {
      await this.remove(partial);
      throw storageError(cause);
    }
  }

  append(path: string): Promise<Appending> {
    return this.#open(path, false);
  }

  async rename(from: string, to: string): Promise<void> {
    const handle = (await this.#file(from)) as FileSystemFileHandle & {
      move?(folder: FileSystemDirectoryHandle, name: string): Promise<void>;
    };
    const { folder, name } = await this.#place(to, true);
    if (handle.move) return handle.move(folder, name);
    const writing = await this.#open(to, true);
    try {
      for await (const bytes of piecesOf(await handle.getFile())) writing.append(bytes);
    } finally {
      writing.close();
    }
    await this.remove(from);
  }

  async remove(path: string): Promise<void> {
    const place = await this.#place(path).catch(ifAbsent);
    await place?.folder.removeEntry(place.name, { recursive: true }).catch(ifAbsent);
  }

  async list(folder: string): Promise<StoredFile[]> {
    const found: StoredFile[] = [];
    const walk = async (handle: FileSystemDirectoryHandle, path: string): Promise<void> => {
      for await (const [name, entry] of handle as unknown as AsyncIterable<[string, FileSystemHandle]>) {
        const inner = `${path}/${name}`;
        if (entry.kind === "directory") await walk(entry as FileSystemDirectoryHandle, inner);
        else {
          // One that is being written may have its own name by now.
          const file = await (entry as FileSystemFileHandle).getFile().catch(ifAbsent);
          if (file) found.push({ path: inner, sizeBytes: file.size });
        }
      }
    };
    const place = await this.#place(`${folder}/.`).catch(ifAbsent);
    if (place) await walk(place.folder, folder);
    return found;
  }

  async #open(path: string, anew: boolean): Promise<Appending> {
    try {
      const { folder, name } = await this.#place(path, true);
      const access = await accessTo(await folder.getFileHandle(name, { create: true }));
      if (anew) access.truncate(0);
      let sizeBytes = access.getSize();
      return {
        sizeBytes,
        append(bytes) {
          try {
            for (let done = 0; done < bytes.length; ) done += access.write(bytes.subarray(done), { at: sizeBytes + done });
            sizeBytes += bytes.length;
          } catch (cause) {
            throw storageError(cause);
          }
        },
        close() {
          access.flush();
          access.close();
        },
      };
    } catch (cause) {
      throw storageError(cause);
    }
  }

  async #file(path: string): Promise<FileSystemFileHandle> {
    const { folder, name } = await this.#place(path);
    return folder.getFileHandle(name);
  }

  async #place(path: string, create = false): Promise<{ folder: FileSystemDirectoryHandle; name: string }> {
    const names = path.split("/");
    const name = names.pop()!;
    let folder = this.#root;
    for (const one of names) folder = await folder.getDirectoryHandle(one, { create });
    return { folder, name };
  }
}

export class MemoryFiles implements Files {
  readonly kind = "memory";
  readonly #files = new Map<string, Blob>();

  constructor(readonly reason: string) {}

  async read(path: string): Promise<Blob | undefined> {
    return this.#files.get(path);
  }

  async write(path: string, content: string | Blob | AsyncIterable<Uint8Array>): Promise<void> {
    const pieces: Uint8Array<ArrayBuffer>[] = [];
    for await (const bytes of piecesOf(content)) pieces.push(bytes.slice());
    this.#files.set(path, new Blob(pieces));
  }

  async append(path: string): Promise<Appending> {
    const before = this.#files.get(path) ?? new Blob();
    const pieces: Uint8Array<ArrayBuffer>[] = [];
    return {
      sizeBytes: before.size,
      append: (bytes) => void pieces.push(bytes.slice()),
      close: () => void this.#files.set(path, new Blob([before, ...pieces])),
    };
  }

  async rename(from: string, to: string): Promise<void> {
    this.#files.set(to, this.#files.get(from)!);
    this.#files.delete(from);
  }

  async remove(path: string): Promise<void> {
    for (const one of [...this.#files.keys()]) if (one === path || one.startsWith(`${path}/`)) this.#files.delete(one);
  }

  async list(folder: string): Promise<StoredFile[]> {
    return [...this.#files].filter(([path]) => path.startsWith(`${folder}/`)).map(([path, { size: sizeBytes }]) => ({ path, sizeBytes }));
  }
}

/** Bytes at a time: as much as a copy of it may take. */
const pieceBytes = 2 ** 22;

async function* piecesOf(content: string | Blob | AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  if (typeof content === "string") yield new TextEncoder().encode(content);
  else if (!(content instanceof Blob)) yield* content;
  else for (let at = 0; at < content.size; at += pieceBytes) yield new Uint8Array(await content.slice(at, at + pieceBytes).arrayBuffer());
}

function ifAbsent(error: unknown): undefined {
  const { name } = error as Error;
  if (name !== "NotFoundError" && name !== "TypeMismatchError") throw error;
}
