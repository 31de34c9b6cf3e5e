// What a model takes as papers count it: for their tables, and for transformers to compare with, which this package does not run.

import { type FloatDtype, floatBytes, LoadError } from "@jamba/core";
import { modelTensors, parseConfig, type TensorPart } from "@jamba/loader";
import type { LoadDtype } from "../load/device-dtypes.ts";
import { countOf, type MemoryNeeds, noBytes } from "./memory-needs.ts";

type Json = Readonly<Record<string, unknown>>;

/** A model, as far as its size goes. */
interface PaperModel {
  /** How many numbers. */
  readonly parts: Readonly<Record<TensorPart, number>>;
  /** Keys and values of one token. */
  readonly kvValues: number;
  /** Recurrent state, f32. */
  readonly stateBytes: number;
  readonly dModel: number;
  readonly dFf: number;
  readonly nActiveExperts: number;
  readonly vocabSize: number;
  /** Logits are computed for the last token alone. */
  readonly lastLogits: boolean;
}

const transformers = ["llama", "mistral", "mixtral"];

/** Whether a config is one of a plain transformer, which can be planned as papers do and not be run. */
export function isTransformer(json: unknown): json is Json {
  return transformers.includes((json as Json | null)?.model_type as string);
}

/** What `paperNeeds` counts, in words. */
export const paperAssumptions: readonly string[] = [
  "weights without padding or scales: q8 is 1 byte a number, q4 half of one",
  "keys and values in 16 bits",
  "workspace of a whole prompt at once, in 16 bits: gate, up, their product and the result of each expert that a token goes to; and logits in 16 and 32 bits, of every token where a model (other than Jamba) computes them all",
  "also contexts that a model was not trained for",
];

/** @throws LoadError for a config that lacks sizes */
export function paperNeeds(
  json: Json,
  asked: LoadDtype,
  stored: FloatDtype,
  kvDtype: FloatDtype = stored === "f32" ? "bf16" : stored,
): MemoryNeeds {
  const model = isTransformer(json) ? transformer(json) : jamba(json);
  const byPart = noBytes();
  for (const part of Object.keys(byPart) as TensorPart[]) byPart[part] = model.parts[part] * bytesOf(part, asked, stored);
  const kvBytesPerToken = model.kvValues * floatBytes[kvDtype];
  const { dModel, dFf, nActiveExperts, vocabSize, lastLogits } = model;
  const perToken = 2 * nActiveExperts * (3 * dFf + dModel);
  const perLogits = (2 + 4) * vocabSize;
  return {
    parameters: Object.values(model.parts).reduce((a, b) => a + b),
    byPart,
    kvDtype,
    kvBytesPerToken,
    stateBytesPerSequence: model.stateBytes,
    kvBytes: (contextLength, batch) => kvBytesPerToken * contextLength * batch,
    stateBytes: (batch) => model.stateBytes * batch,
    workspaceBytes: (contextLength, batch) => batch * (contextLength * perToken + (lastLogits ? 1 : contextLength) * perLogits),
  };
}

function bytesOf(part: TensorPart, asked: LoadDtype, stored: FloatDtype): number {
  if (asked === "auto") return floatBytes[stored];
  if (asked === "experts-int8") return part === "experts" ? 1 : floatBytes[stored];
  return { f32: 4, bf16: 2, f16: 2, q8: 1, q4_1: 0.5, q4_k: 0.5, q4: 0.5 }[asked];
}

function jamba(json: Json): PaperModel {
  const config = parseConfig(json);
  const parts = noBytes();
  for (const { part, shape } of modelTensors(config)) parts[part] += countOf(shape);
  const count = (kind: string) => config.layerKinds.filter((k) => k === kind).length;
  const { nKvHeads, headDim, dInner, dState, dConv } = config;
  return {
    ...config,
    parts,
    kvValues: 2 * count("attention") * nKvHeads * headDim,
    stateBytes: 4 * count("mamba") * dInner * (dState + dConv - 1),
    lastLogits: true,
  };
}

function transformer(json: Json): PaperModel {
  const read = (key: string, fallback?: number): number => {
    const found = json[key] ?? fallback;
    if (Number.isSafeInteger(found) && (found as number) >= 1) return found as number;
    throw new LoadError(`config.json: ${key}: expected a positive integer, found ${JSON.stringify(found) ?? "nothing"}`);
  };
  const dModel = read("hidden_size");
  const dFf = read("intermediate_size");
  const nLayers = read("num_hidden_layers");
  const nHeads = read("num_attention_heads");
  const kv = read("num_key_value_heads", nHeads) * read("head_dim", dModel / nHeads);
  const nExperts = read("num_local_experts", 1);
  const vocabSize = read("vocab_size");
  const q = nHeads * read("head_dim", dModel / nHeads);
  const perFeedForward = 3 * dModel * dFf * nExperts + dModel;
  return {
    parts: {
      ...noBytes(),
      embedding: vocabSize * dModel,
      attention: nLayers * (2 * dModel * (q + kv) + dModel),
      [nExperts > 1 ? "experts" : "mlp"]: nLayers * (perFeedForward + (nExperts > 1 ? nExperts * dModel : 0)),
      head: dModel + (json.tie_word_embeddings === true ? 0 : vocabSize * dModel),
    },
    kvValues: 2 * nLayers * kv,
    stateBytes: 0,
    dModel,
    dFf,
    vocabSize,
    nActiveExperts: nExperts > 1 ? read("num_experts_per_tok", 2) : 1,
    lastLogits: false,
  };
}
