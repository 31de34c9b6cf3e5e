// What a draw needs of a row of logits: the best of them, and sums over all.

/** Logits that are NaN, +∞ or -∞ are left out of everything here. */
export interface TopRow {
  /** Of the k largest logits, or of all if there are fewer: best first, ties to the lower id (-0 and 0 tie). */
  readonly ids: Int32Array;
  /** Their logits. */
  readonly values: Float32Array;
  /** The largest logit, exact; -∞ if there is none. */
  readonly max: number;
  /** Σ e^(l - max) */
  readonly sumExp: number;
  /** Σ e^(l - max) (max - l) */
  readonly sumGaps: number;
  /** Σ e^((l - max) / T) */
  readonly sumTempered: number;
  /** How many there are, exact. */
  readonly count: number;
}

/**
 * The definition of op `top`, with sums in f64; a device may be off by 1e-6 of each sum.
 *
 * With Z = sumExp, log softmax(l) = l - max - log Z and the entropy is sumGaps / Z + log Z.
 * At T = 0 `sumTempered` is its limit: how many logits equal the largest.
 *
 * logits [vocabSize], left as they are
 */
export function topOf(logits: Float32Array, k: number, temperature: number): TopRow {
  let max = Number.NEGATIVE_INFINITY;
  for (let id = 0; id < logits.length; id++) if (logits[id] > max && logits[id] < Number.POSITIVE_INFINITY) max = logits[id];
  let [sumExp, sumGaps, sumTempered, count] = [0, 0, 0, 0];
  for (let id = 0; id < logits.length; id++) {
    const gap = max - logits[id];
    if (!(gap >= 0 && gap < Number.POSITIVE_INFINITY)) continue; // NaN fails too
    const share = Math.exp(-gap);
    sumExp += share;
    sumGaps += share * gap;
    sumTempered += gap === 0 ? 1 : temperature === 1 ? share : Math.exp(-gap / temperature);
    count++;
  }
  const ids = bestOf(logits, Math.min(k, count));
  return { ids, values: Float32Array.from(ids, (id) => logits[id]), max, sumExp, sumGaps, sumTempered, count };
}

/** The best `k` ids of at least as many finite logits, best first. A heap has the worst of them on top until the end. */
function bestOf(logits: Float32Array, k: number): Int32Array {
  const heap = new Int32Array(k);
  let id = 0;
  for (let size = 0; size < k; id++) if (Number.isFinite(logits[id])) heap[size++] = id;
  for (let at = (k >> 1) - 1; at >= 0; at--) sink(heap, k, at, logits);
  // A later id that ties with the worst is worse still.
  for (let worst = logits[heap[0]]; id < logits.length; id++) {
    if (!(logits[id] > worst) || logits[id] === Number.POSITIVE_INFINITY) continue;
    heap[0] = id;
    sink(heap, k, 0, logits);
    worst = logits[heap[0]];
  }
  for (let end = k - 1; end > 0; end--) {
    [heap[0], heap[end]] = [heap[end], heap[0]];
    sink(heap, end, 0, logits);
  }
  return heap;
}

/** Moves the id at `at` below all that are worse. */
function sink(heap: Int32Array, size: number, at: number, logits: Float32Array): void {
  const id = heap[at];
  for (let child = 2 * at + 1; child < size; child = 2 * at + 1) {
    if (child + 1 < size && isWorse(heap[child + 1], heap[child], logits)) child++;
    if (!isWorse(heap[child], id, logits)) break;
    heap[at] = heap[child];
    at = child;
  }
  heap[at] = id;
}

function isWorse(a: number, b: number, logits: Float32Array): boolean {
  return logits[a] < logits[b] || (logits[a] === logits[b] && a > b);
}
