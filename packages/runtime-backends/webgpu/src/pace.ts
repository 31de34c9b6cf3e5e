// How long steps are cut: into pieces of some milliseconds, of which two are under way at most, so that a step can be given up in between.

/** What a queue gets at a time. Shorter ones would leave the device without work now and then, longer ones hold up whoever comes next. */
const pieceMs = 20;
/** Pieces of a step at most, and of one that nothing is known of. */
const [mostPieces, firstPieces] = [64, 32];

/** Milliseconds that a unit of work takes, once that is known. */
export interface Rate {
  ms?: number;
}

export class Pace {
  readonly #underWay: Promise<void>[] = [];
  #endedAt = 0;

  /** Whether so much work goes to the queue at once. */
  isShort(work: number, { ms }: Rate): boolean {
    return ms !== undefined && work * ms <= 2 * pieceMs;
  }

  /** Which of `works` a piece that begins at `at` ends before. */
  endOf(works: readonly number[], at: number, { ms }: Rate): number {
    const total = works.reduce((a, b) => a + b, 0);
    const wanted = ms === undefined ? total / firstPieces : Math.max(pieceMs / ms, total / mostPieces);
    let [end, work] = [at, 0];
    while (end < works.length && (end === at || work + works[end] <= wanted)) work += works[end++];
    return end;
  }

  async room(): Promise<void> {
    while (this.#underWay.length >= 2) await this.#underWay[0];
  }

  /** What was submitted and when it ends, which tells the rates how long so much work takes. */
  add(ends: Promise<unknown>, work: number, rates: readonly Rate[]): void {
    const start = performance.now();
    const leave = () => {
      const now = performance.now();
      // It may have waited for what was submitted before.
      const ms = (now - Math.max(start, this.#endedAt)) / work;
      // The ends of several may be told at once.
      if (work > 0) for (const rate of rates) rate.ms = Math.max(ms, (rate.ms ?? 0) / 4);
      this.#endedAt = now;
      this.#underWay.splice(this.#underWay.indexOf(own), 1);
    };
    const own: Promise<void> = ends.then(leave, leave);
    this.#underWay.push(own);
  }
}
