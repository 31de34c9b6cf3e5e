// Turns of the event loop for the work of all requests: much of it at a time holds the process little longer than one piece of it does.

import { setImmediate as nextTurn } from "node:timers/promises";

/** Milliseconds of a turn that all pieces may take together; the last one may take longer. */
const turnMs = 8;
/** When the first piece of this turn began. */
let begunAt: number | undefined;

/** Waits for another turn, in which other requests' work has not taken its time yet; in the order of the calls. */
export async function ownTurn(): Promise<void> {
  do await nextTurn();
  while (isTurnSpent());
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
  return now - begunAt >= turnMs;
}
