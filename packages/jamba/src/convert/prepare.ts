// Writes a folder that loads as it is: weights are converted and packed once, here, and never again.

import { type Backend, BackendError, fromNode, JambaError, LoadError, type WeightDtype, type WeightSource } from "@jamba/core";
import {
  type Checkpoint,
  fingerprint,
  fingerprintsOf,
  keptFingerprintSuffix,
  makeFolder,
  modelSources,
  modelTensors,
  openCheckpoint,
  parseConfig,
  safetensorsHeader,
} from "@jamba/loader";
import { expectKnown } from "../answer/known-names.ts";
import { deviceText, dtypeFor, expectDtype, type LoadDtype } from "../load/device-dtypes.ts";
import { checkLoadOptions, type LoadOptions, reportTo } from "../load/load-options.ts";
import { closeAll, openDevice } from "../load/open-device.ts";
import { align, alignment, type Prepared, packedName, preparedFormat, preparedOf } from "../load/prepared.ts";
import { fetchSource, type ModelSource } from "../load/source.ts";

export interface PrepareOptions extends Pick<LoadOptions, "backend" | "threads" | "signal" | "onProgress"> {
  dtype: LoadDtype;
  /** Replace a folder that was prepared before. Any other folder that is not empty is refused. */
  overwrite?: boolean;
}

export interface PreparedModel {
  readonly folder: string;
  readonly dtype: LoadDtype;
  /** Of the backend's packed weights; a backend of another layout can't load the folder. */
  readonly layout: string;
  /** Of the weights. */
  readonly sizeBytes: number;
}

interface Planned {
  readonly source: WeightSource;
  readonly dtype: WeightDtype;
  /** Of its packed form, without padding. */
  readonly sizeBytes: number;
}

const known = ["dtype", "backend", "threads", "signal", "onProgress", "overwrite"];
const weightsFile = "model.safetensors";
/** Beside the weights; the chat template is part of the tokenizer's config, wherever it was before. */
const jsonFiles = {
  "config.json": "config",
  "generation_config.json": "generationConfig",
  "tokenizer.json": "tokenizer",
  "tokenizer_config.json": "tokenizerConfig",
} as const satisfies Record<string, keyof Checkpoint>;
/** What a prepared folder may hold. */
const ownFiles = [weightsFile, `${weightsFile}${keptFingerprintSuffix}`, ...Object.keys(jsonFiles)];
const pieceBytes = 2 ** 22;

/**
 * Converts the weights of `source` once and writes them, with the configs and the tokenizer, to `folder`.
 * The folder appears whole or not at all: until then all is in `<folder>.partial-…` beside it, which only a killed process leaves behind.
 *
 * @throws what `loadModel` throws, LoadError for a folder that can't be written, JambaError OPTION for one that is not empty
 */
export async function prepareModel(source: ModelSource | Checkpoint, folder: string, options: PrepareOptions): Promise<PreparedModel> {
  const { overwrite = false, signal, onProgress, dtype, ...rest } = options;
  for (const name of Object.keys(options)) expectKnown(name, known);
  checkLoadOptions({ ...rest, dtype: dtype ?? "(none)" });
  const files = await fileSystem();
  const target = await files.realpath(folder).catch(() => files.resolve(folder));
  await expectReplaceable(files, target, overwrite);
  const closers: (() => unknown)[] = [];
  try {
    const checkpoint = isCheckpoint(source) ? source : await fetchSource(source, { signal, onProgress });
    if (checkpoint !== source) closers.push(() => checkpoint.close());
    if (preparedOf(checkpoint))
      throw new LoadError(`${checkpoint.name}: expected a checkpoint as it was published, found one that is prepared already`);
    const { backend, device } = await openDevice({ ...rest, packs: true }, closers);
    if (!backend.packed) throw new BackendError(`prepareModel: expected a backend that packs weights, found ${deviceText(device)}`);
    const progress = reportTo(onProgress, dtype, checkpoint);
    const planned = plan(checkpoint, backend, dtype, progress.onRead);
    const { model: fingerprint, sampled: model } = await fingerprintsOf(checkpoint, { signal });
    const { layout } = backend.packed;
    const header = headerOf(planned, { dtype, layout, model, fingerprint, packed: unknownName });
    const sizeBytes = await whole(files, target, overwrite, async (partial) => {
      const handle = await files.open(files.join(partial, weightsFile), "wx");
      let size = 0;
      try {
        for await (const piece of fileOf(planned, header, backend, signal)) {
          await handle.appendFile(piece);
          size += piece.length;
        }
        await checkpoint.expectUnchanged?.();
        for (const [name, key] of Object.entries(jsonFiles)) {
          if (checkpoint[key] !== undefined) await files.writeFile(files.join(partial, name), JSON.stringify(checkpoint[key]));
        }
        const name = new TextEncoder().encode(await nameOf(partial, signal));
        await handle.write(name, 0, name.length, Buffer.from(header).indexOf(unknownName));
        await handle.sync(); // so that a power cut leaves no zeros behind a name that says they are weights
      } finally {
        await handle.close();
      }
      return size;
    });
    progress.end();
    return { folder, dtype, layout, sizeBytes };
  } catch (cause) {
    signal?.throwIfAborted();
    if (cause instanceof JambaError || !(cause as NodeJS.ErrnoException).code) throw cause;
    throw new LoadError(`${folder}: ${(cause as Error).message}`, { cause });
  } finally {
    await closeAll(closers);
  }
}

/** Every weight of the model, in the order of the file; nothing is read yet. */
function plan(checkpoint: Checkpoint, backend: Backend, asked: LoadDtype, onRead: (sizeBytes: number, file: string) => void): Planned[] {
  expectDtype(asked, backend.device);
  const config = parseConfig(checkpoint.config, `${checkpoint.name}: config.json`);
  const sources = modelSources(checkpoint, config, onRead);
  return modelTensors(config).map(({ name, shape, role }) => {
    const source = sources.get(name)!;
    const dtype = dtypeFor(role, asked, source.dtype, backend.device);
    return { source, dtype, sizeBytes: backend.weightBytes(shape, dtype) };
  });
}

/** In the place of `Prepared.packed` until all bytes are written: of the same length, and not in the header otherwise. */
const unknownName = "?".repeat(64);

/** Of what was written so far, as whoever loads it will see it. */
async function nameOf(partial: string, signal?: AbortSignal): Promise<string> {
  const written = await openCheckpoint(partial, { signal });
  try {
    return await packedName(preparedOf(written)!, await fingerprint(written, { signal, keepFromBytes: Number.POSITIVE_INFINITY }));
  } finally {
    await written.close();
  }
}

function headerOf(planned: readonly Planned[], about: Omit<Prepared, "weights"> & { dtype: LoadDtype }): Uint8Array {
  const weights = planned.map(({ source: { name, shape }, dtype }) => [name, { dtype, shape }]);
  const metadata = { format: preparedFormat, ...about, weights: JSON.stringify(Object.fromEntries(weights)) };
  const packed = planned.map(({ source: { name }, sizeBytes }) => {
    const padded = align(sizeBytes);
    return { name, dtype: "U8" as const, shape: [padded], sizeBytes: padded };
  });
  return safetensorsHeader(packed, metadata, alignment);
}

/** The bytes of the weights' file, with one weight in the backend at a time. */
async function* fileOf(
  planned: readonly Planned[],
  header: Uint8Array,
  backend: Backend,
  signal?: AbortSignal,
): AsyncGenerator<Uint8Array> {
  yield header;
  for (const { source, dtype, sizeBytes } of planned) {
    const weight = await backend.openWeight(source, dtype, signal);
    try {
      for (let from = 0; from < sizeBytes; from += pieceBytes) {
        signal?.throwIfAborted();
        yield await backend.packed!.read(weight, from, Math.min(sizeBytes, from + pieceBytes));
      }
    } finally {
      weight[Symbol.dispose]();
    }
    yield new Uint8Array(align(sizeBytes) - sizeBytes);
  }
}

type Files = Awaited<ReturnType<typeof fileSystem>>;

/** Lets `write` fill a folder beside `target` and puts it in the place of `target` when it is done. */
async function whole<T>(files: Files, target: string, overwrite: boolean, write: (partial: string) => Promise<T>): Promise<T> {
  const partial = `${target}.partial-${crypto.randomUUID().slice(0, 8)}`;
  const old = `${partial}-old`;
  try {
    await makeFolder(partial);
    const result = await write(partial);
    await expectReplaceable(files, target, overwrite); // once more: writing may have taken minutes
    await files.rename(target, old).catch(ifAbsent);
    try {
      await files.rename(partial, target);
    } catch (error) {
      await files.rename(old, target).catch(ifAbsent);
      throw error;
    }
    await files.rm(old, { recursive: true, force: true });
    return result;
  } finally {
    await files.rm(partial, { recursive: true, force: true });
  }
}

function ifAbsent(error: NodeJS.ErrnoException): void {
  if (error.code !== "ENOENT") throw error;
}

/** @throws JambaError OPTION unless `target` is absent, empty, or to be overwritten and nothing but a prepared model */
async function expectReplaceable(files: Files, target: string, overwrite: boolean): Promise<void> {
  let found: string[];
  try {
    found = await files.readdir(target);
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === "ENOENT") return;
    throw new LoadError(`${target}: expected a folder to write to: ${(cause as Error).message}`, { cause });
  }
  if (found.length === 0) return;
  const isPrepared = found.every((name) => ownFiles.includes(name)) && (await isPreparedFolder(target));
  if (isPrepared && overwrite) return;
  const hint = isPrepared
    ? "pass overwrite to replace the prepared model that is there"
    : "only an empty folder or a prepared model is written over";
  throw new JambaError("OPTION", `${target}: expected an empty folder or none, found ${found.slice(0, 4).join(", ")}; ${hint}`);
}

async function isPreparedFolder(folder: string): Promise<boolean> {
  try {
    const checkpoint = await openCheckpoint(folder);
    await checkpoint.close();
    return checkpoint.metadata?.get("format") === preparedFormat;
  } catch {
    return false;
  }
}

function isCheckpoint(source: ModelSource | Checkpoint): source is Checkpoint {
  return typeof source === "object" && source !== null && "tensors" in source;
}

async function fileSystem() {
  try {
    const [files, { join, resolve }] = await Promise.all([
      fromNode<typeof import("node:fs/promises")>("node:fs/promises"),
      fromNode<typeof import("node:path")>("node:path"),
    ]);
    return { ...files, join, resolve };
  } catch (cause) {
    throw new JambaError("UNSUPPORTED", "prepareModel: expected a file system to write to, found none in this runtime", { cause });
  }
}
