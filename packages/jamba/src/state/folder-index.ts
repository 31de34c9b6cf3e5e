// Which states a folder has, by the names of its files alone, so that nothing of the system has to be asked for each of them. Other
// processes may write there too: the folder is read anew when it has changed, but for at most a hundredth of the time.

import { LoadError, nextTurn } from "@jamba/core";
import { makeFolder, removePartials } from "@jamba/loader";
import { type Node, nodeModules } from "./node-modules.ts";
import type { Path } from "./tenant.ts";

/** A state in the folder, as its name says it. */
export interface StateName {
  /** Hash of all that its numbers depend on but the tokens. */
  readonly model: string;
  /** Tokens. */
  readonly length: number;
  /** `checksOf` the path: tells in no time that there is nothing of it. */
  readonly check: number;
  /** Of the path, in hex. */
  readonly hash: string;
  /** Hash of the name of whoever it is kept for. */
  readonly owner: string;
  /** Of the file. */
  readonly bytes: number;
}

interface Found extends StateName {
  readonly name: string;
  /** When it was put here, in milliseconds of `performance`. */
  readonly since: number;
}

const namePattern = /^([\da-f]{16})-([\da-f]{8})-(\d{1,15})-(\d{1,10})-([\da-f]{8})([\da-f]{64})\.state$/;
/** Of before there were owners: nothing says by which weights these were made, so they are removed. */
const oldPattern = /^[\da-f]{16}-\d{1,10}-[\da-f]{64}\.state$/;

/** Folders of so few files are read whenever they changed. */
const fewFiles = 64;

/** The time that reading a folder takes, for each of its files: a hundred times as much is let pass until it is read again. */
const readMs = 0.001;

/** Names that are looked at in one go. */
const namesPerTurn = 4096;

/** A folder that changed so shortly before it was read may change again and show the same time. */
const clockMs = 50;

export function nameOf({ model, length, check, hash, owner, bytes }: StateName): string {
  return `${model}-${owner}-${bytes}-${length}-${check.toString(16).padStart(8, "0")}${hash}.state`;
}

export function isStateName(name: string): boolean {
  return namePattern.test(name) || oldPattern.test(name);
}

/** Of each beginning of `path`, from its first element on, a number of 32 bits (FNV-1a). */
export function* checksOf(path: Path): Generator<number, void> {
  let check = 0x811c9dc5;
  const mix = (value: number) => {
    check = Math.imul(check ^ value, 0x01000193);
  };
  for (const element of path) {
    if (typeof element === "number") mix(element);
    else for (let i = 0; i < element.length; i++) mix(element.charCodeAt(i));
    yield check >>> 0;
  }
}

export class FolderIndex {
  readonly node: Node;
  readonly folder: string;
  readonly #names = new Map<string, Found>();
  /** By model, length and check. */
  readonly #places = new Map<string, Map<number, Map<number, Set<Found>>>>();
  readonly #owners = new Map<string, { bytes: number; readonly files: Set<Found> }>();
  #bytes = 0;
  #mtimeMs = Number.NaN;
  #readAt = 0;
  #reading: Promise<void> | undefined;
  #old: string[] = [];

  private constructor(node: Node, folder: string) {
    this.node = node;
    this.folder = folder;
  }

  /**
   * Makes the folder if it is not there, for its owner alone: it holds what people wrote.
   * @throws LoadError when it can't be made or read
   */
  static async open(folder: string): Promise<FolderIndex> {
    const node = await nodeModules();
    const index = new FolderIndex(node, folder);
    try {
      if (!(await node.stat(folder).catch(ifAbsent))) await makeFolder(folder, 0o700).catch(ifThere);
      await removePartials(folder, isStateName);
      await index.refresh();
    } catch (cause) {
      throw new LoadError(`${folder}: expected a folder for states: ${(cause as Error).message}`, { cause });
    }
    return index;
  }

  /** Of all files. */
  get bytes(): number {
    return this.#bytes;
  }

  /**
   * Takes note of what others did, if that is due.
   * @throws the system's error where the folder can't be read
   */
  refresh(): Promise<void> {
    this.#reading ??= this.#refresh().finally(() => {
      this.#reading = undefined;
    });
    return this.#reading;
  }

  /** Names of states that nothing can go on from any more, each told once. */
  takeOld(): readonly string[] {
    return this.#old.splice(0);
  }

  async #refresh(): Promise<void> {
    const isFew = this.#names.size <= fewFiles;
    if (!isFew && performance.now() - this.#readAt < 100 * readMs * this.#names.size) return;
    const { mtimeMs } = await this.node.stat(this.folder);
    if (mtimeMs === this.#mtimeMs) return;
    const start = performance.now();
    const isSettled = Date.now() - mtimeMs > clockMs;
    const names = await this.node.readdir(this.folder);
    const gone = new Set(this.#names.keys());
    for (const [i, name] of names.entries()) {
      if (i % namesPerTurn === namesPerTurn - 1) await nextTurn();
      if (gone.delete(name)) continue;
      const [, model, owner, bytes, length, check, hash] = namePattern.exec(name) ?? [];
      if (model !== undefined)
        this.add({ model, length: Number(length), check: Number.parseInt(check, 16), hash, owner, bytes: Number(bytes) }, start);
      else if (oldPattern.test(name)) this.#old.push(name);
    }
    for (const name of gone) if (this.#names.get(name)!.since < start) this.delete(name);
    this.#readAt = performance.now();
    this.#mtimeMs = isSettled ? mtimeMs : Number.NaN;
  }

  add(state: StateName, since = performance.now()): void {
    const name = nameOf(state);
    if (this.#names.has(name)) return;
    const found: Found = { ...state, name, since };
    this.#names.set(name, found);
    const lengths = placeIn(this.#places, state.model, () => new Map<number, Map<number, Set<Found>>>());
    const checks = placeIn(lengths, state.length, () => new Map<number, Set<Found>>());
    placeIn(checks, state.check, () => new Set<Found>()).add(found);
    const owner = placeIn(this.#owners, state.owner, () => ({ bytes: 0, files: new Set<Found>() }));
    owner.files.add(found);
    owner.bytes += state.bytes;
    this.#bytes += state.bytes;
  }

  delete(name: string): void {
    const found = this.#names.get(name);
    if (!found) return;
    this.#names.delete(name);
    const lengths = this.#places.get(found.model)!;
    const checks = lengths.get(found.length)!;
    const same = checks.get(found.check)!;
    same.delete(found);
    if (same.size === 0) checks.delete(found.check);
    if (checks.size === 0) lengths.delete(found.length);
    if (lengths.size === 0) this.#places.delete(found.model);
    const owner = this.#owners.get(found.owner)!;
    owner.files.delete(found);
    owner.bytes -= found.bytes;
    if (owner.files.size === 0) this.#owners.delete(found.owner);
    this.#bytes -= found.bytes;
  }

  /** Lengths of beginnings of `path` that a state may be there for, rising. */
  lengthsOf(model: string, path: Path): number[] {
    const lengths = this.#places.get(model);
    const found: number[] = [];
    if (!lengths) return found;
    let length = 0;
    for (const check of checksOf(path)) if (lengths.get(++length)?.has(check)) found.push(length);
    return found;
  }

  /** The state of a path, whoever it is kept for. */
  get(model: string, length: number, check: number, hash: string): string | undefined {
    const same = this.#places.get(model)?.get(length)?.get(check) ?? [];
    for (const found of same) if (found.hash === hash) return found.name;
    return undefined;
  }

  /** Of the owner that has most: some of its states, others each time. */
  someToDrop(count: number): string[] {
    const owner = [...this.#owners.values()].reduce((a, b) => (b.bytes > a.bytes ? b : a));
    const some: Found[] = [];
    for (const found of owner.files) if (some.push(found) === count) break;
    for (const found of some) {
      owner.files.delete(found);
      owner.files.add(found);
    }
    return some.map(({ name }) => name);
  }
}

function placeIn<K, V>(places: Map<K, V>, key: K, make: () => V): V {
  let found = places.get(key);
  if (found === undefined) {
    found = make();
    places.set(key, found);
  }
  return found;
}

function ifAbsent(error: NodeJS.ErrnoException): undefined {
  if (error.code !== "ENOENT") throw error;
}

function ifThere(error: NodeJS.ErrnoException): void {
  if (error.code !== "EEXIST") throw error;
}
