// ^ and $ wherever they stand, resolved: a tree becomes one that matches the same texts without them.

import { choice, empty, emptyPart, isEmpty, isNothing, type Node, nothing, otherPart, repeat, sequence } from "./nodes.ts";

/** What a tree matches where the text begins (or ends), and what it matches where there is text before (or after). */
interface Resolved {
  readonly edge: Node;
  readonly inside: Node;
}

/** What matches from the first character of a text to its last one. */
export function resolveAnchors(node: Node): Node {
  const starts = resolve(node, "start", new Map()).edge;
  return resolve(starts, "end", new Map()).edge;
}

/** Only the `$`s: what may come before is open. */
export function resolveEnds(node: Node): Node {
  return resolve(node, "end", new Map()).edge;
}

function resolve(node: Node, edge: "start" | "end", known: Map<Node, Resolved>): Resolved {
  const before = known.get(node);
  if (before) return before;
  const resolved = resolveNew(node, edge, known);
  known.set(node, resolved);
  return resolved;
}

function resolveNew(node: Node, edge: "start" | "end", known: Map<Node, Resolved>): Resolved {
  const same = { edge: node, inside: node };
  if (!holds(node, edge)) return same;
  if (node.kind === edge) return { edge: empty, inside: nothing };
  if (node.kind === "choice") {
    const parts = node.nodes.map((one) => resolve(one, edge, known));
    return { edge: choice(parts.map((part) => part.edge)), inside: choice(parts.map((part) => part.inside)) };
  }
  if (node.kind === "repeat") return resolveRepeat(node, edge, known);
  if (node.kind === "sequence") return resolveSequence(node, edge, known);
  if (node.kind === "look") {
    const inner = resolve(node.node, edge, known);
    if (isFar(node, edge)) {
      // At the edge there is nothing to look at: what can be empty there matches.
      const here = emptyPart(inner.edge);
      const isKnown = isEmpty(here) || isNothing(here);
      return { edge: isKnown ? (isEmpty(here) === node.negated ? nothing : empty) : node, inside: node };
    }
    return { edge: { ...node, node: inner.edge }, inside: { ...node, node: inner.inside } };
  }
  return same;
}

const holdsStart = new WeakMap<Node, boolean>();
const holdsEnd = new WeakMap<Node, boolean>();

/** Whether it looks to the edge: inside of a text it may see that from afar, which is left to automata. */
function isFar(node: Extract<Node, { kind: "look" }>, edge: "start" | "end"): boolean {
  return node.behind === (edge === "start");
}

/** Whether ^ (or $) is in it. */
function holds(node: Node, edge: "start" | "end"): boolean {
  if (node.kind === edge) return true;
  const known = edge === "start" ? holdsStart : holdsEnd;
  const before = known.get(node);
  if (before !== undefined) return before;
  const inner = node.kind === "sequence" || node.kind === "choice" ? node.nodes : "node" in node ? [node.node] : [];
  const found = inner.some((one) => holds(one, edge));
  known.set(node, found);
  return found;
}

function resolveSequence(node: Extract<Node, { kind: "sequence" }>, edge: "start" | "end", known: Map<Node, Resolved>): Resolved {
  // From the far end to the edge: `rest` is what stands farther from it.
  const ordered = edge === "start" ? node.nodes.toReversed() : node.nodes;
  const join = (near: Node, far: Node) => sequence(edge === "start" ? [near, far] : [far, near]);
  let rest: Resolved = { edge: empty, inside: empty };
  for (const one of ordered) {
    const near = resolve(one, edge, known);
    const inside = join(near.inside, rest.inside);
    if (rest.edge === rest.inside) {
      rest = { edge: near.edge === near.inside ? inside : join(near.edge, rest.edge), inside };
    } else {
      const still = join(emptyPart(near.edge), rest.edge);
      rest = { edge: choice([still, join(otherPart(near.edge), rest.inside)]), inside };
    }
  }
  return rest;
}

function resolveRepeat(node: Extract<Node, { kind: "repeat" }>, edge: "start" | "end", known: Map<Node, Resolved>): Resolved {
  const { min, max } = node;
  const inner = resolve(node.node, edge, known);
  const inside = inner.inside === node.node ? node : repeat(inner.inside, min, max);
  if (inner.edge === inner.inside) return { edge: inside, inside };
  const join = (near: Node, far: Node) => sequence(edge === "start" ? [near, far] : [far, near]);
  const none = emptyPart(inner.edge);
  const first = join(otherPart(inner.edge), repeat(inner.inside, Math.max(min - 1, 0), max - 1));
  // Rounds at the edge that take nothing leave the next one there; they count, so the others may be fewer.
  const later = isNothing(none) || max < 2 ? nothing : join(none, join(otherPart(inner.edge), repeat(inner.inside, 0, max - 2)));
  return { edge: choice([min === 0 ? empty : none, first, later]), inside };
}
