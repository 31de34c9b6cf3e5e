// Log lines by pino: one JSON object a line, with a level and a time.

import { type DestinationStream, destination, pino } from "pino";

/** For the option `log`. @param to where lines go; stderr if not given */
export function jsonLog(to: DestinationStream = destination(2)): (line: object) => void {
  const logger = pino({ base: undefined }, to);
  return (line) => {
    const { status = 200 } = line as { status?: number };
    if (status >= 500) logger.error(line);
    else logger.info(line);
  };
}
