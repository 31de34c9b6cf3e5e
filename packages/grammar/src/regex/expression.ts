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

/** @throws Unwritable where the tree would be too large */
export function treeOf(automaton: Automaton, { negated }: { negated: boolean }): Node {
  const { alphabet, start, next, accepts } = minimal(automaton);
  const [first, last] = [next.length, next.length + 1];
  const ways: Map<number, Way>[] = Array.from({ length: next.length + 2 }, () => new Map());
  next.forEach((row, from) => {
    const ranges = new Map<number, Ranges[]>();
    row.forEach((to, letter) => {
      ranges.set(to, [...(ranges.get(to) ?? []), alphabet.letters[letter]]);
    });
    for (const [to, parts] of ranges) ways[from].set(to, wayOf(set(normal(parts.flat()))));
    if (accepts[from] !== negated) ways[from].set(last, { node: empty, size: 0 });
  });
  ways[first].set(start, { node: empty, size: 0 });
  const left = new Set(next.keys());
  while (left.size > 0) {
    const state = cheapest(left, ways);
    left.delete(state);
    takeOut(state, ways);
  }
  return ways[first].get(last)?.node ?? nothing;
}

function wayOf(node: Node): Way {
  return { node, size: node.kind === "set" ? 4 + 12 * Math.min(node.ranges.length, 40) : 0 };
}

/** The state whose ways in and out make the least text together. */
function cheapest(left: ReadonlySet<number>, ways: readonly Map<number, Way>[]): number {
  let [best, least] = [-1, Number.POSITIVE_INFINITY];
  for (const state of left) {
    let [inSize, ins, outSize, outs] = [0, 0, 0, 0];
    for (const [from, out] of ways.entries()) {
      const way = from === state ? undefined : out.get(state);
      if (way) [inSize, ins] = [inSize + way.size, ins + 1];
    }
    for (const [to, { size }] of ways[state]) if (to !== state) [outSize, outs] = [outSize + size, outs + 1];
    const cost = inSize * outs + outSize * ins + (ways[state].get(state)?.size ?? 0) * ins * outs + ins * outs;
    if (cost < least) [best, least] = [state, cost];
  }
  return best;
}

function takeOut(state: number, ways: readonly Map<number, Way>[]): void {
  const round = ways[state].get(state);
  const loop = round ? repeat(round.node, 0, Number.POSITIVE_INFINITY) : empty;
  for (const [from, out] of ways.entries()) {
    const into = out.get(state);
    if (!into || from === state) continue;
    out.delete(state);
    for (const [to, way] of ways[state]) {
      if (to === state) continue;
      const around = sequence([into.node, loop, way.node]);
      const before = out.get(to);
      const size = into.size + (round?.size ?? 0) + way.size + (before?.size ?? 0) + 4;
      if (size > maxSize) throw new Unwritable(`look-around that takes more than ${maxSize} characters to write without it`);
      out.set(to, { node: before ? choice([before.node, around]) : around, size });
    }
  }
  ways[state].clear();
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
