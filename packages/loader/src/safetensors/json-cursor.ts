// Reads JSON of a known form from left to right. Unlike JSON.parse it sees repeated keys, and what it keeps is bounded:
// a hostile header of brackets would make JSON.parse take some fifty times its size.

import { LoadError } from "@jamba/core";
import { quote } from "../source/untrusted.ts";

export interface JsonCursor {
  readonly text: string;
  /** For errors: the file. */
  readonly file: string;
  /** For errors: the part of the file that is being read. */
  where: string;
  at: number;
}

// Jamba Large has 2775 tensors.
const maxMembers = 100_000;
// Longer strings hash by their length alone in V8, which makes sets of them quadratic.
const maxKeyLength = 4096;

export function fail(cursor: JsonCursor, expected: string, found = excerpt(cursor)): never {
  throw new LoadError(`${cursor.file}: ${cursor.where}: expected ${expected}, found ${found}`);
}

function excerpt({ text, at }: JsonCursor): string {
  return at < text.length ? `${quote(text.slice(at, at + 20))} at character ${at}` : "its end";
}

function skipSpace(cursor: JsonCursor): void {
  for (let code = cursor.text.charCodeAt(cursor.at); code === 0x20 || code === 0x0a || code === 0x0d || code === 0x09; ) {
    code = cursor.text.charCodeAt(++cursor.at);
  }
}

function take(cursor: JsonCursor, char: string): boolean {
  skipSpace(cursor);
  if (cursor.text[cursor.at] !== char) return false;
  cursor.at++;
  return true;
}

function expectChar(cursor: JsonCursor, char: string): void {
  if (!take(cursor, char)) fail(cursor, `"${char}"`);
}

/** Steps over a null, if there is one. */
export function takeNull(cursor: JsonCursor): boolean {
  skipSpace(cursor);
  if (!cursor.text.startsWith("null", cursor.at)) return false;
  cursor.at += "null".length;
  return true;
}

export function expectEnd(cursor: JsonCursor): void {
  skipSpace(cursor);
  if (cursor.at < cursor.text.length) fail(cursor, "nothing but white space after the last brace");
}

/** @param onMember reads the value of `key` */
export function readObject(cursor: JsonCursor, onMember: (key: string) => void): void {
  const { where } = cursor;
  const seen = new Set<string>();
  expectChar(cursor, "{");
  if (take(cursor, "}")) return;
  do {
    const key = readString(cursor);
    if (key.length > maxKeyLength) fail(cursor, `keys of at most ${maxKeyLength} characters`, `${key.length}`);
    if (key === "__proto__") fail(cursor, "keys that are names", `"__proto__"`);
    if (seen.has(key)) fail(cursor, `one ${quote(key)}`, "two");
    if (seen.add(key).size > maxMembers) fail(cursor, `at most ${maxMembers} members`, "more");
    expectChar(cursor, ":");
    onMember(key);
    cursor.where = where;
  } while (take(cursor, ","));
  expectChar(cursor, "}");
}

export function readString(cursor: JsonCursor): string {
  if (!take(cursor, '"')) fail(cursor, "a string");
  const { text } = cursor;
  const begin = cursor.at;
  let escaped = false;
  for (let code = text.charCodeAt(begin); code !== 0x22; code = text.charCodeAt(cursor.at)) {
    // Past the end the code is NaN.
    if (!(code >= 0x20)) fail(cursor, "the end of a string");
    escaped ||= code === 0x5c;
    cursor.at += code === 0x5c ? 2 : 1;
  }
  const raw = text.slice(begin, cursor.at++);
  if (!escaped) return raw;
  try {
    return JSON.parse(`"${raw}"`);
  } catch {
    return fail(cursor, "a string", quote(raw));
  }
}

/** An array of at most `max` counts; `what` is the error's word for it. */
export function readCounts(cursor: JsonCursor, what: string, max: number): number[] {
  const counts: number[] = [];
  if (!take(cursor, "[")) fail(cursor, `${what} to be an array`);
  if (take(cursor, "]")) return counts;
  do {
    if (counts.length === max) fail(cursor, `${what} to have at most ${max} numbers`, "more");
    skipSpace(cursor);
    const token = /[^\s,[\]{}":]{0,20}/y;
    token.lastIndex = cursor.at;
    const digits = token.exec(cursor.text)?.[0] ?? "";
    const count = /^(0|[1-9]\d*)$/.test(digits) ? Number(digits) : Number.NaN;
    if (!Number.isSafeInteger(count)) fail(cursor, `${what} to hold integers from 0 to 2^53 - 1`);
    cursor.at += digits.length;
    counts.push(count);
  } while (take(cursor, ","));
  if (!take(cursor, "]")) fail(cursor, `"]" after ${what}`);
  return counts;
}
