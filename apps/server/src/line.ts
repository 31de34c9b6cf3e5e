// One line for the work of all requests, so that much of it at a time holds the process no longer than one piece does.

import { setImmediate as nextTurn } from "node:timers/promises";

let line: Promise<void> = Promise.resolve();

/** Waits for a turn of the event loop that no other request's work has; in the order of the calls. */
export function ownTurn(): Promise<void> {
  line = line.then(() => nextTurn());
  return line;
}
