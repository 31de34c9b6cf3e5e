// Signals that abort others.

/**
 * Aborts `controller` with `signal`, until what is returned is called. A function of its own, so that the listener holds nothing else:
 * node keeps the signals that a Request was made from, and whatever their listeners hold, for ever if that leads to the Request.
 */
export function follow(controller: AbortController, signal: AbortSignal): () => void {
  const abort = () => controller.abort(signal.reason);
  if (signal.aborted) abort();
  signal.addEventListener("abort", abort);
  return () => signal.removeEventListener("abort", abort);
}

/** As `follow`, and aborts with a TimeoutError once `ms` have passed. */
export function followFor(controller: AbortController, signal: AbortSignal | undefined, ms: number): () => void {
  const unfollow = signal && follow(controller, signal);
  const timer = setTimeout(() => controller.abort(new DOMException("timed out", "TimeoutError")), ms);
  return () => {
    clearTimeout(timer);
    unfollow?.();
  };
}
