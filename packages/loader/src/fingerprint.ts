// Names a model by what it computes with, so that what was kept from one run can tell whether it belongs to another.

import { JambaError, LoadError } from "@jamba/core";
import type { Checkpoint } from "./checkpoint.ts";
import { inParallel } from "./hub/parallel.ts";
import { type JambaConfig, parseConfig } from "./model/config.ts";

const sampleBytes = 4096;
const concurrency = 16;

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

/**
 * SHA-256 of the config, of each tensor's name, dtype and shape, and of up to 4 KiB from each tensor's middle. How the tensors are spread
 * over files and where the files lie does not matter.
 *
 * It tells models apart, and is no proof that their bytes are whole: a change elsewhere in a tensor of more than 4 KiB goes unseen.
 * Costs one small read per tensor.
 *
 * @returns 64 hexadecimal digits
 * @throws what `parseConfig` and `read` throw; JambaError UNSUPPORTED where there is no WebCrypto
 */
export async function fingerprint(checkpoint: Checkpoint, signal?: AbortSignal): Promise<string> {
  const config = parseConfig(checkpoint.config, `${checkpoint.name}: config.json`);
  const tensors = [...checkpoint.tensors.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
  const samples = new Map<string, string>();
  await inParallel(tensors, concurrency, signal, async ({ name, sizeBytes }, signal) => {
    const from = Math.max(0, Math.floor((sizeBytes - sampleBytes) / 2));
    const sample = await checkpoint.read(name, signal, [from, Math.min(sizeBytes, from + sampleBytes)]);
    samples.set(name, hexOf(await sha256(sample)));
  });
  return hashOf({
    config: Object.fromEntries(numerics.map((key) => [key, config[key]])),
    tensors: tensors.map(({ name, dtype, shape }) => [name, dtype, shape, samples.get(name)]),
  });
}

/**
 * SHA-256 of a tokenizer.json, whatever the order of its keys.
 * @param tokenizer `Checkpoint.tokenizer`
 * @returns 64 hexadecimal digits
 */
export function tokenizerFingerprint(tokenizer: unknown): Promise<string> {
  return hashOf(tokenizer);
}

async function hashOf(json: unknown): Promise<string> {
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

/** @throws JambaError UNSUPPORTED where there is no WebCrypto */
export async function sha256(bytes: Uint8Array): Promise<Uint8Array> {
  const { subtle } = globalThis.crypto ?? {};
  if (!subtle)
    throw new JambaError("UNSUPPORTED", "expected WebCrypto, found none; browsers have it on pages from https:// or localhost only");
  return new Uint8Array(await subtle.digest("SHA-256", bytes as Uint8Array<ArrayBuffer>));
}

export function hexOf(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
