// Ctrl-C: the first one asks the command to stop, the second one does not ask.

import { Interrupted, OutputClosed } from "./errors.ts";
import type { Io } from "./io.ts";

export interface Interrupts {
  /** Aborted by the first Ctrl-C, or when nobody reads stdout any more. */
  readonly signal: AbortSignal;
  /** Gives Ctrl-C to `handler` instead, until the returned function is called. */
  divert(handler: () => void): () => void;
  release(): void;
}

export function openInterrupts(io: Io): Interrupts {
  const controller = new AbortController();
  let diverted: (() => void) | undefined;
  const stop = io.onInterrupt(() => {
    if (diverted) diverted();
    else if (controller.signal.aborted) io.exit(130);
    else controller.abort(new Interrupted("interrupted"));
  });
  const onError = (error: NodeJS.ErrnoException) => {
    const left = error.code === "EPIPE" || error.code === "ERR_STREAM_DESTROYED";
    controller.abort(left ? new OutputClosed("stdout was closed") : error);
  };
  // Where errors would be told is gone as well.
  const ignore = () => undefined;
  io.stdout.on("error", onError);
  io.stderr.on("error", ignore);
  return {
    signal: controller.signal,
    divert(handler) {
      diverted = handler;
      return () => {
        diverted = undefined;
      };
    },
    release: stop,
  };
}
