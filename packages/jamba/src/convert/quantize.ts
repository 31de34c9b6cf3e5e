// `quantize` of the loader, with this machine's backend to encode and, if asked, a text that says where errors count.

import { type Backend, JambaError } from "@jamba/core";
import { parseConfig, type Quantized, type QuantizeOptions, quantize } from "@jamba/loader";
import { expectKnown } from "../answer/known-names.ts";
import { closeAll, expectFastEnough, openDevice } from "../load/open-device.ts";
import { fetchSource, type ModelSource } from "../load/source.ts";
import { type CalibrateOptions, calibrate } from "./calibrate.ts";

export interface QuantizeModelOptions extends CalibrateOptions {
  dtype: QuantizeOptions["dtype"];
  /** A text like those that the model will read: errors are kept small where it makes the model multiply with much. */
  calibrate?: string;
  /** Replace a file that is there. */
  overwrite?: boolean;
}

const known = ["dtype", "calibrate", "overwrite", "backend", "threads", "revision", "cacheDir", "token", "offline", "signal", "onProgress"];

/**
 * Writes `source` as one GGUF file with matrices in fewer bits, which this package and llama.cpp load.
 * @throws what `quantize` of @jamba/loader throws, and with `calibrate` what `loadModel` throws
 */
export async function quantizeModel(source: ModelSource, out: string, options: QuantizeModelOptions): Promise<Quantized> {
  for (const name of Object.keys(options)) expectKnown(name, known);
  const { dtype, calibrate: text, overwrite, ...rest } = options;
  const { signal, onProgress } = rest;
  if (text !== undefined && /^b?f\d/.test(dtype))
    throw new JambaError("OPTION", `calibrate: expected a dtype with blocks, such as q4, found ${dtype}, which has no scales to choose`);
  const closers: (() => unknown)[] = [];
  try {
    const checkpoint = await fetchSource(source, rest);
    closers.push(() => checkpoint.close());
    // Only to calibrate is the model run.
    const config = text === undefined ? undefined : parseConfig(checkpoint.config, `${checkpoint.name}: config.json`);
    const { backend, device } = await openDevice({ ...rest, packs: true }, closers);
    if (config) expectFastEnough(config, rest, device);
    // What the files say wrongly comes with the result.
    const importance = text === undefined ? undefined : () => calibrate(source, text, { ...rest, backend, onWarning: () => undefined });
    return await quantize(checkpoint, out, { dtype, importance, overwrite, signal, onProgress, encode: encoderOf(backend) });
  } finally {
    await closeAll(closers);
  }
}

function encoderOf(backend: Backend): QuantizeOptions["encode"] {
  return backend.encodeBlocks && ((...values) => backend.encodeBlocks!(...values));
}
