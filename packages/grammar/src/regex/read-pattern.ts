// JavaScript's patterns as trees, read by regexpp with the flag u. What is wrong under u is read without it, still by characters.

import { type AST, RegExpParser, RegExpSyntaxError } from "@eslint-community/regexpp";
import { JambaError } from "@jamba/core";
import { digits, invert, lineEnds, normal, type Range, type Ranges, spaces, words } from "./code-points.ts";
import { choice, type Node, nothing, repeat, sequence, set } from "./nodes.ts";
import { propertyRanges, withBothCases } from "./properties.ts";

/** Characters of a pattern: real ones take some hundred, long lists of words some ten thousand. */
const maxLength = 100_000;
/** Groups within groups: regex-syntax allows 250 levels of its own, of which a group may take two. */
const maxDepth = 100;
/** Rounds of a repetition: llguidance counts with 32 bits. */
const maxCount = 1_000_000;

/** @throws JambaError OPTION */
export type Fail = (found: string) => never;

interface Context {
  readonly fail: Fail;
  readonly ignoreCase: boolean;
  /** Of characters that stand for ones beyond the first plane, in a pattern that is read without u. */
  readonly standIns: ReadonlyMap<number, number>;
  /** By how they are spelled, and whether case counts. */
  readonly classes: Map<string, Node>;
}

export function failFor(name: string): Fail {
  return (found) => {
    throw new JambaError("OPTION", `${name}: expected a regular expression of JavaScript that a text can follow, found ${found}`);
  };
}

export function readPattern(pattern: string, fail: Fail): Node {
  if (pattern.length > maxLength) fail(`one of ${pattern.length} characters, more than ${maxLength}`);
  if (depthOf(pattern) > maxDepth) fail(`groups more than ${maxDepth} deep`);
  const parser = new RegExpParser({ ecmaVersion: 2025 });
  let reason: RegExpSyntaxError;
  try {
    return readChoice(parser.parsePattern(pattern, 0, pattern.length, { unicode: true }).alternatives, {
      fail,
      ignoreCase: false,
      standIns: new Map(),
      classes: new Map(),
    });
  } catch (cause) {
    if (!(cause instanceof RegExpSyntaxError)) throw cause;
    reason = cause;
  }
  const { text, standIns } = replaceAstral(pattern);
  let tree: AST.Pattern;
  try {
    tree = parser.parsePattern(text, 0, text.length, { unicode: false });
  } catch (cause) {
    if (!(cause instanceof RegExpSyntaxError)) throw cause;
    return fail(`one that can't be read: ${reason.message}`);
  }
  return readChoice(tree.alternatives, { fail, ignoreCase: false, standIns, classes: new Map() });
}

/** Brackets within brackets, seen without reading the pattern: the reader calls itself for each. */
function depthOf(pattern: string): number {
  let [depth, deepest] = [0, 0];
  for (const [part] of pattern.matchAll(/\\.|\[(?:\\.|[^\]\\])*\]|[()]/gsu)) {
    if (part === "(") deepest = Math.max(deepest, ++depth);
    else if (part === ")") depth--;
  }
  return deepest;
}

/**
 * Without u a character beyond the first plane is two. Each becomes one of the private ones that the pattern doesn't hold, in the same
 * order, so that ranges stay ranges.
 */
function replaceAstral(pattern: string): { text: string; standIns: ReadonlyMap<number, number> } {
  const pairs = /\\u(d[89ab][0-9a-f]{2})\\u(d[c-f][0-9a-f]{2})|\\.|[\u{10000}-\u{10ffff}]/giu;
  const codeOf = (part: string, high?: string, low?: string): number =>
    high ? String.fromCharCode(Number.parseInt(high, 16), Number.parseInt(low!, 16)).codePointAt(0)! : part.codePointAt(0)!;
  const codes = new Set<number>();
  for (const [part, high, low] of pattern.matchAll(pairs)) {
    const code = codeOf(part, high, low);
    if (code > 0xffff) codes.add(code);
  }
  const used = new Set(pattern);
  const standIns = new Map<number, number>();
  const chars = new Map<number, string>();
  let next = 0xe000;
  for (const code of [...codes].sort((a, b) => a - b)) {
    while (used.has(String.fromCharCode(next))) next++;
    standIns.set(next, code);
    chars.set(code, String.fromCharCode(next++));
  }
  return { text: pattern.replace(pairs, (part, high, low) => chars.get(codeOf(part, high, low)) ?? part), standIns };
}

function readChoice(alternatives: readonly AST.Alternative[], context: Context): Node {
  return choice(alternatives.map(({ elements }) => sequence(elements.map((element) => readElement(element, context)))));
}

function readElement(element: AST.Element, context: Context): Node {
  if (element.type === "Character" || element.type === "CharacterSet" || element.type === "CharacterClass") {
    const key = `${context.ignoreCase} ${element.raw}`;
    const node = context.classes.get(key) ?? readSet(element, context);
    context.classes.set(key, node);
    return node;
  }
  if (element.type === "CapturingGroup") return readChoice(element.alternatives, context);
  if (element.type === "Group") return readChoice(element.alternatives, withModifiers(element, context));
  if (element.type === "Assertion") return readAssertion(element, context);
  if (element.type === "Quantifier") {
    const { min, max, raw } = element;
    if (min > maxCount || (max > maxCount && max < Number.POSITIVE_INFINITY))
      context.fail(`${raw.slice(-30)}, which repeats more than ${maxCount} times`);
    return repeat(readElement(element.element, context), min, max);
  }
  return context.fail(`${element.raw} at character ${element.start}, a reference back to what a group took`);
}

function readSet(element: AST.Character | AST.CharacterSet | AST.CharacterClass, context: Context): Node {
  if (element.type === "Character") return characters([codesOf(element, context)], context);
  return element.type === "CharacterSet" ? set(rangesOf(element, context)) : readClass(element, context);
}

function withModifiers({ modifiers, start }: AST.Group, context: Context): Context {
  if (!modifiers) return context;
  const added = modifiers.add;
  const removed = modifiers.remove;
  if (added?.multiline || removed?.multiline || added?.dotAll || removed?.dotAll)
    context.fail(`(?${modifiers.raw}: at character ${start}; of such flags only i is known`);
  return { ...context, ignoreCase: added?.ignoreCase || (context.ignoreCase && !removed?.ignoreCase) };
}

function readAssertion(element: AST.Assertion, context: Context): Node {
  if (element.kind === "word") return { kind: "boundary", negated: element.negate };
  if (element.kind === "start") return { kind: "start" };
  if (element.kind === "end") return { kind: "end" };
  const { kind, negate, alternatives } = element as AST.LookaroundAssertion;
  return { kind: "look", behind: kind === "lookbehind", negated: negate, node: readChoice(alternatives, context) };
}

function readClass(element: AST.CharacterClass, context: Context): Node {
  const ranges: Range[] = [];
  for (const part of element.elements) {
    if (part.type === "Character") ranges.push(codesOf(part, context));
    else if (part.type === "CharacterSet") ranges.push(...rangesOf(part, context));
    else if (part.type === "CharacterClassRange") {
      const [from, to] = [codesOf(part.min, context)[0], codesOf(part.max, context)[0]];
      if (from > to) context.fail(`the range ${part.raw} at character ${part.start}, whose ends are swapped`);
      ranges.push([from, to]);
    } else context.fail(`${part.raw} at character ${part.start}, which only the flag v gives a meaning`);
  }
  const all = context.ignoreCase ? withBothCases(normal(ranges)) : normal(ranges);
  return set(element.negate ? invert(all) : all);
}

function characters(ranges: readonly Range[], { ignoreCase }: Context): Node {
  const found = normal(ranges);
  return found.length === 0 ? nothing : set(ignoreCase ? withBothCases(found) : found);
}

function codesOf({ value, raw, start }: AST.Character, { standIns, fail }: Context): Range {
  // Without u an escaped letter is that letter, or an octal number: under u neither, so that nobody means it.
  if (/^\\(?:[1-9]|0[0-7])|^\\[^\W\dbcfnrtuvx_]$|^\\[cux]?$/u.test(raw) && !/^\\x[\da-f]{2}$/iu.test(raw))
    fail(`${raw} at character ${start}, which has no meaning under the flag u`);
  const code = standIns.get(value) ?? value;
  return [code, code];
}

function rangesOf(element: AST.CharacterSet, context: Context): Ranges {
  if (element.kind === "any") return invert(lineEnds);
  if (element.kind === "property") return propertyOf(element, context);
  const plain = { digit: digits, space: spaces, word: words }[element.kind];
  const all = context.ignoreCase ? withBothCases(plain) : plain;
  return element.negate ? invert(all) : all;
}

function propertyOf(element: AST.UnicodePropertyCharacterSet, context: Context): Ranges {
  // \P under i means other things by version of the standard.
  if (context.ignoreCase && element.negate) context.fail(`${element.raw} at character ${element.start} within (?i:…)`);
  try {
    const found = propertyRanges(element.raw);
    return context.ignoreCase ? withBothCases(found) : found;
  } catch {
    return context.fail(`${element.raw} at character ${element.start}, which this engine's tables of Unicode don't hold`);
  }
}
