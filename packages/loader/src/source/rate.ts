// Servers that send next to nothing, and so would never end.

export const defaultLeastBytesPerSecond = 1024;
/** The longest silence of a server, and the time over which its rate is measured. */
export const defaultIdleMs = 60_000;

/**
 * Hears how many bytes came.
 * @param least bytes a second
 * @param window in milliseconds
 * @returns whether too few came in the last window; asked whenever some come
 */
export function stallMeter(least: number, window: number): (bytes: number) => boolean {
  let [since, sum] = [performance.now(), 0];
  return (bytes) => {
    sum += bytes;
    const tookMs = performance.now() - since;
    if (tookMs < window) return false;
    const isStalled = sum < (least * tookMs) / 1000;
    [since, sum] = [performance.now(), 0];
    return isStalled;
  };
}
