// The merges that wait, by rank and then from the left. It knows no symbols: what became of a merge's parts is for its user to see.

/** A place in the order is `rank * span + position`; positions are below it, as no engine has texts that long. */
const span = 2 ** 30;

export class MergeQueue {
  /** The merge that `take` took. */
  rank = 0;
  position = 0;
  /** Places, as a binary heap: of merges up to rank `current`; and of position 0 for each later rank that has merges in `later`. */
  readonly #heap: number[] = [];
  readonly #later = new Map<number, number[]>();
  /** Positions of the merges of rank `current` that waited when its turn came, from the left; those before `head` are taken. */
  #line: number[] = [];
  #head = 0;
  #current = 0;

  /** For an empty queue. A heap of all merges of a long text would leave the processor's caches: there each rank is sorted at its turn. */
  start(long: boolean): void {
    this.#current = long ? -1 : Number.POSITIVE_INFINITY;
    this.#line = [];
    this.#head = 0;
  }

  /** @param position from 1 */
  add(rank: number, position: number): void {
    const waiting = rank > this.#current ? this.#later.get(rank) : undefined;
    if (waiting) waiting.push(position);
    else if (rank <= this.#current) push(this.#heap, rank * span + position);
    else {
      this.#later.set(rank, [position]);
      push(this.#heap, rank * span);
    }
  }

  /** Takes the first merge; false if there is none. */
  take(): boolean {
    const inLine = this.#head < this.#line.length ? this.#current * span + this.#line[this.#head] : Number.POSITIVE_INFINITY;
    const place = Math.min(inLine, this.#heap.length > 0 ? this.#heap[0] : Number.POSITIVE_INFINITY);
    if (place === Number.POSITIVE_INFINITY) return false;
    if (place === inLine) this.#head++;
    else pop(this.#heap);
    this.rank = Math.floor(place / span);
    this.position = place - this.rank * span;
    if (this.position > 0) return true;
    this.#current = this.rank;
    this.#line = this.#later.get(this.rank)!;
    if (this.#line.some((position, i) => position < this.#line[i - 1])) this.#line.sort((a, b) => a - b);
    this.#later.delete(this.rank);
    this.#head = 0;
    return this.take();
  }
}

function push(heap: number[], place: number): void {
  let at = heap.length;
  for (let up = (at - 1) >> 1; at > 0 && heap[up] > place; up = (at - 1) >> 1) {
    heap[at] = heap[up];
    at = up;
  }
  heap[at] = place;
}

function pop(heap: number[]): void {
  const place = heap.pop()!;
  const count = heap.length;
  if (count === 0) return;
  let at = 0;
  for (let down = 1; down < count; down = 2 * at + 1) {
    if (down + 1 < count && heap[down + 1] < heap[down]) down++;
    if (heap[down] >= place) break;
    heap[at] = heap[down];
    at = down;
  }
  heap[at] = place;
}
