// Where in a prompt states are kept. Deals in ids, knows no text.

/**
 * Distances from the end of a prompt at which states are kept are this and its products with 4, 16, …: at most four times as much is read
 * as had to be. More of them would cut a cold prompt into pieces that are slower to read.
 */
const leastDistance = 128;

/** Where in `ids`, after `from`: where the prompt parts from an earlier one, at message ends, at growing distances from the end. */
export function bordersOf(
  ids: readonly number[],
  { from, parts, stopIds }: { readonly from: number; readonly parts: number; readonly stopIds: ReadonlySet<number> },
): number[] {
  const borders = new Set([parts]);
  for (let i = from; i < ids.length; i++) if (stopIds.has(ids[i])) borders.add(i + 1);
  for (let distance = leastDistance; ids.length - distance >= from + leastDistance; distance *= 4) borders.add(ids.length - distance);
  return [...borders].filter((at) => at > from && at < ids.length);
}
