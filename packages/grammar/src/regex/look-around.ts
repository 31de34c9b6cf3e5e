// Patterns that look around as several without, all of which a text must match. What stands at the edges of a text, or at a fixed
// distance from one, is taken out by itself, so that counts stay counts. The rest goes through an automaton.

import { resolveAnchors } from "./anchors.ts";
import { automatonOf } from "./automaton.ts";
import { everything, invert, words } from "./code-points.ts";
import { treeOf } from "./expression.ts";
import { anyText, choice, empty, isTest, type Node, repeat, sequence, set } from "./nodes.ts";

interface Part {
  readonly node: Node;
  readonly negated: boolean;
}

/** @returns trees without tests, all of which a text must match @throws Unwritable */
export function withoutTests(node: Node): Node[] {
  if (!hasTests(node)) return [node];
  return split(node).map(({ node: part, negated }) => {
    const resolved = resolveAnchors(part);
    const short = negated ? notAsLong(resolved) : undefined;
    if (short) return short;
    return negated || hasTests(resolved) ? treeOf(automatonOf(resolved), { negated }) : resolved;
  });
}

/** Of `x{n}` before any text, what does not match: that has fewer x at its beginning. */
function notAsLong(node: Node): Node | undefined {
  if (node.kind !== "sequence" || node.nodes.length !== 2 || node.nodes[1] !== anyText) return undefined;
  const [counted] = node.nodes;
  if (counted.kind !== "repeat" || counted.node.kind !== "set" || counted.min === 0) return undefined;
  const fewer = repeat(counted.node, 0, counted.min - 1);
  return sequence([fewer, choice([empty, sequence([set(invert(counted.node.ranges)), anyText])])]);
}

/** @returns the same as a single tree @throws Unwritable, earlier than several would */
export function asOne(node: Node): Node {
  return hasTests(node) ? treeOf(automatonOf(node), { negated: false }) : node;
}

function split(node: Node): Part[] {
  const nodes = node.kind === "sequence" ? node.nodes.map((one, i, all) => edgeOfWord(one, i, all.length)) : [node];
  const parts = [...takeOut(nodes, false), ...takeOut(nodes.toReversed(), true)];
  const taken = new Set(parts.map(({ look }) => look));
  const rest = sequence(nodes.filter((one) => !taken.has(one)));
  return parts.length > 0 && rest === anyText ? parts : [...uncounted(rest), ...parts];
}

/** Rounds of one length are counted by the length of the text: `(?:(?!--)[a-z-]){1,200}`. */
function uncounted(node: Node): Part[] {
  const length = node.kind === "repeat" && hasTests(node) ? lengthOf(node.node, true) : undefined;
  if (node.kind !== "repeat" || length === undefined || length === 0) return [{ node, negated: false }];
  const counted = repeat({ kind: "set", ranges: everything }, node.min * length, node.max * length);
  return [counted, repeat(node.node, 0, Number.POSITIVE_INFINITY)].map((one) => ({ node: one, negated: false }));
}

/** What looks ahead from the beginning, or where all before it has one length; so from the end. */
function takeOut(nodes: readonly Node[], behind: boolean): (Part & { look: Node })[] {
  const parts: (Part & { look: Node })[] = [];
  const passed: Node[] = [];
  for (const look of nodes) {
    if (look.kind === "look") {
      if (look.behind !== behind) continue;
      const text = behind ? [anyText, look.node, ...passed.toReversed()] : [...passed, look.node, anyText];
      parts.push({ node: sequence(text), negated: look.negated, look });
    } else if (lengthOf(look) === undefined) break;
    else passed.push(look);
  }
  return parts;
}

/** \b at the edge of a text asks for a word character beside it. */
function edgeOfWord(node: Node, index: number, count: number): Node {
  if (node.kind !== "boundary" || (index > 0 && index < count - 1)) return node;
  return { kind: "look", behind: index > 0, negated: node.negated, node: { kind: "set", ranges: words } };
}

/** Of all texts that it matches, where they have the same. @param tests whether there may be some in it */
function lengthOf(node: Node, tests = false): number | undefined {
  if (node.kind === "set") return 1;
  if (isTest(node)) return tests ? 0 : undefined;
  if (node.kind === "repeat") {
    const length = lengthOf(node.node, tests);
    return length !== undefined && node.min === node.max ? length * node.min : undefined;
  }
  if (node.kind !== "sequence" && node.kind !== "choice") return undefined;
  const lengths = node.nodes.map((one) => lengthOf(one, tests));
  if (lengths.includes(undefined)) return undefined;
  if (node.kind === "sequence") return lengths.reduce((sum: number, length) => sum + length!, 0);
  return lengths.every((length) => length === lengths[0]) ? lengths[0] : undefined;
}

const known = new WeakMap<Node, boolean>();

function hasTests(node: Node): boolean {
  if (isTest(node)) return true;
  const before = known.get(node);
  if (before !== undefined) return before;
  const inner = node.kind === "sequence" || node.kind === "choice" ? node.nodes : "node" in node ? [node.node] : [];
  const found = inner.some(hasTests);
  known.set(node, found);
  return found;
}
