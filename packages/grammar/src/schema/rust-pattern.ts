// Patterns of whole texts in Rust's syntax: of JavaScript's patterns, of all texts but some.

import { rustRegex } from "../regex/rust-regex.ts";
import { Unenforceable } from "./shapes.ts";

/** Characters of a regex of all texts but some. */
const maxAllBut = 300_000;

/** @returns between ^ and $ */
export function wholePattern(source: string, path: string, whole = false): string {
  const regex = rustOf(source, path, whole);
  // As a text of its own, the engine's quotation drops such a character and goes on; in a class it is fine.
  const outside = regex.replaceAll(/\[(?:\\.|[^\]\\])*\]/g, "");
  if (/\\x\{(?:[0-7be-f]|1[0-9a-f]|7f)\}/.test(outside)) throw new Unenforceable(path, "a pattern without control characters");
  return regex;
}

function rustOf(source: string, path: string, whole: boolean): string {
  try {
    return rustRegex(source, { name: path, whole });
  } catch (error) {
    throw new Unenforceable(path, `a pattern that can be followed (${(error as Error).message})`);
  }
}

/** Whether it can be written without `\u`, which `guidance` does not allow. */
export function isWritable(text: string): boolean {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: those are what is looked for
  return !/[\u0000-\u0007\u000b\u000e-\u001f\u007f]/.test(text);
}

/** A regex of every text but some: along their common beginnings, or off them. */
export function allBut(texts: readonly string[], path: string): string {
  const after = new Map<string, Set<string>>([["", new Set()]]);
  for (const text of texts) {
    let beginning = "";
    for (const char of text) {
      after.get(beginning)!.add(char);
      beginning += char;
      if (!after.has(beginning)) after.set(beginning, new Set());
    }
  }
  const taken = new Set(texts);
  let size = 0;
  const alternatives: string[] = [];
  for (const [beginning, chars] of after) {
    const along = [...beginning].map(escapeRust).join("");
    const off = chars.size > 0 ? `[^${[...chars].map(escapeRust).join("")}].*` : ".+";
    alternatives.push(`${along}${taken.has(beginning) ? off : `(?:${off})?`}`);
    size += along.length + off.length;
    if (size > maxAllBut) throw new Unenforceable(path, "fewer or shorter texts that are not allowed");
  }
  return `(?s:${alternatives.join("|")})`;
}

export function escapeRust(char: string): string {
  return /^[A-Za-z0-9]$/.test(char) ? char : `\\x{${char.codePointAt(0)!.toString(16)}}`;
}

/** A text as a JavaScript pattern with flag u. */
export function escapeJs(text: string): string {
  return [...text].map((char) => (/^[A-Za-z0-9]$/.test(char) ? char : `\\u{${char.codePointAt(0)!.toString(16)}}`)).join("");
}
