// A schema as plain JSON of our own: whatever was handed in is read once, within limits, and never again.

import { fail, type Json } from "./words.ts";

/** Levels of nesting of the JSON text; the deepest of 1,551 real schemas has 24. */
const maxDepth = 100;
/** Values in all. Schemas of 60 KB hold 6,000 at most. */
const maxValues = 50_000;
/** Characters of names and strings in all. */
const maxText = 4_000_000;

interface Budget {
  values: number;
  text: number;
}

/**
 * @returns a copy without prototypes, so that a key such as `__proto__` is a key like any other
 * @throws JambaError OPTION for rings, accessors, what JSON can't hold, and what is over a limit
 */
export function readSchema(value: unknown, name: string): Json {
  return read(value, name, 0, { values: 0, text: 0 });
}

function read(value: unknown, path: string, depth: number, spent: Budget): Json {
  if (++spent.values > maxValues) fail(path, `a schema of at most ${maxValues} values (split it, or shorten its lists)`, "more");
  if (value === null || typeof value === "boolean") return value;
  if (typeof value === "string") return text(value, path, spent);
  if (typeof value === "number") return Number.isFinite(value) ? value : fail(path, "a number that JSON can hold", String(value));
  if (typeof value !== "object") fail(path, "a value that JSON can hold", typeof value);
  if (depth >= maxDepth) fail(path, `a schema at most ${maxDepth} levels deep`, "a deeper one, or one that holds itself");
  if (Array.isArray(value)) {
    if (value.length > maxValues) fail(path, `a schema of at most ${maxValues} values (split it, or shorten its lists)`, "more");
    return Array.from(value, (item, i) => read(item, `${path}[${i}]`, depth + 1, spent));
  }
  const copy: Record<string, Json> = Object.create(null);
  for (const key of Object.keys(value)) {
    const own = Object.getOwnPropertyDescriptor(value, key);
    if (own === undefined || own.get || own.set) fail(`${path}.${key}`, "a plain value", "an accessor");
    if (own.value !== undefined) copy[text(key, path, spent)] = read(own.value, `${path}.${key}`, depth + 1, spent);
  }
  return copy;
}

function text(value: string, path: string, spent: Budget): string {
  spent.text += value.length;
  if (spent.text > maxText) fail(path, `a schema of at most ${maxText} characters`, "more");
  return value.isWellFormed() ? value : fail(path, "text without halves of surrogate pairs", value);
}
