// How much may be in a body of JSON, told before it is parsed: small values take far more time and memory than their bytes say.

import { ApiError } from "./errors.ts";

/** Nothing that anyone asks for lies deeper, and recursion over it must end. */
const deepest = 64;

/** Texts, names of fields, objects, lists, true, false and null: what takes some 40 ms to be parsed and checked, and a conversation of thousands of messages. */
export const maxValues = 2 ** 15;

/** Items of lists, which are more where they are numbers: twice the token ids of a context of 262,144. */
export const maxItems = 2 ** 19;

const [quote, backslash] = [0x22, 0x5c];
const [item, string, open, close, word] = [1, 2, 3, 4, 5];
/** What begins or ends with a character, by its code. Of words there are true, false and null; numbers have none of these letters. */
const kinds = new Uint8Array(128);
for (const [letters, kind] of [
  [",", item],
  ['"', string],
  ["[{", open],
  ["]}", close],
  ["tfn", word],
] as const)
  for (const letter of letters) kinds[letter.charCodeAt(0)] = kind;

/**
 * @param text JSON, or what is meant to be
 * @throws ApiError 400 where it is too deep, 413 where too much is in it
 */
export function expectBounded(text: string): void {
  let [levels, values, items] = [0, 0, 0];
  for (let at = 0; at < text.length; at++) {
    // Most are digits.
    const kind = kinds[text.charCodeAt(at)];
    if (!kind) continue;
    if (kind === item) items++;
    else if (kind === close) levels--;
    else values++;
    if (kind === string) at = endOfText(text, at);
    if (kind === open && ++levels > deepest)
      throw new ApiError(400, `body: expected JSON of at most ${deepest} levels, found more`, { code: "invalid_json" });
    if (values > maxValues) throw tooMany(`${maxValues} texts, names of fields, objects and lists`);
    if (items > maxItems) throw tooMany(`${maxItems} numbers`);
  }
}

/** @returns the index of the closing quote */
function endOfText(text: string, start: number): number {
  const next = text.indexOf('"', start + 1);
  if (next < 0) return text.length;
  if (text.charCodeAt(next - 1) !== backslash) return next;
  for (let at = start + 1; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (code === quote) return at;
    if (code === backslash) at++;
  }
  return text.length;
}

function tooMany(allowed: string): ApiError {
  return new ApiError(413, `body: expected at most ${allowed}, found more`, { code: "request_too_large" });
}
