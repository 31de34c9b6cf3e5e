// A folder of states by the tokens they have seen: the second tier of the prefix tree. Keeps nothing in memory, so any number of processes
// may share a folder; whatever is wrong with a file is a miss.

import { JambaError, LoadError, type StatePart, type StateSpec } from "@jamba/core";
import { makeFolder, removePartials } from "@jamba/loader";
import { encodeState, type StateFile } from "./state-codec.ts";
import { readStateFile, writeEncoded } from "./state-file.ts";

export interface DiskCacheOptions {
  /** Of all state files in the folder, also those of other models: beyond it the least recently used go. */
  readonly bytes: number;
  /**
   * Whatever the numbers of a state depend on: the model's fingerprint, what weights and keys and values are held in, and the device's
   * `numerics`, a short name of all that decides bits there.
   */
  readonly model: string;
  readonly spec: StateSpec;
  readonly vocabSize: number;
  /** Hears why a file was a miss; one that is damaged is deleted. */
  readonly onDamage?: (reason: JambaError) => void;
}

export interface CachedPrefix {
  /** Tokens. */
  readonly length: number;
  /**
   * Undefined when the file is gone or damaged: then `find` looks for the next. What `use` pulls is checked part by part, so damage may end
   * it in the middle; what else it throws says nothing about the file.
   * @throws the signal's reason, what `use` throws of its own
   */
  load<T>(use: (parts: AsyncIterable<StatePart>) => Promise<T>, signal?: AbortSignal): Promise<T | undefined>;
}

/** Model, tokens, hash of the tokens. */
const namePattern = /^([\da-f]{16})-(\d{1,10})-([\da-f]{64})\.state$/;

export class DiskCache {
  readonly #node: Node;
  readonly #folder: string;
  readonly #model: string;
  readonly #options: DiskCacheOptions;
  #puts: Promise<unknown> = Promise.resolve();

  private constructor(node: Node, folder: string, model: string, options: DiskCacheOptions) {
    this.#node = node;
    this.#folder = folder;
    this.#model = model;
    this.#options = options;
  }

  /**
   * Makes the folder if it is not there.
   * @throws LoadError when it can't be made or read
   */
  static async open(folder: string, options: DiskCacheOptions): Promise<DiskCache> {
    const node = await nodeModules();
    const model = node.createHash("sha256").update(options.model).digest("hex").slice(0, 16);
    try {
      if (!(await node.stat(folder).catch(ifAbsent))) await makeFolder(folder).catch(ifThere);
      await removePartials(folder);
    } catch (cause) {
      throw new LoadError(`${folder}: expected a folder for states: ${(cause as Error).message}`, { cause });
    }
    return new DiskCache(node, folder, model, options);
  }

  /** The longest stored prefix of `ids` that is longer than `atLeast`; it is read, and checked, by `load`. */
  async find(ids: readonly number[], atLeast: number): Promise<CachedPrefix | undefined> {
    const names = new Set<string>();
    const lengths = new Set<number>();
    for (const name of await this.#list()) {
      const [, model, length] = namePattern.exec(name)!;
      if (model !== this.#model || Number(length) <= atLeast || Number(length) > ids.length) continue;
      names.add(name);
      lengths.add(Number(length));
    }
    const hash = this.#node.createHash("sha256");
    let hashed = 0;
    let best: { length: number; name: string } | undefined;
    for (const length of [...lengths].sort((a, b) => a - b)) {
      hash.update(bytesOf(ids.slice(hashed, length)));
      hashed = length;
      const name = nameOf(this.#model, length, hash.copy().digest("hex"));
      if (names.has(name)) best = { length, name };
    }
    if (!best) return undefined;
    const { length, name } = best;
    return { length, load: (use, signal) => this.#load(this.#node.join(this.#folder, name), ids.slice(0, length), use, signal) };
  }

  /**
   * Keeps the state that has seen `ids`, unless it is there or takes more than all the room: then no part is pulled. One at a time.
   * @param parts in the formats of `spec`
   * @throws LoadError when it can't be written, ShapeError for parts of another state, what `parts` throws, the signal's reason
   */
  put(ids: readonly number[], parts: AsyncIterable<StatePart> | Iterable<StatePart>, signal?: AbortSignal): Promise<void> {
    const put = this.#puts.then(() => this.#put(ids, parts, signal));
    this.#puts = put.catch(() => undefined);
    return put;
  }

  async #put(ids: readonly number[], parts: AsyncIterable<StatePart> | Iterable<StatePart>, signal?: AbortSignal): Promise<void> {
    signal?.throwIfAborted();
    if (ids.length === 0) return;
    const { bytes, model, spec } = this.#options;
    const hash = this.#node.createHash("sha256").update(bytesOf(ids)).digest("hex");
    const path = this.#node.join(this.#folder, nameOf(this.#model, ids.length, hash));
    if (await this.#touch(path)) return;
    const encoded = encodeState({ model }, ids, spec, parts);
    const room = bytes - encoded.sizeBytes;
    if (room < 0) return;
    await this.#shrinkTo(room);
    await writeEncoded(path, encoded, { signal });
  }

  async #load<T>(
    path: string,
    ids: readonly number[],
    use: (parts: AsyncIterable<StatePart>) => Promise<T>,
    signal?: AbortSignal,
  ): Promise<T | undefined> {
    const { model, spec, vocabSize } = this.#options;
    let isUsing = false;
    /** What the file's parts failed with under `use`. */
    let fault: unknown;
    const useFile = async (file: StateFile) => {
      if (!file.ids.every((id, i) => id === ids[i]) || file.ids.length !== ids.length)
        throw new LoadError(`${path}: expected the state of other tokens, by its name`);
      isUsing = true;
      const found = await use(
        heard(file.parts, (error) => {
          fault = error;
        }),
      );
      isUsing = false;
      await this.#touch(path);
      return found;
    };
    try {
      return await readStateFile(path, { model, spec, vocabSize }, useFile, signal);
    } catch (error) {
      signal?.throwIfAborted();
      const reason = isUsing ? fault : error;
      if (!(reason instanceof JambaError)) throw error;
      await this.#miss(path, reason);
      return undefined;
    }
  }

  async #miss(path: string, reason: JambaError): Promise<void> {
    const system = (reason.cause as NodeJS.ErrnoException | undefined)?.code;
    if (system === "ENOENT") return;
    // What the system refused to read may be whole.
    if (system === undefined && reason.code !== "OUT_OF_MEMORY") await this.#remove(path);
    this.#options.onDamage?.(reason);
  }

  async #shrinkTo(bytes: number): Promise<void> {
    const files: { path: string; size: number; mtimeMs: number }[] = [];
    for (const name of await this.#list()) {
      const path = this.#node.join(this.#folder, name);
      const found = await this.#node.stat(path).catch(() => undefined);
      if (found) files.push({ path, size: found.size, mtimeMs: found.mtimeMs });
    }
    let total = files.reduce((sum, { size }) => sum + size, 0);
    for (const { path, size } of files.sort((a, b) => a.mtimeMs - b.mtimeMs)) {
      if (total <= bytes) return;
      await this.#remove(path);
      total -= size;
    }
  }

  async #list(): Promise<string[]> {
    try {
      return (await this.#node.readdir(this.#folder)).filter((name) => namePattern.test(name));
    } catch (cause) {
      this.#options.onDamage?.(new LoadError(`${this.#folder}: expected a folder of states: ${(cause as Error).message}`, { cause }));
      return [];
    }
  }

  /** Another process may have been faster, or (on Windows) be reading it. */
  async #remove(path: string): Promise<void> {
    await this.#node.rm(path, { force: true }).catch(() => undefined);
  }

  /** The time of its last use is that of its last change. Whether it is there. */
  async #touch(path: string): Promise<boolean> {
    const now = new Date();
    return this.#node.utimes(path, now, now).then(
      () => true,
      (error) => error.code !== "ENOENT",
    );
  }
}

type Node = Awaited<ReturnType<typeof nodeModules>>;

function nameOf(model: string, length: number, hash: string): string {
  return `${model}-${length}-${hash}.state`;
}

/** The same parts; `onFailure` hears what they throw. No generator, which would hold each part until the next one is there. */
function heard(parts: AsyncGenerator<StatePart, void, undefined>, onFailure: (error: unknown) => void): AsyncIterable<StatePart> {
  const next = () =>
    parts.next().catch((error) => {
      onFailure(error);
      throw error;
    });
  return { [Symbol.asyncIterator]: () => ({ next, return: () => parts.return() }) };
}

function bytesOf(ids: readonly number[]): Uint8Array {
  return new Uint8Array(Int32Array.from(ids).buffer);
}

function ifAbsent(error: NodeJS.ErrnoException): undefined {
  if (error.code !== "ENOENT") throw error;
}

function ifThere(error: NodeJS.ErrnoException): void {
  if (error.code !== "EEXIST") throw error;
}

async function nodeModules() {
  try {
    const [{ readdir, rm, stat, utimes }, { join }, { createHash }] = await Promise.all([
      import("node:fs/promises"),
      import("node:path"),
      import("node:crypto"),
    ]);
    return { readdir, rm, stat, utimes, join, createHash };
  } catch (cause) {
    throw new JambaError("UNSUPPORTED", "a cache of states needs a file system, which this runtime lacks", { cause });
  }
}
