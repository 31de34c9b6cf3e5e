// The files of a checkpoint, opened together, and the safetensors among them joined to one list of tensors.

import { LoadError } from "@jamba/core";
import { readJson } from "./json-files.ts";
import { parseSafetensorsHeader, type SafetensorsTensor } from "./safetensors/header.ts";
import { isObject, quote } from "./safetensors/json-cursor.ts";
import type { ByteSource } from "./source/byte-source.ts";
import { type Folder, isAbsent } from "./source/folder.ts";

const indexFile = "model.safetensors.index.json";
// Requests in flight while headers are read; Jamba Large has some 160 shards.
const concurrency = 8;

export interface Weights {
  readonly tensors: ReadonlyMap<string, SafetensorsTensor>;
  /** By the file name in `TensorInfo`. */
  readonly sources: ReadonlyMap<string, ByteSource>;
  /** `__metadata__` of all files; where they disagree, the first one's. */
  readonly metadata: ReadonlyMap<string, string>;
}

/** Opens all or, when it throws, none. */
export async function openWeights(folder: Folder, signal?: AbortSignal): Promise<Weights> {
  if (folder.weightsFile !== undefined) return openShards(folder, [folder.weightsFile], undefined, signal);
  try {
    // As in transformers, the single file goes before an index beside it.
    return await openShards(folder, ["model.safetensors"], undefined, signal);
  } catch (error) {
    if (!isAbsent(error)) throw error;
  }
  const index = await readIndex(folder, signal);
  if (index) return openShards(folder, [...new Set(index.values())].sort(), index, signal);
  return openShards(folder, [await findOnly(folder)], undefined, signal);
}

async function findOnly(folder: Folder): Promise<string> {
  const files = await folder.list();
  const found = files?.filter((file) => file.endsWith(".safetensors")) ?? [];
  if (found.length === 1) return found[0];
  if (found.length > 1) {
    throw new LoadError(`${folder.name}: expected one .safetensors file or ${indexFile}, found ${nameFiles(found)} without an index`);
  }
  throw new LoadError(`${folder.name}: expected model.safetensors or ${indexFile}, found ${nameFiles(files)}; is the download complete?`);
}

export function nameFiles(files: readonly string[] | undefined): string {
  const maxFiles = 20;
  if (!files) return "neither on the server";
  const names = files.slice(0, maxFiles).join(", ") || "no files";
  return files.length > maxFiles ? `${names} and ${files.length - maxFiles} more` : names;
}

async function readIndex(folder: Folder, signal?: AbortSignal): Promise<ReadonlyMap<string, string> | undefined> {
  const json = await readJson(folder, indexFile, signal);
  if (json === undefined) return undefined;
  const where = `${folder.name}: ${indexFile}`;
  if (!isObject(json) || !isObject(json.weight_map)) throw new LoadError(`${where}: expected a weight_map of tensor to file, found none`);
  const index = new Map<string, string>();
  for (const [tensor, file] of Object.entries(json.weight_map)) {
    if (typeof file !== "string" || !/^[^/\\:\0]+\.safetensors$/.test(file)) {
      const found = typeof file === "string" ? quote(file) : typeof file;
      throw new LoadError(
        `${where}: tensor ${quote(tensor)}: expected the name of a .safetensors file in the same directory, found ${found}`,
      );
    }
    index.set(tensor, file);
  }
  if (index.size === 0) throw new LoadError(`${where}: expected a weight_map of tensor to file, found an empty one`);
  return index;
}

async function openShards(
  folder: Folder,
  files: readonly string[],
  index: ReadonlyMap<string, string> | undefined,
  signal?: AbortSignal,
): Promise<Weights> {
  const { sources, headers } = await openEach(folder, files, parseSafetensorsHeader, index && indexFile, signal);
  try {
    const tensors = new Map<string, SafetensorsTensor>();
    const metadata = new Map<string, string>();
    for (const [i, shard] of headers.entries()) {
      for (const [key, text] of shard.metadata) if (!metadata.has(key)) metadata.set(key, text);
      for (const tensor of shard.tensors.values()) {
        if (index) checkIndexed(tensor, files[i], index);
        tensors.set(tensor.name, { ...tensor, file: files[i] });
      }
    }
    for (const [name, file] of index ?? []) {
      if (!tensors.has(name)) throw new LoadError(`${file}: tensor ${quote(name)}: expected it here, as ${indexFile} says, found none`);
    }
    return { tensors, sources, metadata };
  } catch (error) {
    await closeAll(sources).catch(() => undefined);
    throw error;
  }
}

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

function checkIndexed({ name }: SafetensorsTensor, file: string, index: ReadonlyMap<string, string>): void {
  const indexed = index.get(name);
  if (indexed === file) return;
  const expected = indexed === undefined ? "not at all" : `only in ${indexed}`;
  throw new LoadError(`${file}: tensor ${quote(name)}: expected it ${expected}, as ${indexFile} says, found it here`);
}

export async function closeAll(sources: ReadonlyMap<string, ByteSource>): Promise<void> {
  await Promise.all([...sources.values()].map((source) => source.close()));
}
