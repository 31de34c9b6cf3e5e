// JSON as Python reads and writes it: numbers keep their digits, objects the order of their keys.

import { mostDigits, spend, valueSteps } from "./budget.ts";
import { compareTexts, type Dict, Float, fail, floatText, integer, Literal, str, typeName, type Value } from "./values.ts";

export interface DumpOptions {
  /** What a line begins with, once for each level; without it all is on one line. */
  readonly indent?: string;
  readonly ensureAscii?: boolean;
  readonly sortKeys?: boolean;
  readonly separators?: readonly [item: string, key: string];
}

/** Python's json.dumps. @throws Error for what has no JSON */
export function dumpJson(value: Value, options: DumpOptions = {}, line = "\n"): string {
  const { indent, ensureAscii = false, sortKeys = false, separators = indent === undefined ? [", ", ": "] : [",", ": "] } = options;
  spend(valueSteps);
  if (value === null) return "null";
  if (typeof value === "boolean" || typeof value === "bigint" || typeof value === "number") return String(value);
  if (typeof value === "string") spend(2 * value.length);
  if (typeof value === "string") return ensureAscii ? asciiOnly(JSON.stringify(value)) : JSON.stringify(value);
  if (value instanceof Literal) return value.text;
  if (value instanceof Float) return floatText(value).replace("inf", "Infinity").replace("nan", "NaN");
  if (!Array.isArray(value) && !(value instanceof Map)) return fail(`Object of type ${typeName(value)} is not JSON serializable`);
  const inner = indent === undefined ? line : line + indent;
  const dump = (item: Value) => dumpJson(item, options, inner);
  const [open, close] = Array.isArray(value) ? "[]" : "{}";
  const items = Array.isArray(value)
    ? Array.from(value, dump)
    : entriesOf(value, sortKeys).map(([key, item]) => dump(key) + separators[1] + dump(item));
  if (items.length === 0) return open + close;
  spend(items.length * (inner.length + separators[0].length) + items.reduce((sum, item) => sum + item.length, 0));
  return indent === undefined ? open + items.join(separators[0]) + close : open + inner + items.join(separators[0] + inner) + line + close;
}

function entriesOf(dict: Dict, sorted: boolean): [string, Value][] {
  const entries = [...dict].map(([key, item]): [string, Value] => [keyText(key), item]);
  return sorted ? entries.sort(([a], [b]) => compareTexts(a, b)) : entries;
}

function keyText(key: Value): string {
  if (typeof key === "string") return key;
  if (key === null || typeof key === "boolean") return String(key);
  if (typeof key === "number" || typeof key === "bigint" || key instanceof Float) return str(key);
  return fail(`keys must be str, int, float, bool or None, not ${typeName(key)}`);
}

function asciiOnly(text: string): string {
  return text.replace(/[^ -~]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`);
}

/** Python's json.loads. @returns undefined for a text that is no JSON */
export function readJson(text: string): Value | undefined {
  try {
    JSON.parse(text);
  } catch {
    return undefined;
  }
  // It is well-formed: all that is left to do is to put the parts together.
  const stack: { readonly into: Value[] | Dict; key?: string }[] = [{ into: [] }];
  const root = stack[0].into as Value[];
  for (const [part] of text.matchAll(/"[^"\\]*(?:\\.[^"\\]*)*"|[{}[\]:,]|[^\s{}[\]:,"]+/g)) {
    const top = stack.at(-1)!;
    if (part === ":" || part === ",") continue;
    if (part === "}" || part === "]") {
      stack.pop();
      continue;
    }
    if (part[0] === '"' && top.into instanceof Map && top.key === undefined) {
      top.key = JSON.parse(part) as string;
      continue;
    }
    const value: Value = part === "{" ? new Map() : part === "[" ? [] : scalarOf(part);
    if (Array.isArray(top.into)) top.into.push(value);
    else top.into.set(top.key!, value);
    top.key = undefined;
    if (part === "{" || part === "[") stack.push({ into: value as Value[] | Dict });
  }
  return root[0];
}

function scalarOf(part: string): Value {
  if (/^-?\d+$/.test(part) && part.length <= mostDigits) return integer(BigInt(part));
  if (!/^-?\d/.test(part)) return JSON.parse(part) as Value;
  return new Float(Number(part), part);
}
