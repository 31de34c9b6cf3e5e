// What a template may take. It is a program that came with a checkpoint: a loop over a loop, or a text that is doubled, would take all
// time or all memory. Counted, not timed, so that the same template and messages end alike on every machine.

import { TokenizerError } from "@jamba/core";

/**
 * In characters that are read or written; a node that is run or an item costs as many as take about as long, and no less than it holds
 * memory. Some seconds and some 100 MB at worst; 60,000 messages under a published template take a quarter.
 */
export const mostSteps = 2 ** 27;
/** Of an entry of a list. */
export const itemSteps = 8;
/** Of a value that is read, written or compared whole, with all that is in it. */
export const valueSteps = 64;

/** Digits of the longest integer, as Python has it for those that become text. */
export const mostDigits = 4300;

/** A template wants more than it may take. */
export class OutOfSteps extends TokenizerError {}

let most = Number.POSITIVE_INFINITY;
let left = Number.POSITIVE_INFINITY;

/** Before the work is done. @throws OutOfSteps where there are not so many left */
export function spend(steps: number): void {
  left -= steps;
  if (left >= 0) return;
  throw new OutOfSteps(
    `chat template: expected at most ${most.toLocaleString("en")} steps, found a template that takes more for these messages; ` +
      "send fewer or shorter ones, or pass another `template`",
  );
}

/** Outside of it nothing is bounded. Rendering is synchronous: a function among the variables that renders again has its own budget. */
export function withSteps<T>(steps: number, run: () => T): T {
  const outer = { most, left };
  most = left = steps;
  try {
    return run();
  } finally {
    ({ most, left } = outer);
  }
}
