// Python's values as templates see them, and what Python does with each: print, compare, iterate.

import { itemSteps, spend, valueSteps } from "./budget.ts";

/** An integer is a number where that holds it exactly, else a bigint; a dict is a Map, a list an array. */
export type Value = null | boolean | number | bigint | string | Float | Undefined | Literal | Namespace | Callable | Value[] | Dict;
export type Dict = Map<Value, Value>;
export type Kwargs = ReadonlyMap<string, Value>;
export type Callable = (args: readonly Value[], kwargs: Kwargs) => Value;

export class Float {
  /** @param written as a file has it, where it is too large for a float */
  constructor(
    readonly value: number,
    readonly written?: string,
  ) {}
}

/** What a name or a key stands for that is not there. */
export class Undefined {
  constructor(readonly what: string) {}
}

/** JSON that is printed as it stands, also by `tojson`: a text that must not be taken apart. */
export class Literal {
  constructor(readonly text: string) {}
}

export class Namespace {
  readonly entries: Map<string, Value>;

  constructor(entries: Iterable<readonly [string, Value]> = []) {
    this.entries = new Map(entries);
  }
}

export class Tuple extends Array<Value> {}

/** A list that prints as something else: the keys of a dict, a range. */
export class View extends Array<Value> {
  label = "";
}

export function view(items: Iterable<Value>, label: string): View {
  const made = new View();
  for (const item of items) append(made, item);
  made.label = label;
  return made;
}

export function tuple(items: readonly Value[]): Tuple {
  const made = new Tuple();
  for (const item of items) append(made, item);
  return made;
}

function append(made: Value[], item: Value): void {
  spend(itemSteps);
  made.push(item);
}

/** @throws Error for what Python would refuse with a TypeError */
export function fail(message: string): never {
  throw new TypeError(message);
}

/** An integer as a number if that is exact. */
export function integer(value: number | bigint): number | bigint {
  if (typeof value === "number") return Number.isSafeInteger(value) ? value + 0 : BigInt(value);
  return value >= Number.MIN_SAFE_INTEGER && value <= Number.MAX_SAFE_INTEGER ? Number(value) : value;
}

/** A value of JSON's kinds; functions are called with such values. */
export function fromJs(given: unknown): Value {
  spend(valueSteps);
  if (given === undefined) return new Undefined("value");
  if (given === null || typeof given === "boolean" || typeof given === "string" || typeof given === "bigint") return given;
  if (typeof given === "number") {
    if (!Number.isFinite(given)) return null; // as in JSON.stringify
    return Number.isInteger(given) ? integer(given) : new Float(given);
  }
  if (typeof given === "function") return (args) => fromJs(given(...args.map(toJs)));
  if (given instanceof Float || given instanceof Literal || given instanceof Undefined) return given;
  if (Array.isArray(given)) return given.map((item) => (item === undefined ? null : fromJs(item)));
  if (given instanceof Map) return new Map([...given].map(([key, item]) => [key, fromJs(item)]));
  if (typeof given !== "object") return fail(`expected a value that JSON has, found a ${typeof given}`);
  if ("toJSON" in given && typeof given.toJSON === "function") return fromJs(given.toJSON());
  const entries = Object.entries(given).filter(([, item]) => item !== undefined);
  return new Map(entries.map(([key, item]): [Value, Value] => [key, fromJs(item)]));
}

function toJs(value: Value): unknown {
  spend(valueSteps);
  if (value instanceof Float) return value.value;
  if (value instanceof Undefined) return undefined;
  if (value instanceof Literal) return value.text;
  if (Array.isArray(value)) return Array.from(value, toJs);
  if (value instanceof Map) return Object.fromEntries([...value].map(([key, item]) => [str(key), toJs(item)]));
  return value;
}

export function typeName(value: Value): string {
  if (value === null) return "NoneType";
  if (typeof value === "boolean") return "bool";
  if (typeof value === "number" || typeof value === "bigint") return "int";
  if (typeof value === "string" || value instanceof Literal) return "str";
  if (typeof value === "function") return "function";
  if (value instanceof Float) return "float";
  if (value instanceof Undefined) return "Undefined";
  if (value instanceof Namespace) return "Namespace";
  if (value instanceof Map) return "dict";
  return value instanceof Tuple ? "tuple" : "list";
}

export function isTrue(value: Value): boolean {
  if (value instanceof Undefined) return false;
  if (value instanceof Float) return value.value !== 0;
  if (Array.isArray(value)) return value.length > 0;
  if (value instanceof Map) return value.size > 0;
  return Boolean(value);
}

export function str(value: Value): string {
  if (typeof value === "string") return value;
  if (value instanceof Literal) return value.text;
  return value instanceof Undefined ? "" : repr(value);
}

export function repr(value: Value): string {
  spend(valueSteps);
  if (value === null) return "None";
  if (typeof value === "boolean") return value ? "True" : "False";
  if (typeof value === "number" || typeof value === "bigint") return String(value);
  if (typeof value === "string") return quoted(value);
  if (value instanceof Float) return floatText(value);
  if (value instanceof Undefined) return "Undefined";
  if (value instanceof Literal) return quoted(value.text);
  if (value instanceof Namespace) return `<Namespace ${repr(new Map(value.entries))}>`;
  if (value instanceof Map) return `{${Array.from(value, ([key, item]) => `${repr(key)}: ${repr(item)}`).join(", ")}}`;
  if (typeof value === "function") return "<function>";
  const items = Array.from(value, repr).join(", ");
  if (value instanceof Tuple) return value.length === 1 ? `(${items},)` : `(${items})`;
  if (!(value instanceof View)) return `[${items}]`;
  return value.label.endsWith(")") ? value.label : `${value.label}([${items}])`;
}

export function floatText({ value, written }: Float): string {
  if (!Number.isFinite(value)) return written ?? (Number.isNaN(value) ? "nan" : value > 0 ? "inf" : "-inf");
  if (Object.is(value, -0)) return "-0.0";
  const [digits, exponent] = value.toExponential().split("e");
  const power = Number(exponent);
  // Python's own bounds for where an exponent is shorter.
  if (power < -4 || power >= 16) return `${digits}e${power < 0 ? "-" : "+"}${String(Math.abs(power)).padStart(2, "0")}`;
  return Number.isInteger(value) ? `${value}.0` : String(value);
}

const shortEscapes: Readonly<Record<string, string>> = { "\n": "\\n", "\r": "\\r", "\t": "\\t", "\\": "\\\\" };

/** With the quotes that the text has none of; what can't be printed is escaped. */
function quoted(text: string): string {
  spend(4 * text.length);
  const quote = text.includes("'") && !text.includes('"') ? '"' : "'";
  const inner = text.replace(/[\\']|(?! )[\p{C}\p{Z}]/gu, (char) => {
    if (char === "'") return quote === "'" ? "\\'" : char;
    const code = char.codePointAt(0)!;
    const hex = code.toString(16);
    if (code < 0x100) return shortEscapes[char] ?? `\\x${hex.padStart(2, "0")}`;
    return code < 0x10000 ? `\\u${hex.padStart(4, "0")}` : `\\U${hex.padStart(8, "0")}`;
  });
  return quote + inner + quote;
}

/** The number that Python computes with; undefined for what is none. */
export function numberOf(value: Value): number | bigint | undefined {
  if (typeof value === "number" || typeof value === "bigint") return value;
  if (typeof value === "boolean") return Number(value);
  return value instanceof Float ? value.value : undefined;
}

/** A Literal is the text that it prints. */
export function plain(value: Value): Exclude<Value, Literal> {
  return value instanceof Literal ? value.text : value;
}

export function equal(left: Value, right: Value): boolean {
  const [a, b] = [plain(left), plain(right)];
  spend(2 * itemSteps + (typeof a === "string" && typeof b === "string" && a.length === b.length ? a.length : 0));
  const [x, y] = [numberOf(a), numberOf(b)];
  // biome-ignore lint/suspicious/noDoubleEquals: a number and a bigint may be equal
  if (x !== undefined && y !== undefined) return x == y;
  if (a instanceof Undefined) return b instanceof Undefined;
  if (Array.isArray(a) && Array.isArray(b))
    return a instanceof Tuple === b instanceof Tuple && a.length === b.length && a.every((item, i) => equal(item, b[i]));
  if (a instanceof Map && b instanceof Map)
    return a.size === b.size && [...a].every(([key, item]) => b.has(key) && equal(item, b.get(key)!));
  return a === b;
}

/** @returns below, at or above 0. @throws where Python has no order */
export function compare(left: Value, right: Value): number {
  spend(itemSteps);
  const [a, b] = [plain(left), plain(right)];
  const [x, y] = [numberOf(a), numberOf(b)];
  if (x !== undefined && y !== undefined) return x < y ? -1 : x > y ? 1 : 0;
  if (typeof a === "string" && typeof b === "string") return compareTexts(a, b);
  if (Array.isArray(a) && Array.isArray(b)) {
    for (const [i, item] of a.entries()) {
      if (i >= b.length) return 1;
      if (!equal(item, b[i])) return compare(item, b[i]);
    }
    return a.length - b.length;
  }
  return fail(`'<' not supported between instances of '${typeName(a)}' and '${typeName(b)}'`);
}

/** By code points, which is not JavaScript's order beyond U+FFFF. */
export function compareTexts(a: string, b: string): number {
  const shorter = Math.min(a.length, b.length);
  spend(shorter);
  let at = 0;
  while (at < shorter && a[at] === b[at]) at++;
  // Halves of characters beyond U+FFFF are the lesser units, but of the greater characters.
  const placeOf = (unit: number) => unit + (unit >= 0xd800 && unit < 0xe000 ? 0x10000 : 0);
  return at < shorter ? placeOf(a.charCodeAt(at)) - placeOf(b.charCodeAt(at)) : a.length - b.length;
}

/** For those who look at one or some; see `each`. @throws where Python can't */
export function itemsOf(given: Value): readonly Value[] {
  const value = plain(given);
  if (Array.isArray(value)) return value;
  if (typeof value === "string") return charsOf(value);
  if (value instanceof Map) {
    spend(itemSteps * value.size);
    return [...value.keys()];
  }
  if (value instanceof Undefined) return [];
  return fail(`'${typeName(value)}' object is not iterable`);
}

/** For those who look at all of them. @throws where Python can't */
export function each(given: Value): readonly Value[] {
  const items = itemsOf(given);
  spend(itemSteps * items.length);
  return items;
}

/** Code points. */
export function charsOf(text: string): string[] {
  spend(itemSteps * text.length);
  return Array.from(text);
}

export function countChars(text: string): number {
  spend(text.length);
  let count = text.length;
  for (let i = 0; i < text.length; i++) if (text.charCodeAt(i) >> 10 === 0x36 && text.charCodeAt(i + 1) >> 10 === 0x37) count--;
  return count;
}

/** @throws where Python can't */
export function lengthOf(given: Value): number {
  const value = plain(given);
  if (value instanceof Map) return value.size;
  if (typeof value === "string") return countChars(value);
  if (Array.isArray(value) || value instanceof Undefined) return itemsOf(value).length;
  return fail(`object of type '${typeName(value)}' has no len()`);
}

/** Engines compare a long part anew at each place. */
export function expectSearch(within: string, sought: string): void {
  spend(within.length + (Math.max(0, within.length - sought.length) * sought.length) / 8);
}

export function contains(container: Value, item: Value): boolean {
  const [within, sought] = [plain(container), plain(item)];
  if (typeof within !== "string") return itemsOf(within).some((one) => equal(one, sought));
  if (typeof sought !== "string") return fail(`'in <string>' requires string as left operand, not ${typeName(sought)}`);
  expectSearch(within, sought);
  return within.includes(sought);
}
