// Terminals beside each other: whether one goes on where another ends.

import type { Alphabet } from "../regex/alphabet.ts";
import { type Node, repeat, Unwritable } from "../regex/nodes.ts";
import { Places } from "../regex/places.ts";

/** Rounds of a repetition that are told apart; more are taken for any number, which only sees more clashes. */
const maxRounds = 8;
const maxStates = 400;
const maxPairs = 4000;
/** All pairs of one grammar: some tens of milliseconds. */
const maxWork = 400_000;

export interface Unit {
  readonly states: readonly State[];
  /** One bit for each byte with which a text of it begins. */
  readonly firstBytes: bigint;
  /** @param follow bytes that may come after a, and after b */
  beside(other: Unit, followA: bigint, followB: bigint): { aGoesOn: boolean; bGoesOn: boolean; same: boolean };
}

export interface State {
  readonly accepts: boolean;
  /** By letter; -1 for none. */
  readonly next: Int32Array;
}

export class Lexers {
  readonly #alphabet: Alphabet;
  readonly #bytes: readonly bigint[];
  #work = 0;

  constructor(alphabet: Alphabet) {
    this.#alphabet = alphabet;
    this.#bytes = alphabet.letters.map((ranges) => {
      let bytes = 0n;
      for (const [from, to] of ranges) for (let byte = leadOf(from); byte <= leadOf(to); byte++) bytes |= 1n << BigInt(byte);
      return bytes;
    });
  }

  /** undefined for one of too many states */
  unit(node: Node): Unit | undefined {
    const states = statesOf(node, this.#alphabet);
    return (
      states && {
        states,
        firstBytes: this.#bytesAfter(states[0]),
        beside: (other, followA, followB) => this.#compare(states, other.states, followA, followB),
      }
    );
  }

  #bytesAfter(state: State): bigint {
    return this.#bytes.reduce((sum, bytes, letter) => (state.next[letter] < 0 ? sum : sum | bytes), 0n);
  }

  #compare(a: readonly State[], b: readonly State[], followA: bigint, followB: bigint) {
    const result = { aGoesOn: false, bGoesOn: false, same: false };
    const seen = new Set([0]);
    const open = [0];
    for (let pair = open.pop(); pair !== undefined; pair = open.pop()) {
      const [left, right] = [a[Math.floor(pair / b.length)], b[pair % b.length]];
      if (pair > 0) {
        if (left.accepts && right.accepts) result.same = true;
        if (left.accepts && (this.#bytesAfter(right) & followA) !== 0n) result.bGoesOn = true;
        if (right.accepts && (this.#bytesAfter(left) & followB) !== 0n) result.aGoesOn = true;
      }
      for (let letter = 0; letter < this.#alphabet.letters.length; letter++) {
        if (left.next[letter] < 0 || right.next[letter] < 0) continue;
        const next = left.next[letter] * b.length + right.next[letter];
        if (seen.has(next)) continue;
        seen.add(next);
        open.push(next);
      }
      if (seen.size > maxPairs || ++this.#work > maxWork) throw new Unwritable("too many terminals");
    }
    return result;
  }
}

/** The first byte of a character in UTF-8. */
function leadOf(code: number): number {
  if (code < 0x80) return code;
  if (code < 0x800) return 0xc0 | (code >> 6);
  return code < 0x10000 ? 0xe0 | (code >> 12) : 0xf0 | (code >> 18);
}

/** Of a tree without tests, a state for each set of places where a match may be. The first is where it begins, and nothing leads back. */
function statesOf(node: Node, alphabet: Alphabet): State[] | undefined {
  const places = new Places();
  const last = places.add();
  const first = places.build(bounded(node), last, alphabet);
  const closed = (open: Iterable<number>): number[] => {
    const all = new Set(open);
    for (const place of all) for (const { to } of places.list[place].edges) all.add(to);
    return [...all].filter((place) => place === last || places.list[place].step).sort((a, b) => a - b);
  };
  const known = new Map<string, number>();
  const sets: number[][] = [];
  const stateOf = (set: number[], key: string): number => {
    const before = known.get(key);
    if (before !== undefined) return before;
    known.set(key, sets.length);
    return sets.push(set) - 1;
  };
  stateOf(closed([first]), "first");
  const states: State[] = [];
  for (let i = 0; i < sets.length; i++) {
    if (i >= maxStates) return undefined;
    const next = new Int32Array(alphabet.letters.length).fill(-1);
    for (let letter = 0; letter < next.length; letter++) {
      const to = sets[i].flatMap((place) => (places.list[place].step?.letters[letter] ? [places.list[place].step!.to] : []));
      if (to.length > 0) {
        const set = closed(to);
        next[letter] = stateOf(set, set.join());
      }
    }
    states.push({ accepts: sets[i].includes(last), next });
  }
  return states;
}

function bounded(node: Node): Node {
  if (node.kind === "sequence" || node.kind === "choice") return { ...node, nodes: node.nodes.map(bounded) };
  if (node.kind !== "repeat") return node;
  const inner = bounded(node.node);
  const isLong = node.max > maxRounds || node.min > maxRounds;
  return isLong ? repeat(inner, Math.min(node.min, 1), Number.POSITIVE_INFINITY) : repeat(inner, node.min, node.max);
}
