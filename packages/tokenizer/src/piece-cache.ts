// The ids of short pieces of text that were met lately, in typed arrays: nothing is allocated, and no text kept alive.

/** Places; each belongs to the last piece that had its hash. About 1 MB in all. */
const places = 8192;
/** UTF-16 units and ids of a piece at most. */
const width = 16;

export interface PieceCache {
  /** Appends the ids of units `start` to `end` of `text`; false if they are not known. */
  recall(text: string, start: number, end: number, hash: number, ids: number[]): boolean;
  /** Keeps the ids from `from` on as those of units `start` to `end` of `text`. */
  keep(text: string, start: number, end: number, hash: number, ids: readonly number[], from: number): void;
}

export function makePieceCache(): PieceCache {
  const units = new Uint16Array(places * width);
  const lengths = new Uint8Array(places);
  const ids = new Int32Array(places * width);
  const counts = new Uint8Array(places);
  const placeOf = (hash: number) => Math.imul(hash, 0x9e3779b1) >>> 19;

  return {
    recall(text, start, end, hash, out) {
      const place = placeOf(hash);
      const first = place * width;
      if (lengths[place] !== end - start) return false;
      for (let i = 0; i < end - start; i++) if (units[first + i] !== text.charCodeAt(start + i)) return false;
      for (let i = 0; i < counts[place]; i++) out.push(ids[first + i]);
      return true;
    },

    keep(text, start, end, hash, out, from) {
      if (end - start > width || out.length - from > width) return;
      const place = placeOf(hash);
      const first = place * width;
      lengths[place] = end - start;
      counts[place] = out.length - from;
      for (let i = 0; i < end - start; i++) units[first + i] = text.charCodeAt(start + i);
      for (let i = 0; i < out.length - from; i++) ids[first + i] = out[from + i];
    },
  };
}
