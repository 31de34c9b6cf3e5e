// A map from pairs of integers to integers, in one typed array: a Map would need a text or a boxed number for each pair.

export interface PairMap {
  /** What was set, from 0; -1 if nothing was. */
  get(left: number, right: number): number;
  set(left: number, right: number, value: number): void;
}

/** Of an entry: left, right, and value + 1 or 0 for an empty place. */
const width = 3;
/** Of the places, at most so many are taken: at this share a search looks at two or three. */
const fullest = 0.75;

/** @param room pairs that it holds without growing */
export function makePairMap(room: number): PairMap {
  let bits = Math.max(4, Math.ceil(Math.log2(room / fullest)));
  let table = new Int32Array(width * 2 ** bits);
  let size = 0;

  /** Where the pair is, or else would be. */
  function find(left: number, right: number): number {
    // The upper bits of a product depend on all bits of its factor.
    let at = (Math.imul(Math.imul(left, 0x9e3779b1) ^ right, 0x85ebca6b) >>> (32 - bits)) * width;
    while (table[at + 2] !== 0 && (table[at] !== left || table[at + 1] !== right)) {
      at += width;
      if (at === table.length) at = 0;
    }
    return at;
  }

  function put(left: number, right: number, stored: number): void {
    const at = find(left, right);
    if (table[at + 2] === 0) size++;
    table[at] = left;
    table[at + 1] = right;
    table[at + 2] = stored;
  }

  return {
    get: (left, right) => table[find(left, right) + 2] - 1,

    set(left, right, value) {
      put(left, right, value + 1);
      if (size * width <= table.length * fullest) return;
      const full = table;
      table = new Int32Array(width * 2 ** ++bits);
      size = 0;
      for (let at = 0; at < full.length; at += width) if (full[at + 2] !== 0) put(full[at], full[at + 1], full[at + 2]);
    },
  };
}
