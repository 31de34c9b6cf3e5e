// A model from the hub into the page's private files: goes on where it stopped, and is hashed before it counts as there.

import type { Files } from "../storage/files.ts";
import type { HubFile, HubModel } from "./hub.ts";

export interface DownloadProgress {
  readonly doneBytes: number;
  readonly totalBytes: number;
  /** Over the last seconds. */
  readonly bytesPerSecond: number;
}

export interface StoredModel {
  readonly id: string;
  readonly folder: string;
  readonly sizeBytes: number;
  /** All of it; a part of it can be gone on with. */
  readonly isWhole: boolean;
}

const manifest = "download.json";
const folderOf = (id: string) => `models/${id.replace(/[^\w.-]+/g, "--")}`;

/** @throws StorageFull, Error with what to do, the signal's reason; what was fetched stays */
export async function download(
  model: HubModel,
  files: Files,
  { signal, onProgress }: { signal: AbortSignal; onProgress(progress: DownloadProgress): void },
): Promise<void> {
  const folder = folderOf(model.id);
  const begun = await manifestOf(files, folder);
  // Of another commit: its parts would not fit.
  if (begun && begun.commit !== model.commit) await files.remove(folder);
  await files.write(`${folder}/${manifest}`, JSON.stringify({ id: model.id, commit: model.commit, totalBytes: model.totalBytes }));
  const pace = new Pace(model.totalBytes, onProgress);
  for (const file of model.files) {
    const path = `${folder}/${file.path.replaceAll("/", "--")}`;
    const there = await files.read(path);
    if (there?.size === file.sizeBytes) pace.skip(file.sizeBytes);
    else await fetchFile(file, path, files, pace, signal);
  }
}

async function fetchFile(file: HubFile, path: string, files: Files, pace: Pace, signal: AbortSignal): Promise<void> {
  const part = `${path}.part`;
  const hash = await hashFor(file);
  const before = await files.read(part);
  if (before) for await (const bytes of piecesOf(before)) hash?.update(bytes);
  const writing = await files.append(part);
  let done = writing.sizeBytes;
  pace.skip(done);
  try {
    while (done < file.sizeBytes) {
      const from = done;
      for await (const bytes of bytesOf(file, from, signal)) {
        writing.append(bytes);
        hash?.update(bytes);
        done += bytes.length;
        pace.add(bytes.length);
      }
      if (done === from) throw new Error(`${file.path}: the hub sends nothing more of it. Try again later: what is there stays.`);
    }
  } finally {
    writing.close();
  }
  const found = hash && hexOf(hash.digest());
  if (done !== file.sizeBytes || (found && found !== (file.sha256 ?? file.sha1))) {
    await files.remove(part);
    throw new Error(`${file.path}: what came is not what the hub says it is (its hash differs). It was thrown away: fetch it again.`);
  }
  await files.rename(part, path);
}

async function* bytesOf({ url, path }: HubFile, from: number, signal: AbortSignal): AsyncGenerator<Uint8Array> {
  const response = await fetch(url, { headers: from > 0 ? { range: `bytes=${from}-` } : {}, signal }).catch((cause) => {
    signal.throwIfAborted();
    throw new Error(`${path}: the connection to the hub was lost. What is there stays: go on when it is back.`, { cause });
  });
  if (!response.ok || !response.body) throw new Error(`${path}: the hub answered ${response.status}.`);
  if (from > 0 && response.status !== 206)
    throw new Error(`${path}: the hub does not go on where it stopped, it answered ${response.status}.`);
  const reader = response.body.getReader();
  try {
    for (;;) {
      const { value, done } = await reader.read().catch((cause) => {
        signal.throwIfAborted();
        throw new Error(`${path}: the connection to the hub was lost. What is there stays: go on when it is back.`, { cause });
      });
      if (done) return;
      yield value;
    }
  } finally {
    await reader.cancel().catch(() => undefined);
  }
}

interface Hash {
  update(bytes: Uint8Array): unknown;
  digest(): Uint8Array;
}

async function hashFor({ sha256, sha1, sizeBytes }: HubFile): Promise<Hash | undefined> {
  if (sha256) return (await import("@noble/hashes/sha2.js")).sha256.create();
  if (!sha1) return undefined;
  // As git names a blob.
  const hash = (await import("@noble/hashes/legacy.js")).sha1.create();
  hash.update(new TextEncoder().encode(`blob ${sizeBytes}\0`));
  return hash;
}

async function* piecesOf(blob: Blob): AsyncGenerator<Uint8Array> {
  const pieceBytes = 2 ** 22;
  for (let at = 0; at < blob.size; at += pieceBytes) yield new Uint8Array(await blob.slice(at, at + pieceBytes).arrayBuffer());
}

function hexOf(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Counts bytes, and tells of them four times a second. */
class Pace {
  #doneBytes = 0;
  #toldAt = 0;
  readonly #recent: [atMs: number, doneBytes: number][] = [];

  constructor(
    readonly totalBytes: number,
    readonly onProgress: (progress: DownloadProgress) => void,
  ) {}

  /** What was there. */
  skip(bytes: number): void {
    this.#doneBytes += bytes;
    this.#recent.length = 0;
    this.#tell();
  }

  add(bytes: number): void {
    this.#doneBytes += bytes;
    if (performance.now() - this.#toldAt >= 250 || this.#doneBytes === this.totalBytes) this.#tell();
  }

  #tell(): void {
    const now = performance.now();
    this.#toldAt = now;
    this.#recent.push([now, this.#doneBytes]);
    while (this.#recent.length > 2 && now - this.#recent[0][0] > 5000) this.#recent.shift();
    const [atMs, bytes] = this.#recent[0];
    const bytesPerSecond = now > atMs ? ((this.#doneBytes - bytes) * 1000) / (now - atMs) : 0;
    this.onProgress({ doneBytes: this.#doneBytes, totalBytes: this.totalBytes, bytesPerSecond });
  }
}

interface Manifest {
  readonly id: string;
  readonly commit: string;
  readonly totalBytes: number;
}

async function manifestOf(files: Files, folder: string): Promise<Manifest | undefined> {
  try {
    return JSON.parse((await (await files.read(`${folder}/${manifest}`))!.text()) as string);
  } catch {
    return undefined;
  }
}

export async function storedModels(files: Files): Promise<StoredModel[]> {
  const all = await files.list("models");
  const folders = new Set(all.map(({ path }) => path.slice(0, path.lastIndexOf("/"))));
  const found: StoredModel[] = [];
  for (const folder of folders) {
    const known = await manifestOf(files, folder);
    if (!known) continue;
    const own = all.filter(({ path }) => path.startsWith(`${folder}/`) && !path.endsWith(manifest));
    const sizeBytes = own.reduce((sum, one) => sum + one.sizeBytes, 0);
    const isWhole = sizeBytes === known.totalBytes && own.every(({ path }) => !/\.part(ial)?$/.test(path));
    found.push({ id: known.id, folder, sizeBytes, isWhole });
  }
  return found;
}

/** @throws Error for one that is not there, or not whole */
export async function openStored(files: Files, id: string): Promise<{ name: string; blob: Blob }[]> {
  const stored = (await storedModels(files)).find((one) => one.id === id);
  if (!stored?.isWhole) throw new Error(`${id} is not on this device${stored ? " as a whole" : ""}: download it, or choose another model.`);
  const paths = (await files.list(stored.folder)).map(({ path }) => path).filter((path) => !path.endsWith(manifest));
  return Promise.all(paths.map(async (path) => ({ name: path.slice(path.lastIndexOf("/") + 1), blob: (await files.read(path))! })));
}

export async function removeStored(files: Files, id: string): Promise<void> {
  await files.remove(folderOf(id));
}
