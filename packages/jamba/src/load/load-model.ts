// From a source to a loaded model: checkpoint, config, backend, weights, tokenizer.

import { type DeviceInfo, JambaError, type WeightDtype } from "@jamba/core";
import { type Checkpoint, type JambaConfig, parseConfig, parseGenerationConfig, type Warn } from "@jamba/loader";
import { loadTokenizer, type Tokenizer } from "@jamba/tokenizer";
import { Engine } from "../engine/engine.ts";
import { Runner } from "../engine/runner.ts";
import { Constraints } from "../format/constraint.ts";
import { JambaModel, type ModelParts } from "../jamba-model.ts";
import { cacheByName, type StateCache } from "../state/cache-by-name.ts";
import { DiskCache } from "../state/disk-cache.ts";
import { FolderIndex } from "../state/folder-index.ts";
import { defaultKvDtype, expectKvDtype } from "./device-dtypes.ts";
import { checkLoadOptions, collectWarnings, type LoadOptions, reportTo } from "./load-options.ts";
import { ModelNames } from "./model-names.ts";
import type { Failed } from "./open-backend.ts";
import { closeAll, expectFastEnough, forPrepared, type Opened, openDevice } from "./open-device.ts";
import { checkpointOpener, loadWeights, withWhatFits } from "./open-weights.ts";
import { type Prepared, preparedOf, preparedOpener } from "./prepared.ts";
import { fetchSource, type ModelSource } from "./source.ts";

/**
 * @throws LoadError for a checkpoint that is missing, damaged or not a Jamba; BackendError and DtypeError when the device can't do what was
 * asked; OUT_OF_MEMORY where there is no room, DEVICE_LOST of a GPU that was asked for by name; JambaError OPTION or UNSUPPORTED for options,
 * and OPTION for what is no source, with an example of each kind; the signal's reason when aborted
 */
export async function loadModel(source: ModelSource, options: LoadOptions = {}): Promise<JambaModel> {
  checkLoadOptions(options);
  const closers: (() => unknown)[] = [];
  const onDevice: (() => unknown)[] = [];
  // Meanwhile: in a page the module is compiled and workers begin while the first files come in.
  const opening = openDevice(options, onDevice);
  opening.catch(() => undefined); // what is wrong with the source is said first
  const checkpoint = await fetchSource(source, options).catch(async (error) => {
    await opening.catch(() => undefined);
    await closeAll(onDevice);
    throw error;
  });
  try {
    const { warnings, warn } = collectWarnings(options.onWarning);
    for (const warning of checkpoint.warnings ?? []) warn(warning);
    const config = parseConfig(checkpoint.config, `${checkpoint.name}: config.json`, warn);
    const generation = parseGenerationConfig(checkpoint.generationConfig, `${checkpoint.name}: generation_config.json`, warn);
    const contextLength = options.contextLength ?? config.contextLength;
    if (contextLength > config.contextLength) {
      throw new JambaError("OPTION", `contextLength: expected at most the model's ${config.contextLength}, found ${contextLength}`);
    }
    const tokenizer = checkpoint.tokenizer === undefined ? undefined : loadTokenizer(checkpoint.tokenizer, checkpoint.tokenizerConfig);
    const stopIds = new Set([...config.eosIds, ...generation.eosIds, ...turnEnds(tokenizer)]);
    const constraints = tokenizer && new Constraints(tokenizer, stopIds);
    closers.push(() => constraints?.dispose());
    if (options.formats !== "when-used") constraints?.prepare();
    const prepared = preparedOf(checkpoint);
    const identity = new ModelNames(checkpoint, prepared, warn);
    closers.push(() => identity.dispose());
    // It would lie beside the weights.
    checkpoint.tokenizer = undefined;
    const states = statesIn(options.cache?.dir, identity);
    states.catch(() => undefined); // told once the weights are there
    const first = prepared ? await forPrepared(await opening, options, onDevice) : await opening;
    const subject = { checkpoint, config, contextLength, stopIds, prepared, identity, states, warn };
    const { defaults } = generation;
    const release = async () => {
      await closeAll(onDevice);
      await closeAll(closers);
    };
    const loaded = await loadOnDevice(subject, first, options, onDevice);
    return new JambaModel({ ...loaded, identity, tokenizer, contextLength, stopIds, constraints, defaults, warnings, release });
  } catch (error) {
    await opening.catch(() => undefined);
    await closeAll(onDevice);
    await closeAll(closers);
    await checkpoint.close();
    throw error;
  }
}

/** What is loaded, and what of it is known whatever it is loaded on. */
interface Subject {
  readonly checkpoint: Checkpoint;
  readonly config: JambaConfig;
  readonly contextLength: number;
  readonly stopIds: ReadonlySet<number>;
  readonly prepared: Prepared | undefined;
  readonly identity: ModelNames;
  readonly states: Promise<States | undefined>;
  readonly warn: Warn;
}

type Loaded = Pick<ModelParts, "runner" | "engine" | "device" | "dtypes">;

/** Devices with memory of their own, which other programs may take, and whose driver may end them. */
const gpus: readonly DeviceInfo["kind"][] = ["webgpu", "cuda"];

/** On the next device where "auto" took a GPU that does not hold the model, or goes meanwhile: then nothing of it is left there. */
async function loadOnDevice(subject: Subject, first: Opened, options: LoadOptions, closers: (() => unknown)[]): Promise<Loaded> {
  const failed: Failed[] = [];
  for (let opened = first; ; ) {
    try {
      return await loadOn(subject, opened, options, closers);
    } catch (cause) {
      const error = await withWhatFits(cause, subject.checkpoint, opened.backend);
      const { kind } = opened.device;
      const isOfGpu = gpus.includes(kind) && error instanceof JambaError && ["OUT_OF_MEMORY", "DEVICE_LOST"].includes(error.code);
      if (!isOfGpu || (options.backend ?? "auto") !== "auto" || options.signal?.aborted) throw error;
      await closeAll(closers);
      failed.push({ backend: kind, reason: error.message });
      opened = await openDevice({ ...options, failed }, closers);
    }
  }
}

async function loadOn(
  { checkpoint, config, contextLength, stopIds, prepared, identity, states, warn }: Subject,
  { backend, device }: Opened,
  options: LoadOptions,
  closers: (() => unknown)[],
): Promise<Loaded> {
  const { dtype = "auto", signal } = options;
  expectFastEnough(config, options, device);
  if (device.passedOver) warn(device.passedOver.join("; "));
  for (const warning of device.warnings ?? []) warn(warning);
  expectKvDtype(options.kvDtype, device);
  const counts = new Map<WeightDtype, number>();
  const progress = reportTo(options.onProgress, dtype, checkpoint);
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
  // Their bytes were read one by one, some by their files' names.
  await checkpoint.expectUnchanged?.();
  progress.end();
  const dtypes = [...counts].sort(([, a], [, b]) => b - a).map(([dtype]) => dtype);
  const kvDtype = options.kvDtype ?? defaultKvDtype(dtypes, device);
  const runner = await Runner.open(backend, config, weights, { contextLength, kvDtype });
  closers.push(() => runner.dispose());
  // While "auto" can still take another device.
  if (gpus.includes(device.kind) && (options.backend ?? "auto") === "auto") {
    await runner.rehearse();
    signal?.throwIfAborted();
  }
  // Reuse is exact: other weights or another device would go on from other numbers.
  const numbers = [...dtypes, device.numerics].join();
  const engine = await openEngine(runner, stopIds, identity, await states, numbers, options);
  closers.push(() => engine.close());
  return { runner, engine, device, dtypes };
}

/** What a device is taken to have that does not tell. */
const unknownBytes = 4 * 2 ** 30;

/** @param numbers what the numbers of a state depend on beside the model */
async function openEngine(
  runner: Runner,
  stopIds: ReadonlySet<number>,
  identity: ModelNames,
  states: States | undefined,
  numbers: string,
  { cache = {}, limits = {} }: Pick<LoadOptions, "cache" | "limits">,
): Promise<Engine> {
  const { totalBytes = unknownBytes, freeBytes = unknownBytes } = await runner.backend.room();
  const { bytes: cacheBytes = totalBytes / 8, dirBytes: bytes = 16 * 2 ** 30, onError } = cache;
  const { sequences = 32, tokens = Number.POSITIVE_INFINITY, bytes: runningBytes = freeBytes / 2 } = limits;
  const { stateSpec: spec, config } = runner;
  const shape = { spec, vocabSize: config.vocabSize };
  const numerics = `${numbers},${spec.kvDtype}`;
  const open = (index: FolderIndex) => (weights: string) =>
    new DiskCache(index, { bytes, model: `${weights},${numerics}`, ...shape, onDamage: onError });
  if (states?.name) await identity.take(states.name);
  const disk = states && namedCache(identity, open(states.folder), onError);
  return new Engine(runner, {
    numerics,
    stopIds,
    cacheBytes,
    disk,
    onDiskError: onError,
    limits: { sequences, tokens, bytes: runningBytes },
  });
}

/** What is looked at beside the load of the weights. */
interface States {
  readonly folder: FolderIndex;
  /** The model's name, where an earlier load left it. */
  readonly name: Awaited<ReturnType<ModelNames["find"]>>;
}

/** @throws LoadError for a folder that can't be used */
async function statesIn(dir: string | undefined, identity: ModelNames): Promise<States | undefined> {
  if (dir === undefined) return undefined;
  const [folder, name] = await Promise.all([FolderIndex.open(dir), identity.find()]);
  return { folder, name };
}

function namedCache(
  identity: ModelNames,
  open: (weights: string) => DiskCache,
  onError: ((error: unknown) => void) | undefined,
): StateCache {
  if (identity.now) return open(identity.now.weights);
  if (!identity.isSoonMade) identity.begin();
  return cacheByName(identity, open, identity.isSoonMade, onError);
}

/** End-of-turn tokens, which some checkpoints leave out of their configs: Jamba 1.5's and ChatML's. */
export function turnEnds(tokenizer: Tokenizer | undefined): number[] {
  return ["<|eom|>", "<|im_end|>"].flatMap((token) => tokenizer?.idOf(token) ?? []);
}
