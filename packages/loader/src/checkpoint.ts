// A checkpoint as the files say it is: configs, a list of tensors, ranged reads. What the tensors mean is the model's business.

import { DtypeError, type FloatDtype, floatBytes, LoadError, matrixOf, type WeightSource } from "@jamba/core";
import { type ByteSource, isCount } from "./byte-source.ts";
import { type CheckpointSource, type Folder, ggufError, openFolder } from "./folder.ts";
import { readJson, readTokenizerConfig } from "./json-files.ts";
import type { SafetensorsDtype, TensorInfo } from "./safetensors.ts";
import { closeAll, nameFiles, openWeights } from "./shards.ts";

export interface Checkpoint {
  /** What the user gave, without a URL's query. */
  readonly name: string;
  /** config.json */
  readonly config: unknown;
  /** generation_config.json */
  readonly generationConfig?: unknown;
  /** tokenizer.json */
  readonly tokenizer?: unknown;
  /** tokenizer_config.json; its chat_template may come from chat_template.jinja or chat_template.json. */
  readonly tokenizerConfig?: unknown;
  readonly tensors: ReadonlyMap<string, TensorInfo>;
  /** `__metadata__` of the weights. */
  readonly metadata?: ReadonlyMap<string, string>;
  /** Where a file lies on the local disk; absent when they don't. */
  pathOf?(file: string): string;
  /** @throws LoadError for an unknown name, DtypeError for a tensor that is not F32, BF16 or F16 */
  weight(name: string): WeightSource;
  /** All bytes of one tensor of any dtype. */
  read(name: string, signal?: AbortSignal): Promise<Uint8Array>;
  close(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}

/**
 * Reads the configs and the headers of the weights; tensors are read when they are asked for.
 * @throws LoadError for files that are missing or damaged, JambaError "UNSUPPORTED" for GGUF files and hub ids
 */
export async function openCheckpoint(source: CheckpointSource, { signal }: { signal?: AbortSignal } = {}): Promise<Checkpoint> {
  signal?.throwIfAborted();
  const folder = await openFolder(source);
  const config = await readJson(folder, "config.json", signal);
  if (config === undefined) throw await missingConfig(folder);
  const generationConfig = await readJson(folder, "generation_config.json", signal);
  const tokenizer = await readJson(folder, "tokenizer.json", signal);
  const tokenizerConfig = await readTokenizerConfig(folder, signal);
  const { tensors, sources, metadata } = await openWeights(folder, signal);

  const find = (name: string): { tensor: TensorInfo; source: ByteSource } => {
    const tensor = tensors.get(name);
    if (tensor) return { tensor, source: sources.get(tensor.file)! };
    throw new LoadError(`${name}: expected one of the ${tensors.size} tensors of ${folder.name}, found no such name`);
  };
  const close = () => closeAll(sources);
  return {
    name: folder.name,
    config,
    generationConfig,
    tokenizer,
    tokenizerConfig,
    tensors,
    metadata,
    pathOf: folder.pathOf,
    weight(name) {
      const { tensor, source } = find(name);
      return weightSource(tensor, source);
    },
    async read(name, signal) {
      const { tensor, source } = find(name);
      return source.read(tensor.offset, tensor.sizeBytes, signal);
    },
    close,
    [Symbol.asyncDispose]: close,
  };
}

async function missingConfig(folder: Folder): Promise<Error> {
  const files = await folder.list();
  const gguf = files?.find((file) => /\.gguf$/i.test(file));
  if (gguf !== undefined) return ggufError(`${folder.name}: ${gguf}`);
  const found = files ? nameFiles(files) : "none on the server";
  return new LoadError(`${folder.name}: expected config.json, found ${found}; is it the directory of a model?`);
}

const floatDtypes: Readonly<Partial<Record<SafetensorsDtype, FloatDtype>>> = { F32: "f32", BF16: "bf16", F16: "f16" };

function weightSource({ name, dtype: stored, shape, file, offset }: TensorInfo, source: ByteSource): WeightSource {
  const dtype = floatDtypes[stored];
  if (!dtype) throw new DtypeError(`${name}: expected F32, BF16 or F16, found ${stored} in ${file}; use the checkpoint's bf16 release`);
  const { rows, columns } = matrixOf(shape);
  const rowBytes = columns * floatBytes[dtype];
  return {
    name,
    dtype,
    shape,
    async read(from, to, signal) {
      if (!isCount(from) || !isCount(to) || from > to || to > rows) {
        throw new LoadError(`${name}: expected rows within [0, ${rows}), found [${from}, ${to}) in ${file}`);
      }
      return source.read(offset + from * rowBytes, (to - from) * rowBytes, signal);
    },
  };
}
