// Trees as regular expressions of Rust's regex-syntax, of which only groups, choices, counts and ranges of characters are used: those
// mean the same in all of its versions and within Lark's slashes.

import { countOf, everything, invert, lastCodePoint, type Range, type Ranges } from "./code-points.ts";
import { isNothing, type Node, Unwritable } from "./nodes.ts";

/** Levels that regex-syntax takes (250), less those around the whole: a group, a count, a choice and a sequence are one each. */
const maxDepth = 245;

/** @param maxChars of the text @throws Unwritable past a limit, and where tests of a place are left */
export function writeRegex(node: Node, maxChars: number): string {
  const out: string[] = [];
  let size = 0;
  const put = (text: string) => {
    size += text.length;
    if (size > maxChars) throw new Unwritable(`one that takes more than ${maxChars} characters to write without what llguidance lacks`);
    out.push(text);
  };
  write(node, put, 0);
  return out.join("");
}

function write(node: Node, put: (text: string) => void, depth: number): void {
  if (depth > maxDepth) throw new Unwritable(`groups that take more than ${maxDepth} levels to write`);
  if (node.kind === "set") put(writeSet(node.ranges));
  else if (isNothing(node)) put(`[^${writeRange([0, lastCodePoint])}]`);
  else if (node.kind === "sequence")
    for (const one of node.nodes) writeWithin(one, one.kind === "choice" && !isNothing(one), put, depth + 1);
  else if (node.kind === "choice")
    node.nodes.forEach((one, i) => {
      if (i > 0) put("|");
      write(one, put, depth + 1);
    });
  else if (node.kind === "repeat") {
    writeWithin(node.node, node.node.kind !== "set", put, depth + 1);
    put(countText(node.min, node.max));
  } else throw new Unwritable(`a test of a place (${node.kind})`);
}

function writeWithin(node: Node, grouped: boolean, put: (text: string) => void, depth: number): void {
  if (grouped) put("(?:");
  write(node, put, grouped ? depth + 1 : depth);
  if (grouped) put(")");
}

function countText(min: number, max: number): string {
  if (max === Number.POSITIVE_INFINITY) return min === 0 ? "*" : min === 1 ? "+" : `{${min},}`;
  if (min === 0 && max === 1) return "?";
  return min === max ? `{${min}}` : `{${min},${max}}`;
}

function writeSet(ranges: Ranges): string {
  if (countOf(ranges) === 1) return writeCode(ranges[0][0]);
  if (countOf(ranges) === countOf(everything)) return `[${writeRange([0, lastCodePoint])}]`;
  const others = invert(ranges);
  return others.length < ranges.length ? `[^${others.map(writeRange).join("")}]` : `[${ranges.map(writeRange).join("")}]`;
}

function writeRange([from, to]: Range): string {
  return from === to ? writeCode(from) : `${writeCode(from)}-${writeCode(to)}`;
}

function writeCode(code: number): string {
  const char = String.fromCodePoint(code);
  return /[\dA-Za-z]/.test(char) ? char : `\\x{${code.toString(16)}}`;
}
