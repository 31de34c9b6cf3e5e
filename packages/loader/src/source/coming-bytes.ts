// A stretch of a file that is on its way, for all who want something of it.

export class ComingBytes {
  /** Of `bytes`, those that are there. */
  #known: number;
  #isOver = false;
  readonly #waiting = new Set<() => void>();

  /** @param known how many of `bytes` are there already */
  constructor(
    readonly from: number,
    readonly bytes: Uint8Array,
    known: number,
  ) {
    this.#known = known;
  }

  covers(offset: number, length: number): boolean {
    return offset >= this.from && offset + length <= this.from + this.bytes.length;
  }

  /** So many more are there. */
  arrive(count: number): void {
    this.#known += count;
    this.#tell();
  }

  /** No more will come. */
  end(): void {
    this.#isOver = true;
    this.#tell();
  }

  /** @returns whether what `covers` said is there, once that is known */
  async has(offset: number, length: number): Promise<boolean> {
    const needed = offset + length - this.from;
    while (this.#known < needed && !this.#isOver) await new Promise<void>((resolve) => this.#waiting.add(resolve));
    return this.#known >= needed;
  }

  #tell(): void {
    for (const tell of this.#waiting) tell();
    this.#waiting.clear();
  }
}
