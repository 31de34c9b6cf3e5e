// What `loadModel` takes beside its source, checked.

import { type Backend, type FloatDtype, JambaError } from "@jamba/core";
import type { Checkpoint } from "@jamba/loader";
import { expectKnown } from "../answer/known-names.ts";
import type { LoadDtype } from "./device-dtypes.ts";
import type { BackendName } from "./open-backend.ts";
import { preparedOf } from "./prepared.ts";

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
  /**
   * "ready" (default): what formats and calls of tools need of the vocabulary is read while the model loads, on a thread of its own;
   * "when-used": with the first of them, which waits for it (half a second for 65,536 tokens). It takes 38 MiB.
   */
  formats?: "ready" | "when-used";
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
  /** Hears, once each, what was passed over or taken otherwise than written, and what to do; without it they go to stderr. */
  onWarning?: (warning: string) => void;
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

const known = [
  "backend",
  "dtype",
  "kvDtype",
  "contextLength",
  "threads",
  "cache",
  "limits",
  "formats",
  "revision",
  "cacheDir",
  "token",
  "offline",
  "signal",
  "onProgress",
  "onWarning",
];
const dtypes: readonly LoadDtype[] = ["auto", "f32", "bf16", "f16", "q8", "q4_1", "q4_k", "q4", "experts-int8"];
const kvDtypes: readonly FloatDtype[] = ["f32", "bf16", "f16"];

/** @throws JambaError OPTION or UNSUPPORTED */
export function checkLoadOptions(options: LoadOptions): void {
  if (typeof options !== "object" || options === null)
    throw new JambaError("OPTION", `options: expected an object, found ${JSON.stringify(options) ?? typeof options}`);
  for (const [name, value] of Object.entries(options)) {
    if (value === undefined) continue;
    expectKnown(name, known);
  }
  for (const name of Object.keys(options.cache ?? {}))
    expectKnown(`cache.${name}`, ["cache.bytes", "cache.dir", "cache.dirBytes", "cache.onError"]);
  for (const name of Object.keys(options.limits ?? {}))
    expectKnown(`limits.${name}`, ["limits.sequences", "limits.tokens", "limits.bytes"]);
  const { dtype = "auto", kvDtype = "f32", formats = "ready", contextLength = 1, threads = 1, cache = {}, limits = {} } = options;
  if (!dtypes.includes(dtype))
    throw new JambaError("OPTION", `dtype: expected one of ${dtypes.join(", ")}, found ${JSON.stringify(dtype)}`);
  if (!kvDtypes.includes(kvDtype))
    throw new JambaError("OPTION", `kvDtype: expected one of ${kvDtypes.join(", ")}, found ${JSON.stringify(kvDtype)}`);
  if (formats !== "ready" && formats !== "when-used")
    throw new JambaError("OPTION", `formats: expected "ready" or "when-used", found ${JSON.stringify(formats)}`);
  if (options.onWarning !== undefined && typeof options.onWarning !== "function")
    throw new JambaError("OPTION", `onWarning: expected a function, found ${typeof options.onWarning}`);
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

/** Tells each warning once. @returns `warn`, and the list of what it was told */
// biome-ignore lint/suspicious/noConsole: stderr under Node, and where developers look in a browser
export function collectWarnings(onWarning: NonNullable<LoadOptions["onWarning"]> = console.warn) {
  const warnings: string[] = [];
  const warn = (warning: string): void => {
    if (warnings.includes(warning)) return;
    warnings.push(warning);
    onWarning(warning);
  };
  return { warnings: warnings as readonly string[], warn };
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
