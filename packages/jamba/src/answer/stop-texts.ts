// Finds stop texts in a stream, across any borders of its pieces, and never lets a part of one out.

export class StopTexts {
  readonly #stops: readonly string[];
  #held = "";
  /** The stop text that was met, the one that begins first. */
  found: string | undefined;

  constructor(stops: readonly string[]) {
    this.#stops = stops;
  }

  /** What of the text so far can be shown. */
  push(piece: string): string {
    if (this.found !== undefined) return "";
    this.#held += piece;
    let end = this.#held.length;
    for (const stop of this.#stops) {
      const at = this.#held.indexOf(stop);
      if (at >= 0 && at < end) {
        end = at;
        this.found = stop;
      }
    }
    if (this.found === undefined) end -= Math.max(0, ...this.#stops.map((stop) => overlap(this.#held, stop)));
    const shown = this.#held.slice(0, end);
    this.#held = this.#held.slice(end);
    return shown;
  }

  /** The rest, when no more will come: it only looked like the start of a stop text. */
  end(): string {
    const rest = this.found === undefined ? this.#held : "";
    this.#held = "";
    return rest;
  }
}

/** Length of the longest end of `text` that begins `stop`. */
function overlap(text: string, stop: string): number {
  for (let n = Math.min(text.length, stop.length - 1); n > 0; n--) if (text.endsWith(stop.slice(0, n))) return n;
  return 0;
}
