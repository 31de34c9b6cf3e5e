// The merges that wait, by rank and then from the left. It knows no symbols: what became of a merge's parts is for its user to see.

/** A place in the order is `rank * span + position`; positions are below it, as no engine has texts that long. */
const span = 2 ** 30;

export class MergeQueue {
  /** The merge that `take` took. */
  rank = 0;
  position = 0;
  /** Places, as a binary heap: of merges up to rank `current`; and of position 0 for each later rank that has merges in `later`. */
  readonly #heap: number[] = [];
  readonly #later = new Map<number, Later>();
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
    if (waiting) {
      waiting.isInOrder &&= position >= waiting.positions[waiting.positions.length - 1];
      waiting.positions.push(position);
    } else if (rank <= this.#current) push(this.#heap, rank * span + position);
    else {
      this.#later.set(rank, { positions: [position], isInOrder: true });
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
    const { positions, isInOrder } = this.#later.get(this.rank)!;
    this.#line = isInOrder ? positions : sorted(positions);
    this.#later.delete(this.rank);
    this.#head = 0;
    return this.take();
  }
}

/** Positions that wait for their rank's turn. */
interface Later {
  readonly positions: number[];
  isInOrder: boolean;
}

/** Of many that lie close, a list of marks is sorted by itself, each of them once: a sort of millions holds the thread for long. */
function sorted(positions: readonly number[]): number[] {
  let [first, last] = [positions[0], 0];
  for (const position of positions) {
    if (position < first) first = position;
    if (position > last) last = position;
  }
  if (positions.length * 64 < last - first) return Array.from(Int32Array.from(positions).sort());
  const marks = new Uint8Array(last - first + 1);
  for (const position of positions) marks[position - first] = 1;
  const found: number[] = [];
  for (let at = 0; at < marks.length; at++) if (marks[at] === 1) found.push(first + at);
  return found;
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
