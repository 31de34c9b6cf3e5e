// Byte-pair encoding by ids: of all pairs that model.merges can join, the first by rank and then from the left, until there is none.
// It knows no added tokens, normalizers or pre-tokenizers: the library does those. Its own BPE spells each pair as JSON text and
// each symbol as an object: 1.5 million characters take it seconds, and its merges tens of MB.

import { atOnce } from "@jamba/core";
import { MergeQueue } from "./merge-queue.ts";
import { makePairMap } from "./pair-map.ts";
import { makePieceCache } from "./piece-cache.ts";

export interface BpeRules {
  readonly idOf: ReadonlyMap<string, number>;
  /** Ids of left, right and both in one for each merge, by rank. Of two merges of one pair the last counts. */
  readonly merges: Int32Array;
  readonly unknownId: number | undefined;
  readonly byteFallback: boolean;
  /** Whether neighbouring unknown characters are one token. */
  readonly fuseUnknown: boolean;
  /** Whether a word that is a token stays whole. */
  readonly ignoreMerges: boolean;
}

/** Appends the ids of `words`, of one stretch of text, all of it well-formed. Yields after each bit of work. */
export type Bpe = (words: Iterable<string>, ids: number[]) => Generator<void, void>;

/** Symbols that are worked on in arrays that are kept, with their merges in one heap. */
const maxShort = 4096;
/** Characters, merges or ids between two yields: well below a millisecond. */
const sliceSteps = 8192;
/** Before the first symbol and after the last. A character that is no token is the complement of its code point, below 0 too. */
const edge = -(2 ** 31);

export function makeBpe({ idOf, merges, unknownId, byteFallback, fuseUnknown, ignoreMerges }: BpeRules): Bpe {
  const { ranks, made, joints } = readMerges(idOf, merges);
  const idOfUnit = new Int32Array(2 ** 16).fill(-1);
  for (const [token, id] of idOf) if (token.length === 1) idOfUnit[token.charCodeAt(0)] = id;
  const idOfByte = Array.from({ length: 256 }, (_, byte) => idOf.get(`<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`));
  const utf8 = new TextEncoder();
  const bytes = new Uint8Array(4);
  const cache = makePieceCache();
  const short = atOnce(makeWork(maxShort));

  function* encodeWord(word: string, ids: number[]): Generator<void, void> {
    const whole = ignoreMerges ? idOf.get(word) : undefined;
    if (whole !== undefined) {
      ids.push(whole);
      return;
    }
    let start = 0;
    let hash = 0;
    let before = word.charCodeAt(0);
    for (let end = 1; end <= word.length; end++) {
      if (end % sliceSteps === 0) yield;
      const unit = word.charCodeAt(end);
      hash = (Math.imul(hash, 31) + before) | 0;
      if (end === word.length || !(isLowSurrogate(unit) || joints.get(before, unit) === 0)) {
        if (end - start === 1 && idOfUnit[before] >= 0) ids.push(idOfUnit[before]);
        else if (end - start > maxShort) yield* merge(yield* makeWork(end - start), word, start, end, ids);
        else if (!cache.recall(word, start, end, hash, ids)) {
          const from = ids.length;
          // Too short for a yield: nobody else comes to `short` before its end.
          merge(short, word, start, end, ids).next();
          cache.keep(word, start, end, hash, ids, from);
        }
        start = end;
        hash = 0;
      }
      before = unit;
    }
  }

  /** Appends the ids of units `start` to `end`. */
  function* merge(work: Work, text: string, start: number, end: number, ids: number[]): Generator<void, void> {
    const { symbol, next, prev, rank, queue } = work;
    const long = end - start > maxShort;
    let count = 0;
    for (let at = start; at < end; at++) {
      const codePoint = text.codePointAt(at)!;
      if (codePoint >= idOfUnit.length) at++;
      const id = codePoint < idOfUnit.length ? idOfUnit[codePoint] : (idOf.get(String.fromCodePoint(codePoint)) ?? -1);
      count++;
      symbol[count] = id < 0 ? ~codePoint : id;
      prev[count] = count - 1;
      next[count] = count + 1;
      if (count % sliceSteps === 0) yield;
    }
    next[0] = 1;
    symbol[0] = symbol[count + 1] = edge;
    queue.start(long);
    for (let position = 1; position < count; position++) {
      meet(work, position);
      if (position % sliceSteps === 0) yield;
    }

    for (let taken = 1; queue.take(); taken++) {
      if (taken % sliceSteps === 0) yield;
      const { position } = queue;
      if (rank[position] !== queue.rank) continue;
      const right = next[position];
      symbol[position] = made[queue.rank];
      rank[right] = -1;
      next[position] = next[right];
      prev[next[right]] = position;
      meet(work, prev[position]);
      meet(work, position);
    }

    for (let position = 1, given = 1; position <= count; position = next[position], given++) {
      if (symbol[position] >= 0) ids.push(symbol[position]);
      else pushUnknown(ids, String.fromCodePoint(~symbol[position]));
      if (given % sliceSteps === 0) yield;
    }
  }

  /** Looks at the pair of the symbol at `position` and the next. */
  function meet({ symbol, next, rank, queue }: Work, position: number): void {
    const [left, right] = [symbol[position], symbol[next[position]]];
    rank[position] = left < 0 || right < 0 ? -1 : ranks.get(left, right);
    if (rank[position] >= 0) queue.add(rank[position], position);
  }

  function pushUnknown(ids: number[], char: string): void {
    const { written } = byteFallback ? utf8.encodeInto(char, bytes) : { written: 0 };
    for (let i = 0; i < written; i++) {
      const id = idOfByte[bytes[i]];
      // One byte that is no token makes the whole character unknown.
      if (id === undefined) {
        ids.length -= i;
        break;
      }
      ids.push(id);
      if (i === written - 1) return;
    }
    if (unknownId !== undefined) ids.push(unknownId);
  }

  return function* (words, ids) {
    const from = ids.length;
    for (const word of words) yield* encodeWord(word, ids);
    if (!fuseUnknown || unknownId === undefined) return;
    let kept = from;
    for (let at = from; at < ids.length; at++) {
      if (at % sliceSteps === 0) yield;
      if (ids[at] !== unknownId || kept === from || ids[kept - 1] !== unknownId) ids[kept++] = ids[at];
    }
    ids.length = kept;
  };
}

/** Ranks of the merges by pair, what each makes, and the UTF-16 units at which their parts meet: between any others a text can be cut, as no merge crosses. */
function readMerges(idOf: ReadonlyMap<string, number>, merges: Int32Array) {
  const ranks = makePairMap(merges.length / 3);
  const made = new Int32Array(merges.length / 3);
  const joints = makePairMap(0);
  const tokens: string[] = [];
  for (const [token, id] of idOf) tokens[id] = token;
  for (let rank = 0; rank * 3 < merges.length; rank++) {
    const [left, right] = [merges[rank * 3], merges[rank * 3 + 1]];
    ranks.set(left, right, rank);
    made[rank] = merges[rank * 3 + 2];
    joints.set(tokens[left].charCodeAt(tokens[left].length - 1), tokens[right].charCodeAt(0), 0);
  }
  return { ranks, made, joints };
}

/** Symbols of a text of `length` as a list with an edge at both ends, for each the rank of its merge with the next, -1 for none, and the merges. */
function* makeWork(length: number): Generator<void, Work> {
  const made: Int32Array[] = [];
  for (let i = 0; i < 4; i++) {
    made.push(new Int32Array(length + 2));
    yield;
  }
  const [symbol, next, prev, rank] = made;
  return { symbol, next, prev, rank, queue: new MergeQueue() };
}

interface Work extends Readonly<Record<"symbol" | "next" | "prev" | "rank", Int32Array>> {
  readonly queue: MergeQueue;
}

function isLowSurrogate(unit: number): boolean {
  return (unit & 0xfc00) === 0xdc00;
}
