// Names a model by what it computes with, so that what was kept from one run can tell whether it belongs to another.

import { LoadError } from "@jamba/core";
import type { Checkpoint } from "./checkpoint.ts";
import { findKept, keepFingerprint, mayKeep } from "./kept-fingerprint.ts";
import { type JambaConfig, parseConfig } from "./model/config.ts";
import type { Warn } from "./source/untrusted.ts";
import { hexOf, sha256, TensorDigests } from "./tensor-digests.ts";

/**
 * Named here, so that a field which JambaConfig gets later renames no model. What is left out changes no logits (ids of special tokens,
 * the context length), or shows in the tensors' shapes.
 */
const numerics = [
  "nHeads",
  "nKvHeads",
  "headDim",
  "nActiveExperts",
  "dtRank",
  "rmsNormEps",
  "tiedEmbeddings",
  "layerKinds",
  "ffnKinds",
] as const satisfies readonly (keyof JambaConfig)[];

export interface Fingerprint {
  /** 64 hexadecimal digits. */
  readonly model: string;
  /** What earlier versions named the same model by: only up to 4 KiB of each tensor's middle are part of it. */
  readonly sampled: string;
}

export interface FingerprintOptions {
  readonly signal?: AbortSignal;
  /** Called between two reads, with the milliseconds that the last one and its hash took: who has other things to do lets them wait. */
  readonly pause?: (tookMs: number) => Promise<void> | undefined;
  /** Hears why a fingerprint can't be kept beside the files. */
  readonly warn?: Warn;
  /** Of weights whose fingerprint is kept: that of smaller ones is soon made again. 64 MiB if not given. */
  readonly keepFromBytes?: number;
}

/** Reads, each with its hash, at the same time while nobody asks for pauses. */
const concurrency = 4;

/**
 * SHA-256 of the config, of each tensor's name, dtype and shape, and of all its bytes. How the tensors are spread over files and where
 * the files lie does not matter.
 *
 * Reads all weights, but for those that passed by while a URL was read, and keeps the result beside local files: `keptFingerprint`.
 *
 * @returns 64 hexadecimal digits
 * @throws what `parseConfig` and `read` throw; LoadError for a file that is not what was opened any more; JambaError UNSUPPORTED where
 * there is no WebCrypto
 */
export async function fingerprint(checkpoint: Checkpoint, options: FingerprintOptions = {}): Promise<string> {
  return (await fingerprintsOf(checkpoint, options)).model;
}

/** The same, with the name of before. */
export async function fingerprintsOf(checkpoint: Checkpoint, options: FingerprintOptions = {}): Promise<Fingerprint> {
  const kept = await keptFingerprint(checkpoint, options);
  if (kept) return kept;
  const { signal } = options;
  const about = aboutOf(checkpoint);
  const tensors = [...checkpoint.tensors.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
  const digests = checkpoint.digests ?? new TensorDigests(tensors);
  await readMissing(checkpoint, digests, options);
  // Between the load and now they could be written to.
  await checkpoint.expectUnchanged?.({ mayBeReplaced: true });
  signal?.throwIfAborted();
  const found = await digests.results();
  const of = (part: "all" | "sample") =>
    hashOf({ config: about, tensors: tensors.map(({ name, dtype, shape }) => [name, dtype, shape, found.get(name)![part]]) });
  const result = { model: await of("all"), sampled: await of("sample") };
  void keepFingerprint(checkpoint, await hashOf(placesOf(checkpoint)), result, options);
  return result;
}

/** What an earlier call left beside the files, if they are what they were then: costs no read of weights. */
export async function keptFingerprint(checkpoint: Checkpoint, options: FingerprintOptions = {}): Promise<Fingerprint | undefined> {
  if (!mayKeep(checkpoint, options)) return undefined;
  return findKept(checkpoint, await hashOf(placesOf(checkpoint)));
}

function aboutOf(checkpoint: Checkpoint): Record<string, unknown> {
  const config = parseConfig(checkpoint.config, `${checkpoint.name}: config.json`);
  return Object.fromEntries(numerics.map((key) => [key, config[key]]));
}

/** What a fingerprint follows from beside the files of the weights themselves: the config, and an index may name other tensors of them. */
function placesOf(checkpoint: Checkpoint): unknown {
  const tensors = [...checkpoint.tensors.values()].map(({ name, dtype, shape, file, offset }) => [name, dtype, shape, file, offset]);
  return { config: aboutOf(checkpoint), tensors };
}

async function readMissing(checkpoint: Checkpoint, digests: TensorDigests, { signal, pause }: FingerprintOptions): Promise<void> {
  const pieces = digests.missing();
  const others: Promise<void>[] = [];
  const readOn = async (): Promise<void> => {
    for (let next = pieces.next(); !next.done; next = pieces.next()) {
      signal?.throwIfAborted();
      const { name, begin, end } = next.value;
      const start = performance.now();
      const bytes = await checkpoint.read(name, signal, [begin, end]);
      if (bytes.length !== end - begin)
        throw new LoadError(`${name}: expected ${end - begin} bytes at ${begin}, as asked for, found ${bytes.length}`);
      if (checkpoint.digests === undefined) await digests.add(name, begin, bytes);
      const paused = pause?.(performance.now() - start);
      if (paused) await paused;
      else if (others.length < concurrency - 1) {
        others.push(readOn());
        others.at(-1)!.catch(() => undefined); // heard of below
      }
    }
  };
  await readOn();
  for (const other of others) await other;
}

/**
 * SHA-256 of a tokenizer.json, whatever the order of its keys.
 * @param tokenizer `Checkpoint.tokenizer`
 * @returns 64 hexadecimal digits
 */
export function tokenizerFingerprint(tokenizer: unknown): Promise<string> {
  return hashOf(tokenizer);
}

/** SHA-256 of JSON, whatever the order of its keys. @returns 64 hexadecimal digits */
export async function hashOf(json: unknown): Promise<string> {
  let text: string;
  try {
    text = JSON.stringify(inOrder(json));
  } catch (cause) {
    throw new LoadError("fingerprint: expected JSON, found what can't be written as such; is it nested too deeply?", { cause });
  }
  return hexOf(await sha256(new TextEncoder().encode(text)));
}

/** The same value with the keys of each object in order. A replacer for JSON.stringify would be asked for each of a tokenizer's 400,000 values. */
function inOrder(value: unknown): unknown {
  if (typeof value !== "object" || value === null) return value;
  if (Array.isArray(value)) return value.some((item) => typeof item === "object") ? value.map(inOrder) : value;
  const record = value as Record<string, unknown>;
  return Object.fromEntries(
    Object.keys(record)
      .sort()
      .map((key) => [key, inOrder(record[key])]),
  );
}
