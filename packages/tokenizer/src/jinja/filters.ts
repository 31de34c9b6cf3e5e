// What templates make of values: `x | tojson`.

import { attributeOf } from "./attributes.ts";
import { itemSteps, mostDigits, spend } from "./budget.ts";
import { type DumpOptions, dumpJson } from "./json.ts";
import { capitalized, joined, methodOf, replaced, strip, taken, titleCase } from "./methods.ts";
import { binary } from "./operators.ts";
import { testOf } from "./tests.ts";
import { fixed, formatPercent } from "./text-format.ts";
import {
  charsOf,
  compare,
  each,
  equal,
  Float,
  fail,
  integer,
  isTrue,
  itemsOf,
  type Kwargs,
  lengthOf,
  numberOf,
  plain,
  str,
  tuple,
  Undefined,
  type Value,
} from "./values.ts";

type Filter = (value: Value, args: readonly Value[], kwargs: Kwargs) => Value;

/** An argument by its place or its name. */
function read(names: readonly string[], args: readonly Value[], kwargs: Kwargs): (Value | undefined)[] {
  const unknown = [...kwargs.keys()].find((name) => !names.includes(name));
  if (unknown !== undefined) return fail(`got an unexpected keyword argument '${unknown}'`);
  return names.map((name, i) => (args[i] === undefined ? kwargs.get(name) : args[i]));
}

function indentOf(value: Value | undefined): string | undefined {
  if (value === undefined || value === null || value === false) return undefined;
  return typeof value === "string" ? value : spaces(numberOf(value));
}

function spaces(count: unknown): string {
  const found = Math.max(0, Number(count));
  spend(found);
  return " ".repeat(found);
}

function toJson(value: Value, args: readonly Value[], kwargs: Kwargs): Value {
  const [ascii, indent, separators, sorted] = read(["ensure_ascii", "indent", "separators", "sort_keys"], args, kwargs);
  const pair = Array.isArray(separators) ? (separators.map(str) as unknown as DumpOptions["separators"]) : undefined;
  const options = { ensureAscii: isTrue(ascii ?? false), sortKeys: isTrue(sorted ?? false), indent: indentOf(indent) };
  return dumpJson(value, pair ? { ...options, separators: [pair[0], pair[1]] } : options);
}

/** What items are compared by: without regard to capitals, unless asked. */
function keyBy(keyOf: (item: Value) => Value, caseSensitive: Value = false): (item: Value) => Value {
  if (isTrue(caseSensitive)) return keyOf;
  return (item) => {
    const found = keyOf(item);
    if (typeof found === "string") spend(found.length);
    return typeof found === "string" ? found.toLowerCase() : found;
  };
}

function orderBy(keyOf: (item: Value) => Value, caseSensitive: Value | undefined, reverse: Value | undefined) {
  const key = keyBy(keyOf, caseSensitive);
  const sign = isTrue(reverse ?? false) ? -1 : 1;
  return (a: Value, b: Value) => sign * compare(key(a), key(b));
}

/** `"a.b"` and `0` reach into a value. */
function reach(path: Value | undefined, other?: Value): (item: Value) => Value {
  if (path === undefined || path === null) return (item) => item;
  const parts = typeof path === "string" ? path.split(".") : [path];
  return (item) => {
    spend(itemSteps * parts.length);
    const found = parts.reduce<Value>((at, part) => attributeOf(at, /^\d+$/.test(String(part)) ? Number(part) : part), item);
    return found instanceof Undefined && other !== undefined ? other : found;
  };
}

/** What map, select and reject go through: Jinja asks first whether there is anything, so that none is nothing to them. */
function someOf(value: Value): readonly Value[] {
  return isTrue(value) ? each(value) : [];
}

function map(value: Value, args: readonly Value[], kwargs: Kwargs): Value {
  const attribute = kwargs.get("attribute");
  if (attribute !== undefined) return someOf(value).map(reach(attribute, kwargs.get("default")));
  const [name, ...rest] = args;
  if (typeof name !== "string") return fail("map requires a filter argument");
  return someOf(value).map((item) => applyFilter(name, item, rest, kwargs));
}

function extreme(value: Value, kwargs: Kwargs, sign: 1 | -1): Value {
  const order = orderBy(reach(kwargs.get("attribute")), kwargs.get("case_sensitive"), sign < 0);
  const [first = new Undefined("No aggregated item, sequence was empty."), ...rest] = each(value);
  return rest.reduce((best, item) => (order(item, best) < 0 ? item : best), first);
}

function unique(value: Value, args: readonly Value[], kwargs: Kwargs): Value {
  const [caseSensitive, attribute] = read(["case_sensitive", "attribute"], args, kwargs);
  const key = keyBy(reach(attribute), caseSensitive);
  const kept: Value[] = [];
  for (const item of each(value)) if (!kept.some((one) => equal(key(one), key(item)))) kept.push(item);
  return kept;
}

function toInteger(value: Value, args: readonly Value[], kwargs: Kwargs): Value {
  const [other = 0, base = 10] = read(["default", "base"], args, kwargs);
  const found = numberOf(value);
  if (found !== undefined) return Number.isFinite(Number(found)) ? integer(typeof found === "number" ? Math.trunc(found) : found) : other;
  if (typeof value !== "string") return other;
  const digits = strip(value, undefined).replaceAll(/(?<=\d)_(?=\d)/g, "");
  const radix = Number(base);
  const whole =
    radix === 16 ? /^[-+]?(0x)?[0-9a-f]+$/i : radix === 8 ? /^[-+]?(0o)?[0-7]+$/i : radix === 2 ? /^[-+]?(0b)?[01]+$/i : /^[-+]?\d+$/;
  if (whole.test(digits) && digits.length <= mostDigits)
    return radix === 10 ? integer(BigInt(digits.replace("+", ""))) : Number.parseInt(digits.replace(/0[xob]/i, ""), radix);
  const float = Number(digits);
  return digits !== "" && Number.isFinite(float) ? Math.trunc(float) : other;
}

function toFloat(value: Value, args: readonly Value[], kwargs: Kwargs): Value {
  const [other = new Float(0)] = read(["default"], args, kwargs);
  const found = numberOf(value) ?? (typeof value === "string" && value.trim() !== "" ? Number(value) : Number.NaN);
  return Number.isNaN(Number(found)) ? other : new Float(Number(found));
}

function round(value: Value, args: readonly Value[], kwargs: Kwargs): Value {
  const [given = 0, method = "common"] = read(["precision", "method"], args, kwargs);
  const precision = Number(given);
  const number = numberOf(value) ?? fail("round: expected a number");
  const scale = 10 ** precision;
  if (method !== "common") return new Float(Math[method === "ceil" ? "ceil" : "floor"](Number(number) * scale) / scale);
  if (precision >= 0) return value instanceof Float ? new Float(Number(fixed(value.value, precision))) : number;
  const rounded = Number(fixed(Number(number) * scale, 0)) / scale;
  return value instanceof Float ? new Float(rounded) : integer(rounded);
}

function indent(value: Value, args: readonly Value[], kwargs: Kwargs): Value {
  const [width = 4, first = false, blank = false] = read(["width", "first", "blank"], args, kwargs);
  const margin = typeof width === "string" ? width : spaces(width);
  const [head, ...rest] = str(value).split("\n");
  spend(rest.length * (itemSteps + margin.length));
  const lines = rest.map((line) => (line === "" && !isTrue(blank) ? line : margin + line));
  return [isTrue(first) ? margin + head : head, ...lines].join("\n");
}

function dictSort(value: Value, args: readonly Value[], kwargs: Kwargs): Value {
  const [caseSensitive, by = "key", reverse] = read(["case_sensitive", "by", "reverse"], args, kwargs);
  if (by !== "key" && by !== "value") return fail("You can only sort by either 'key' or 'value'");
  return Array.from(pairsOf(value)).sort(orderBy((pair) => (pair as Value[])[by === "key" ? 0 : 1], caseSensitive, reverse));
}

function pairsOf(value: Value): Value[] {
  if (value instanceof Undefined) return [];
  if (!(value instanceof Map)) return fail("Can only get item pairs from a mapping.");
  return Array.from(value, ([key, item]) => tuple([key, item]));
}

function select(value: Value, args: readonly Value[], keep: boolean): Value {
  const test = testOf(args);
  return someOf(value).filter((item) => test(item) === keep);
}

function selectBy(value: Value, [attribute, ...args]: readonly Value[], keep: boolean): Value {
  const [test, keyOf] = [testOf(args), reach(attribute)];
  return someOf(value).filter((item) => test(keyOf(item)) === keep);
}

function escaped(value: Value): Value {
  const entities: Readonly<Record<string, string>> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", "'": "&#39;", '"': "&#34;" };
  return str(value).replace(/[&<>'"]/g, (char) => entities[char]);
}

/** Python counts a word a run of what letters, digits and underscores are. */
const words = /[\p{L}\p{N}_]+/gu;

const filters: Readonly<Record<string, Filter>> = {
  abs: (value) => (value instanceof Float ? new Float(Math.abs(value.value)) : integer(absolute(value))),
  attr: (value, [name]) => methodOf(value, str(name)) ?? new Undefined(`attribute ${str(name)}`),
  capitalize: (value) => capitalized(str(value)),
  count: lengthOf,
  length: lengthOf,
  default: (value, args, kwargs) => {
    const [other = "", falseToo = false] = read(["default_value", "boolean"], args, kwargs);
    return value instanceof Undefined || (isTrue(falseToo) && !isTrue(value)) ? other : value;
  },
  dictsort: dictSort,
  escape: escaped,
  first: (value) => orMissing(itemsOf(value)[0], "No first item, sequence was empty."),
  float: toFloat,
  format: (value, args, kwargs) => formatPercent(str(value), kwargs.size > 0 ? new Map(kwargs) : tuple(args)),
  indent,
  int: toInteger,
  items: pairsOf,
  join: (value, args, kwargs) => {
    const [by = "", attribute] = read(["d", "attribute"], args, kwargs);
    return joined(each(value).map(reach(attribute)).map(str), str(by));
  },
  last: (value) => orMissing(itemsOf(value).at(-1), "No last item, sequence was empty."),
  list: (value) => Array.from(each(value)),
  lower: (value) => str(value).toLowerCase(),
  map,
  max: (value, _, kwargs) => extreme(value, kwargs, -1),
  min: (value, _, kwargs) => extreme(value, kwargs, 1),
  reject: (value, args) => select(value, args, false),
  rejectattr: (value, args) => selectBy(value, args, false),
  replace: (value, args, kwargs) =>
    replaced(
      str(value),
      args.map((arg, i) => (i < 2 ? str(arg) : arg)),
      kwargs,
    ),
  reverse: (value) => (typeof value === "string" ? charsOf(value).reverse().join("") : Array.from(each(value)).reverse()),
  round,
  safe: (value) => value,
  select: (value, args) => select(value, args, true),
  selectattr: (value, args) => selectBy(value, args, true),
  sort: (value, args, kwargs) => {
    const [reverse, caseSensitive, attribute] = read(["reverse", "case_sensitive", "attribute"], args, kwargs);
    return Array.from(each(value)).sort(orderBy(reach(attribute), caseSensitive, reverse));
  },
  string: str,
  sum: (value, args, kwargs) => {
    const [attribute, start = 0] = read(["attribute", "start"], args, kwargs);
    return each(value)
      .map(reach(attribute))
      .reduce((sum, item) => binary("+", sum, item), start);
  },
  title: (value) => titleCase(str(value)),
  tojson: toJson,
  trim: (value, args, kwargs) => strip(str(value), read(["chars"], args, kwargs)[0]),
  unique,
  upper: (value) => str(value).toUpperCase(),
  wordcount: (value) => str(value).match(words)?.length ?? 0,
};

/** None is an item too. */
function orMissing(item: Value | undefined, why: string): Value {
  return item === undefined ? new Undefined(why) : item;
}

const otherNames: Readonly<Record<string, string>> = { d: "default", e: "escape" };

function absolute(value: Value): number | bigint {
  const found = numberOf(value) ?? fail("abs: expected a number");
  return found < 0 ? -found : found;
}

/** Do nothing to a text. */
const handsOn: ReadonlySet<string> = new Set(["default", "safe", "string"]);

/** @throws Error for a filter that does not exist, or does not take this value */
export function applyFilter(name: string, value: Value, args: readonly Value[], kwargs: Kwargs): Value {
  const known = otherNames[name] ?? name;
  if (!Object.hasOwn(filters, known)) return fail(`No filter named '${name}'.`);
  if (typeof value === "string" && !handsOn.has(known)) spend(value.length);
  return taken(filters[known](name === "tojson" || name === "safe" ? value : plain(value), args.map(plain), kwargs));
}
