// Automata as trees without tests, by taking out one state after another: what led through it is written on the ways around it.

import type { Automaton } from "./automaton.ts";
import { normal, type Ranges } from "./code-points.ts";
import { choice, empty, type Node, nothing, repeat, sequence, set, Unwritable } from "./nodes.ts";

/** Characters, about, of what is written: it may double with each state. */
const maxSize = 200_000;

interface Way {
  readonly node: Node;
  readonly size: number;
}

/** Of each state: the ways out, by where they lead, and where ways come from. */
interface Stop {
  readonly out: Map<number, Way>;
  readonly from: Set<number>;
}

/** @throws Unwritable where the tree would be too large */
export function treeOf(automaton: Automaton, { negated }: { negated: boolean }): Node {
  const { alphabet, start, next, accepts } = minimal(automaton);
  const [first, last] = [next.length, next.length + 1];
  const stops: Stop[] = Array.from({ length: next.length + 2 }, () => ({ out: new Map(), from: new Set() }));
  const join = (from: number, to: number, way: Way) => {
    stops[from].out.set(to, way);
    stops[to].from.add(from);
  };
  next.forEach((row, from) => {
    const ranges = new Map<number, Ranges[]>();
    row.forEach((to, letter) => {
      ranges.set(to, [...(ranges.get(to) ?? []), alphabet.letters[letter]]);
    });
    for (const [to, parts] of ranges) join(from, to, wayOf(set(normal(parts.flat()))));
    if (accepts[from] !== negated) join(from, last, { node: empty, size: 0 });
  });
  join(first, start, { node: empty, size: 0 });
  const left = new Set(next.keys());
  while (left.size > 0) {
    const state = cheapest(left, stops);
    left.delete(state);
    takeOut(state, stops);
  }
  return stops[first].out.get(last)?.node ?? nothing;
}

function wayOf(node: Node): Way {
  return { node, size: node.kind === "set" ? 4 + 12 * Math.min(node.ranges.length, 40) : 0 };
}

/** The state whose ways in and out make the least text together. */
function cheapest(left: ReadonlySet<number>, stops: readonly Stop[]): number {
  let [best, least] = [-1, Number.POSITIVE_INFINITY];
  for (const state of left) {
    const { out, from } = stops[state];
    const round = out.get(state);
    let [inSize, outSize] = [0, 0];
    for (const before of from) if (before !== state) inSize += stops[before].out.get(state)!.size;
    for (const [to, { size }] of out) if (to !== state) outSize += size;
    const [ins, outs] = round ? [from.size - 1, out.size - 1] : [from.size, out.size];
    const cost = inSize * outs + outSize * ins + ((round?.size ?? 0) + 1) * ins * outs;
    if (cost < least) [best, least] = [state, cost];
  }
  return best;
}

function takeOut(state: number, stops: readonly Stop[]): void {
  const { out, from } = stops[state];
  const round = out.get(state);
  const loop = round ? repeat(round.node, 0, Number.POSITIVE_INFINITY) : empty;
  for (const [to] of out) stops[to].from.delete(state);
  for (const before of from) {
    if (before === state) continue;
    const ways = stops[before].out;
    const into = ways.get(state)!;
    ways.delete(state);
    for (const [to, way] of out) {
      if (to === state) continue;
      const around = sequence([into.node, loop, way.node]);
      const old = ways.get(to);
      const size = into.size + (round?.size ?? 0) + way.size + (old?.size ?? 0) + 4;
      if (size > maxSize) throw new Unwritable(`look-around that takes more than ${maxSize} characters to write without it`);
      ways.set(to, { node: old ? choice([old.node, around]) : around, size });
      stops[to].from.add(before);
    }
  }
}

/** With the fewest states, and those left out from which nothing is accepted (or everything, where it is negated, is not). */
function minimal({ alphabet, start, next, accepts }: Automaton): Automaton {
  let group = accepts.map(Number);
  for (let count = new Set(group).size; ; ) {
    const numbers = new Map<string, number>();
    group = next.map((row, state) => {
      const key = `${group[state]}:${row.map((to) => group[to])}`;
      const number = numbers.get(key) ?? numbers.size;
      numbers.set(key, number);
      return number;
    });
    if (numbers.size === count) break;
    count = numbers.size;
  }
  const members = new Map<number, number>();
  group.forEach((number, state) => {
    if (!members.has(number)) members.set(number, state);
  });
  const states = [...members.keys()].sort((a, b) => a - b);
  return {
    alphabet,
    start: group[start],
    next: states.map((number) => next[members.get(number)!].map((to) => group[to])),
    accepts: states.map((number) => accepts[members.get(number)!]),
  };
}
