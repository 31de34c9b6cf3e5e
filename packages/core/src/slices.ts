// Long work on a thread that others wait for: in slices, with a turn for them between.

/** Lets what is due in the event loop happen, promises and messages. */
export function nextTurn(): Promise<void> {
  return new Promise((resolve) => {
    if (typeof setImmediate === "function") setImmediate(resolve);
    else {
      // In a page: setTimeout waits for four milliseconds there.
      const { port1, port2 } = new MessageChannel();
      port1.onmessage = () => {
        port1.close();
        resolve();
      };
      port2.postMessage(undefined);
    }
  });
}

/** Between two looks at the clock, work may take about a millisecond. */
const sliceMs = 8;
/** When the first sliced work of this turn went on: what many works take of a turn counts together, so that all hold the thread no longer than one. */
let begunAt: number | undefined;

/**
 * Runs `work` to its end, and lets others go on whenever this and other sliced work has taken some milliseconds.
 * @param work yields every millisecond or so
 * @throws what `work` throws; the signal's reason, which the work hears of as a generator that is left
 */
export async function inSlices<T>(work: Generator<unknown, T>, signal?: AbortSignal): Promise<T> {
  try {
    for (;;) {
      while (isTurnSpent()) {
        await nextTurn();
        signal?.throwIfAborted();
      }
      const next = work.next();
      if (next.done) return next.value;
    }
  } catch (error) {
    work.return(undefined as T);
    throw error;
  }
}

function isTurnSpent(): boolean {
  const now = performance.now();
  if (begunAt === undefined) {
    begunAt = now;
    // Before whoever waits for the next turn: it was asked for first.
    void nextTurn().then(() => {
      begunAt = undefined;
    });
  }
  return now - begunAt >= sliceMs;
}

/** Runs `work` to its end at once. */
export function atOnce<T>(work: Generator<unknown, T>): T {
  for (;;) {
    const next = work.next();
    if (next.done) return next.value;
  }
}
