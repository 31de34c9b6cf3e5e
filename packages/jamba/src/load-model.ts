// From a source to a loaded model: checkpoint, config, backend, weights, tokenizer.

import { type Backend, type DeviceInfo, DtypeError, type FloatDtype, JambaError, LoadError, type WeightDtype } from "@jamba/core";
import {
  type Checkpoint,
  type CheckpointSource,
  download,
  fingerprint,
  isOnHub,
  openCheckpoint,
  parseConfig,
  parseGenerationConfig,
  tokenizerFingerprint,
} from "@jamba/loader";
import { loadTokenizer, type Tokenizer } from "@jamba/tokenizer";
import { expectIdentity, type Identity } from "./answer/generate.ts";
import { expectKnown } from "./answer/options.ts";
import { Engine } from "./engine/engine.ts";
import { Runner } from "./engine/runner.ts";
import { Constraints } from "./format/constraint.ts";
import { JambaModel } from "./jamba-model.ts";
import { machineMemory } from "./load/machine-memory.ts";
import { type BackendName, deviceText, openBackend } from "./load/open-backend.ts";
import { preparedOf, preparedOpener } from "./load/prepared.ts";
import { checkpointOpener, type LoadDtype, loadWeights } from "./load/weights.ts";
import { DiskCache } from "./state/disk-cache.ts";

export interface LoadProgress {
  /** "verify": what was downloaded is hashed; "quantise": weights are read and packed into blocks. Each counts from 0. */
  readonly phase: "download" | "verify" | "load" | "quantise" | "calibrate";
  readonly doneBytes: number;
  readonly totalBytes: number;
  readonly file: string;
}

export interface LoadOptions {
  /** "auto" (default): the fastest that works here; `model.device` says which that is. */
  backend?: BackendName | Backend;
  /** "auto" (default): as stored; "experts-int8": experts as q8, all else as stored. */
  dtype?: LoadDtype;
  /** What keys and values are kept in; by default f32 for f32 weights, else the device's own choice. */
  kvDtype?: FloatDtype;
  /** Tokens that a conversation may hold; by default and at most what the model was made for. */
  contextLength?: number;
  threads?: number;
  /** States that are kept although nobody holds them, so that no prompt is read twice. */
  cache?: CacheOptions;
  /** How much may run at the same time; calls beyond that wait. */
  limits?: LimitOptions;
  /** Of a hub id: a branch, a tag or a commit; "main" if not given. */
  revision?: string;
  /** Where downloads are kept; by default where Python's huggingface_hub keeps them (HF_HUB_CACHE, HF_HOME). */
  cacheDir?: string;
  /** For models that the hub gives to some only; by default HF_TOKEN or what `hf auth login` keeps. */
  token?: string;
  /** Of the hub, only what was downloaded before; no connection is opened for it. By default HF_HUB_OFFLINE. */
  offline?: boolean;
  signal?: AbortSignal;
  onProgress?: (progress: LoadProgress) => void;
}

export interface CacheOptions {
  /** An eighth of the machine's memory if not given; with 0 only sessions and states keep anything. */
  bytes?: number;
  /** A folder for states that have no room any more; they come back from there, also in another process. */
  dir?: string;
  /** Of that folder; 16 GiB if not given. */
  dirBytes?: number;
  /** Hears why a state could not go to that folder or come back from it: then it is read again, and nothing else happens. */
  onError?: (error: unknown) => void;
}

export interface LimitOptions {
  /** Calls that run together; 32 if not given. */
  sequences?: number;
  /** Tokens that they may come to hold together, prompts and answers; without limit if not given. */
  tokens?: number;
  /** Bytes that their states may come to take; half of the memory that is free after loading if not given. */
  bytes?: number;
}

/**
 * A hub id ("owner/name", "owner/name:file.gguf", "owner/name:Q4_K_M"), a directory, a .safetensors or .gguf file, the http(s) URL of
 * either, files of a browser, or "tiny".
 */
export type ModelSource = CheckpointSource;

const known = [
  "backend",
  "dtype",
  "kvDtype",
  "contextLength",
  "threads",
  "cache",
  "limits",
  "revision",
  "cacheDir",
  "token",
  "offline",
  "signal",
  "onProgress",
];
const dtypes: readonly LoadDtype[] = ["auto", "f32", "bf16", "f16", "q8", "q4_1", "q4_k", "q4", "experts-int8"];
const kvDtypes: readonly FloatDtype[] = ["f32", "bf16", "f16"];

/**
 * @throws LoadError for a checkpoint that is missing, damaged or not a Jamba; BackendError and DtypeError when the
 * device can't do what was asked; JambaError OPTION or UNSUPPORTED for options; the signal's reason when aborted
 */
export async function loadModel(source: ModelSource, options: LoadOptions = {}): Promise<JambaModel> {
  checkLoadOptions(options);
  const { dtype = "auto", signal } = options;
  const checkpoint = await fetchSource(source, options);
  const closers: (() => unknown)[] = [];
  try {
    const config = parseConfig(checkpoint.config, `${checkpoint.name}: config.json`);
    const generation = parseGenerationConfig(checkpoint.generationConfig, `${checkpoint.name}: generation_config.json`);
    const contextLength = options.contextLength ?? config.contextLength;
    if (contextLength > config.contextLength) {
      throw new JambaError("OPTION", `contextLength: expected at most the model's ${config.contextLength}, found ${contextLength}`);
    }
    const tokenizer = checkpoint.tokenizer === undefined ? undefined : loadTokenizer(checkpoint.tokenizer, checkpoint.tokenizerConfig);
    const { backend, device } = await openDevice(options, closers);
    expectKvDtype(options.kvDtype, device);
    const counts = new Map<WeightDtype, number>();
    const progress = reportTo(options.onProgress, dtype, checkpoint);
    const prepared = preparedOf(checkpoint);
    const identity = await identityOf(checkpoint, prepared?.model, signal);
    // It would lie beside the weights.
    checkpoint.tokenizer = undefined;
    const open = prepared
      ? preparedOpener(checkpoint, prepared, backend, dtype, progress.onRead)
      : checkpointOpener(checkpoint, config, { device, openWeight: (...weight) => backend.openWeight(...weight) }, dtype, progress.onRead);
    const weights = await loadWeights(config, open, {
      signal,
      keep: (weight) => {
        counts.set(weight.dtype, (counts.get(weight.dtype) ?? 0) + weight.shape.reduce((a, b) => a * b, 1));
        closers.push(() => weight[Symbol.dispose]());
      },
    });
    progress.end();
    const dtypes = [...counts].sort(([, a], [, b]) => b - a).map(([dtype]) => dtype);
    const runner = new Runner(backend, config, weights, contextLength, options.kvDtype ?? defaultKvDtype(dtypes, device));
    closers.push(() => runner.dispose());
    const stopIds = new Set([...config.eosIds, ...generation.eosIds, ...turnEnds(tokenizer)]);
    // Reuse is exact: other weights or another device would go on from other numbers.
    const numbers = [...dtypes, device.kind, ...device.features].join();
    const engine = await openEngine(runner, stopIds, identity, numbers, options);
    closers.push(() => engine.close());
    const constraints = tokenizer && new Constraints(tokenizer, stopIds);
    closers.push(() => constraints?.dispose());
    return new JambaModel({
      runner,
      engine,
      device,
      tokenizer,
      dtypes,
      stopIds,
      identity,
      constraints,
      defaults: generation.sampling,
      release: () => closeAll(closers),
    });
  } catch (error) {
    await closeAll(closers);
    throw error;
  } finally {
    await checkpoint.close();
  }
}

/** What names the model and its tokenizer in saved states, or why nothing can: pages that are not secure have no WebCrypto. */
async function identityOf(checkpoint: Checkpoint, prepared: string | undefined, signal?: AbortSignal): Promise<Identity | JambaError> {
  try {
    const model = prepared ?? (await fingerprint(checkpoint, signal));
    return { model, tokenizer: checkpoint.tokenizer === undefined ? undefined : await tokenizerFingerprint(checkpoint.tokenizer) };
  } catch (error) {
    if (error instanceof JambaError && error.code === "UNSUPPORTED") return error;
    throw error;
  }
}

/** @param numbers what the numbers of a state depend on beside the model */
async function openEngine(
  runner: Runner,
  stopIds: ReadonlySet<number>,
  identity: Identity | JambaError,
  numbers: string,
  { cache = {}, limits = {} }: Pick<LoadOptions, "cache" | "limits">,
): Promise<Engine> {
  const { totalBytes, freeBytes } = await machineMemory();
  const { bytes: cacheBytes = totalBytes / 8, dir, dirBytes: bytes = 16 * 2 ** 30, onError } = cache;
  const { sequences = 32, tokens = Number.POSITIVE_INFINITY, bytes: runningBytes = freeBytes / 2 } = limits;
  const { stateSpec: spec, config } = runner;
  const shape = { spec, vocabSize: config.vocabSize };
  const model = () => `${expectIdentity(identity).model},${numbers},${spec.kvDtype}`;
  const disk = dir === undefined ? undefined : await DiskCache.open(dir, { bytes, model: model(), ...shape, onDamage: onError });
  return new Engine(runner, { stopIds, cacheBytes, disk, onDiskError: onError, limits: { sequences, tokens, bytes: runningBytes } });
}

type SourceOptions = Pick<LoadOptions, "revision" | "cacheDir" | "token" | "offline" | "signal" | "onProgress">;

/** Headers and small files behind `source`; "tiny" is the package @jamba/tiny-model. Weights on the hub stay there. */
export async function openSource(source: ModelSource, options: SourceOptions = {}): Promise<Checkpoint> {
  const { revision, cacheDir, token, offline, signal } = options;
  if (revision !== undefined && !(await isOnHub(source)))
    throw new JambaError("OPTION", `revision: expected it with a hub id, found ${JSON.stringify(source)}, which has none; leave it out`);
  return openCheckpoint(source === "tiny" ? await tinyModel() : source, { revision, cacheDir, token, offline, signal });
}

/** The same, with the weights of a hub id downloaded first. */
export async function fetchSource(source: ModelSource, options: SourceOptions): Promise<Checkpoint> {
  if (!(await isOnHub(source))) return openSource(source, options);
  const { revision, cacheDir, token, offline, signal, onProgress } = options;
  const { folder, file } = await download(source as string, { revision, cacheDir, token, offline, signal, onProgress });
  return openCheckpoint(file === undefined ? folder : `${folder}/${file}`, { signal });
}

/** @throws JambaError OPTION or UNSUPPORTED */
export function checkLoadOptions(options: LoadOptions): void {
  for (const [name, value] of Object.entries(options)) {
    if (value === undefined) continue;
    expectKnown(name, known);
  }
  for (const name of Object.keys(options.cache ?? {}))
    expectKnown(`cache.${name}`, ["cache.bytes", "cache.dir", "cache.dirBytes", "cache.onError"]);
  for (const name of Object.keys(options.limits ?? {}))
    expectKnown(`limits.${name}`, ["limits.sequences", "limits.tokens", "limits.bytes"]);
  const { dtype = "auto", kvDtype = "f32", contextLength = 1, threads = 1, cache = {}, limits = {} } = options;
  if (!dtypes.includes(dtype))
    throw new JambaError("OPTION", `dtype: expected one of ${dtypes.join(", ")}, found ${JSON.stringify(dtype)}`);
  if (!kvDtypes.includes(kvDtype))
    throw new JambaError("OPTION", `kvDtype: expected one of ${kvDtypes.join(", ")}, found ${JSON.stringify(kvDtype)}`);
  const { sequences = 1, tokens = 1, bytes = 1 } = limits;
  for (const name of ["bytes", "dirBytes"] as const)
    if (!((cache[name] ?? 0) >= 0)) throw new JambaError("OPTION", `cache.${name}: expected a count of bytes, found ${cache[name]}`);
  for (const [name, count] of Object.entries({
    contextLength,
    threads,
    "limits.sequences": sequences,
    "limits.tokens": tokens,
    "limits.bytes": bytes,
  })) {
    if (!Number.isSafeInteger(count) || count < 1) throw new JambaError("OPTION", `${name}: expected a positive integer, found ${count}`);
  }
}

/** The backend that the options ask for, closed with the model if it was opened here. */
export async function openDevice(
  { backend = "auto", threads }: Pick<LoadOptions, "backend" | "threads">,
  closers: (() => unknown)[],
): Promise<{ backend: Backend; device: DeviceInfo }> {
  const { backend: opened, passedOver } =
    typeof backend === "string" ? await openBackend(backend, { threads }) : { backend, passedOver: [] };
  if (typeof backend === "string") closers.push(() => opened.dispose());
  const { device } = opened;
  if (threads !== undefined && threads !== device.threads) {
    const where = [`${device.threads} on the ${device.kind} backend`, ...passedOver].join("; ");
    throw new JambaError("OPTION", `threads: expected ${where}, found ${threads}`);
  }
  return { backend: opened, device: passedOver.length === 0 ? device : { ...device, features: [...device.features, ...passedOver] } };
}

export function expectKvDtype(asked: FloatDtype | undefined, device: DeviceInfo): void {
  if (asked === undefined || device.kvDtypes.includes(asked)) return;
  throw new DtypeError(`kvDtype: expected one of ${device.kvDtypes.join(", ")}, found ${asked} on ${deviceText(device)}`);
}

/** Who holds weights in f32 wants exact numbers; others get what the device likes best. */
export function defaultKvDtype(dtypes: readonly WeightDtype[], { kvDtypes }: DeviceInfo): FloatDtype {
  return kvDtypes.includes("f32") && dtypes.every((dtype) => dtype === "f32") ? "f32" : kvDtypes[0];
}

/** Last opened, first closed. */
export async function closeAll(closers: (() => unknown)[]): Promise<void> {
  for (let close = closers.pop(); close; close = closers.pop()) await close();
}

/** Reports bytes of the files: those read so far, and at the end also those that the model does not need. */
export function reportTo(onProgress: LoadOptions["onProgress"], dtype: LoadDtype, checkpoint: Checkpoint) {
  const phase = /^(q|experts)/.test(dtype) && !preparedOf(checkpoint) ? "quantise" : "load";
  let totalBytes = 0;
  let lastFile = "";
  for (const { sizeBytes } of checkpoint.tensors.values()) totalBytes += sizeBytes;
  let doneBytes = 0;
  const onRead = (sizeBytes: number, file: string) => {
    doneBytes += sizeBytes;
    lastFile = file;
    onProgress?.({ phase, doneBytes, totalBytes, file });
  };
  return { onRead, end: () => doneBytes < totalBytes && onRead(totalBytes - doneBytes, lastFile) };
}

/** End-of-turn tokens, which some checkpoints leave out of their configs: Jamba 1.5's and ChatML's. */
function turnEnds(tokenizer: Tokenizer | undefined): number[] {
  return ["<|eom|>", "<|im_end|>"].flatMap((token) => tokenizer?.idOf(token) ?? []);
}

/** Directory of the package @jamba/tiny-model. */
async function tinyModel(): Promise<string> {
  const name = "@jamba/tiny-model";
  const reasons: unknown[] = [];
  const [{ createRequire }, { dirname, join }] = await Promise.all([import("node:module"), import("node:path")]);
  // Beside this package, or else beside the program that uses it.
  for (const from of [import.meta.url, join(process.cwd(), "package.json")]) {
    try {
      return dirname(createRequire(from).resolve(`${name}/package.json`));
    } catch (reason) {
      reasons.push(reason);
    }
  }
  throw new LoadError(`tiny: expected the package ${name}, found none; run: npm install ${name}`, { cause: reasons[0] });
}
