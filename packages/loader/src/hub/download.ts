// Brings what a model needs from the hub into the cache, or finds it there.

import { JambaError, LoadError } from "@jamba/core";
import { asLoadError } from "../source/byte-source.ts";
import { defaultIdleMs, defaultLeastBytesPerSecond } from "../source/rate.ts";
import { fetchBlob } from "./blob.ts";
import { type Cache, type LinkKind, openCache } from "./cache.ts";
import { type Choice, chooseFiles, refuseUnrunnable } from "./choose-files.ts";
import { type Client, hubClient } from "./client.ts";
import { expectReachable } from "./connect.ts";
import { type Environment, hubSettings } from "./environment.ts";
import { checkRevision, parseHubId } from "./hub-id.ts";
import { type Node, node } from "./node.ts";
import { inParallel } from "./parallel.ts";
import { bytesOf, doneRanges } from "./partial.ts";
import { type HubFile, listRepository } from "./repository.ts";
import { Transient } from "./transient.ts";

export interface DownloadProgress {
  /** "verify": hashes of what was fetched are computed; it goes on beside the download of the next file. */
  readonly phase: "download" | "verify";
  /** What was there before counts too. Falls only when a damaged file is fetched again. */
  readonly doneBytes: number;
  /** The same in all reports of a download. */
  readonly totalBytes: number;
  readonly file: string;
}

export interface DownloadOptions {
  /** A branch, a tag or a commit; by default "main". */
  readonly revision?: string;
  /** By default as in Python: HF_HUB_CACHE, or hub in HF_HOME, or ~/.cache/huggingface/hub. */
  readonly cacheDir?: string;
  /** By default HF_TOKEN, or what `hf auth login` keeps. */
  readonly token?: string;
  /** Only look into the cache; no connection is opened. By default HF_HUB_OFFLINE. */
  readonly offline?: boolean;
  /** By default HF_ENDPOINT, or https://huggingface.co. */
  readonly endpoint?: string;
  /**
   * Of each connection, over a minute: one that is slower is given up and tried again, four times before that is an error. 1024 if not
   * given; 0 waits for any.
   */
  readonly leastBytesPerSecond?: number;
  readonly signal?: AbortSignal;
  readonly onProgress?: (progress: DownloadProgress) => void;
}

export interface Download {
  /** Of the commit, in the cache: what `openCheckpoint` takes if there is no `file`. */
  readonly folder: string;
  /** Relative to `folder`, small ones first. */
  readonly files: readonly string[];
  /** The weights that were meant, relative to `folder`: `openCheckpoint` takes folder/file. */
  readonly file?: string;
  readonly commit: string;
  /** Of all files. */
  readonly totalBytes: number;
  /** That came over the network. */
  readonly fetchedBytes: number;
}

/** What tests replace. */
export interface Surroundings {
  readonly fetch?: typeof fetch;
  readonly env?: Environment;
  readonly wait?: (ms: number, signal?: AbortSignal) => Promise<void>;
  readonly freeBytes?: (folder: string) => Promise<number>;
  readonly idleMs?: number;
  readonly partBytes?: number;
  readonly noteEveryBytes?: number;
  readonly links?: readonly LinkKind[];
}

// Files at a time, each over several connections.
const filesAtOnce = 2;
const maxIndexBytes = 2 ** 24;

/**
 * Fetches config, tokenizer and one set of weights of a repository, as far as the cache lacks them. Stopped or killed, it goes on where
 * it was. The cache is the one of Python's huggingface_hub.
 * @param id "owner/name", "owner/name:file.gguf", or "owner/name:Q4_K_M" for the one .gguf of that name
 * @throws LoadError when it can't be had, is not what its hash says, or is ambiguous; JambaError "OPTION" or "UNSUPPORTED"; the signal's
 * reason when aborted
 */
export function download(id: string, options: DownloadOptions = {}): Promise<Download> {
  return downloadIn({}, id, options);
}

export async function downloadIn(around: Surroundings, id: string, options: DownloadOptions = {}): Promise<Download> {
  try {
    return await findOrFetch(around, id, options);
  } catch (error) {
    options.signal?.throwIfAborted();
    // What the file system threw; all else says enough itself.
    throw (error as { syscall?: string } | null)?.syscall === undefined ? error : asLoadError(id, error);
  }
}

async function findOrFetch(around: Surroundings, id: string, options: DownloadOptions): Promise<Download> {
  const { revision = "main", signal, leastBytesPerSecond = defaultLeastBytesPerSecond } = options;
  if (!(Number.isFinite(leastBytesPerSecond) && leastBytesPerSecond >= 0))
    throw new JambaError("OPTION", `leastBytesPerSecond: expected a number of at least 0, found ${leastBytesPerSecond}`);
  const { repo, wanted } = parseHubId(id);
  checkRevision(revision);
  signal?.throwIfAborted();
  const tools = await node();
  const settings = await hubSettings(options, around.env ?? process.env, tools);
  const cache = openCache(tools, settings.cacheDir, repo, around.links);
  if (settings.offline) return findCached(tools, cache, revision, wanted);
  const { endpoint, token } = settings;
  const client = hubClient({
    endpoint,
    token,
    repo,
    fetch: around.fetch ?? fetch,
    wait: around.wait ?? wait,
    idleMs: around.idleMs ?? defaultIdleMs,
    leastBytesPerSecond,
    // Another fetch may go another way.
    connect: around.fetch ? undefined : (signal) => expectReachable(tools, endpoint, repo, around.env ?? process.env, signal),
  });
  const { commit, files } = await listRepository(client, revision, signal).catch(async (error) => {
    signal?.throwIfAborted();
    if (!(error instanceof JambaError && error.cause instanceof Transient)) throw error;
    const cached = await findCached(tools, cache, revision, wanted).catch(() => undefined);
    if (!cached) throw error;
    const hint = `the cache has ${revision} as it was at commit ${cached.commit}: pass offline: true (--offline, HF_HUB_OFFLINE=1) to use it`;
    throw new LoadError(`${error.message}; ${hint}`, { cause: error });
  });
  const job = fetchJob({ tools, client, cache, commit, around, options });
  const readText = async (path: string) => {
    const file = files.get(path)!;
    if (file.sizeBytes > maxIndexBytes)
      throw new LoadError(`${repo}: ${path}: expected at most ${maxIndexBytes} bytes, found ${file.sizeBytes}`);
    await job.fetch([file]);
    return tools.files.readFile(cache.snapshotPath(commit, path), "utf8");
  };
  const sizes = new Map([...files.values()].map((file) => [file.path, file.sizeBytes]));
  const shelf = { name: `${repo} at ${endpoint}`, sizes, readText };
  const choice = await chooseFiles(shelf, wanted);
  const chosen = choice.files.map((path) => files.get(path)!);
  job.expect(chosen);
  // Room for all of them is asked for before config.json comes, which tells whether the weights are worth fetching.
  await job.absent(chosen);
  if (choice.files.includes("config.json")) await refuseUnrunnable(shelf);
  await job.fetch(chosen);
  // Last, so that a branch never names a commit of which the cache has less than before.
  await cache.keepCommit(revision, commit);
  return result(cache, commit, choice, sizes, job.fetchedBytes);
}

function result(cache: Cache, commit: string, { files, file }: Choice, sizes: ReadonlyMap<string, number>, fetchedBytes: number): Download {
  const totalBytes = files.reduce((sum, path) => sum + sizes.get(path)!, 0);
  const folder = cache.snapshotFolder(commit);
  return file === undefined
    ? { folder, files, commit, totalBytes, fetchedBytes }
    : { folder, files, file, commit, totalBytes, fetchedBytes };
}

async function findCached({ files }: Node, cache: Cache, revision: string, wanted: string | undefined): Promise<Download> {
  const commit = await cache.commitOf(revision);
  const sizes = commit === undefined ? new Map<string, number>() : await cache.list(commit);
  if (commit === undefined || sizes.size === 0) {
    throw new LoadError(
      `${cache.name}: expected ${revision} in the cache, found none, and offline nothing is fetched; download it once online`,
    );
  }
  const readText = (path: string) => files.readFile(cache.snapshotPath(commit, path), "utf8");
  const choice = await chooseFiles({ name: `${cache.name} (offline)`, sizes, readText }, wanted);
  if (/\.safetensors$/i.test(choice.files.at(-1)!) && !sizes.has("config.json")) {
    throw new LoadError(`${cache.name}: expected config.json in the cache, found none; download it once online`);
  }
  return result(cache, commit, choice, sizes, 0);
}

interface Job {
  readonly tools: Node;
  readonly client: Client;
  readonly cache: Cache;
  readonly commit: string;
  readonly around: Surroundings;
  readonly options: DownloadOptions;
}

/** Fetches files, counts their bytes, and reports once `expect` said what there is in all. */
function fetchJob({ tools, client, cache, commit, around, options }: Job) {
  const { endpoint, repo } = client.options;
  const done = { download: new Map<string, number>(), verify: new Map<string, number>() };
  let totalBytes: number | undefined;
  const job = { expect, absent: absentOf, fetch: fetchFiles, fetchedBytes: 0 };
  return job;

  function expect(files: readonly HubFile[]): void {
    totalBytes = files.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  }

  function report(phase: DownloadProgress["phase"], file: string, bytes: number): void {
    if (done[phase].get(file) === bytes) return;
    done[phase].set(file, bytes);
    if (totalBytes === undefined || !options.onProgress) return;
    const doneBytes = [...done[phase].values()].reduce((sum, some) => sum + some, 0);
    options.onProgress({ phase, doneBytes, totalBytes, file });
  }

  /** Those that the cache lacks. @throws LoadError when the disk has no room for them */
  async function absentOf(files: readonly HubFile[]): Promise<readonly HubFile[]> {
    const absent: HubFile[] = [];
    let missingBytes = 0;
    for (const file of files) {
      if (await isCached(file)) continue;
      absent.push(file);
      missingBytes += file.sizeBytes - bytesOf(await doneRanges(tools, cache.blobPath(file.etag), file.sizeBytes));
    }
    if (absent.length > 0) await expectSpace(missingBytes);
    return absent;
  }

  async function fetchFiles(files: readonly HubFile[]): Promise<void> {
    await inParallel(await absentOf(files), filesAtOnce, options.signal, fetchOne);
  }

  async function isCached(file: HubFile): Promise<boolean> {
    const { path, sizeBytes, etag } = file;
    const named = (await cache.sizeOf(cache.snapshotPath(commit, path))) === sizeBytes;
    if (!named && (await cache.sizeOf(cache.blobPath(etag))) !== sizeBytes) return false;
    if (!named) await cache.link(commit, path, etag);
    report("download", path, sizeBytes);
    report("verify", path, sizeBytes);
    return true;
  }

  async function fetchOne(file: HubFile, signal: AbortSignal): Promise<void> {
    const { path, sizeBytes, etag } = file;
    const blobPath = cache.blobPath(etag);
    await cache.folder(tools.paths.dirname(blobPath));
    await fetchBlob(tools, client, file, {
      url: `${endpoint}/${repo}/resolve/${commit}/${path.split("/").map(encodeURIComponent).join("/")}`,
      blobPath,
      isDone: async () => (await cache.sizeOf(blobPath)) === sizeBytes,
      signal,
      partBytes: around.partBytes ?? 2 ** 26,
      noteEveryBytes: around.noteEveryBytes ?? 2 ** 23,
      onBytes(doneBytes, fetched) {
        job.fetchedBytes += fetched;
        report("download", path, doneBytes);
      },
      onVerified: (doneBytes) => report("verify", path, doneBytes),
    });
    await cache.link(commit, path, etag);
  }

  async function expectSpace(missingBytes: number): Promise<void> {
    await cache.folder(cache.root);
    const free = await (around.freeBytes ?? freeBytes)(cache.root);
    if (missingBytes <= free) return;
    const gigabytes = (bytes: number) => `${(bytes / 1e9).toFixed(1)} GB`;
    throw new LoadError(
      `${cache.root}: expected room for ${gigabytes(missingBytes)} more, found ${gigabytes(free)}; make room, or choose another disk with cacheDir (--cache-dir, HF_HUB_CACHE)`,
    );
  }

  async function freeBytes(folder: string): Promise<number> {
    const { bavail, bsize } = await tools.files.statfs(folder);
    return bavail * bsize;
  }
}

export function wait(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", onAbort);
      resolve();
    }, ms);
    const onAbort = () => {
      clearTimeout(timer);
      reject(signal!.reason);
    };
    if (signal?.aborted) onAbort();
    else signal?.addEventListener("abort", onAbort, { once: true });
  });
}
