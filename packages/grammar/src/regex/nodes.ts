// Regular expressions as trees: what patterns are read into, rewritten in and written from. Trees share parts and are never changed.

import { everything, normal, type Ranges } from "./code-points.ts";

export type Node =
  | { readonly kind: "set"; readonly ranges: Ranges }
  | { readonly kind: "sequence"; readonly nodes: readonly Node[] }
  | { readonly kind: "choice"; readonly nodes: readonly Node[] }
  | { readonly kind: "repeat"; readonly node: Node; readonly min: number; readonly max: number }
  | { readonly kind: "start" | "end" }
  | { readonly kind: "boundary"; readonly negated: boolean }
  | { readonly kind: "look"; readonly behind: boolean; readonly negated: boolean; readonly node: Node };

/** Why a tree can't be written as a plain one: what of the pattern is in the way. */
export class Unwritable extends Error {}

/** Rounds of a repetition that are written out one by one. */
const maxRounds = 50;

/** Parts that one pattern may be put together from, each as often as it is: some tens of milliseconds. */
const maxWork = 1_000_000;
let work = 0;

/** Within `run`, trees may only grow so much: tests in many places multiply. @throws Unwritable */
export function withinBounds<T>(run: () => T): T {
  work = 0;
  return run();
}

function spend(parts: number): void {
  work += parts + 1;
  if (work > maxWork) throw new Unwritable("too many parts; tests of a place, such as ^ and $, multiply those around them");
}

/** Matches no text at all. */
export const nothing: Node = { kind: "choice", nodes: [] };
/** Matches the text of length 0. */
export const empty: Node = { kind: "sequence", nodes: [] };
export const anyText: Node = { kind: "repeat", node: { kind: "set", ranges: everything }, min: 0, max: Number.POSITIVE_INFINITY };

export function set(ranges: Ranges): Node {
  return ranges.length === 0 ? nothing : { kind: "set", ranges };
}

export function isNothing(node: Node): boolean {
  return node.kind === "choice" && node.nodes.length === 0;
}

export function isEmpty(node: Node): boolean {
  return node.kind === "sequence" && node.nodes.length === 0;
}

export function sequence(nodes: readonly Node[]): Node {
  const flat = nodes.flatMap((node) => (node.kind === "sequence" ? node.nodes : [node]));
  spend(flat.length);
  if (flat.some(isNothing)) return nothing;
  return flat.length === 1 ? flat[0] : { kind: "sequence", nodes: flat };
}

export function choice(nodes: readonly Node[]): Node {
  const flat = nodes.flatMap((node) => (node.kind === "choice" ? node.nodes : [node]));
  spend(flat.length);
  const others = new Set<Node>();
  const ranges: Ranges[] = [];
  let hasEmpty = false;
  for (const node of flat) {
    if (node.kind === "set") ranges.push(node.ranges);
    else if (isEmpty(node)) hasEmpty = true;
    else others.add(node);
  }
  const sets: Node[] = ranges.length > 0 ? [{ kind: "set", ranges: ranges.length === 1 ? ranges[0] : normal(ranges.flat()) }] : [];
  const kept = [...sets, ...others];
  const all: Node = kept.length === 1 ? kept[0] : { kind: "choice", nodes: kept };
  if (!hasEmpty) return all;
  return kept.length === 0 ? empty : repeat(all, 0, 1);
}

export function repeat(node: Node, min: number, max: number): Node {
  if (max === 0 || isEmpty(node)) return empty;
  if (isNothing(node)) return min === 0 ? empty : nothing;
  if (min === 1 && max === 1) return node;
  if (node.kind === "repeat" && min === 0 && max === 1 && node.min <= 1) return repeat(node.node, 0, node.max);
  return { kind: "repeat", node, min, max };
}

/** What matches no character: tests of a place. */
export function isTest(node: Node): boolean {
  return node.kind === "start" || node.kind === "end" || node.kind === "boundary" || node.kind === "look";
}

/** Whether it matches the text of length 0; asked of trees without tests. */
export function isNullable(node: Node): boolean {
  if (node.kind === "sequence") return node.nodes.every(isNullable);
  if (node.kind === "choice") return node.nodes.some(isNullable);
  return node.kind === "repeat" && (node.min === 0 || isNullable(node.node));
}

const emptyParts = new WeakMap<Node, Node>();
const otherParts = new WeakMap<Node, Node>();

/** The part that takes no character, with the tests that it makes. */
export function emptyPart(node: Node): Node {
  if (isTest(node)) return node;
  if (node.kind === "set") return nothing;
  return remembered(emptyParts, node, () => {
    if (node.kind === "sequence") return sequence(node.nodes.map(emptyPart));
    if (node.kind === "choice") return choice(node.nodes.map(emptyPart));
    return node.kind === "repeat" && node.min > 0 ? emptyPart(node.node) : empty;
  });
}

/** Shared parts are looked at once: written out, a tree may be far larger than it is. */
function remembered(known: WeakMap<Node, Node>, node: Node, find: () => Node): Node {
  const before = known.get(node);
  if (before) return before;
  const found = find();
  known.set(node, found);
  return found;
}

/** The part that takes a character or more. */
export function otherPart(node: Node): Node {
  return remembered(otherParts, node, () => findOtherPart(node));
}

function findOtherPart(node: Node): Node {
  if (isTest(node)) return nothing;
  if (node.kind === "choice") return choice(node.nodes.map(otherPart));
  if (node.kind === "sequence") {
    if (isEmpty(node)) return nothing;
    const [first, ...rest] = node.nodes;
    const after = sequence(rest);
    const isSplit = !isNothing(emptyPart(first));
    if (!isSplit) return node;
    return choice([sequence([otherPart(first), after]), sequence([emptyPart(first), otherPart(after)])]);
  }
  if (node.kind !== "repeat") return node;
  const { node: inner, min, max } = node;
  const before = emptyPart(inner);
  if (isNothing(before)) return repeat(inner, Math.max(min, 1), max);
  const once = otherPart(inner);
  if (isEmpty(before)) return repeat(once, 1, max);
  // As many rounds as must be may take nothing and only test: they are written out.
  if (min <= 1) return repeat(once, 1, max);
  if (min > maxRounds) throw new Unwritable(`a group that may only test its place, repeated at least ${min} times`);
  return otherPart(sequence([...Array<Node>(min).fill(inner), repeat(inner, 0, max - min)]));
}
