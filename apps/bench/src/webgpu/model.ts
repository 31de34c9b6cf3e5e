// A whole model with random weights, made where it is measured: nothing is fetched.

import { type Backend, loadModel } from "jamba";
import { blockOf, bytesPerValue } from "../blocks.ts";
import { ggufParts } from "../gguf-parts.ts";
import { configOf, costsOf, type Format, type PresetName } from "../presets.ts";
import { measureModel } from "../wasm/model.ts";
import type { ModelFigure } from "./figures.ts";

export interface ModelWork {
  readonly preset: PresetName;
  readonly format: Format;
  /** Of the prompt, and said after it. */
  readonly tokens: number;
  readonly said: number;
}

export async function measureWhole(backend: Backend, { preset, format, tokens, said }: ModelWork): Promise<ModelFigure[]> {
  const config = configOf(preset);
  const blob = new Blob([...ggufParts(config, format, preset)]);
  const source = [{ name: `${preset}.gguf`, blob }];
  const options = { contextLength: 2 * (tokens + said), formats: "when-used", cache: { bytes: 0 } } as const;
  // What a device warns of stands in the report.
  const model = await loadModel(source, { backend, ...options, onWarning: () => undefined });
  try {
    const { speeds } = await measureModel(model, backend, { model: preset, tokens, said, prompts: 2, seed: 1 });
    const { decodeBytes } = costsOf(config, (spec) => bytesPerValue(blockOf(spec, format)));
    return [
      { what: `${preset} ${format}, a prompt of ${tokens}`, tokensPerSecond: speeds.prefill },
      { what: `${preset} ${format}, after it`, tokensPerSecond: speeds.decode, bytes: decodeBytes(tokens + said / 2) },
    ];
  } finally {
    await model.dispose();
  }
}
