// A cache of states whose model's name is still being made.

import type { DiskCache } from "./disk-cache.ts";
import type { Identity, IdentitySource } from "./identity.ts";

export type StateCache = Pick<DiskCache, "find" | "put">;

/**
 * Until the name is there, what is put waits. What is looked for waits too with `waits`, and else is not found: reading a prompt once
 * more may take less time than reading all weights.
 * @param open called once, with `Identity.weights`
 * @param onError hears why there can't be a name, after which nothing is found
 */
export function cacheByName(
  identity: IdentitySource & { readonly now?: Identity },
  open: (weights: string) => DiskCache,
  waits: boolean,
  onError?: (error: unknown) => void,
): StateCache {
  let opening: Promise<DiskCache> | undefined;
  const opened = () => {
    opening ??= identity.get().then(({ weights }) => open(weights));
    return opening;
  };
  let failed = false;
  const tell = (error: unknown): undefined => {
    if (!failed) onError?.(error);
    failed = true;
  };
  return {
    async find(...args) {
      if (!waits && !identity.now) return undefined;
      const cache = await opened().catch(tell);
      return cache?.find(...args);
    },
    put: async (...args) => (await opened()).put(...args),
  };
}
