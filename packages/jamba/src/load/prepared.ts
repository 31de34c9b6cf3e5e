// A prepared folder: a checkpoint whose tensors are weights as one backend packs them. What the bytes mean is the backend's business.

import { type Backend, BackendError, JambaError, LoadError, type PackedSource, type WeightDtype } from "@jamba/core";
import { type Checkpoint, hashOf } from "@jamba/loader";
import { deviceText, type LoadDtype } from "./device-dtypes.ts";
import type { OpenWeight } from "./open-weights.ts";

export const preparedFormat = "jamba-packed";

/** What `PackedSource.offset` must be a multiple of. */
export const alignment = 64;

export const align = (bytes: number) => Math.ceil(bytes / alignment) * alignment;

export interface PreparedWeight {
  readonly dtype: WeightDtype;
  readonly shape: readonly number[];
}

export interface Prepared {
  /** As it was asked for. */
  readonly dtype: LoadDtype;
  /** `PackedWeights.layout` of the backend that packed it. */
  readonly layout: string;
  /** `Fingerprint.sampled` of the checkpoint that it was made from; absent in folders of before there were any. */
  readonly model?: string;
  /** `Fingerprint.model` of the same, and `packedName` of what was made; absent in folders of before these were kept. */
  readonly fingerprint?: string;
  readonly packed?: string;
  /** By the names of `modelTensors`. */
  readonly weights: ReadonlyMap<string, PreparedWeight>;
}

/**
 * What a checkpoint says of itself, if it was prepared.
 * @throws LoadError when that is damaged
 */
export function preparedOf({ name, metadata, tensors: stored }: Pick<Checkpoint, "name" | "metadata" | "tensors">): Prepared | undefined {
  if (metadata?.get("format") !== preparedFormat) return undefined;
  const text = (key: string): string => {
    const found = metadata!.get(key);
    if (found === undefined) throw damaged(name, `${key} in the header's metadata, found none`);
    return found;
  };
  const weights = readWeights(name, text("weights"));
  for (const weight of new Set([...weights.keys(), ...stored.keys()])) {
    if (!weights.has(weight) || stored.get(weight)?.dtype !== "U8")
      throw damaged(name, `${weight} as packed bytes and in weights, found only one`);
  }
  const [model, fingerprint, packed] = ["model", "fingerprint", "packed"].map((key) => metadata.get(key));
  return { dtype: text("dtype") as LoadDtype, layout: text("layout"), model, fingerprint, packed, weights };
}

/**
 * Names packed weights by all that is computed with.
 * @param packed `fingerprint` of the folder as a checkpoint
 */
export function packedName({ layout, weights }: Pick<Prepared, "layout" | "weights">, packed: string): Promise<string> {
  return hashOf({ layout, weights: [...weights].map(([name, { dtype, shape }]) => [name, dtype, shape]), packed });
}

function readWeights(file: string, json: string): Map<string, PreparedWeight> {
  const isWeight = (v: unknown): v is PreparedWeight => {
    const { dtype, shape } = (v ?? {}) as Partial<PreparedWeight>;
    return typeof dtype === "string" && Array.isArray(shape) && shape.every((length) => Number.isSafeInteger(length) && length >= 0);
  };
  let found: unknown;
  try {
    found = JSON.parse(json);
  } catch (cause) {
    throw damaged(file, "weights in JSON, found something else", { cause });
  }
  const entries = Object.entries(found ?? {});
  if (entries.length === 0 || !entries.every(([, value]) => isWeight(value)))
    throw damaged(file, "weights with dtypes and shapes, found something else");
  return new Map(entries);
}

function damaged(name: string, expected: string, options?: ErrorOptions): LoadError {
  return new LoadError(`${name}: prepared weights: expected ${expected}; prepare the model again`, options);
}

/**
 * Opens the weights of a prepared folder as they lie in it.
 * @throws BackendError for a backend that packs no weights, LoadError for another layout, JambaError OPTION for another dtype
 */
export function preparedOpener(
  checkpoint: Checkpoint,
  prepared: Prepared,
  backend: Backend,
  asked: LoadDtype,
  onRead: (sizeBytes: number, file: string) => void,
): OpenWeight {
  const { name } = checkpoint;
  const { packed } = backend;
  if (!packed)
    throw new BackendError(
      `${name}: expected a backend that packs weights, found ${deviceText(backend.device)}; load the model that they were made from`,
    );
  if (packed.layout !== prepared.layout)
    throw new LoadError(`${name}: expected weights in the layout ${packed.layout}, found ${prepared.layout}; prepare the model again`);
  if (asked !== "auto" && asked !== prepared.dtype)
    throw new JambaError(
      "OPTION",
      `dtype: expected auto or ${prepared.dtype}, as ${name} was prepared, found ${asked}; prepare the model again for another`,
    );
  return async ({ name: weight, shape }, signal) => {
    const [held, tensor] = [prepared.weights.get(weight), checkpoint.tensors.get(weight)];
    const expected = `[${shape.join(", ")}]`;
    const found = held && `[${held.shape.join(", ")}]`;
    if (!tensor || !held || found !== expected) throw damaged(name, `${weight} as ${expected}, found ${found ?? "none"}`);
    if (!backend.device.weightDtypes.includes(held.dtype))
      throw damaged(name, `${weight} as one of ${backend.device.weightDtypes.join(", ")}, found ${held.dtype}`);
    const sizeBytes = align(backend.weightBytes(shape, held.dtype));
    if (tensor.sizeBytes !== sizeBytes || tensor.offset % alignment !== 0)
      throw damaged(name, `${weight} with ${sizeBytes} bytes at a multiple of ${alignment}, found ${tensor.sizeBytes} at ${tensor.offset}`);
    const path = checkpoint.pathOf?.(tensor.file);
    const source: PackedSource = {
      name: weight,
      dtype: held.dtype,
      shape,
      read: (from, to, signal) => checkpoint.read(weight, signal, [from, to]),
      file: path === undefined ? undefined : { path, offset: tensor.offset },
    };
    const opened = await packed.open(source, signal);
    onRead(tensor.sizeBytes, tensor.file);
    return opened;
  };
}
