// Numbers of options: each is checked once, where it comes in.

import { JambaError } from "jamba";

/** What a number may be; a whole one unless it `isReal`. */
export interface Range {
  readonly least: number;
  readonly most: number;
  readonly isReal?: boolean;
}

/** By the names of options. */
export type Ranges = Readonly<Record<string, Range>>;

/** Milliseconds: node runs a timer that is set for longer at once. */
const longestTimer = 2 ** 31 - 1;

const count = (least: number, most = Number.MAX_SAFE_INTEGER): Range => ({ least, most });

/** Of all options of servers that are numbers. */
export const ranges = {
  port: count(0, 65_535),
  maxBodyBytes: count(256),
  maxBodyBytesInFlight: count(256),
  // With less no answer would come in time.
  requestTimeoutMs: count(100, longestTimer),
  maxQueue: count(1),
  maxTokens: count(1),
  maxChoices: count(1, 1024),
  temperature: { least: 0, most: 100, isReal: true },
  slots: count(1, 1024),
  maxResponseBytes: count(0),
  pingMs: count(1, longestTimer),
  memoryBytes: count(1),
  idleUnloadMs: count(1, longestTimer),
  graceMs: count(0, longestTimer),
} satisfies Ranges;

export function isInRange(found: unknown, { least, most, isReal }: Range): found is number {
  return typeof found === "number" && found >= least && found <= most && (isReal || Number.isSafeInteger(found));
}

export function rangeText({ least, most, isReal }: Range): string {
  return `${isReal ? "a number" : "an integer"} in [${least}, ${most}]`;
}

/** @throws JambaError OPTION for a number that is out of its range; what is not given is in it */
export function expectInRange(options: object, within: Ranges = ranges): void {
  for (const [name, range] of Object.entries(within)) {
    const found: unknown = (options as Record<string, unknown>)[name];
    if (found !== undefined && !isInRange(found, range))
      throw new JambaError(
        "OPTION",
        `${name}: expected ${rangeText(range)}, found ${typeof found === "number" ? found : JSON.stringify(found)}`,
      );
  }
}
