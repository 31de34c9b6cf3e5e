// EBNF as llama.cpp (GBNF) and xgrammar write it: rules of texts, classes, groups and repetitions. A line's end is a space: a rule ends
// where the next one begins.

import { JambaError } from "@jamba/core";
import { everything, invert, normal, type Range, type Ranges } from "../regex/code-points.ts";

/** Parts are told apart by who they are: two that look alike stand at two places. */
export type Part =
  | { readonly kind: "set"; readonly ranges: Ranges }
  | { readonly kind: "sequence"; readonly parts: readonly Part[] }
  | { readonly kind: "choice"; readonly parts: readonly Part[] }
  | { readonly kind: "repeat"; readonly part: Part; readonly min: number; readonly max: number }
  | { readonly kind: "rule"; readonly name: string; readonly line: number };

export interface Rule {
  readonly name: string;
  readonly line: number;
  readonly part: Part;
}

const maxLength = 1_000_000;
const maxDepth = 500;
const maxCount = 100_000;
const escapes: Readonly<Record<string, number>> = { n: 10, t: 9, r: 13, f: 12, v: 11, b: 8, a: 7, e: 27, 0: 0 };

/** @throws JambaError OPTION with the line and what was expected there */
export function fail(line: number, expected: string, found: string): never {
  throw new JambaError("OPTION", `format.grammar, line ${line}: expected ${expected}, found ${found}`);
}

/** @returns rules by name, `root` among them */
export function readEbnf(grammar: string): ReadonlyMap<string, Rule> {
  if (grammar.length > maxLength) fail(1, `a grammar of at most ${maxLength} characters`, `one of ${grammar.length}`);
  return new Reader(grammar).rules();
}

class Reader {
  readonly #text: string;
  #at = 0;
  #line = 1;
  #depth = 0;

  constructor(text: string) {
    this.#text = text;
  }

  rules(): ReadonlyMap<string, Rule> {
    const rules = new Map<string, Rule>();
    for (this.#space(); this.#at < this.#text.length; ) {
      const line = this.#line;
      const name = this.#match(/[\w-]+/y) ?? this.#expected("a rule's name");
      this.#space();
      if (!this.#take("::=")) this.#expected(`::= after the name ${name}`);
      const before = rules.get(name);
      if (before) fail(line, "rules of different names", `a second ${name}; the first is on line ${before.line}`);
      this.#space();
      rules.set(name, { name, line, part: this.#choice() });
      if (this.#at < this.#text.length && !this.#isRuleNext()) this.#expected(`what rule ${name} goes on with`);
    }
    return rules;
  }

  #choice(): Part {
    const parts = [this.#sequence()];
    while (this.#take("|")) {
      this.#space();
      parts.push(this.#sequence());
    }
    return parts.length === 1 ? parts[0] : { kind: "choice", parts };
  }

  #sequence(): Part {
    const parts: Part[] = [];
    while (this.#at < this.#text.length && !"|)".includes(this.#text[this.#at]) && !this.#isRuleNext()) {
      let part = this.#atom();
      this.#space();
      for (let bounds = this.#bounds(); bounds; bounds = this.#bounds()) {
        part = { kind: "repeat", part, min: bounds[0], max: bounds[1] };
        this.#space();
      }
      parts.push(part);
    }
    return parts.length === 1 ? parts[0] : { kind: "sequence", parts };
  }

  #isRuleNext(): boolean {
    const next = /[\w-]+(?:\s|#[^\n]*(?:\n|$))*::=/y;
    next.lastIndex = this.#at;
    return next.test(this.#text);
  }

  #atom(): Part {
    if (this.#take("(")) return this.#group();
    if (this.#take('"')) return this.#literal();
    if (this.#take("[")) return this.#class();
    if (this.#take(".")) return { kind: "set", ranges: everything };
    const line = this.#line;
    const name = this.#match(/[\w-]+/y);
    return name ? { kind: "rule", name, line } : this.#expected("a text, a class, a group or the name of a rule");
  }

  #group(): Part {
    if (this.#text[this.#at] === "=") this.#expected("a group; look-ahead is not known");
    if (++this.#depth > maxDepth) fail(this.#line, `groups at most ${maxDepth} deep`, "deeper ones");
    this.#space();
    const part = this.#choice();
    if (!this.#take(")")) this.#expected(") at the end of a group");
    this.#depth--;
    return part;
  }

  #bounds(): [number, number] | undefined {
    if (this.#take("*")) return [0, Number.POSITIVE_INFINITY];
    if (this.#take("+")) return [1, Number.POSITIVE_INFINITY];
    if (this.#take("?")) return [0, 1];
    if (!this.#take("{")) return undefined;
    const braces = this.#match(/\s*(\d*)\s*(,?)\s*(\d*)\s*\}/y) ?? this.#expected("{n}, {n,}, {,m} or {n,m}");
    const [, low, comma, high] = /(\d*)\s*(,?)\s*(\d*)/.exec(braces.trim())!;
    if (low === "" && high === "") this.#expected("a number between { and }");
    const min = Number(low);
    const max = comma === "" ? min : high === "" ? Number.POSITIVE_INFINITY : Number(high);
    if (min > max) fail(this.#line, "a repetition whose least is not more than its most", `{${braces}`);
    if (min > maxCount || (max > maxCount && high !== "")) fail(this.#line, `at most ${maxCount} repetitions`, `{${braces}`);
    return [min, max];
  }

  #literal(): Part {
    const parts: Part[] = [];
    while (!this.#take('"')) {
      const code = this.#character('"');
      parts.push({ kind: "set", ranges: [[code, code]] });
    }
    return parts.length === 1 ? parts[0] : { kind: "sequence", parts };
  }

  #class(): Part {
    const line = this.#line;
    const negated = this.#take("^");
    const ranges: Range[] = [];
    while (!this.#take("]")) {
      const from = this.#character("]");
      const isRange = this.#text[this.#at] === "-" && this.#text[this.#at + 1] !== "]";
      if (isRange) this.#at++;
      const to = isRange ? this.#character("]") : from;
      if (from > to) fail(this.#line, "a range from the lower character to the higher one", "its ends swapped");
      ranges.push([from, to]);
    }
    const all = negated ? invert(normal(ranges)) : normal(ranges);
    if (all.length === 0) fail(line, "a class that holds a character", "one that holds none");
    return { kind: "set", ranges: all };
  }

  /** Of a text or a class, with its escape. */
  #character(close: string): number {
    if (this.#at >= this.#text.length || this.#text[this.#at] === "\n") this.#expected(`${close} on the same line`);
    if (!this.#take("\\")) return this.#codeUnit();
    const letter = this.#text[this.#at] ?? "";
    const digits = { x: 2, u: 4, U: 8 }[letter];
    this.#at++;
    if (letter === "u" && this.#text[this.#at] === "{") return this.#checked(this.#match(/\{([\da-f]{1,6})\}/iy)?.slice(1, -1));
    if (digits) return this.#hex(digits);
    if (letter in escapes) return escapes[letter];
    if (/[\da-z\s]/i.test(letter) || letter === "") this.#expected(`an escape after \\; ${JSON.stringify(letter)} is none`);
    this.#at--;
    return this.#codeUnit();
  }

  #codeUnit(): number {
    const code = this.#text.codePointAt(this.#at)!;
    this.#at += code > 0xffff ? 2 : 1;
    return this.#checked(code.toString(16));
  }

  #hex(digits: number): number {
    const hex = this.#match(new RegExp(`[\\da-f]{${digits}}`, "iy")) ?? this.#expected(`${digits} hexadecimal digits`);
    const low = /^d[89ab]/i.test(hex) && digits === 4 ? this.#match(/\\ud[c-f][\da-f]{2}/iy) : undefined;
    if (!low) return this.#checked(hex);
    return String.fromCharCode(Number.parseInt(hex, 16), Number.parseInt(low.slice(2), 16)).codePointAt(0)!;
  }

  #checked(hex: string | undefined): number {
    const code = Number.parseInt(hex ?? "", 16);
    const isCharacter = code <= 0x10ffff && !(code >= 0xd800 && code < 0xe000);
    return isCharacter ? code : fail(this.#line, "a character", hex === undefined ? "none" : `U+${hex}, which is none`);
  }

  #space(): void {
    const space = this.#match(/(?:\s|#[^\n]*)+/y) ?? "";
    for (const char of space) if (char === "\n") this.#line++;
  }

  #take(text: string): boolean {
    const found = this.#text.startsWith(text, this.#at);
    if (found) this.#at += text.length;
    return found;
  }

  #match(pattern: RegExp): string | undefined {
    pattern.lastIndex = this.#at;
    const [found] = pattern.exec(this.#text) ?? [];
    this.#at += found?.length ?? 0;
    return found;
  }

  #expected(what: string): never {
    const next = this.#text.slice(this.#at, this.#at + 12);
    fail(this.#line, what, next === "" ? "the end" : JSON.stringify(next));
  }
}
