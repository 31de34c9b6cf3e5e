// A prepared folder: a checkpoint whose tensors are weights as one backend packs them. What the bytes mean is the backend's business.

import {
  type Backend,
  BackendError,
  type DeviceInfo,
  DtypeError,
  type FloatDtype,
  JambaError,
  LoadError,
  type WeightDtype,
} from "@jamba/core";
import type { Checkpoint } from "@jamba/loader";
import { deviceText } from "./open-backend.ts";
import type { LoadDtype, LoadWeightsOptions, TensorFile, WeightOpener } from "./weights.ts";

export const preparedFormat = "jamba-packed";

/** What `PackedSource.offset` must be a multiple of. */
export const alignment = 64;

export const align = (bytes: number) => Math.ceil(bytes / alignment) * alignment;

interface Shaped<D extends string> {
  readonly dtype: D;
  readonly shape: readonly number[];
}

export interface Prepared {
  /** As it was asked for. */
  readonly dtype: LoadDtype;
  /** `PackedWeights.layout` of the backend that packed it. */
  readonly layout: string;
  /** The tensors of the checkpoint that it was made from. */
  readonly tensors: ReadonlyMap<string, Shaped<string>>;
  /** The weights it holds, by the names of their sources. */
  readonly weights: ReadonlyMap<string, Shaped<WeightDtype>>;
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
  const weights = shapes<WeightDtype>(name, "weights", text("weights"));
  for (const weight of new Set([...weights.keys(), ...stored.keys()])) {
    if (!weights.has(weight) || stored.get(weight)?.dtype !== "U8")
      throw damaged(name, `${weight} as packed bytes and in weights, found only one`);
  }
  return { dtype: text("dtype") as LoadDtype, layout: text("layout"), tensors: shapes(name, "tensors", text("tensors")), weights };
}

function shapes<D extends string>(file: string, key: string, json: string): Map<string, Shaped<D>> {
  const isShaped = (v: unknown): v is Shaped<D> => {
    const { dtype, shape } = (v ?? {}) as Partial<Shaped<D>>;
    return typeof dtype === "string" && Array.isArray(shape) && shape.every((length) => Number.isSafeInteger(length) && length >= 0);
  };
  let found: unknown;
  try {
    found = JSON.parse(json);
  } catch (cause) {
    throw damaged(file, `${key} in JSON, found something else`, { cause });
  }
  const entries = Object.entries(found ?? {});
  if (entries.length === 0 || !entries.every(([, value]) => isShaped(value)))
    throw damaged(file, `${key} with dtypes and shapes, found something else`);
  return new Map(entries);
}

function damaged(name: string, expected: string, options?: ErrorOptions): LoadError {
  return new LoadError(`${name}: prepared weights: expected ${expected}; prepare the model again`, options);
}

/**
 * Where `loadWeights` finds a checkpoint's tensors and who opens them: the backend itself or, for a prepared folder,
 * what opens the packed weight of the same name instead of its source.
 *
 * @throws BackendError for a backend that packs no weights, LoadError for another layout, JambaError OPTION for another dtype
 */
export function weightsOf(
  checkpoint: Checkpoint,
  backend: Backend,
  device: DeviceInfo,
  asked: LoadDtype,
  onRead: NonNullable<LoadWeightsOptions["onRead"]>,
): { file: TensorFile; opener: WeightOpener; dtype: LoadDtype } {
  const prepared = preparedOf(checkpoint);
  if (!prepared) return { file: checkpoint, opener: { device, openWeight: (...weight) => backend.openWeight(...weight) }, dtype: asked };
  const { name } = checkpoint;
  const { packed } = backend;
  if (!packed)
    throw new BackendError(
      `${name}: expected a backend that packs weights, found ${deviceText(device)}; load the model that they were made from`,
    );
  if (packed.layout !== prepared.layout)
    throw new LoadError(`${name}: expected weights in the layout ${packed.layout}, found ${prepared.layout}; prepare the model again`);
  if (asked !== "auto" && asked !== prepared.dtype)
    throw new JambaError(
      "OPTION",
      `dtype: expected auto or ${prepared.dtype}, as ${name} was prepared, found ${asked}; prepare the model again for another`,
    );
  return { file: sourceFile(checkpoint, prepared), opener: unpacker(checkpoint, prepared, device, packed, onRead), dtype: prepared.dtype };
}

/** The original checkpoint's tensors, by name and shape only. */
function sourceFile({ name, tensors }: Checkpoint, prepared: Prepared): TensorFile {
  const file = tensors.values().next().value?.file ?? name;
  return {
    name,
    tensors: new Map([...prepared.tensors].map(([tensor, { shape }]) => [tensor, { shape, file }])),
    weight(tensor) {
      const { dtype, shape } = prepared.tensors.get(tensor)!;
      const float = dtype.toLowerCase();
      if (float !== "f32" && float !== "bf16" && float !== "f16")
        throw new DtypeError(`${tensor}: expected F32, BF16 or F16, found ${dtype} in ${name}`);
      return {
        name: tensor,
        dtype: float satisfies FloatDtype,
        shape,
        read: () => Promise.reject(damaged(name, `${tensor} packed, found it missing`)),
      };
    },
  };
}

function unpacker(
  checkpoint: Checkpoint,
  { weights }: Prepared,
  device: DeviceInfo,
  packed: NonNullable<Backend["packed"]>,
  onRead: NonNullable<LoadWeightsOptions["onRead"]>,
): WeightOpener {
  return {
    device,
    async openWeight({ name, shape }, dtype) {
      const [weight, tensor] = [weights.get(name), checkpoint.tensors.get(name)];
      const expected = `${dtype} [${shape.join(", ")}]`;
      const found = weight && `${weight.dtype} [${weight.shape.join(", ")}]`;
      if (!tensor || found !== expected) throw damaged(checkpoint.name, `${name} as ${expected}, found ${found ?? "none"}`);
      const sizeBytes = align(packed.sizeBytes(shape, dtype));
      if (tensor.sizeBytes !== sizeBytes || tensor.offset % alignment !== 0) {
        throw damaged(
          checkpoint.name,
          `${name} with ${sizeBytes} bytes at a multiple of ${alignment}, found ${tensor.sizeBytes} at ${tensor.offset}`,
        );
      }
      const path = checkpoint.pathOf?.(tensor.file);
      if (path === undefined)
        throw new LoadError(`${checkpoint.name}: expected prepared weights in a local directory, found them elsewhere`);
      const opened = await packed.open({ name, dtype, shape, path, offset: tensor.offset });
      onRead(tensor.sizeBytes, tensor.file);
      return opened;
    },
  };
}
