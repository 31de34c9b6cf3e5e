// A folder of states by the paths they have seen: the second tier of the prefix tree. What it keeps in memory is an index that follows the
// folder, so any number of processes may share one; whatever is wrong with a file is a miss.

import { JambaError, LoadError, type StatePart, type StateSpec } from "@jamba/core";
import { checksOf, type FolderIndex, nameOf } from "./folder-index.ts";
import type { Node } from "./node-modules.ts";
import { encodeState, type StateFile } from "./state-codec.ts";
import { readStateFile, writeEncoded } from "./state-file.ts";
import { idOf, type Path } from "./tenant.ts";

export interface DiskCacheOptions {
  /** Of all state files in the folder, also those of other models: beyond it the least recently used go, of the owner that has most. */
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

/** States whose times are compared when one must go: few enough to ask the system for each, enough to find an old one. */
const compared = 16;

export class DiskCache {
  readonly #node: Node;
  readonly #folder: string;
  readonly #model: string;
  readonly #options: DiskCacheOptions;
  readonly #index: FolderIndex;
  #puts: Promise<unknown> = Promise.resolve();

  /** States that an earlier version left in the folder are removed. */
  constructor(index: FolderIndex, options: DiskCacheOptions) {
    this.#index = index;
    this.#node = index.node;
    this.#folder = index.folder;
    this.#model = this.#node.createHash("sha256").update(options.model).digest("hex").slice(0, 16);
    this.#options = options;
    this.#removeOld();
  }

  /** The longest stored beginning of `path` that is longer than `atLeast`; it is read, and checked, by `load`. */
  async find(path: Path, atLeast: number): Promise<CachedPrefix | undefined> {
    if (!(await this.#refresh())) return undefined;
    for (const length of this.#index.lengthsOf(this.#model, path).reverse()) {
      if (length <= atLeast) return undefined;
      const some = path.slice(0, length);
      const { hash, name } = this.#placeOf(some);
      if (name !== undefined) return { length, load: (use, signal) => this.#load(name, hash, some, use, signal) };
    }
    return undefined;
  }

  /**
   * Keeps the state that has seen `path`, unless it is there or takes more than all the room: then no part is pulled. One at a time.
   * @param parts in the formats of `spec`
   * @throws LoadError when it can't be written, ShapeError for parts of another state, what `parts` throws, the
   * signal's reason
   */
  put(
    path: Path,
    parts: AsyncIterable<StatePart> | Iterable<StatePart>,
    options: { readonly owner?: string; readonly signal?: AbortSignal } = {},
  ): Promise<void> {
    const put = this.#puts.then(() => this.#put(path, parts, options));
    this.#puts = put.catch(() => undefined);
    return put;
  }

  async #put(
    path: Path,
    parts: AsyncIterable<StatePart> | Iterable<StatePart>,
    { owner = "", signal }: { readonly owner?: string; readonly signal?: AbortSignal },
  ): Promise<void> {
    signal?.throwIfAborted();
    if (path.length === 0) return;
    await this.#refresh();
    const { check, hash, name: there } = this.#placeOf(path);
    if (there !== undefined && (await this.#touch(there))) return;
    const { bytes, model, spec } = this.#options;
    const encoded = encodeState({ model, meta: { path: hash } }, path.map(idOf), spec, parts);
    const room = bytes - encoded.sizeBytes;
    if (room < 0) return;
    await this.#shrinkTo(room);
    const ownerHash = this.#node.createHash("sha256").update(owner).digest("hex").slice(0, 8);
    const name = { model: this.#model, length: path.length, check, hash, owner: ownerHash, bytes: encoded.sizeBytes };
    await writeEncoded(this.#pathOf(nameOf(name)), encoded, { signal, sweep: false });
    this.#index.add(name);
  }

  /** Where the state of `path` is, if it is there. */
  #placeOf(path: Path): { check: number; hash: string; name?: string } {
    let check = 0;
    for (check of checksOf(path));
    const hash = hashOf(this.#node, path);
    return { check, hash, name: this.#index.get(this.#model, path.length, check, hash) };
  }

  #pathOf(name: string): string {
    return this.#node.join(this.#folder, name);
  }

  async #load<T>(
    name: string,
    hash: string,
    ids: Path,
    use: (parts: AsyncIterable<StatePart>) => Promise<T>,
    signal?: AbortSignal,
  ): Promise<T | undefined> {
    const { model, spec, vocabSize } = this.#options;
    const path = this.#pathOf(name);
    let isUsing = false;
    /** What the file's parts failed with under `use`. */
    let fault: unknown;
    const useFile = async (file: StateFile) => {
      const isSame = file.ids.length === ids.length && file.ids.every((id, i) => id === idOf(ids[i]));
      if (!isSame || (file.header.meta as { path?: unknown } | undefined)?.path !== hash)
        throw new LoadError(`${path}: expected the state of other tokens, by its name`);
      isUsing = true;
      const found = await use(
        heard(file.parts, (error) => {
          fault = error;
        }),
      );
      isUsing = false;
      await this.#touch(name);
      return found;
    };
    try {
      return await readStateFile(path, { model, spec, vocabSize }, useFile, signal);
    } catch (error) {
      signal?.throwIfAborted();
      const reason = isUsing ? fault : error;
      if (!(reason instanceof JambaError)) throw error;
      await this.#miss(name, reason);
      return undefined;
    }
  }

  async #miss(name: string, reason: JambaError): Promise<void> {
    const system = (reason.cause as NodeJS.ErrnoException | undefined)?.code;
    if (system === "ENOENT") return this.#index.delete(name);
    // What the system refused to read may be whole.
    if (system === undefined && reason.code !== "OUT_OF_MEMORY") await this.#remove(name);
    this.#options.onDamage?.(reason);
  }

  async #shrinkTo(bytes: number): Promise<void> {
    while (this.#index.bytes > bytes) {
      let oldest: { name: string; mtimeMs: number } | undefined;
      for (const name of this.#index.someToDrop(compared)) {
        const found = await this.#node.stat(this.#pathOf(name)).catch(() => undefined);
        if (!found) this.#index.delete(name);
        else if (!oldest || found.mtimeMs < oldest.mtimeMs) oldest = { name, mtimeMs: found.mtimeMs };
      }
      if (oldest) await this.#remove(oldest.name);
    }
  }

  /** Whether the folder can be read. */
  async #refresh(): Promise<boolean> {
    try {
      await this.#index.refresh();
      this.#removeOld();
      return true;
    } catch (cause) {
      this.#options.onDamage?.(new LoadError(`${this.#folder}: expected a folder of states: ${(cause as Error).message}`, { cause }));
      return false;
    }
  }

  /** In line with what is put, while nobody waits for it. */
  #removeOld(): void {
    const names = this.#index.takeOld();
    if (names.length === 0) return;
    this.#puts = this.#puts.then(async () => {
      for (const name of names) await this.#remove(name);
    });
  }

  /** Another process may have been faster, or (on Windows) be reading it. */
  async #remove(name: string): Promise<void> {
    this.#index.delete(name);
    await this.#node.rm(this.#pathOf(name), { force: true }).catch(() => undefined);
  }

  /** The time of its last use is that of its last change. Whether it is there. */
  async #touch(name: string): Promise<boolean> {
    const now = new Date();
    return this.#node.utimes(this.#pathOf(name), now, now).then(
      () => true,
      (error) => {
        if (error.code !== "ENOENT") return true;
        this.#index.delete(name);
        return false;
      },
    );
  }
}

/** The same parts; `onFailure` hears what they throw. No generator, which would hold each part until the next one is there. */
function heard(parts: StateFile["parts"], onFailure: (error: unknown) => void): AsyncIterable<StatePart> {
  const next = () =>
    parts.next().catch((error) => {
      onFailure(error);
      throw error;
    });
  return { [Symbol.asyncIterator]: () => ({ next, return: () => parts.return!() }) };
}

/** Of a path without salts that of its ids, as 32-bit numbers. A salted element is its id, -1, which is no id, and its text. */
function hashOf(node: Node, path: Path): string {
  const hash = node.createHash("sha256");
  let plain: number[] = [];
  const flush = () => {
    hash.update(new Uint8Array(Int32Array.from(plain).buffer));
    plain = [];
  };
  for (const element of path) {
    plain.push(idOf(element));
    if (typeof element === "number") continue;
    const text = new TextEncoder().encode(element);
    plain.push(-1, text.length);
    flush();
    hash.update(text);
  }
  flush();
  return hash.digest("hex");
}
