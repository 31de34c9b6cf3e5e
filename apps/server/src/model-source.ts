// A model that is loaded from its source when it is asked for: what it takes there, and what of it stays when it goes.

import { type JambaModel, type LoadOptions, loadModel, type ModelSource, planMemory } from "jamba";
import type { Lifetime, Needs } from "./models.ts";

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
  const { cache, limits } = options;
  /** Made once: to come back a model needs no look at its source. */
  let shares: Shares | undefined;
  return {
    async needs(memoryBytes, signal) {
      shares ??= await sharesOf(source, options, memoryBytes, signal);
      return shares;
    },
    async load(signal, bytes) {
      const { contextLength, rest } = shares!;
      const states = bytes - rest;
      const running = limits?.bytes ?? Math.max(1, Math.floor(states - (cache?.bytes ?? states / 2)));
      try {
        return await loadModel(source, {
          ...options,
          contextLength,
          cache: { ...cache, dir: cache?.dir ?? (await folder()), bytes: cache?.bytes ?? Math.max(0, states - running) },
          limits: { ...limits, bytes: running },
          signal,
        });
      } catch (error) {
        shares = undefined;
        throw error;
      }
    },
    unload: (model) => model.dispose(),
    takes: memoryOf,
  };
}

interface Shares extends Needs {
  readonly contextLength: number;
  /** Bytes of everything but states. */
  readonly rest: number;
}

async function sharesOf(
  source: ModelSource,
  { cache, limits, onProgress: _, ...options }: LoadOptions,
  memoryBytes: number | undefined,
  signal: AbortSignal,
): Promise<Shares> {
  const within = { ...options, memoryBytes, signal };
  let plan = await planMemory(source, within);
  if (!plan.fits && options.contextLength === undefined)
    plan = await planMemory(source, {
      ...within,
      contextLength: Math.min(plan.contextLength, Math.max(leastContext, plan.largestContext)),
    });
  const { kv, state, totalBytes, memory, contextLength } = plan;
  const rest = totalBytes - kv.bytes - state.bytes;
  // At least a conversation of full length, and what the options ask for.
  const least = Math.max(kv.bytes + state.bytes, (limits?.bytes ?? 0) + (cache?.bytes ?? 0));
  // There is use for as much for calls that run together, and for what is kept of earlier ones.
  const each = state.bytesPerSequence + Math.min(contextLength, usualContext) * kv.bytesPerToken;
  const running = limits?.bytes ?? (limits?.sequences ?? defaultSequences) * each;
  const most = Math.max(2 * least, running + (cache?.bytes ?? running));
  return { bytes: rest + least, most: rest + most, freeBytes: memory.freeBytes, contextLength, rest };
}

/** Calls that `loadModel` lets run together. */
const defaultSequences = 32;

/** Bytes. */
export function memoryOf(model: JambaModel): number {
  const { weightBytes, stateBytes, arenaBytes } = model.memory();
  return weightBytes + stateBytes + arenaBytes;
}
