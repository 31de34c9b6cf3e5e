// A checkpoint as the files say it is: configs, a list of tensors, ranged reads. What the tensors mean is the model's business.

import {
  blockFormats,
  DtypeError,
  floatBytes,
  isBlockDtype,
  JambaError,
  LoadError,
  matrixOf,
  type StoredDtype,
  storedBytes,
  type WeightSource,
} from "@jamba/core";
import { ggufConfig } from "./gguf/config.ts";
import { type GgufValue, parseGgufHeader } from "./gguf/header.ts";
import { hfNameOf } from "./gguf/names.ts";
import { ggufGeneration } from "./gguf/sampling.ts";
import { ggufShards, joinGgufHeaders } from "./gguf/shards.ts";
import { ggufTokenizer } from "./gguf/tokenizer.ts";
import type { HubFolderOptions } from "./hub/hub-folder.ts";
import { expectRunnable } from "./model/family.ts";
import { type CheckpointSource, openFolder } from "./open-folder.ts";
import { openWeights } from "./safetensors/shards.ts";
import { type ByteSource, type FileStamp, isCount } from "./source/byte-source.ts";
import { closeAll, type Folder, mayStartAsGguf, nameFiles, openEach, refuseFile, startsAsGguf } from "./source/folder.ts";
import { readJson, readTokenizerConfig } from "./source/json-files.ts";
import { explainFiles, isNameless } from "./source/other-files.ts";
import type { TensorInfo } from "./source/tensor-info.ts";
import { isObject, quote } from "./source/untrusted.ts";
import { TensorDigests } from "./tensor-digests.ts";

export interface Checkpoint {
  /** What the user gave, without a URL's query. */
  readonly name: string;
  /** config.json, or what the metadata of a GGUF file says in its form. */
  readonly config: unknown;
  /** generation_config.json, or what the metadata of a GGUF file says in its form. */
  readonly generationConfig?: unknown;
  /** tokenizer.json, or what the metadata of a GGUF file says in its form: tens of megabytes, so who is done with it may take it out. */
  tokenizer?: unknown;
  /** tokenizer_config.json; its chat_template may come from files beside it, see `readTokenizerConfig`. */
  readonly tokenizerConfig?: unknown;
  readonly tensors: ReadonlyMap<string, TensorInfo>;
  /** `__metadata__` of safetensors files. */
  readonly metadata?: ReadonlyMap<string, string>;
  /** Metadata of a GGUF file, whole. */
  readonly gguf?: ReadonlyMap<string, GgufValue>;
  /** What was passed over or taken otherwise than the files say, and what to do. */
  readonly warnings?: readonly string[];
  /** Where a file lies on the local disk; absent when they don't. */
  pathOf?(file: string): string;
  /** Of the files of the weights, when they were opened; absent where they are not on the local disk. */
  readonly stamps?: ReadonlyMap<string, FileStamp>;
  /** Of what was read so far, where reading it again would be another download. */
  readonly digests?: TensorDigests;
  /** @throws LoadError for an unknown name, DtypeError for a dtype that is neither a float nor one of core's block formats */
  weight(name: string): WeightSource;
  /** All bytes of one tensor of any dtype, or those in `[from, to)`. */
  read(name: string, signal?: AbortSignal, range?: readonly [from: number, to: number]): Promise<Uint8Array>;
  /** As `ByteSource.expectUnchanged` of each file of the weights. */
  expectUnchanged?(options?: { readonly mayBeReplaced?: boolean }): Promise<void>;
  close(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}

/**
 * Reads the configs and the headers of the weights; tensors are read when they are asked for. Of a hub id nothing else is fetched, and
 * nothing is kept: to have a model, use `download`.
 * @throws LoadError for files that are missing or damaged, JambaError "UNSUPPORTED" for another model family
 */
export async function openCheckpoint(source: CheckpointSource, options: HubFolderOptions = {}): Promise<Checkpoint> {
  const { signal } = options;
  signal?.throwIfAborted();
  const folder = await openFolder(source, options);
  const gguf = await ggufOf(folder, signal);
  if (gguf !== undefined) return openGguf(folder, gguf, signal);
  const config = await readJson(folder, "config.json", signal);
  if (config === undefined) throw await withoutConfig(folder);
  try {
    // Begun together, since each may be a round trip; what is wrong is told in this order.
    const reading = [
      readJson(folder, "generation_config.json", signal),
      readJson(folder, "tokenizer.json", signal),
      readTokenizerConfig(folder, signal),
    ] as const;
    for (const one of reading) one.catch(() => undefined);
    const [generationConfig, tokenizer, tokenizerConfig] = [await reading[0], await reading[1], await reading[2]];
    const { tensors, sources, metadata } = await openWeights(folder, signal);
    return checkpoint(folder, sources, { config, generationConfig, tokenizer, tokenizerConfig, tensors, metadata });
  } catch (error) {
    signal?.throwIfAborted();
    // What is no Jamba that can be run is told that, whatever else its files lack.
    if (error instanceof JambaError) expectRunnable(config, `${folder.name}: config.json`);
    throw error;
  }
}

async function withoutConfig(folder: Folder): Promise<LoadError> {
  const files = await folder.list();
  const found = files ? nameFiles(files) : "none on the server";
  const what = explainFiles(files);
  const hint = what === undefined ? "is it the directory of a model?" : `not a Jamba, but ${what}${await baseOf(folder, files)}`;
  return new LoadError(`${folder.name}: expected config.json, found ${found}; ${hint}`);
}

/** What an adapter says that it goes on top of. */
async function baseOf(folder: Folder, files: readonly string[] | undefined): Promise<string> {
  const json = files?.includes("adapter_config.json") ? await readJson(folder, "adapter_config.json") : undefined;
  const base = isObject(json) ? json.base_model_name_or_path : undefined;
  return typeof base === "string" ? `; its base model is ${quote(base)}` : "";
}

/** The GGUF file that `folder` means: the one that was named, or the only model where there are no safetensors. */
async function ggufOf(folder: Folder, signal?: AbortSignal): Promise<string | undefined> {
  const isGguf = (file: string) => /\.gguf$/i.test(file);
  const { weightsFile } = folder;
  if (weightsFile !== undefined) {
    if (/\.safetensors$/i.test(weightsFile)) return undefined;
    if (isGguf(weightsFile) || (await startsAsGguf(await folder.open(weightsFile, { signal }), signal))) return weightsFile;
    return refuseFile(folder.name);
  }
  const files = (await folder.list()) ?? [];
  if (files.some((file) => file.endsWith(".safetensors"))) return undefined;
  // Of a split model, its first file.
  const models = [...new Set(files.filter(isGguf).map((file) => ggufShards(file)?.[0] ?? file))];
  if (models.length === 0) {
    const unknown = files.length === 1 ? files : files.filter(isNameless).slice(0, maxLookedAt);
    for (const file of unknown) if (await mayStartAsGguf(folder.open(file, { signal }), signal)) models.push(file);
  }
  if (models.length > 1) throw new LoadError(`${folder.name}: expected one model, found ${nameFiles(models)}; name one of the files`);
  return models[0];
}

/** Files of names that say nothing: a store of blobs may have thousands. */
const maxLookedAt = 1000;

async function openGguf(folder: Folder, file: string, signal?: AbortSignal): Promise<Checkpoint> {
  const shards = ggufShards(file);
  const listedBy = shards && `the name ${file}`;
  const { sources, headers } = await openEach(folder, shards ?? [file], parseGgufHeader, listedBy, signal);
  try {
    const header = joinGgufHeaders(headers);
    const tensors = new Map<string, TensorInfo>();
    for (const { type, file, ...tensor } of header.tensors.values()) {
      const name = hfNameOf(tensor.name) ?? tensor.name;
      tensors.set(name, { ...tensor, name, dtype: type, file });
    }
    const warnings: string[] = [];
    const warn = (warning: string) => void warnings.push(`${header.file}: ${warning}`);
    const config = ggufConfig(header);
    const generationConfig = ggufGeneration(header.metadata, warn);
    const described = { config, generationConfig, ...ggufTokenizer(header.metadata, warn) };
    return checkpoint(folder, sources, { ...described, tensors, gguf: header.metadata, warnings });
  } catch (error) {
    await closeAll(sources).catch(() => undefined);
    throw error;
  }
}

/** @param sources by the file names in `tensors` */
function checkpoint(
  { name: folder, pathOf, isRemote }: Folder,
  sources: ReadonlyMap<string, ByteSource>,
  parts: Pick<Checkpoint, "config" | "generationConfig" | "tokenizer" | "tokenizerConfig" | "tensors" | "metadata" | "gguf" | "warnings">,
): Checkpoint {
  const { tensors } = parts;
  const find = (name: string): { tensor: TensorInfo; source: ByteSource } => {
    const tensor = tensors.get(name);
    if (tensor) return { tensor, source: sources.get(tensor.file)! };
    throw new LoadError(`${name}: expected one of the ${tensors.size} tensors of ${folder}, found no such name`);
  };
  const close = () => closeAll(sources);
  const digests = isRemote ? new TensorDigests(tensors.values()) : undefined;
  const stamps = new Map([...sources].sort().flatMap(([file, { stamp }]) => (stamp ? [[file, stamp]] : [])));
  return {
    ...parts,
    name: folder,
    pathOf,
    stamps: stamps.size === sources.size ? stamps : undefined,
    digests,
    weight(name) {
      const { tensor, source } = find(name);
      return weightSource(tensor, source, pathOf?.(tensor.file), digests);
    },
    async read(name, signal, range) {
      const { tensor, source } = find(name);
      const { file, offset, sizeBytes } = tensor;
      const [from, to] = range ?? [0, sizeBytes];
      if (!isCount(from) || !isCount(to) || from > to || to > sizeBytes)
        throw new LoadError(`${name}: expected bytes within [0, ${sizeBytes}), found [${from}, ${to}) in ${file}`);
      const bytes = await source.read(offset + from, to - from, signal);
      await digests?.add(name, from, bytes);
      return bytes;
    },
    async expectUnchanged(options) {
      for (const source of sources.values()) await source.expectUnchanged?.(options);
    },
    close,
    [Symbol.asyncDispose]: close,
  };
}

/** Both formats spell a dtype that weights may have in capitals, core in small letters. */
export function storedDtypeOf(spelled: string): StoredDtype | undefined {
  const dtype = spelled.toLowerCase() as StoredDtype;
  return Object.hasOwn(floatBytes, dtype) || isBlockDtype(dtype) ? dtype : undefined;
}

function weightSource(
  { name, dtype: spelled, shape, file, offset }: TensorInfo,
  source: ByteSource,
  path: string | undefined,
  digests: TensorDigests | undefined,
): WeightSource {
  const dtype = storedDtypeOf(spelled);
  if (!dtype)
    throw new DtypeError(
      `${name}: expected F32, BF16, F16 or one of ${Object.keys(blockFormats).join(", ").toUpperCase()}, found ${spelled} in ${file}; use another file of this model`,
    );
  const { rows, columns } = matrixOf(shape);
  const rowBytes = storedBytes(dtype, columns);
  return {
    name,
    dtype,
    shape,
    file: path === undefined ? undefined : { path, offset },
    blob: source.blob && { blob: source.blob, offset },
    async read(from, to, signal) {
      if (!isCount(from) || !isCount(to) || from > to || to > rows) {
        throw new LoadError(`${name}: expected rows within [0, ${rows}), found [${from}, ${to}) in ${file}`);
      }
      const bytes = await source.read(offset + from * rowBytes, (to - from) * rowBytes, signal);
      await digests?.add(name, from * rowBytes, bytes);
      return bytes;
    },
  };
}
