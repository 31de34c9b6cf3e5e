// Why a prompt had to be read although something like it was read before.

import type { Match } from "./prefix-tree.ts";

/** Sharing fewer tokens is not worth waiting for another call, nor a word. */
export const worthWaiting = 16;

/**
 * @param match what was known of `ids` before they were read
 * @returns undefined where a kept state had read half of them or more
 */
export function missReason(
  ids: readonly number[],
  cachedTokens: number,
  { matched, wasDropped, parts }: Match<unknown>,
  { cacheBytes, stopIds }: { readonly cacheBytes: number; readonly stopIds: ReadonlySet<number> },
): string | undefined {
  if (2 * cachedTokens >= ids.length) return undefined;
  // Before the numbers: what an engine loads to write its first one takes tens of milliseconds, and most first prompts need none.
  if (matched === 0) return "nothing that begins like this was read before";
  const [at, all] = [matched.toLocaleString("en"), ids.length.toLocaleString("en")];
  if (wasDropped && matched - cachedTokens >= worthWaiting)
    return `the first ${at} of ${all} tokens were read before, but their states were dropped to stay within cache.bytes = ${cacheBytes.toLocaleString("en")}`;
  if (matched === ids.length) return `all ${all} token${matched === 1 ? " was" : "s were"} read before, but no state was kept among them`;
  if (!parts) return `only the first ${matched === 1 ? "" : `${at} `}of ${all} tokens ${matched === 1 ? "was" : "were"} read before`;
  const message = 1 + ids.slice(0, matched).filter((id) => stopIds.has(id)).length;
  return `differs from the cached conversation at token ${at} of ${all}, inside message ${message}`;
}
