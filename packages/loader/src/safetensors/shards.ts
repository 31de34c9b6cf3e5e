// The safetensors files of a checkpoint, joined to one list of tensors.

import { LoadError } from "@jamba/core";
import type { ByteSource } from "../source/byte-source.ts";
import { closeAll, type Folder, isAbsent, nameFiles, openEach } from "../source/folder.ts";
import { readJson } from "../source/json-files.ts";
import { explainFiles } from "../source/other-files.ts";
import { isObject, quote } from "../source/untrusted.ts";
import { parseSafetensorsHeader, type SafetensorsTensor } from "./header.ts";

const indexFile = "model.safetensors.index.json";
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
  const hint = explainFiles(files) ?? "is the download complete?";
  throw new LoadError(`${folder.name}: expected model.safetensors or ${indexFile}, found ${nameFiles(files)}; ${hint}`);
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

function checkIndexed({ name }: SafetensorsTensor, file: string, index: ReadonlyMap<string, string>): void {
  const indexed = index.get(name);
  if (indexed === file) return;
  const expected = indexed === undefined ? "not at all" : `only in ${indexed}`;
  throw new LoadError(`${file}: tensor ${quote(name)}: expected it ${expected}, as ${indexFile} says, found it here`);
}
