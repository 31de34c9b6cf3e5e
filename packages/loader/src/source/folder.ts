// What a user may name as a checkpoint, seen as one flat folder of files.

import { JambaError, LoadError } from "@jamba/core";
import { type HubFolderOptions, hubFolder } from "../hub/hub-folder.ts";
import { isHubId } from "../hub/hub-id.ts";
import { quote } from "../safetensors/json-cursor.ts";
import { openBlob } from "./blob-source.ts";
import type { ByteSource } from "./byte-source.ts";
import { listDirectory, lookAt, openFile } from "./file-source.ts";
import { openUrl } from "./http-source.ts";

export interface NamedBlob {
  readonly name: string;
  readonly blob: Blob;
}

/**
 * A directory, the path of a `.safetensors` or `.gguf` file, the http(s) URL of either, a hub id ("owner/name", "owner/name:file.gguf",
 * "owner/name:Q4_K_M"), or a browser's files; their own folders are ignored.
 */
export type CheckpointSource = string | Iterable<File | NamedBlob>;

export interface OpenOptions {
  readonly signal?: AbortSignal;
  /** Bytes: see `UrlOptions`. */
  readonly wholeUpToBytes?: number;
}

export interface Folder {
  readonly name: string;
  /** The only weights to use, when the user named a file. */
  readonly weightsFile?: string;
  /** Where a file lies on the local disk; absent when they don't. */
  pathOf?(file: string): string;
  /** Throws when the file is absent; `isAbsent` tells. */
  open(file: string, options: OpenOptions): Promise<ByteSource>;
  /** Names of files; undefined where they can't be listed. */
  list(): Promise<readonly string[] | undefined>;
}

export async function openFolder(source: CheckpointSource, hub: HubFolderOptions): Promise<Folder> {
  if (typeof source !== "string") return blobFolder(source);
  if (/^https?:\/\//i.test(source)) return urlFolder(source);
  return (await isOnHub(source)) ? hubFolder(source, hub, pathFolder) : pathFolder(source);
}

/** Whether `source` names a repository of the hub: it has that form, and no file or directory here has that name. */
export async function isOnHub(source: unknown): Promise<boolean> {
  return typeof source === "string" && isHubId(source) && (await lookAt(source)).kind === "absent";
}

export function isAbsent(error: unknown): boolean {
  const { code, status } = ((error as { cause?: unknown } | null)?.cause ?? {}) as { code?: unknown; status?: unknown };
  return code === "ENOENT" || status === 404 || status === 410;
}

const isWeightsFile = (name: string) => /\.(safetensors|gguf)$/i.test(name);

async function pathFolder(path: string): Promise<Folder> {
  const { kind, directory, base } = await lookAt(path);
  if (kind === "absent")
    throw new LoadError(`${path}: expected a directory or a .safetensors or .gguf file, found nothing; check the path`);
  if (kind === "file" && !isWeightsFile(base)) {
    throw new LoadError(`${path}: expected a directory or a .safetensors or .gguf file, found another file`);
  }
  const root = kind === "directory" ? path : directory;
  const pathOf = (file: string) => `${root.replace(/\/$/, "")}/${file}`;
  return {
    name: path,
    weightsFile: kind === "directory" ? undefined : base,
    pathOf,
    open: (file, { signal }) => openFile(pathOf(file), { signal }),
    list: () => listDirectory(root),
  };
}

function urlFolder(source: string): Folder {
  let base: URL;
  let weightsFile: string | undefined;
  try {
    base = new URL(source);
    const last = decodeURIComponent(base.pathname.replace(/^.*\//s, ""));
    if (isWeightsFile(last)) weightsFile = last;
  } catch (cause) {
    if (cause instanceof JambaError) throw cause;
    throw new LoadError(`${quote(source)}: expected the URL of a directory or of a .safetensors or .gguf file`, { cause });
  }
  const root = base.pathname.replace(weightsFile === undefined ? /\/?$/ : /\/[^/]*$/, "/");
  return {
    name: `${base.origin}${base.pathname}`,
    weightsFile,
    open: (file, options) => {
      const url = new URL(base);
      url.pathname = root + encodeURIComponent(file);
      return openUrl(url.href, options);
    },
    list: async () => undefined,
  };
}

function blobFolder(source: Iterable<File | NamedBlob>): Folder {
  const blobs = new Map<string, Blob[]>();
  for (const [name, blob] of namedBlobs(source)) {
    const base = name.replace(/^.*[/\\]/s, "");
    blobs.set(base, [...(blobs.get(base) ?? []), blob]);
  }
  const name = `${blobs.size} files`;
  return {
    name,
    async open(file) {
      const [blob, ...others] = blobs.get(file) ?? [];
      if (!blob) throw new LoadError(`${file}: not among the ${name}`, { cause: { code: "ENOENT" } });
      if (others.length > 0)
        throw new LoadError(`${file}: expected one file of this name, found ${others.length + 1}; pass one model's files`);
      return openBlob(blob, file);
    },
    list: async () => [...blobs.keys()].sort(),
  };
}

function namedBlobs(source: Iterable<File | NamedBlob>): [string, Blob][] {
  try {
    return [...source].map((item) => {
      const blob = item instanceof Blob ? item : item.blob;
      if (!(blob instanceof Blob) || typeof item.name !== "string") throw new TypeError("an item has no name or no blob");
      return [item.name, blob];
    });
  } catch (cause) {
    throw new JambaError("OPTION", "openCheckpoint: expected a path, a URL or a list of File or { name, blob }, found something else", {
      cause,
    });
  }
}
