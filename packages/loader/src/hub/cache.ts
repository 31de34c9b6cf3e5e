// The cache of Python's huggingface_hub: blobs by hash, one folder of links per commit, one file per branch.
// What either writes, the other finds. Others may write to a shared cache: nothing that a link leads out of it is read or written.

import { LoadError } from "@jamba/core";
import { asLoadError } from "../source/byte-source.ts";
import { expectSafePath, isCommit } from "./hub-id.ts";
import { codeOf, ifAbsent, keptFingerprintSuffix, type Node } from "./node.ts";

export type LinkKind = "symlink" | "link" | "copy";

export interface Cache {
  readonly name: string;
  /** Of the repository. */
  readonly root: string;
  snapshotFolder(commit: string): string;
  snapshotPath(commit: string, file: string): string;
  blobPath(etag: string): string;
  /** Bytes of the file at `path`, through links that stay in the cache; undefined where there is none. */
  sizeOf(path: string): Promise<number | undefined>;
  /** Makes a folder of the repository, if it is absent. */
  folder(path: string): Promise<void>;
  /** Files of a commit that are whole, with their bytes. */
  list(commit: string): Promise<Map<string, number>>;
  /** Puts a blob under its name into a commit's folder. */
  link(commit: string, file: string, etag: string): Promise<void>;
  commitOf(revision: string): Promise<string | undefined>;
  keepCommit(revision: string, commit: string): Promise<void>;
}

/** @param links ways to give a blob a name, in the order in which they are tried; Windows often forbids the first */
export function openCache(
  { files, paths, randomUUID }: Node,
  cacheDir: string,
  repo: string,
  links: readonly LinkKind[] = ["symlink", "link", "copy"],
): Cache {
  const root = paths.join(cacheDir, `models--${repo.replace("/", "--")}`);
  const snapshotFolder = (commit: string) => paths.join(root, "snapshots", commit);
  const blobPath = (etag: string) => paths.join(root, "blobs", etag);
  const snapshotPath = (commit: string, file: string) => {
    expectSafePath(file, repo);
    return paths.join(snapshotFolder(commit), ...file.split("/"));
  };
  const refPath = (revision: string) => paths.join(root, "refs", ...revision.split("/"));
  const expectInside = async (path: string): Promise<string> => {
    const real = await files.realpath(path);
    // The repository's folder may itself be a link, to another disk.
    for (const outer of [cacheDir, root]) {
      if (`${real}${paths.sep}`.startsWith(`${await files.realpath(outer)}${paths.sep}`)) return real;
    }
    throw new LoadError(`${path}: expected a place in the cache, found a link out of it; remove the link`);
  };
  const sizeOf = async (path: string): Promise<number | undefined> => {
    const real = await expectInside(path).catch(ifAbsent);
    const state = real === undefined ? undefined : await files.stat(real).catch(ifAbsent);
    return state?.isFile() ? state.size : undefined;
  };
  const folder = async (path: string): Promise<void> => {
    if (path === root) return void (await files.mkdir(root, { recursive: true }));
    // One by one, lest folders are made behind a link.
    await folder(paths.dirname(path));
    await files.mkdir(path).catch((error) => {
      if (codeOf(error) !== "EEXIST") throw error;
    });
    await expectInside(path);
  };
  /** Beside the blobs, since Python takes all files below refs and snapshots for its own. */
  const place = async (path: string, make: (temporary: string) => Promise<void>) => {
    const temporary = paths.join(root, "blobs", `.jamba-${randomUUID()}`);
    await folder(paths.dirname(path));
    await folder(paths.dirname(temporary));
    try {
      await make(temporary);
      await files.rename(temporary, path);
    } finally {
      await files.rm(temporary, { force: true });
    }
  };
  const makers = {
    link: (blob: string, temporary: string) => files.link(blob, temporary),
    copy: (blob: string, temporary: string) => files.copyFile(blob, temporary),
  };

  return {
    name: `${cacheDir}: ${repo}`,
    root,
    snapshotFolder,
    snapshotPath,
    blobPath,
    sizeOf,
    folder,
    async list(commit) {
      const found = new Map<string, number>();
      try {
        // Folders that are links are not followed.
        const names = (await files.readdir(snapshotFolder(commit), { recursive: true }).catch(ifAbsent)) ?? [];
        for (const name of names) {
          if (name.endsWith(keptFingerprintSuffix)) continue;
          // Through links: one without its blob is no file.
          const size = await sizeOf(paths.join(snapshotFolder(commit), name));
          if (size !== undefined) found.set(name.replaceAll(paths.sep, "/"), size);
        }
      } catch (cause) {
        throw asLoadError(root, cause);
      }
      return found;
    },
    async link(commit, file, etag) {
      const [blob, path] = [blobPath(etag), snapshotPath(commit, file)];
      const target = paths.relative(paths.dirname(path), blob);
      const reasons: unknown[] = [];
      for (const kind of links) {
        try {
          if (kind !== "symlink") return await place(path, (temporary) => makers[kind](blob, temporary));
          await folder(paths.dirname(path));
          if ((await files.readlink(path).catch(() => undefined)) === target) return;
          await files.rm(path, { force: true });
          return await files.symlink(target, path);
        } catch (error) {
          if (error instanceof LoadError) throw error;
          // Another process was faster.
          if (codeOf(error) === "EEXIST" && (await files.readlink(path).catch(() => undefined)) === target) return;
          reasons.push(error);
        }
      }
      throw asLoadError(path, reasons.at(-1));
    },
    async commitOf(revision) {
      if (isCommit(revision)) return revision;
      const path = refPath(revision);
      const text = (await sizeOf(path)) === undefined ? undefined : await files.readFile(path, "utf8");
      if (text === undefined || isCommit(text.trim())) return text?.trim();
      throw new LoadError(`${path}: expected a commit of 40 hexadecimal digits, found something else; remove the file`);
    },
    async keepCommit(revision, commit) {
      if (isCommit(revision) || (await this.commitOf(revision).catch(() => undefined)) === commit) return;
      await place(refPath(revision), (temporary) => files.writeFile(temporary, commit));
    },
  };
}
