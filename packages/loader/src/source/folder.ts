// One folder of files: a directory, a URL or a browser's files.

import { JambaError, LoadError } from "@jamba/core";
import { openBlob } from "./blob-source.ts";
import { asLoadError, type ByteSource } from "./byte-source.ts";
import { listDirectory, lookAt, openFile } from "./file-source.ts";
import { openUrl } from "./http-source.ts";
import { explainFiles } from "./other-files.ts";
import { quote } from "./untrusted.ts";

/** Beside the weights, as in transformers: `NAME.jinja` for each chat template that is not the default. */
export const templateFolder = "additional_chat_templates";

export interface NamedBlob {
  readonly name: string;
  /** Or one that is on its way: what else a load takes is made ready meanwhile. */
  readonly blob: Blob | Promise<Blob>;
}

export interface OpenOptions {
  readonly signal?: AbortSignal;
  /** Bytes: see `UrlOptions`. */
  readonly wholeUpToBytes?: number;
}

export interface Folder {
  readonly name: string;
  /** The only weights to use, when the user named a file; its name may say nothing of its format. */
  readonly weightsFile?: string;
  /** Where a file lies on the local disk; absent when they don't. */
  pathOf?(file: string): string;
  /** Each read of a file is a download. */
  readonly isRemote?: boolean;
  /** Throws when the file is absent; `isAbsent` tells. */
  open(file: string, options: OpenOptions): Promise<ByteSource>;
  /** Names of files, in a folder within, if given; undefined where they can't be listed. */
  list(within?: string): Promise<readonly string[] | undefined>;
}

export function isAbsent(error: unknown): boolean {
  const { code, status } = ((error as { cause?: unknown } | null)?.cause ?? {}) as { code?: unknown; status?: unknown };
  return code === "ENOENT" || status === 404 || status === 410;
}

function noneIfAbsent(error: unknown): readonly string[] {
  if (isAbsent(error)) return [];
  throw error;
}

const isWeightsFile = (name: string) => /\.(safetensors|gguf)$/i.test(name);

export async function pathFolder(path: string): Promise<Folder> {
  const { kind, directory, base } = await lookAt(path);
  if (kind === "absent") {
    const hint = /[/\\]|\.(safetensors|gguf)$/i.test(path) ? "" : "; a model of the hub is named owner/name";
    throw new LoadError(`${path}: expected a directory or a .safetensors or .gguf file, found nothing; check the path${hint}`);
  }
  const root = kind === "directory" ? path : directory;
  const pathOf = (file: string) => `${root.replace(/\/$/, "")}/${file}`;
  return {
    name: path,
    weightsFile: kind === "directory" ? undefined : base,
    pathOf,
    open: (file, { signal }) => openFile(pathOf(file), { signal }),
    list: (within) => (within === undefined ? listDirectory(root) : listDirectory(pathOf(within)).catch(noneIfAbsent)),
  };
}

/** @throws LoadError for a file that is neither safetensors nor GGUF */
export function refuseFile(path: string): never {
  const what = explainFiles([path.replace(/^.*[/\\]/s, "")]);
  throw new LoadError(
    `${path}: expected a directory or a .safetensors or .gguf file, found another file${what === undefined ? "" : `: ${what}`}`,
  );
}

export async function urlFolder(source: string, { signal }: OpenOptions = {}): Promise<Folder> {
  let base: URL;
  let weightsFile: string | undefined;
  try {
    base = new URL(source);
    const last = decodeURIComponent(base.pathname.replace(/^.*\//s, ""));
    // What has another name may be a directory, or a file in a store that names files by their hashes.
    if (isWeightsFile(last) || (last !== "" && (await mayStartAsGguf(openUrl(source, { signal }), signal)))) weightsFile = last;
  } catch (cause) {
    signal?.throwIfAborted();
    if (cause instanceof JambaError) throw cause;
    throw new LoadError(`${quote(source)}: expected the URL of a directory or of a .safetensors or .gguf file`, { cause });
  }
  const root = base.pathname.replace(weightsFile === undefined ? /\/?$/ : /\/[^/]*$/, "/");
  return {
    name: `${base.origin}${base.pathname}`,
    weightsFile,
    isRemote: true,
    open: (file, options) => {
      const url = new URL(base);
      url.pathname = root + file.split("/").map(encodeURIComponent).join("/");
      return openUrl(url.href, options);
    },
    list: async () => undefined,
  };
}

/** Whether a file begins as GGUF does, of whatever byte order. Closes it. */
export async function startsAsGguf(source: ByteSource, signal?: AbortSignal): Promise<boolean> {
  try {
    return source.size >= 4 && /^(GGUF|FUGG)$/.test(String.fromCharCode(...(await source.read(0, 4, signal))));
  } finally {
    await source.close();
  }
}

/** The same of what may be no file: what can't be opened is none of GGUF. */
export async function mayStartAsGguf(opening: Promise<ByteSource>, signal?: AbortSignal): Promise<boolean> {
  const source = await opening.catch((error) => {
    signal?.throwIfAborted();
    if (error instanceof JambaError) return undefined;
    throw error;
  });
  return source !== undefined && startsAsGguf(source, signal);
}

export function blobFolder(source: Iterable<File | NamedBlob>): Folder {
  const blobs = new Map<string, NamedBlob["blob"][]>();
  for (const [name, blob] of namedBlobs(source)) {
    const [base, parent] = name.split(/[/\\]/).reverse();
    // Of folders this one has a meaning.
    const key = parent === templateFolder ? `${parent}/${base}` : base;
    blobs.set(key, [...(blobs.get(key) ?? []), blob]);
  }
  const name = `${blobs.size} files`;
  return {
    name,
    async open(file) {
      const [blob, ...others] = blobs.get(file) ?? [];
      if (!blob) throw new LoadError(`${file}: not among the ${name}`, { cause: { code: "ENOENT" } });
      if (others.length > 0)
        throw new LoadError(`${file}: expected one file of this name, found ${others.length + 1}; pass one model's files`);
      const found = await Promise.resolve(blob).catch((cause) => {
        throw asLoadError(file, cause);
      });
      return openBlob(found, file);
    },
    list: async (within) => namesWithin([...blobs.keys()].sort(), within),
  };
}

function namedBlobs(source: Iterable<File | NamedBlob>): [string, NamedBlob["blob"]][] {
  try {
    return [...source].map((item) => {
      const blob = item instanceof Blob ? item : item.blob;
      if (!(blob instanceof Blob || blob instanceof Promise) || typeof item.name !== "string")
        throw new TypeError("an item has no name or no blob");
      // Told to who opens it, which nobody may.
      if (blob instanceof Promise) blob.catch(() => undefined);
      // A file that was picked with its folder has its path beside its name.
      return [(item as Partial<File>).webkitRelativePath || item.name, blob];
    });
  } catch (cause) {
    throw new JambaError("OPTION", "openCheckpoint: expected a path, a URL or a list of File or { name, blob }, found something else", {
      cause,
    });
  }
}

/** Of paths, those of files in a folder, without it. */
export function namesWithin(paths: readonly string[], within: string | undefined): readonly string[] {
  if (within === undefined) return paths;
  return paths.filter((path) => path.startsWith(`${within}/`)).map((path) => path.slice(within.length + 1));
}

export function nameFiles(files: readonly string[] | undefined): string {
  const maxFiles = 20;
  if (!files) return "neither on the server";
  const names = files.slice(0, maxFiles).join(", ") || "no files";
  return files.length > maxFiles ? `${names} and ${files.length - maxFiles} more` : names;
}

// Requests in flight while headers are read; Jamba Large has some 160 shards.
const concurrency = 8;

/**
 * Opens all files or, when one fails, none, and reads their headers.
 * @param listedBy what says that the files are there, for errors; undefined for the only file
 */
export async function openEach<H>(
  folder: Folder,
  files: readonly string[],
  parse: (source: ByteSource, signal?: AbortSignal) => Promise<H>,
  listedBy: string | undefined,
  signal?: AbortSignal,
): Promise<{ sources: Map<string, ByteSource>; headers: H[] }> {
  const sources = new Map<string, ByteSource>();
  const headers: H[] = [];
  const openOne = async (file: string) => {
    const source = await folder.open(file, { signal }).catch((cause) => {
      throw listedBy !== undefined && isAbsent(cause)
        ? new LoadError(`${folder.name}: expected the file ${file}, as ${listedBy} says, found none; is the download complete?`)
        : cause;
    });
    sources.set(file, source);
    return parse(source, signal);
  };
  try {
    for (let done = 0; done < files.length; done += concurrency) {
      // Settled, so that no file opens after the others were closed.
      for (const header of await Promise.allSettled(files.slice(done, done + concurrency).map(openOne))) {
        if (header.status === "rejected") throw header.reason;
        headers.push(header.value);
      }
    }
    return { sources, headers };
  } catch (error) {
    await closeAll(sources).catch(() => undefined);
    throw error;
  }
}

export async function closeAll(sources: ReadonlyMap<string, ByteSource>): Promise<void> {
  await Promise.all([...sources.values()].map((source) => source.close()));
}
