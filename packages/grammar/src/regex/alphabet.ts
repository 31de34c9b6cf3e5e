// Characters that a tree treats alike, as one letter each.

import { normal, type Range, type Ranges, words } from "./code-points.ts";
import { type Node, Unwritable } from "./nodes.ts";

export interface Alphabet {
  /** The characters of each letter. */
  readonly letters: readonly Ranges[];
  /** Which letters a set of the tree holds. */
  lettersOf(ranges: Ranges): Uint8Array;
}

const maxLetters = 256;

export function alphabetOf(node: Node): Alphabet {
  const sets = new Set<Ranges>([words]);
  const seen = new Set<Node>();
  const visit = (one: Node) => {
    if (seen.has(one)) return;
    seen.add(one);
    if (one.kind === "set") sets.add(one.ranges);
    else if (one.kind === "sequence" || one.kind === "choice") one.nodes.forEach(visit);
    else if ("node" in one) visit(one.node);
  };
  visit(node);
  const list = [...sets];
  // Where sets begin and end, in order: between two such places all characters are alike.
  const changes = new Map<number, number[]>([
    [0, []],
    [0xd800, []],
    [0xe000, []],
  ]);
  const change = (at: number, which: number) => changes.set(at, [...(changes.get(at) ?? []), which]);
  list.forEach((ranges, which) => {
    for (const [from, to] of ranges) {
      change(from, which);
      change(to + 1, which);
    }
  });
  const places = [...changes.keys()].sort((a, b) => a - b);
  const inside = new Set<number>();
  const bySets = new Map<string, { ranges: Range[]; sets: number[] }>();
  places.forEach((from, i) => {
    for (const which of changes.get(from)!) if (!inside.delete(which)) inside.add(which);
    const to = (places[i + 1] ?? 0x110000) - 1;
    if (from > to || from === 0xd800) return;
    const sorted = [...inside].sort((a, b) => a - b);
    const letter = bySets.get(sorted.join()) ?? { ranges: [], sets: sorted };
    letter.ranges.push([from, to]);
    bySets.set(sorted.join(), letter);
  });
  const letters = [...bySets.values()];
  if (letters.length > maxLetters) throw new Unwritable(`look-around among more than ${maxLetters} kinds of characters`);
  const members = new Map(list.map((ranges, which) => [ranges, Uint8Array.from(letters, ({ sets }) => (sets.includes(which) ? 1 : 0))]));
  return { letters: letters.map(({ ranges }) => normal(ranges)), lettersOf: (ranges) => members.get(ranges)! };
}
