// What the cache holds, and how it is taken out again. Python and other programs write to the same cache: what a link leads to
// outside it, and blobs that something else still names, stay.

import { LoadError } from "@jamba/core";
import { asLoadError } from "../source/byte-source.ts";
import { type Cache, openCache } from "./cache.ts";
import { chooseFiles } from "./choose-files.ts";
import { hubSettings } from "./environment.ts";
import { isCommit, isHubId, parseHubId } from "./hub-id.ts";
import { isHeld } from "./lock.ts";
import { ifAbsent, keptFingerprintSuffix, type Node, node } from "./node.ts";

export interface CachedRevision {
  readonly commit: string;
  /** Of the commit's files, to be opened. */
  readonly folder: string;
  /** Branches and tags that stand for it. */
  readonly names: readonly string[];
  /** Whole ones, with their bytes. */
  readonly files: ReadonlyMap<string, number>;
  /** When the last of them came. */
  readonly changed: Date;
}

export interface CachedRepository {
  /** "owner/name" */
  readonly id: string;
  /** The one that came last first. */
  readonly revisions: readonly CachedRevision[];
  /** On the disk, what several revisions share counted once. */
  readonly sizeBytes: number;
  /** Of `sizeBytes`, what belongs to no whole file: downloads that were stopped. */
  readonly partialBytes: number;
  /** Why a revision is left out: it can't be read, or leads out of the cache. */
  readonly problem?: string;
}

export interface RemovedFiles {
  readonly freedBytes: number;
  /** Of files that stay since other repositories of the cache use them too. */
  readonly sharedBytes: number;
  /** Where files are that stay since they do not lie in the cache. */
  readonly outside?: string;
}

export interface CacheOptions {
  /** By default as in Python: HF_HUB_CACHE, or hub in HF_HOME, or ~/.cache/huggingface/hub. */
  readonly cacheDir?: string;
}

/**
 * Every model repository of the cache, by name.
 * @throws LoadError when the cache can't be read; JambaError "OPTION" or "UNSUPPORTED"
 */
export async function listCached(options: CacheOptions = {}): Promise<CachedRepository[]> {
  const tools = await node();
  const { cacheDir } = await hubSettings({ ...options, offline: true }, process.env, tools);
  try {
    const names = (await tools.files.readdir(cacheDir).catch(ifAbsent)) ?? [];
    const ids = names.flatMap((name) => idOf(name) ?? []).sort();
    const all = await Promise.all(ids.map((id) => look(tools, openCache(tools, cacheDir, id), id)));
    return all.filter(({ revisions, sizeBytes }) => revisions.length > 0 || sizeBytes > 0);
  } catch (cause) {
    throw asLoadError(cacheDir, cause);
  }
}

/** "models--owner--name" */
function idOf(folder: string): string | undefined {
  const [, owner, name] = /^models--(.+)--(.+)$/.exec(folder) ?? [];
  return owner !== undefined && isHubId(`${owner}/${name}`) ? `${owner}/${name}` : undefined;
}

async function look(tools: Node, cache: Cache, id: string): Promise<CachedRepository> {
  const { files, paths } = tools;
  const refs = new Map<string, string[]>();
  for (const path of await filesBelow(tools, paths.join(cache.root, "refs"))) {
    const name = path.replaceAll(paths.sep, "/");
    const commit = await cache.commitOf(name).catch(() => undefined);
    if (commit !== undefined) refs.set(commit, [...(refs.get(commit) ?? []), name]);
  }
  const commits = ((await files.readdir(paths.join(cache.root, "snapshots")).catch(ifAbsent)) ?? []).filter(isCommit);
  const revisions: CachedRevision[] = [];
  const whole = new Set<string>();
  let problem: string | undefined;
  for (const commit of commits) {
    const found = await cache.list(commit).catch((error: LoadError) => {
      problem = error.message;
      return new Map<string, number>();
    });
    let changed = 0;
    for (const file of found.keys()) {
      const path = await files.realpath(cache.snapshotPath(commit, file));
      whole.add(path);
      changed = Math.max(changed, (await files.stat(path)).mtimeMs);
    }
    if (found.size > 0)
      revisions.push({
        commit,
        folder: cache.snapshotFolder(commit),
        names: refs.get(commit) ?? [],
        files: found,
        changed: new Date(changed),
      });
  }
  let [sizeBytes, partialBytes] = [0, 0];
  for (const path of whole) sizeBytes += (await files.stat(path)).size;
  for (const [path, { blocks, size }] of await blobsOf(tools, cache)) {
    if (whole.has(path)) continue;
    // A download makes room for the whole file first, and fills it from several places.
    const bytes = Math.min(size, blocks * 512);
    partialBytes += bytes;
    sizeBytes += bytes;
  }
  return { id, revisions: revisions.sort((a, b) => +b.changed - +a.changed), sizeBytes, partialBytes, problem };
}

/**
 * Takes a repository out of the cache, or one file of it ("owner/name:file.gguf", "owner/name:Q4_K_M").
 * @throws LoadError when it is not there, is being downloaded, or can't be removed; JambaError "OPTION" or "UNSUPPORTED"
 */
export async function removeCached(id: string, options: CacheOptions = {}): Promise<RemovedFiles> {
  const { repo, wanted } = parseHubId(id);
  const tools = await node();
  const { files } = tools;
  const { cacheDir } = await hubSettings({ ...options, offline: true }, process.env, tools);
  const cache = openCache(tools, cacheDir, repo);
  try {
    const state = await files.lstat(cache.root).catch(ifAbsent);
    if (!state) throw new LoadError(`${cache.name}: expected it in the cache, found none`);
    await expectIdle(tools, cache);
    if (wanted !== undefined) return await removeFile(tools, cacheDir, cache, wanted);
    if (!state.isSymbolicLink()) return await removeAll(tools, cacheDir, cache);
    const outside = await files.realpath(cache.root).catch(ifAbsent);
    await files.unlink(cache.root);
    return { freedBytes: 0, sharedBytes: 0, outside };
  } catch (cause) {
    throw asLoadError(cache.root, cause);
  }
}

async function expectIdle(tools: Node, cache: Cache): Promise<void> {
  for (const path of await filesBelow(tools, tools.paths.dirname(cache.blobPath("x"))))
    if (path.endsWith(".jamba-lock") && (await isHeld(tools, cache.blobPath(path))))
      throw new LoadError(`${cache.name}: expected no download of it, found one that goes on; stop it first`);
}

async function removeAll(tools: Node, cacheDir: string, cache: Cache): Promise<RemovedFiles> {
  const { files, paths, randomUUID } = tools;
  const blobs = await blobsOf(tools, cache);
  const shared = await linkedFiles(tools, cacheDir, cache.root);
  const sum = (keep: boolean) => [...blobs].reduce((bytes, [path, { size }]) => (shared.has(path) === keep ? bytes + size : bytes), 0);
  const result = { freedBytes: sum(false), sharedBytes: sum(true) };
  if (result.sharedBytes > 0) {
    for (const part of ["refs", "snapshots"]) await files.rm(paths.join(cache.root, part), { recursive: true, force: true });
    for (const path of blobs.keys()) {
      if (shared.has(path)) continue;
      await files.rm(path, { force: true });
      await files.rm(`${path}${keptFingerprintSuffix}`, { force: true });
    }
    return result;
  }
  for (const path of await filesBelow(tools, paths.join(cache.root, "snapshots")))
    result.freedBytes += await plainBytes(tools, paths.join(cache.root, "snapshots", path));
  // Renamed first: what is killed half way leaves nothing that looks like a model.
  const aside = paths.join(cacheDir, `.jamba-removed-${randomUUID()}`);
  await files.rename(cache.root, aside);
  await files.rm(aside, { recursive: true, force: true });
  return result;
}

async function removeFile(tools: Node, cacheDir: string, cache: Cache, wanted: string): Promise<RemovedFiles> {
  const { files } = tools;
  const { revisions } = await look(tools, cache, "");
  // Among the files of all revisions: a name that is ambiguous in one of them removes nothing in the others.
  const sizes = new Map(revisions.flatMap((revision) => [...revision.files]));
  const holderOf = (file: string) => revisions.find((revision) => revision.files.has(file))!.commit;
  const readText = (file: string) => files.readFile(cache.snapshotPath(holderOf(file), file), "utf8");
  const choice = await chooseFiles({ name: cache.name, sizes, readText }, wanted);
  // Configs beside safetensors belong to other weights too.
  const weights = choice.files.filter((file) => file === choice.file || /\.gguf$/i.test(file));
  const targets = new Set<string>();
  let freedBytes = 0;
  for (const { commit, files: held } of revisions) {
    for (const file of weights.filter((name) => held.has(name))) {
      const path = cache.snapshotPath(commit, file);
      targets.add(await files.realpath(path));
      freedBytes += await plainBytes(tools, path);
      await files.unlink(path);
    }
  }
  const used = await linkedFiles(tools, cacheDir);
  let sharedBytes = 0;
  for (const [path, { size }] of await blobsOf(tools, cache)) {
    if (!targets.has(path)) continue;
    if (used.has(path)) sharedBytes += size;
    else {
      await files.rm(path, { force: true });
      await files.rm(`${path}${keptFingerprintSuffix}`, { force: true });
      freedBytes += size;
    }
  }
  return { freedBytes, sharedBytes };
}

/** Of a file that is no link. */
async function plainBytes({ files }: Node, path: string): Promise<number> {
  const state = await files.lstat(path);
  return state.isFile() ? state.size : 0;
}

/** Files of the repository's blobs folder, unless that is a link to somewhere else. */
async function blobsOf(tools: Node, cache: Cache): Promise<Map<string, { size: number; blocks: number }>> {
  const { files, paths } = tools;
  const folder = paths.dirname(cache.blobPath("x"));
  const found = new Map<string, { size: number; blocks: number }>();
  const [root, real] = [await files.realpath(cache.root).catch(ifAbsent), await files.realpath(folder).catch(ifAbsent)];
  if (root === undefined || real !== paths.join(root, "blobs")) return found;
  for (const name of await files.readdir(real)) {
    const state = await files.lstat(paths.join(real, name)).catch(ifAbsent);
    if (state?.isFile() && !name.endsWith(keptFingerprintSuffix)) found.set(paths.join(real, name), state);
  }
  return found;
}

/** What links of all repositories of the cache lead to, but for one. */
async function linkedFiles(tools: Node, cacheDir: string, except?: string): Promise<Set<string>> {
  const { files, paths } = tools;
  const found = new Set<string>();
  for (const repository of await files.readdir(cacheDir)) {
    const root = paths.join(cacheDir, repository);
    if (!/^(models|datasets|spaces)--/.test(repository) || root === except) continue;
    const snapshots = paths.join(root, "snapshots");
    for (const path of await filesBelow(tools, snapshots)) {
      const target = await files.realpath(paths.join(snapshots, path)).catch(() => undefined);
      if (target !== undefined) found.add(target);
    }
  }
  return found;
}

/** Files and links below a folder, relative to it; folders that are links are not entered. */
async function filesBelow({ files, paths }: Node, folder: string): Promise<string[]> {
  const found = (await files.readdir(folder, { recursive: true, withFileTypes: true }).catch(ifAbsent)) ?? [];
  return found.flatMap((entry) => {
    if (entry.isDirectory()) return [];
    // Node 20 calls the folder `path`, later ones `parentPath`.
    const parent = entry.parentPath ?? (entry as { path?: string }).path;
    return [paths.relative(folder, paths.join(parent, entry.name))];
  });
}
