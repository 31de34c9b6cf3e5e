// A picture of memory before anything moves: from configs and headers alone.

import {
  type Backend,
  type DeviceInfo,
  type FloatDtype,
  hostRoom,
  JambaError,
  LoadError,
  type Room,
  type StoredDtype,
  type WeightDtype,
} from "@jamba/core";
import { type Checkpoint, type JambaConfig, type ModelTensor, modelSources, parseConfig, type TensorPart } from "@jamba/loader";
import { dtypeFor, expectDtype, expectKvDtype, type LoadDtype } from "../load/device-dtypes.ts";
import { checkLoadOptions, type LoadOptions } from "../load/load-options.ts";
import type { BackendName } from "../load/open-backend.ts";
import { closeAll, expectFastEnough, openDevice } from "../load/open-device.ts";
import { type Prepared, preparedOf, preparedOpener } from "../load/prepared.ts";
import { type ModelSource, openSource } from "../load/source.ts";
import { deviceNeeds, type MemoryNeeds } from "./memory-needs.ts";
import { isTransformer, paperAssumptions, paperNeeds } from "./paper-needs.ts";

export interface PlanOptions extends Omit<LoadOptions, "backend" | "onProgress" | "cache" | "limits"> {
  /** "paper": as papers count, on no device of this package; the only way to look at a plain transformer. */
  backend?: BackendName | "paper" | Backend;
  /** Sequences that are kept at the same time, each with `contextLength` tokens; 1 if not given. */
  batch?: number;
  /** Bytes to fit in; if not given, what this machine has free. */
  memoryBytes?: number;
}

/** Plain data. All sizes in bytes. */
export interface MemoryPlan {
  readonly source: string;
  /** Of the config; what is not "jamba" can be planned and not be run. */
  readonly modelType: string;
  readonly parameters: number;
  /** "paper", or what the weights would be held on. */
  readonly backend: string;
  readonly device?: string;
  readonly dtype: LoadDtype;
  /** Tokens of each sequence. */
  readonly contextLength: number;
  readonly batch: number;
  readonly weights: {
    readonly bytes: number;
    readonly byPart: Readonly<Record<TensorPart, number>>;
    /** Of `bytes`: pages of a prepared file, which are read when they are touched and may be dropped again. */
    readonly mappedBytes: number;
  };
  readonly kv: { readonly bytes: number; readonly bytesPerToken: number; readonly dtype: FloatDtype };
  /** What Mamba layers remember, however long the context. */
  readonly state: { readonly bytes: number; readonly bytesPerSequence: number };
  readonly workspace: { readonly bytes: number };
  readonly totalBytes: number;
  readonly memory: { readonly totalBytes: number; readonly freeBytes: number };
  /** In what is free on the device. */
  readonly fits: boolean;
  /** Tokens: the most that each of `batch` sequences may have and fit, at most what the model was made for; 0 if none fits. */
  readonly largestContext: number;
  /** What the same context takes in every dtype that this device has for this model. */
  readonly dtypes: readonly { readonly dtype: LoadDtype; readonly totalBytes: number; readonly fits: boolean }[];
  readonly assumptions: readonly string[];
}

/** One model on one device, or on paper. */
interface Subject {
  readonly modelType: string;
  readonly backend: string;
  readonly device?: string;
  readonly dtypes: readonly LoadDtype[];
  /** Tokens. */
  readonly contextLength: number;
  readonly longestContext: number;
  readonly mapped: boolean;
  readonly assumptions: readonly string[];
  room(): Promise<KnownRoom>;
  needs(dtype: LoadDtype): Promise<MemoryNeeds>;
}

/**
 * What a model would take here, and whether it fits. Nothing is loaded: configs and headers are read, over http as ranges.
 *
 * @param source what `loadModel` takes, a checkpoint, or what a config.json says
 * @throws what `loadModel` throws for the same source and options
 */
export async function planMemory(
  source: ModelSource | Checkpoint | Readonly<Record<string, unknown>>,
  options: PlanOptions = {},
): Promise<MemoryPlan> {
  const { backend = "auto", batch = 1, memoryBytes, ...rest } = options;
  checkLoadOptions(rest);
  for (const [name, count] of Object.entries({ batch, memoryBytes: memoryBytes ?? 1 }))
    if (!Number.isSafeInteger(count) || count < 1) throw new JambaError("OPTION", `${name}: expected a positive integer, found ${count}`);
  const { dtype = "auto", kvDtype, signal } = options;
  signal?.throwIfAborted();
  const closers: (() => unknown)[] = [];
  try {
    const { name, json, checkpoint } = await open(source, closers, options);
    const subject =
      backend === "paper" || isTransformer(json)
        ? onPaper(json, backend, kvDtype)
        : await onDevice(name, json, checkpoint, { ...options, backend }, closers);
    const contextLength = options.contextLength ?? subject.contextLength;
    if (contextLength > subject.longestContext)
      throw new JambaError("OPTION", `contextLength: expected at most the model's ${subject.longestContext}, found ${contextLength}`);
    const { said, ...memory } = memoryBytes
      ? { totalBytes: memoryBytes, freeBytes: memoryBytes, said: `within ${memoryBytes} bytes` }
      : await subject.room();
    const needs = await subject.needs(dtype);
    const dtypes = [];
    for (const other of subject.dtypes) {
      const totalBytes = totalOf(await subject.needs(other), contextLength, batch);
      dtypes.push({ dtype: other, totalBytes, fits: totalBytes <= memory.freeBytes });
    }
    const totalBytes = totalOf(needs, contextLength, batch);
    const weightBytes = sum(needs.byPart);
    return {
      source: name,
      modelType: subject.modelType,
      parameters: needs.parameters,
      backend: subject.backend,
      device: subject.device,
      dtype,
      contextLength,
      batch,
      weights: { bytes: weightBytes, byPart: needs.byPart, mappedBytes: subject.mapped ? weightBytes : 0 },
      kv: { bytes: needs.kvBytes(contextLength, batch), bytesPerToken: needs.kvBytesPerToken, dtype: needs.kvDtype },
      state: { bytes: needs.stateBytes(batch), bytesPerSequence: needs.stateBytesPerSequence },
      workspace: { bytes: needs.workspaceBytes(contextLength, batch) },
      totalBytes,
      memory,
      fits: totalBytes <= memory.freeBytes,
      largestContext: largestContext(needs, batch, memory.freeBytes, subject.longestContext),
      dtypes: dtypes.sort((a, b) => b.totalBytes - a.totalBytes),
      assumptions: [...subject.assumptions, said],
    };
  } finally {
    await closeAll(closers);
  }
}

interface Opened {
  readonly name: string;
  readonly json: Readonly<Record<string, unknown>>;
  readonly checkpoint?: Checkpoint;
}

async function open(source: Parameters<typeof planMemory>[0], closers: (() => unknown)[], options: PlanOptions): Promise<Opened> {
  const isObject = typeof source === "object" && source !== null && Object.getPrototypeOf(source) === Object.prototype;
  if (isObject && !("tensors" in source)) return { name: "config.json", json: source as Opened["json"] };
  const checkpoint = isObject ? (source as Checkpoint) : await openSource(source as ModelSource, options);
  if (!isObject) closers.push(() => checkpoint.close());
  return { name: checkpoint.name, json: checkpoint.config as Opened["json"], checkpoint };
}

/** @throws JambaError UNSUPPORTED for a device of this package */
function onPaper(json: Opened["json"], backend: PlanOptions["backend"], kvDtype?: FloatDtype): Subject {
  const modelType = String(json?.model_type ?? "jamba");
  if (backend !== "paper" && backend !== "auto")
    throw new JambaError(
      "UNSUPPORTED",
      `config.json: model_type: expected "jamba", found ${JSON.stringify(modelType)}, which is planned on "paper" alone`,
    );
  if (!isTransformer(json)) parseConfig(json);
  const { dtype, said } = storedBy(json);
  return {
    modelType,
    backend: "paper",
    dtypes: ["f32", "bf16", "q8", "q4"],
    contextLength: typeof json.max_position_embeddings === "number" ? json.max_position_embeddings : 262144,
    longestContext: 2 ** 32,
    mapped: false,
    assumptions: [...(modelType === "jamba" ? [] : [`${modelType}: not run by this package`]), said, ...paperAssumptions],
    room: () => known(hostRoom()),
    needs: async (asked) => paperNeeds(json, asked, dtype, kvDtype),
  };
}

async function onDevice(
  name: string,
  json: Opened["json"],
  checkpoint: Checkpoint | undefined,
  { backend: asked, dtype = "auto", kvDtype, threads }: PlanOptions & { backend: BackendName | Backend },
  closers: (() => unknown)[],
): Promise<Subject> {
  const config = parseConfig(json, checkpoint ? `${name}: config.json` : name);
  const prepared = checkpoint && preparedOf(checkpoint);
  const { backend, device } = await openDevice({ backend: asked, threads, dtype, kvDtype, packs: prepared !== undefined }, closers);
  expectFastEnough(config, { backend: asked }, device);
  expectKvDtype(kvDtype, device);
  const { dtypes, dtypeOf, said } = prepared
    ? asPrepared(checkpoint, prepared, backend, dtype)
    : asStored(config, checkpoint ?? storedBy(json), device, dtype);
  return {
    modelType: "jamba",
    backend: device.kind,
    device: device.name,
    dtypes,
    contextLength: config.contextLength,
    longestContext: config.contextLength,
    mapped: prepared !== undefined,
    assumptions: [
      ...(device.passedOver ?? []),
      ...(device.notTried ?? []),
      ...said,
      `weights as ${device.kind} packs them, exact ones (norms, biases, convolution, A, D, routers) in f32`,
      "every sequence full, room for states made some at a time",
      `workspace of the largest step, ${device.chunkTokens} tokens of a prompt or one of each sequence, on ${device.threads} thread${device.threads === 1 ? "" : "s"}`,
      "without the program itself, and without the states that loadModel keeps for later prompts (cache.bytes)",
    ],
    room: () => known(backend.room()),
    needs: (asked) => deviceNeeds(backend, config, dtypeOf(asked), kvDtype),
  };
}

type Weights = Pick<Subject, "dtypes"> & {
  readonly dtypeOf: (asked: LoadDtype) => (tensor: ModelTensor) => WeightDtype;
  readonly said: readonly string[];
};

function asStored(config: JambaConfig, from: Checkpoint | Stored, device: DeviceInfo, dtype: LoadDtype): Weights {
  expectDtype(dtype, device);
  const sources = "tensors" in from ? modelSources(from, config) : undefined;
  const stored = (name: string): StoredDtype => sources?.get(name)?.dtype ?? (from as Stored).dtype;
  const has = (needed: WeightDtype) => device.weightDtypes.includes(needed);
  return {
    dtypes: [
      ...device.weightDtypes.filter((dtype) => dtype !== "q4" || has("q8")),
      ...(config.ffnKinds.includes("moe") && has("q8") ? (["experts-int8"] as const) : []),
    ],
    dtypeOf: (asked) => (tensor) => dtypeFor(tensor.role, asked, stored(tensor.name), device),
    said: "tensors" in from ? [] : [from.said],
  };
}

function asPrepared(checkpoint: Checkpoint, prepared: Prepared, backend: Backend, dtype: LoadDtype): Weights {
  preparedOpener(checkpoint, prepared, backend, dtype, () => undefined); // throws where loading would
  return {
    dtypes: [prepared.dtype],
    dtypeOf: () => (tensor) => {
      const held = prepared.weights.get(tensor.name);
      if (!held) throw new LoadError(`${checkpoint.name}: prepared weights: expected ${tensor.name}, found none; prepare the model again`);
      return held.dtype;
    },
    said: [`prepared as ${prepared.dtype}: pages of the file, read when touched, dropped when memory is short, and counted all the same`],
  };
}

interface Stored {
  readonly dtype: FloatDtype;
  readonly said: string;
}

/** What the weights behind a config are stored in. */
function storedBy(json: Opened["json"]): Stored {
  const key = ["torch_dtype", "dtype"].find((key) => typeof json[key] === "string");
  const dtype = { bfloat16: "bf16", float16: "f16", float32: "f32" }[String(key && json[key])] as FloatDtype | undefined;
  if (dtype) return { dtype, said: `no weights looked at: ${dtype}, as the config's ${key} says` };
  return { dtype: "bf16", said: "no weights looked at: bf16, since the config does not say" };
}

type KnownRoom = Required<Room>;

/** A device that does not tell what it has is planned for without a bound. */
async function known(room: Promise<Room>): Promise<KnownRoom> {
  const { totalBytes = Number.MAX_SAFE_INTEGER, freeBytes = totalBytes, said } = await room;
  return { totalBytes, freeBytes, said };
}

const sum = (byPart: MemoryNeeds["byPart"]) => Object.values(byPart).reduce((a, b) => a + b);

function totalOf(needs: MemoryNeeds, contextLength: number, batch: number): number {
  return sum(needs.byPart) + needs.kvBytes(contextLength, batch) + needs.stateBytes(batch) + needs.workspaceBytes(contextLength, batch);
}

/** By halving: what a longer context takes is never less. */
function largestContext(needs: MemoryNeeds, batch: number, freeBytes: number, longest: number): number {
  let [fits, tooLong] = [0, longest + 1];
  while (tooLong - fits > 1) {
    const middle = Math.floor((fits + tooLong) / 2);
    if (totalOf(needs, middle, batch) <= freeBytes) fits = middle;
    else tooLong = middle;
  }
  return fits;
}
