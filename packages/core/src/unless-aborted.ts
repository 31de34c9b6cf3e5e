// Work that a cancel must not wait for.

/** Begins `work` and settles as it does. @throws the signal's reason as soon as it aborts; the work may go on, but nobody hears of it */
export async function unlessAborted<T>(work: () => PromiseLike<T>, signal: AbortSignal | undefined): Promise<T> {
  if (!signal) return work();
  signal.throwIfAborted();
  let cancel!: () => void;
  const cancelled = new Promise<never>((_, reject) => {
    cancel = () => reject(signal.reason);
  });
  signal.addEventListener("abort", cancel);
  try {
    return await Promise.race([work(), cancelled]);
  } finally {
    signal.removeEventListener("abort", cancel);
  }
}
