// Regular expressions as xgrammar's EBNF: JavaScript's syntax without what looks around, behind or back.
// Also as they are spelled within a JSON string. It knows nothing of tokens.

import { JambaError } from "@jamba/core";

type Range = readonly [from: number, to: number];
type Node =
  | { readonly kind: "set"; readonly ranges: readonly Range[] }
  | { readonly kind: "sequence" | "choice"; readonly nodes: readonly Node[] }
  | { readonly kind: "repeat"; readonly node: Node; readonly min: number; readonly max: number };

const last = 0x10ffff;
const digits: Range[] = [[0x30, 0x39]];
const words: Range[] = [...digits, [0x41, 0x5a], [0x5f, 0x5f], [0x61, 0x7a]];
const spaces: Range[] = [
  [9, 13],
  [0x20, 0x20],
  [0xa0, 0xa0],
  [0x2028, 0x2029],
  [0x3000, 0x3000],
  [0xfeff, 0xfeff],
];
const lineEnds: Range[] = [
  [10, 10],
  [13, 13],
  [0x2028, 0x2029],
];
/** What a JSON string can't hold as it is. */
const needEscape: Range[] = [
  [0, 0x1f],
  [0x22, 0x22],
  [0x5c, 0x5c],
];
const anything: Node = { kind: "repeat", node: { kind: "set", ranges: [[0, last]] }, min: 0, max: Number.POSITIVE_INFINITY };
/** Characters that a pattern may stand for, counted with its repetitions: what is larger takes minutes to compile. */
const maxSize = 5000;

export interface RegexOptions {
  /** The text of a JSON string, with its escapes and without its quotes. */
  readonly json?: boolean;
  /** As JSON Schema's `pattern`, which matches anywhere unless ^ and $ say otherwise; else the whole text. */
  readonly search?: boolean;
  /** What errors call it. */
  readonly name?: string;
  /** Adds a rule that may name itself. @returns its name */
  readonly rule: (body: (self: string) => string) => string;
}

/** @returns an EBNF expression @throws JambaError OPTION for a pattern that is wrong or looks around */
export function regexGrammar(pattern: string, { json = false, search = false, name = "regex", rule }: RegexOptions): string {
  const fail = (found: string): never => {
    throw new JambaError("OPTION", `${name}: expected a regular expression of plain characters, classes, groups and repetitions, ${found}`);
  };
  try {
    new RegExp(pattern);
  } catch (cause) {
    fail(`found one that JavaScript can't read: ${(cause as Error).message}`);
  }
  const node = new Parser(pattern, search, fail).whole();
  if (sizeOf(node) > maxSize) fail(`found one that stands for more than ${maxSize} characters, repetitions counted; allow fewer of them`);
  return emit(node, json, rule);
}

class Parser {
  readonly #chars: readonly string[];
  readonly #search: boolean;
  readonly #fail: (found: string) => never;
  #at = 0;
  #depth = 0;

  constructor(pattern: string, search: boolean, fail: (found: string) => never) {
    this.#chars = [...pattern];
    this.#search = search;
    this.#fail = fail;
  }

  whole(): Node {
    const choices: Node[] = [];
    do {
      const fromStart = this.#take("^");
      const node = this.#sequence();
      const toEnd = this.#take("$");
      const open = this.#search ? [fromStart ? [] : [anything], [node], toEnd ? [] : [anything]].flat() : [node];
      choices.push({ kind: "sequence", nodes: open });
    } while (this.#take("|"));
    if (this.#at < this.#chars.length) this.#fail(`found ${this.#chars[this.#at]} within it at character ${this.#at}`);
    return { kind: "choice", nodes: choices };
  }

  #take(text: string): boolean {
    const found = [...text].every((char, i) => this.#chars[this.#at + i] === char);
    if (found) this.#at += text.length;
    return found;
  }

  #choice(): Node {
    const nodes = [this.#sequence()];
    while (this.#take("|")) nodes.push(this.#sequence());
    return { kind: "choice", nodes };
  }

  #sequence(): Node {
    const nodes: Node[] = [];
    while (this.#at < this.#chars.length && !"|)$".includes(this.#chars[this.#at])) nodes.push(this.#repeated(this.#atom()));
    return { kind: "sequence", nodes };
  }

  #repeated(node: Node): Node {
    const bounds = this.#bounds();
    if (!bounds) return node;
    this.#take("?"); // lazy or greedy, the texts are the same
    return { kind: "repeat", node, min: bounds[0], max: bounds[1] };
  }

  #bounds(): [number, number] | undefined {
    if (this.#take("*")) return [0, Number.POSITIVE_INFINITY];
    if (this.#take("+")) return [1, Number.POSITIVE_INFINITY];
    if (this.#take("?")) return [0, 1];
    const braces = /^\{(\d+)(,?)(\d*)\}/.exec(this.#chars.slice(this.#at, this.#at + 24).join(""));
    if (!braces) return undefined;
    this.#at += braces[0].length;
    const min = Number(braces[1]);
    return [min, braces[2] === "" ? min : braces[3] === "" ? Number.POSITIVE_INFINITY : Number(braces[3])];
  }

  #atom(): Node {
    const char = this.#chars[this.#at++];
    if (char === "(") return this.#group();
    if (char === "[") return { kind: "set", ranges: this.#class() };
    if (char === ".") return { kind: "set", ranges: invert(lineEnds) };
    if (char === "^") this.#fail(`found ^ within it at character ${this.#at - 1}`);
    if (char === "\\") return { kind: "set", ranges: this.#escape(false) };
    return one(char.codePointAt(0)!);
  }

  #group(): Node {
    if (++this.#depth > 100) this.#fail("found groups more than 100 deep");
    if (this.#take("?")) {
      const name = /^<[^=!][^>]*>/.exec(this.#chars.slice(this.#at, this.#at + 100).join(""));
      if (name) this.#at += [...name[0]].length;
      else if (!this.#take(":"))
        this.#fail(`found (?${this.#chars[this.#at]} at character ${this.#at - 2}, which looks around or sets a flag`);
    }
    const node = this.#choice();
    if (!this.#take(")")) this.#fail(`found $ within it at character ${this.#at}`);
    this.#depth--;
    return node;
  }

  #class(): Range[] {
    const negated = this.#take("^");
    const ranges: Range[] = [];
    while (!this.#take("]")) {
      const from = this.#classPart();
      // A hyphen beside a class such as \d, or at the end, stands for itself.
      const isRange = this.#chars[this.#at] === "-" && this.#chars[this.#at + 1] !== "]" && isOne(from);
      if (!isRange) ranges.push(...from);
      else {
        this.#at++;
        const to = this.#classPart();
        if (isOne(to)) ranges.push([from[0][0], to[0][0]]);
        else ranges.push(...from, [0x2d, 0x2d], ...to);
      }
    }
    return negated ? invert(ranges) : normal(ranges);
  }

  #classPart(): Range[] {
    const char = this.#chars[this.#at++];
    if (char === "\\") return this.#escape(true);
    return [[char.codePointAt(0)!, char.codePointAt(0)!]];
  }

  #escape(inClass: boolean): Range[] {
    const char = this.#chars[this.#at++];
    const sets: Record<string, Range[]> = { d: digits, w: words, s: spaces };
    if ("dws".includes(char)) return sets[char];
    if ("DWS".includes(char)) return invert(sets[char.toLowerCase()]);
    const controls: Record<string, number> = { n: 10, r: 13, t: 9, f: 12, v: 11, 0: 0, ...(inClass && { b: 8 }) };
    if (char in controls) return [[controls[char], controls[char]]];
    const rest = this.#chars.slice(this.#at, this.#at + 8).join("");
    const hex = char === "x" ? /^([0-9a-f]{2})/i.exec(rest) : char === "u" ? /^(?:([0-9a-f]{4})|\{([0-9a-f]{1,6})\})/i.exec(rest) : null;
    if (hex) {
      this.#at += hex[0].length;
      const code = Number.parseInt(hex[1] ?? hex[2], 16);
      return [[code, code]];
    }
    if (/[0-9A-Za-z]/.test(char)) this.#fail(`found \\${char} at character ${this.#at - 2}`);
    return [[char.codePointAt(0)!, char.codePointAt(0)!]];
  }
}

function one(code: number): Node {
  return { kind: "set", ranges: [[code, code]] };
}

function isOne(ranges: readonly Range[]): boolean {
  return ranges.length === 1 && ranges[0][0] === ranges[0][1];
}

/** In order, without overlaps. */
function normal(ranges: readonly Range[]): Range[] {
  const out: [number, number][] = [];
  for (const [from, to] of [...ranges].sort((a, b) => a[0] - b[0])) {
    const before = out.at(-1);
    if (before && from <= before[1] + 1) before[1] = Math.max(before[1], to);
    else out.push([from, to]);
  }
  return out;
}

function invert(ranges: readonly Range[]): Range[] {
  const out: Range[] = [];
  let next = 0;
  for (const [from, to] of normal(ranges)) {
    if (from > next) out.push([next, from - 1]);
    next = to + 1;
  }
  if (next <= last) out.push([next, last]);
  return out;
}

function sizeOf(node: Node): number {
  if (node.kind === "set") return 1;
  if (node.kind === "repeat") return sizeOf(node.node) * Math.max(1, node.min, node.max === Number.POSITIVE_INFINITY ? 0 : node.max);
  return node.nodes.reduce((sum, inner) => sum + sizeOf(inner), 1);
}

function emit(node: Node, json: boolean, rule: RegexOptions["rule"]): string {
  if (node.kind === "set") return group(characters(node.ranges, json));
  if (node.kind !== "repeat") {
    const parts = node.nodes.map((inner) => emit(inner, json, rule));
    return parts.length === 0 ? '""' : `(${parts.join(node.kind === "choice" ? " | " : " ")})`;
  }
  const { min, max } = node;
  if (node.node.kind !== "set" || max < Number.POSITIVE_INFINITY) return repeated(emit(node.node, json, rule), min, max);
  // Recursion to the right: what a token may do is then known when the grammar is compiled.
  const chars = characters(node.node.ranges, json);
  const many = rule((self) => ['""', ...chars.map((char) => `${char} ${self}`)].join(" | "));
  return min === 0 ? many : `((${group(chars)}){${min}} ${many})`;
}

function group(choices: readonly string[]): string {
  return choices.length === 1 ? choices[0] : `(${choices.join(" | ")})`;
}

/** An expression from `min` to `max` times. */
export function repeated(inner: string, min: number, max: number): string {
  if (max <= 0) return '""';
  if (max < Number.POSITIVE_INFINITY) return `(${inner}){${min},${max}}`;
  return min === 0 ? `(${inner})*` : `((${inner}){${min}} (${inner})*)`;
}

/** Choices of which each is a character. What JSON can't hold becomes its escape; control characters without a short one are left out. */
function characters(ranges: readonly Range[], json: boolean): string[] {
  if (!json) return utf8(ranges);
  const escapes: Readonly<Record<string, string>> = { '"': '"', "\\": "\\", "\b": "b", "\f": "f", "\n": "n", "\r": "r", "\t": "t" };
  const escaped = Object.entries(escapes)
    .filter(([char]) => ranges.some(([from, to]) => from <= char.charCodeAt(0) && char.charCodeAt(0) <= to))
    .map(([, letter]) => literal(`\\${letter}`));
  const plain = invert([...needEscape, ...invert(ranges)]);
  return [...(plain.length > 0 ? utf8(plain) : []), ...escaped];
}

/** A character that a JSON string holds as it is, other than these: choices of which each is one. */
export function plainBut(chars: readonly string[]): string[] {
  const codes = chars.map((char) => char.codePointAt(0)!);
  return utf8(invert([...needEscape, ...codes.map((code): Range => [code, code])]));
}

/**
 * Characters as their bytes: xgrammar's classes are of bytes, where they are not negated; negated ones let halves of surrogate pairs in.
 */
function utf8(ranges: readonly Range[]): string[] {
  const kept = invert([[0xd800, 0xdfff], ...invert(ranges)]);
  if (kept.length === 0) throw new JambaError("OPTION", "regex: expected classes that hold a character, found an empty one");
  const ascii = kept.filter(([from]) => from < 0x80).map(([from, to]): Range => [from, Math.min(to, 0x7f)]);
  const choices = ascii.length > 0 ? [byteClass(ascii)] : [];
  // By length in bytes: each has its own first and last character.
  for (const [from, to, length] of [
    [0x80, 0x7ff, 2],
    [0x800, 0xffff, 3],
    [0x10000, last, 4],
  ])
    for (const [a, b] of kept)
      if (a <= to && b >= from) choices.push(...byteRanges(bytesOf(Math.max(a, from), length), bytesOf(Math.min(b, to), length)));
  return choices;
}

function bytesOf(code: number, length: number): number[] {
  const lead = [0, 0, 0xc0, 0xe0, 0xf0][length];
  return Array.from({ length }, (_, i) => (i === 0 ? lead : 0x80) | ((code >> (6 * (length - 1 - i))) & (i === 0 ? 0xff : 0x3f)));
}

/** Byte strings from `low` to `high`, of one length, with continuation bytes after the first. */
function byteRanges(low: readonly number[], high: readonly number[]): string[] {
  const [first, ...lowRest] = low;
  const [end, ...highRest] = high;
  if (lowRest.length === 0) return [byteClass([[first, end]])];
  const [lowest, highest] = [lowRest.map(() => 0x80), lowRest.map(() => 0xbf)];
  const isWhole = lowRest.every((byte) => byte === 0x80) && highRest.every((byte) => byte === 0xbf);
  if (isWhole) return [[byteClass([[first, end]]), ...lowRest.map(() => byteClass([[0x80, 0xbf]]))].join(" ")];
  const after = (byte: number, from: readonly number[], to: readonly number[]) =>
    byteRanges(from, to).map((rest) => `${byteClass([[byte, byte]])} ${rest}`);
  if (first === end) return after(first, lowRest, highRest);
  const between = end - first > 1 ? byteRanges([first + 1, ...lowest], [end - 1, ...highest]) : [];
  return [...after(first, lowRest, highest), ...between, ...after(end, lowest, highRest)];
}

function byteClass(ranges: readonly Range[]): string {
  const text = (code: number) => `\\u${code.toString(16).padStart(4, "0")}`;
  // Never one range of one byte: xgrammar makes a text of it, which in UTF-8 is two bytes. Twice the same is left alone.
  return `[${ranges.map(([from, to]) => (from === to ? text(from).repeat(2) : `${text(from)}-${text(to)}`)).join("")}]`;
}

function escaped(code: number): string {
  return code > 0xffff ? `\\U${code.toString(16).padStart(8, "0")}` : `\\u${code.toString(16).padStart(4, "0")}`;
}

/** A text that stands for itself in EBNF. */
export function literal(text: string): string {
  return `"${[...text].map((char) => (/[ -!#-[\]-~]/.test(char) ? char : escaped(char.codePointAt(0)!))).join("")}"`;
}
