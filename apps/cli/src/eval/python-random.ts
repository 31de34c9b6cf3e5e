// Random numbers as CPython's `random` draws them, so that a seed picks the examples that lm-evaluation-harness picks.

const [words, middle] = [624, 397];

/** MT19937, seeded as `random.Random(seed)` is with an integer of 32 bits. */
export class PythonRandom {
  readonly #state = new Uint32Array(words);
  #at = words;

  constructor(seed: number) {
    const state = this.#state;
    state[0] = 19_650_218;
    for (let i = 1; i < words; i++) state[i] = Math.imul(1_812_433_253, state[i - 1] ^ (state[i - 1] >>> 30)) + i;
    // init_by_array with one word: its index into the key is always 0.
    let i = 1;
    const next = (factor: number, add: number) => {
      state[i] = (state[i] ^ Math.imul(state[i - 1] ^ (state[i - 1] >>> 30), factor)) + add;
      if (++i < words) return;
      state[0] = state[words - 1];
      i = 1;
    };
    for (let k = 0; k < words; k++) next(1_664_525, seed);
    for (let k = 0; k < words - 1; k++) next(1_566_083_941, -i);
    state[0] = 0x80000000;
  }

  /** @param count 1 to 32 */
  bits(count: number): number {
    if (this.#at === words) this.#twist();
    let word = this.#state[this.#at++];
    word ^= word >>> 11;
    word ^= (word << 7) & 0x9d2c5680;
    word ^= (word << 15) & 0xefc60000;
    return (word ^ (word >>> 18)) >>> (32 - count);
  }

  #twist(): void {
    const state = this.#state;
    for (let i = 0; i < words; i++) {
      const mixed = (state[i] & 0x80000000) | (state[(i + 1) % words] & 0x7fffffff);
      state[i] = state[(i + middle) % words] ^ (mixed >>> 1) ^ (mixed & 1 ? 0x9908b0df : 0);
    }
    this.#at = 0;
  }

  /** An integer from 0, less than `limit`. */
  below(limit: number): number {
    const count = 32 - Math.clz32(limit);
    let found = this.bits(count);
    while (found >= limit) found = this.bits(count);
    return found;
  }

  choice<T>(list: ArrayLike<T>): T {
    return list[this.below(list.length)];
  }

  /** `count` different members, in random order. */
  sample<T>(list: readonly T[], count: number): T[] {
    const size = list.length;
    if (count > size) throw new RangeError(`sample: expected at most ${size} of ${size}, found ${count}`);
    // Python takes whichever of a pool and a set is smaller, and the two draw differently.
    const setSize = 21 + (count > 5 ? 4 ** Math.ceil(Math.log(count * 3) / Math.log(4)) : 0);
    if (size <= setSize) {
      const pool = [...list];
      return Array.from({ length: count }, (_, i) => {
        const at = this.below(size - i);
        const found = pool[at];
        pool[at] = pool[size - i - 1];
        return found;
      });
    }
    const taken = new Set<number>();
    while (taken.size < count) taken.add(this.below(size));
    return [...taken].map((at) => list[at]);
  }

  /** In place. */
  shuffle<T>(list: T[]): T[] {
    for (let i = list.length - 1; i > 0; i--) {
      const at = this.below(i + 1);
      [list[i], list[at]] = [list[at], list[i]];
    }
    return list;
  }
}
