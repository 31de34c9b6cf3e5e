// The methods of Python's texts, lists and dicts that change nothing: as in transformers, templates may not change what they are given.

import { itemSteps, spend } from "./budget.ts";
import { formatBraces } from "./text-format.ts";
import {
  type Callable,
  charsOf,
  countChars,
  type Dict,
  each,
  equal,
  expectSearch,
  fail,
  type Kwargs,
  plain,
  tuple,
  typeName,
  type Value,
  view,
} from "./values.ts";

type Method<T> = (self: T, args: readonly Value[], kwargs: Kwargs) => Value;

/** The attribute of that name, bound to its value; undefined where Python has none. */
export function methodOf(self: Value, name: string): Callable | undefined {
  const methods = typeof self === "string" ? ofText : self instanceof Map ? ofDict : Array.isArray(self) ? ofList : undefined;
  if (!methods || !Object.hasOwn(methods, name)) return undefined;
  const method = methods[name] as Method<Value>;
  return (args, kwargs) => {
    if (typeof self === "string" && !looksAtEnds.has(name)) spend(self.length);
    return taken(method(self, args.map(plain), kwargs));
  };
}

/** Cost what they look for. */
const looksAtEnds: ReadonlySet<string> = new Set(["startswith", "endswith", "removeprefix", "removesuffix"]);

/** What a method or filter has made, which is about as long as what it was made of. */
export function taken(value: Value): Value {
  if (typeof value === "string") spend(value.length);
  else if (Array.isArray(value)) spend(value.length);
  return value;
}

const space = /\s/;

export function strip(text: string, chars: Value | undefined, sides: "both" | "left" | "right" = "both"): string {
  if (typeof chars !== "string") return sides === "both" ? text.trim() : sides === "left" ? text.trimStart() : text.trimEnd();
  const set = new Set(chars);
  const drops = (char: string) => set.has(char);
  const all = charsOf(text);
  let [from, to] = [0, all.length];
  if (sides !== "right") while (from < to && drops(all[from])) from++;
  if (sides !== "left") while (to > from && drops(all[to - 1])) to--;
  return all.slice(from, to).join("");
}

/** A capital behind whatever is no letter. */
function titled(text: string): string {
  return text.replace(/\p{L}+/gu, (word) => {
    const [first, ...rest] = word;
    return first.toUpperCase() + rest.join("").toLowerCase();
  });
}

export function capitalized(text: string): string {
  const [first = "", ...rest] = text;
  return first.toUpperCase() + rest.join("").toLowerCase();
}

/** Jinja's own: a capital after a space, hyphen or opening bracket alone. */
export function titleCase(text: string): string {
  return text.replace(/[^-\s({[<]+/g, capitalized);
}

/** @throws where an argument is no text */
function textOf(value: Value | undefined, what: string): string {
  return typeof value === "string" ? value : fail(`${what}: expected a text, found ${value === undefined ? "none" : typeName(value)}`);
}

export function replaced(text: string, args: readonly Value[], kwargs: Kwargs): string {
  const [from, to] = [textOf(args[0], "replace"), textOf(args[1], "replace")];
  const count = args[2] ?? kwargs.get("count") ?? -1;
  const parts = from === "" ? ["", ...charsOf(text), ""] : partsOf(text, from);
  const most = typeof count === "number" && count >= 0 ? Math.min(count, parts.length - 1) : parts.length - 1;
  spend(most * to.length);
  return [...parts.slice(0, most), ""].join(to) + parts.slice(most).join(from);
}

function partsOf(text: string, separator: string): string[] {
  expectSearch(text, separator);
  const parts = text.split(separator);
  spend(itemSteps * parts.length);
  return parts;
}

/** Of texts that are counted already. */
export function joined(texts: readonly string[], by: string): string {
  spend(texts.length * by.length);
  spend(texts.reduce((sum, text) => sum + text.length, 0));
  return texts.join(by);
}

function split(text: string, args: readonly Value[], kwargs: Kwargs, fromRight: boolean): Value[] {
  const separator = args[0] ?? kwargs.get("sep") ?? null;
  const most = Number(args[1] ?? kwargs.get("maxsplit") ?? -1);
  if (separator !== null && textOf(separator, "split") === "") return fail("empty separator");
  if (separator === null) {
    const found = [...text.matchAll(/\S+/g)];
    spend(itemSteps * itemSteps * found.length);
    const words = found.map(([word]) => word);
    if (most < 0 || words.length <= most) return words;
    // What is not split stays as it is.
    if (!fromRight) return [...words.slice(0, most), text.slice(found[most].index)];
    const rest = words.length - most;
    return [text.slice(0, found[rest - 1].index + words[rest - 1].length), ...words.slice(rest)];
  }
  const parts = partsOf(text, separator as string);
  if (most < 0 || parts.length <= most + 1) return parts;
  if (fromRight) return [parts.slice(0, parts.length - most).join(separator as string), ...parts.slice(parts.length - most)];
  return [...parts.slice(0, most), parts.slice(most).join(separator as string)];
}

/** Where a part of the text begins, by code points. */
function find(text: string, args: readonly Value[], fromRight = false): number {
  const part = textOf(args[0], "find");
  const { within, from } = searched(text, args);
  expectSearch(within, part);
  const at = fromRight ? within.lastIndexOf(part) : within.indexOf(part);
  return at < 0 ? -1 : from + countChars(within.slice(0, at));
}

/** What a search looks through, from a first code point to a last one, where they are given. */
function searched(text: string, [, first, last]: readonly Value[]): { within: string; from: number } {
  if (first === undefined && last === undefined) return { within: text, from: 0 };
  const all = charsOf(text);
  const place = (value: Value | undefined, other: number) =>
    typeof value === "number" ? Math.min(all.length, value < 0 ? Math.max(0, value + all.length) : value) : other;
  const from = place(first, 0);
  return { within: all.slice(from, place(last, all.length)).join(""), from };
}

function hasEnd(text: string, args: readonly Value[], matches: (within: string, end: string) => boolean): boolean {
  const { within } = searched(text, args);
  const ends = Array.isArray(args[0]) ? args[0] : [args[0]];
  return ends.some((end) => {
    const sought = textOf(end, "startswith");
    spend(itemSteps + sought.length);
    return matches(within, sought);
  });
}

function soughtIn(text: string, given: Value | undefined): string {
  const part = textOf(given, "partition");
  expectSearch(text, part);
  return part;
}

function partition(text: string, args: readonly Value[], at: number): Value {
  const separator = textOf(args[0], "partition");
  return tuple([text.slice(0, at), separator, text.slice(at + separator.length)]);
}

/** Of a text, as its characters say: all are of that kind, and there are some. */
const isAll = (kind: RegExp) => (text: string) => text !== "" && charsOf(text).every((char) => kind.test(char));

const pad = (text: string, args: readonly Value[], side: "left" | "right" | "both"): string => {
  const missing = Math.max(0, Number(args[0]) - countChars(text));
  spend(missing);
  const fill = args[1] === undefined ? " " : textOf(args[1], "fillchar");
  const before = side === "right" ? 0 : side === "left" ? missing : (missing >> 1) + (missing & Number(args[0]) & 1);
  return fill.repeat(before) + text + fill.repeat(missing - before);
};

const ofText: Readonly<Record<string, Method<string>>> = {
  upper: (text) => text.toUpperCase(),
  lower: (text) => text.toLowerCase(),
  casefold: (text) => text.toLowerCase(),
  title: titled,
  capitalize: capitalized,
  swapcase: (text) =>
    charsOf(text)
      .map((char) => (char === char.toUpperCase() ? char.toLowerCase() : char.toUpperCase()))
      .join(""),
  strip: (text, [chars]) => strip(text, chars),
  lstrip: (text, [chars]) => strip(text, chars, "left"),
  rstrip: (text, [chars]) => strip(text, chars, "right"),
  split: (text, args, kwargs) => split(text, args, kwargs, false),
  rsplit: (text, args, kwargs) => split(text, args, kwargs, true),
  splitlines: (text, [keeps]) =>
    (text.match(/[^\n\r]*(?:\r\n|\n|\r)|[^\n\r]+$/g) ?? []).map((line) => (keeps === true ? line : line.replace(/[\r\n]+$/, ""))),
  join: (text, [items]) =>
    joined(
      each(items).map((item, i) => textOf(plain(item), `sequence item ${i}`)),
      text,
    ),
  replace: (text, args, kwargs) => replaced(text, args, kwargs),
  startswith: (text, args) => hasEnd(text, args, (within, end) => within.startsWith(end)),
  endswith: (text, args) => hasEnd(text, args, (within, end) => within.endsWith(end)),
  removeprefix: (text, [start]) => (text.startsWith(textOf(start, "removeprefix")) ? text.slice((start as string).length) : text),
  removesuffix: (text, [end]) =>
    end !== "" && text.endsWith(textOf(end, "removesuffix")) ? text.slice(0, text.length - (end as string).length) : text,
  find: (text, args) => find(text, args),
  rfind: (text, args) => find(text, args, true),
  index: (text, args) => (find(text, args) < 0 ? fail("substring not found") : find(text, args)),
  rindex: (text, args) => (find(text, args, true) < 0 ? fail("substring not found") : find(text, args, true)),
  count: (text, [part]) => (part === "" ? countChars(text) + 1 : partsOf(text, textOf(part, "count")).length - 1),
  partition: (text, args) => {
    const at = text.indexOf(soughtIn(text, args[0]));
    return at < 0 ? tuple([text, "", ""]) : partition(text, args, at);
  },
  rpartition: (text, args) => {
    const at = text.lastIndexOf(soughtIn(text, args[0]));
    return at < 0 ? tuple(["", "", text]) : partition(text, args, at);
  },
  format: (text, args, kwargs) => formatBraces(text, args, kwargs),
  zfill: (text, [width]) => {
    const missing = Math.max(0, Number(width) - text.length);
    spend(missing);
    return text.replace(/^[-+]?/, (sign) => sign + "0".repeat(missing));
  },
  ljust: (text, args) => pad(text, args, "right"),
  rjust: (text, args) => pad(text, args, "left"),
  center: (text, args) => pad(text, args, "both"),
  isdigit: isAll(/\p{Nd}|[²³¹⁰-₉]/u),
  isdecimal: isAll(/\p{Nd}/u),
  isnumeric: isAll(/\p{N}/u),
  isalpha: isAll(/\p{L}/u),
  isalnum: isAll(/[\p{L}\p{N}]/u),
  isspace: isAll(space),
  isupper: (text) => /\p{Lu}/u.test(text) && !/\p{Ll}/u.test(text),
  islower: (text) => /\p{Ll}/u.test(text) && !/\p{Lu}/u.test(text),
  istitle: (text) => /\p{L}/u.test(text) && titled(text) === text,
};

const ofDict: Readonly<Record<string, Method<Dict>>> = {
  items: (dict) =>
    view(
      Array.from(dict, ([key, value]) => tuple([key, value])),
      "dict_items",
    ),
  keys: (dict) => view(dict.keys(), "dict_keys"),
  values: (dict) => view(dict.values(), "dict_values"),
  get: (dict, [key, other], kwargs) => {
    if (typeof key === "string") spend(key.length);
    return dict.get(key) ?? (dict.has(key) ? null : (other ?? kwargs.get("default") ?? null));
  },
  copy: (dict) => {
    spend(itemSteps * itemSteps * dict.size);
    return new Map(dict);
  },
  ...refused("dict", ["clear", "pop", "popitem", "setdefault", "update"]),
};

const ofList: Readonly<Record<string, Method<Value[]>>> = {
  index: (list, [item]) => {
    const at = list.findIndex((one) => equal(one, item));
    return at < 0 ? fail("the value is not in the list") : at;
  },
  count: (list, [item]) => list.filter((one) => equal(one, item)).length,
  copy: (list) => Array.from(each(list)),
  ...refused("list", ["append", "clear", "extend", "insert", "pop", "remove", "reverse", "sort"]),
};

function refused(type: string, names: readonly string[]): Record<string, () => Value> {
  return Object.fromEntries(names.map((name) => [name, () => fail(`access to attribute '${name}' of '${type}' object is unsafe.`)]));
}
