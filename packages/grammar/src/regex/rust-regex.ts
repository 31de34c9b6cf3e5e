// Patterns of JavaScript as regular expressions of llguidance, which match the same texts.

import { resolveAnchors } from "./anchors.ts";
import { asOne, withoutTests } from "./look-around.ts";
import { anyText, type Node, sequence, Unwritable, withinBounds } from "./nodes.ts";
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
export function rustRegex(pattern: string, options: RegexOptions): string {
  return read(pattern, options, (node) => {
    const parts = several(node);
    return parts.length === 1 ? parts[0] : written(asOne(node));
  });
}

/**
 * As `rustRegex`, for patterns that look around: several, all of which a text must match (`allOf` in a schema, `&` in Lark). They hold
 * counts that one alone can't: `^(?=.*[a-z])(?=.*[0-9]).{8,200}$`.
 */
export function rustRegexes(pattern: string, options: RegexOptions): readonly string[] {
  return read(pattern, options, several);
}

function read<T>(pattern: string, { name, whole }: RegexOptions, write: (node: Node) => T): T {
  const fail = failFor(name);
  try {
    return withinBounds(() => {
      const node = readPattern(pattern, fail);
      return write(resolveAnchors(whole ? node : sequence([anyText, node, anyText])));
    });
  } catch (cause) {
    if (cause instanceof Unwritable) return fail(cause.message);
    throw cause;
  }
}

function several(node: Node): readonly string[] {
  return withoutTests(node).map(written);
}

function written(node: Node): string {
  return `^(?:${writeRegex(node, maxWritten)})$`;
}
