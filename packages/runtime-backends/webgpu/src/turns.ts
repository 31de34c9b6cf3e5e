// What reaches the queue in the order of the calls, though some of it waits in between.

export class Turns {
  #waiting = 0;
  #last: Promise<unknown> = Promise.resolve();

  /** Begins at once if nobody waits. What comes next begins when the promise of `work` has settled. */
  take<T>(work: () => Promise<T>): Promise<T> {
    const taken = this.#waiting++ === 0 ? work() : this.#last.then(work);
    const leave = () => {
      this.#waiting--;
    };
    this.#last = taken.then(leave, leave);
    return taken;
  }
}
