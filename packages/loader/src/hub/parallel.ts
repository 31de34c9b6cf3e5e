// Some of many at a time. The first failure stops the others, and is thrown when all have stopped.

export async function inParallel<T>(
  items: readonly T[],
  limit: number,
  outer: AbortSignal | undefined,
  run: (item: T, signal: AbortSignal) => Promise<void>,
): Promise<void> {
  const controller = new AbortController();
  const onAbort = () => controller.abort(outer!.reason);
  outer?.throwIfAborted();
  outer?.addEventListener("abort", onAbort);
  const queue = items.values();
  let failure: { readonly error: unknown } | undefined;
  const worker = async () => {
    for (const item of queue) {
      if (controller.signal.aborted) return;
      try {
        await run(item, controller.signal);
      } catch (error) {
        failure ??= { error };
        controller.abort(error);
      }
    }
  };
  try {
    await Promise.all(Array.from({ length: Math.min(limit, items.length) }, worker));
  } finally {
    outer?.removeEventListener("abort", onAbort);
  }
  outer?.throwIfAborted();
  if (failure) throw failure.error;
}
