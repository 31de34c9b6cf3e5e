// A model that is loaded from its source when it is asked for: what it takes there, and what of it stays when it goes.

import { type JambaModel, type LoadOptions, loadModel, type MemoryPlan, type ModelSource, planMemory } from "jamba";
import type { Lifetime } from "./models.ts";

/** What `loadModel` takes, and more names for clients. */
export interface ServedModel extends Omit<LoadOptions, "signal"> {
  readonly source: ModelSource;
  readonly aliases?: readonly string[];
}

/** By the id that clients use. */
export type ServedModels = Readonly<Record<string, ModelSource | ServedModel>>;

export function servedModel(given: ModelSource | ServedModel): ServedModel {
  return typeof given === "object" && "source" in given ? (given as ServedModel) : { source: given as ModelSource };
}

/** Tokens: where memory is short a conversation may hold less than the model was made for, but no less than this. */
const leastContext = 256;

/** @param folder where states go that have no room, unless the model has a folder of its own */
export function lifetimeOf({ source, aliases: _, ...options }: ServedModel, folder: () => Promise<string>): Lifetime<JambaModel> {
  const { cache, limits } = options;
  let plan: MemoryPlan;
  const statesOf = ({ kv, state }: MemoryPlan) => kv.bytes + state.bytes;
  /** Of what one conversation of full length takes, half is for states that are kept and half for calls that run. */
  const shares = () => {
    const half = Math.max(1, Math.floor(statesOf(plan) / 2));
    return { cache: cache?.bytes ?? half, limits: limits?.bytes ?? half };
  };
  return {
    async needs(budget, signal) {
      const { onProgress: _, cache: __, limits: ___, ...asked } = options;
      const within = { ...asked, memoryBytes: budget, signal };
      plan = await planMemory(source, within);
      if (!plan.fits && options.contextLength === undefined) {
        const contextLength = Math.min(plan.contextLength, Math.max(leastContext, plan.largestContext));
        plan = await planMemory(source, { ...within, contextLength });
      }
      const { cache, limits } = shares();
      return { bytes: plan.totalBytes + Math.max(0, cache + limits - statesOf(plan)), freeBytes: plan.memory.freeBytes };
    },
    async load(signal) {
      const { cache: bytes, limits: runningBytes } = shares();
      return loadModel(source, {
        ...options,
        contextLength: plan.contextLength,
        cache: { ...cache, dir: cache?.dir ?? (await folder()), bytes },
        limits: { ...limits, bytes: runningBytes },
        signal,
      });
    },
    unload: (model) => model.dispose(),
    takes: (model) => memoryOf(model),
  };
}

/** Bytes. */
export function memoryOf(model: JambaModel): number {
  const { weightBytes, stateBytes, arenaBytes } = model.memory();
  return weightBytes + stateBytes + arenaBytes;
}
