// Log lines by pino: one JSON object a line, with a level and a time. Whoever reads them may be slow or gone: nothing waits for that.

import type { Writable } from "node:stream";
import { type DestinationStream, pino } from "pino";

/** Bytes of lines that may wait for who reads them. */
const maxUnread = 2 ** 20;

/**
 * For the option `log`. Lines that there is no room for, or nobody to read, are dropped; the next one that goes out is told how many
 * (`dropped`).
 * @param to where lines go; stderr if not given
 */
export function jsonLog(to: DestinationStream = process.stderr): (line: object) => void {
  const { on } = to as Partial<Writable>;
  let dropped = 0;
  on?.call(to, "error", () => dropped++);
  const write = (line: string): void => {
    try {
      if (((to as Partial<Writable>).writableLength ?? 0) <= maxUnread) return void to.write(line);
    } catch {
      // A file that can't grow.
    }
    dropped++;
  };
  const logger = pino({ base: undefined }, { write });
  return (line) => {
    const { status = 200 } = line as { status?: number };
    const before = dropped;
    const told = before > 0 ? { ...line, dropped: before } : line;
    if (status >= 500) logger.error(told);
    else logger.info(told);
    if (dropped === before) dropped = 0;
  };
}
