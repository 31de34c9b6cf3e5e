// From a checkpoint's tensors to the model's weights: which dtype each is held in.

import { type Backend, JambaError, type Weight } from "@jamba/core";
import {
  type Checkpoint,
  type JambaConfig,
  type ModelTensor,
  modelSources,
  modelTensors,
  parseConfig,
  type TensorFile,
} from "@jamba/loader";
import { type ModelWeights, placeWeights } from "../model/weights.ts";
import { dtypeFor, expectDtype, type LoadDtype } from "./device-dtypes.ts";
import { openSeveral } from "./open-several.ts";

/** Opens one weight of a model, wherever it comes from. */
export type OpenWeight = (tensor: ModelTensor, signal?: AbortSignal) => Promise<Weight & Disposable>;

export interface LoadWeightsOptions {
  readonly signal?: AbortSignal;
  /** Called with every weight that was opened, in the order of `modelTensors`, so that it can be let go of. */
  readonly keep?: (weight: Weight & Disposable) => void;
}

/** @returns every weight of `config`, opened as `openSeveral` does */
export async function loadWeights(config: JambaConfig, open: OpenWeight, options: LoadWeightsOptions = {}): Promise<ModelWeights> {
  const tensors = modelTensors(config);
  const opened = await openSeveral(tensors, open, options);
  const weights = new Map<string, Weight>(tensors.map(({ name }, i) => [name, opened[i]]));
  return placeWeights(config, (name) => weights.get(name)!);
}

/**
 * Opens weights from a checkpoint's tensors.
 * @throws LoadError when tensors and config disagree, DtypeError when the device lacks what `asked` needs
 */
export function checkpointOpener(
  file: TensorFile,
  config: JambaConfig,
  backend: Pick<Backend, "device" | "openWeight">,
  asked: LoadDtype,
  onRead?: (sizeBytes: number, file: string) => void,
): OpenWeight {
  expectDtype(asked, backend.device);
  const sources = modelSources(file, config, onRead);
  return ({ name, role }, signal) => {
    const source = sources.get(name)!;
    return backend.openWeight(source, dtypeFor(role, asked, source.dtype, backend.device), signal);
  };
}

/**
 * @returns an error of a device without the memory for a model as the same one that names the dtypes that would fit, or what each takes
 * where the device does not tell what it has; others as they are
 */
export async function withWhatFits(cause: unknown, { config: json, tensors }: Checkpoint, backend: Backend): Promise<unknown> {
  if (!(cause instanceof JambaError) || cause.code !== "OUT_OF_MEMORY") return cause;
  const { totalBytes } = await backend.room();
  if (tensors.size === 0) return cause;
  const config = parseConfig(json);
  const gigabytes = (bytes: number) => `${(bytes / 1e9).toFixed(2)} GB`;
  // Weights take the most by far; the context's share is what is left.
  const takes = (["bf16", "q8", "q4"] as const).map((dtype) => {
    const bytes = modelTensors(config)
      .map(({ shape, role }) => backend.weightBytes(shape, dtypeFor(role, dtype, "bf16", backend.device)))
      .reduce((a, b) => a + b, 0);
    return { bytes, text: `${dtype} (${gigabytes(bytes)})` };
  });
  const listed = (some: typeof takes) => some.map(({ text }) => text).join(", ");
  if (totalBytes === undefined) {
    const there = gigabytes(backend.memory().weightBytes);
    return new JambaError("OUT_OF_MEMORY", `${cause.message}; ${there} of weights were there: all of them take ${listed(takes)}`, {
      cause,
    });
  }
  const fitting = takes.filter(({ bytes }) => bytes < 0.9 * totalBytes);
  const hint = fitting.length > 0 ? `weights would fit as ${listed(fitting)}` : "its weights fit in no dtype";
  return new JambaError(
    "OUT_OF_MEMORY",
    `${cause.message}; of the ${gigabytes(totalBytes)} of the ${backend.device.kind} backend: ${hint}`,
    { cause },
  );
}
