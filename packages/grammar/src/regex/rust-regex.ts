// Patterns of JavaScript as regular expressions of llguidance, which match the same texts.

import { resolveAnchors } from "./anchors.ts";
import { anyText, type Node, sequence, Unwritable } from "./nodes.ts";
import { failFor, readPattern } from "./read-pattern.ts";
import { writeRegex } from "./write-regex.ts";

export interface RegexOptions {
  /** What errors call it. */
  readonly name: string;
  /** Whether the pattern is to match the whole text, or may stand anywhere in it, as JSON Schema's `pattern` does. */
  readonly whole: boolean;
}

/** Characters of what is written: 100 classes of letters of all scripts. */
const maxWritten = 1_000_000;

/**
 * @returns a regular expression that matches whole texts only, between ^ and $: for `pattern` of llguidance's JSON schemas and, between
 * slashes, for its Lark
 * @throws JambaError OPTION for a pattern that is wrong, too large, or can't be written exactly
 */
export function rustRegex(pattern: string, { name, whole }: RegexOptions): string {
  const fail = failFor(name);
  const node = readPattern(pattern, fail);
  try {
    return `^(?:${writeRegex(plain(node, whole), maxWritten)})$`;
  } catch (cause) {
    if (cause instanceof Unwritable) return fail(cause.message);
    throw cause;
  }
}

function plain(node: Node, whole: boolean): Node {
  return resolveAnchors(whole ? node : sequence([anyText, node, anyText]));
}
