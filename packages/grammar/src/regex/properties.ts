// What only the engine's own tables of Unicode know: `\p{…}`, and which characters `(?i:…)` takes for the same. Its tables are those
// with which a validator in the same process checks the same pattern.

import { lastCodePoint, normal, type Range, type Ranges } from "./code-points.ts";

const planeSize = 0x10000;
const keptProperties = 64;
const properties = new Map<string, Ranges>();

/** @param property such as `\p{L}` @throws SyntaxError for one that this engine doesn't know */
export function propertyRanges(property: string): Ranges {
  const before = properties.get(property);
  if (before) return before;
  const runs = new RegExp(`${property}+`, "gu");
  const ranges: Range[] = [];
  for (const [text, units] of planes()) {
    runs.lastIndex = 0;
    for (const run of text.matchAll(runs)) {
      const from = run[0].codePointAt(0)!;
      ranges.push([from, from + run[0].length / units - 1]);
    }
  }
  if (properties.size >= keptProperties) properties.clear();
  const found = normal(ranges);
  properties.set(property, found);
  return found;
}

/** All characters in order, a plane at a time, with the number of code units that each takes. */
function* planes(): Generator<[text: string, units: 1 | 2]> {
  const utf16 = new TextDecoder("utf-16le", { ignoreBOM: true });
  const first = Uint16Array.from({ length: planeSize }, (_, code) => code);
  yield [utf16.decode(first.subarray(0, 0xd800)), 1];
  yield [utf16.decode(first.subarray(0xe000)), 1];
  const pairs = new Uint16Array(2 * planeSize);
  for (let start = planeSize; start <= lastCodePoint; start += planeSize) {
    for (let i = 0; i < planeSize; i++) {
      const rest = start - planeSize + i;
      pairs[2 * i] = 0xd800 + (rest >> 10);
      pairs[2 * i + 1] = 0xdc00 + (rest & 0x3ff);
    }
    yield [utf16.decode(pairs), 2];
  }
}

/** Characters whose simple case folding is the same, but which neither case leads to. */
const foldedOnly: readonly Range[] = [
  [0x390, 0x1fd3],
  [0x3b0, 0x1fe3],
  [0xfb05, 0xfb06],
];
let caseGroups: readonly (readonly [code: number, group: ReadonlySet<number>])[] | undefined;
const bothCases = new WeakMap<Ranges, Ranges>();

/** The characters of these ranges and those that differ from one of them in case alone. */
export function withBothCases(ranges: Ranges): Ranges {
  const before = bothCases.get(ranges);
  if (before) return before;
  caseGroups ??= [...groupByCase()].sort(([a], [b]) => a - b);
  const more: Range[] = [];
  let at = 0;
  for (const [code, group] of caseGroups) {
    while (at < ranges.length && ranges[at][1] < code) at++;
    if (at < ranges.length && ranges[at][0] <= code) for (const other of group) more.push([other, other]);
  }
  const found = normal([...ranges, ...more]);
  bothCases.set(ranges, found);
  return found;
}

function groupByCase(): Map<number, ReadonlySet<number>> {
  const groups = new Map<number, Set<number>>();
  const join = (a: number, b: number) => {
    const [left, right] = [groups.get(a) ?? new Set([a]), groups.get(b) ?? new Set([b])];
    for (const code of right) groups.set(code, left.add(code));
    groups.set(a, left);
  };
  for (const [from, to] of propertyRanges("\\p{Changes_When_Casemapped}"))
    for (let code = from; code <= to; code++) {
      const char = String.fromCodePoint(code);
      const [lower, upper] = [char.toLowerCase(), char.toUpperCase()];
      for (const other of [lower, upper, lower.toUpperCase(), upper.toLowerCase()])
        if (other !== char && [...other].length === 1 && isSameCharacter(char, other)) join(code, other.codePointAt(0)!);
    }
  for (const [a, b] of foldedOnly) if (isSameCharacter(String.fromCodePoint(a), String.fromCodePoint(b))) join(a, b);
  return groups;
}

function isSameCharacter(a: string, b: string): boolean {
  return new RegExp(`^${a}$`, "iu").test(b);
}
