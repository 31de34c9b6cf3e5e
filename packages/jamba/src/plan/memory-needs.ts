// What a model takes on a device, before anything of it is there: its backend is asked, nothing is opened.

import { type Backend, type CommandList, type FloatDtype, record, type Weight, type WeightDtype } from "@jamba/core";
import { type JambaConfig, type ModelTensor, modelTensors, type TensorPart } from "@jamba/loader";
import { candidates } from "../engine/evidence.ts";
import { pageTokens } from "../engine/runner.ts";
import { defaultKvDtype } from "../load/device-dtypes.ts";
import { loadWeights } from "../load/open-weights.ts";
import { forward, stateSpec } from "../model/forward.ts";

/** All sizes in bytes. */
export interface MemoryNeeds {
  /** How many numbers the weights are. */
  readonly parameters: number;
  /** Of the weights. */
  readonly byPart: Readonly<Record<TensorPart, number>>;
  readonly kvDtype: FloatDtype;
  readonly kvBytesPerToken: number;
  readonly stateBytesPerSequence: number;
  kvBytes(contextLength: number, batch: number): number;
  stateBytes(batch: number): number;
  /** Of the largest step on the way to `batch` sequences of `contextLength` tokens. */
  workspaceBytes(contextLength: number, batch: number): number;
}

/** @param dtypeOf what each weight is held in */
export async function deviceNeeds(
  backend: Backend,
  config: JambaConfig,
  dtypeOf: (tensor: ModelTensor) => WeightDtype,
  kvDtype?: FloatDtype,
): Promise<MemoryNeeds> {
  const byPart = noBytes();
  const held = new Map<string, Weight>();
  let parameters = 0;
  for (const tensor of modelTensors(config)) {
    const { name, shape, part } = tensor;
    const dtype = dtypeOf(tensor);
    held.set(name, { name, shape, dtype });
    byPart[part] += backend.weightBytes(shape, dtype);
    parameters += countOf(shape);
  }
  const kv = kvDtype ?? defaultKvDtype([...new Set([...held.values()].map(({ dtype }) => dtype))], backend.device);
  const sizes = backend.stateBytes(stateSpec(config, pageTokens, kv));
  const hasKv = config.layerKinds.includes("attention");
  const listOf = await lists(config, held, kv);
  const { chunkTokens, stateStep } = backend.device;
  return {
    parameters,
    byPart,
    kvDtype: kv,
    kvBytesPerToken: hasKv ? sizes.page / pageTokens : 0,
    stateBytesPerSequence: sizes.slot,
    kvBytes: (contextLength, batch) => (hasKv ? sizes.page * wholes(batch * Math.ceil(contextLength / pageTokens), stateStep.pages) : 0),
    stateBytes: (batch) => sizes.slot * wholes(batch, stateStep.slots),
    workspaceBytes(contextLength, batch) {
      // A prompt's chunks and what is left of it, at its end, where attention has most to look at; then a token of each sequence.
      const steps = [{ list: listOf(batch, batch), seen: contextLength - 1 }];
      const longest = Math.min(chunkTokens, contextLength);
      for (let L = longest; L >= 1; L = 2 ** Math.ceil(Math.log2(L) - 1)) steps.push({ list: listOf(L, 1), seen: contextLength - L });
      return backend.workspaceBytes(steps);
    },
  };
}

export const noBytes = (): Record<TensorPart, number> => ({ experts: 0, mamba: 0, attention: 0, mlp: 0, embedding: 0, head: 0 });

export const countOf = (shape: readonly number[]) => shape.reduce((a, b) => a * b, 1);

const wholes = (count: number, unit: number) => Math.ceil(count / unit) * unit;

/** What steps of answers give. */
const asAnswersRead = ({ vocabSize }: JambaConfig) => ({ top: Math.min(candidates, vocabSize), logits: "keep" }) as const;

/** Lists of a step, of one layer of each sort: the room that a layer takes in a step is the next one's after it. */
async function lists(
  config: JambaConfig,
  held: ReadonlyMap<string, Weight>,
  kvDtype: FloatDtype,
): Promise<(L: number, nSequences: number) => CommandList> {
  const sorts = new Map<string, number>();
  for (let layer = 0; layer < config.nLayers; layer++) {
    const at = `model.layers.${layer}.`;
    const dtypes = [...held.values()].filter(({ name }) => name.startsWith(at)).map(({ dtype }) => dtype);
    const sort = [config.layerKinds[layer], config.ffnKinds[layer], ...dtypes].join();
    if (!sorts.has(sort)) sorts.set(sort, layer);
  }
  const layers = [...sorts.values()];
  const small: JambaConfig = {
    ...config,
    nLayers: layers.length,
    layerKinds: layers.map((layer) => config.layerKinds[layer]),
    ffnKinds: layers.map((layer) => config.ffnKinds[layer]),
  };
  const weights = await loadWeights(small, async ({ name }) => ({
    ...held.get(name.replace(/^(model\.layers\.)(\d+)/, (_, at, layer) => `${at}${layers[layer]}`))!,
    [Symbol.dispose]: () => undefined,
  }));
  const spec = stateSpec(small, pageTokens, kvDtype);
  const recorded = new Map<string, CommandList>();
  return (L, nSequences) => {
    const key = `${L},${nSequences}`;
    const list =
      recorded.get(key) ?? record({ L, nSequences, nRows: nSequences }, spec, (ops) => forward(ops, small, weights, asAnswersRead(config)));
    recorded.set(key, list);
    return list;
  };
}
