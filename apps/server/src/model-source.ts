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

/** Tokens of a call, as far as room for many at the same time goes. */
const usualContext = 4096;

/** @param folder where states go that have no room, unless the model has a folder of its own */
export function lifetimeOf({ source, aliases: _, ...options }: ServedModel, folder: () => Promise<string>): Lifetime<JambaModel> {
  const { cache, limits, onProgress, ...planned } = options;
  let plan: MemoryPlan;
  /** Bytes of states that the model has at least: of a conversation of full length, and what its options ask for. */
  const least = () => Math.max(plan.kv.bytes + plan.state.bytes, (limits?.bytes ?? 0) + (cache?.bytes ?? 0));
  /** Those that it has use for: as much for calls that run together as for what is kept of earlier ones. */
  const most = () => {
    const each = plan.state.bytesPerSequence + Math.min(plan.contextLength, usualContext) * plan.kv.bytesPerToken;
    const running = limits?.bytes ?? (limits?.sequences ?? defaultSequences) * each;
    return Math.max(2 * least(), running + (cache?.bytes ?? running));
  };
  /** Of everything but states. */
  const rest = () => plan.totalBytes - plan.kv.bytes - plan.state.bytes;
  return {
    async needs(budget, signal) {
      const within = { ...planned, memoryBytes: budget, signal };
      plan = await planMemory(source, within);
      if (!plan.fits && options.contextLength === undefined) {
        const contextLength = Math.min(plan.contextLength, Math.max(leastContext, plan.largestContext));
        plan = await planMemory(source, { ...within, contextLength });
      }
      return { bytes: rest() + least(), most: rest() + most(), freeBytes: plan.memory.freeBytes };
    },
    async load(signal, bytes) {
      const states = bytes - rest();
      const running = limits?.bytes ?? Math.max(1, Math.floor(states - (cache?.bytes ?? states / 2)));
      return loadModel(source, {
        ...options,
        contextLength: plan.contextLength,
        cache: { ...cache, dir: cache?.dir ?? (await folder()), bytes: cache?.bytes ?? Math.max(0, states - running) },
        limits: { ...limits, bytes: running },
        signal,
      });
    },
    unload: (model) => model.dispose(),
    takes: memoryOf,
  };
}

/** Calls that `loadModel` lets run together. */
const defaultSequences = 32;

/** Bytes. */
export function memoryOf(model: JambaModel): number {
  const { weightBytes, stateBytes, arenaBytes } = model.memory();
  return weightBytes + stateBytes + arenaBytes;
}
