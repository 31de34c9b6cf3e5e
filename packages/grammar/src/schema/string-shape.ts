// What a schema says of strings. Lengths are in characters, as JSON Schema counts them, not in UTF-16 units.

import type { Sets } from "./shapes.ts";

export interface StringShape {
  readonly type: "string";
  /** The only ones. */
  readonly values?: readonly string[];
  /** Any but these. */
  readonly not: readonly string[];
  readonly min: number;
  readonly max: number;
  readonly patterns: readonly Pattern[];
  readonly formats: readonly Format[];
}

export interface Pattern {
  /** JavaScript's, with flag u; found anywhere in the text. */
  readonly source: string;
  /** Whether it must not be found. */
  readonly absent: boolean;
  readonly path: string;
}

export interface Format {
  readonly format: string;
  readonly path: string;
}

export function lengthOf(text: string): number {
  let length = 0;
  for (const _ of text) length++;
  return length;
}

export function intersectStrings(a: StringShape, b: StringShape, sets: Sets): StringShape {
  const both: StringShape = {
    type: "string",
    not: [...new Set([...a.not, ...b.not])],
    min: Math.max(a.min, b.min),
    max: Math.min(a.max, b.max),
    patterns: union(a.patterns, b.patterns, ({ source, absent }) => `${absent}${source}`),
    formats: union(a.formats, b.formats, ({ format }) => format),
  };
  if (!a.values && !b.values) return both;
  const others = b.values && a.values ? new Set(b.values) : undefined;
  return ofValues(both, (a.values ?? b.values)!, others, sets);
}

/** Patterns that can be tried at once are; the others stay, for the engine to apply to each value. */
function ofValues(shape: StringShape, values: readonly string[], others: ReadonlySet<string> | undefined, sets: Sets): StringShape {
  const left = new Set(shape.not);
  const open = new Set<Pattern>();
  const kept = values.filter((value) => {
    if (left.has(value) || (others && !others.has(value))) return false;
    const length = shape.min > 0 || shape.max < Infinity ? lengthOf(value) : 0;
    if (length < shape.min || (length > shape.max && shape.max < Infinity)) return false;
    return shape.patterns.every((pattern) => {
      const found = sets.matches(pattern.source, value);
      if (found === undefined) open.add(pattern);
      return found === undefined || found !== pattern.absent;
    });
  });
  return { type: "string", values: kept, not: [], min: 0, max: Infinity, patterns: [...open], formats: shape.formats };
}

export function isNoString({ values, min, max }: StringShape): boolean {
  return values?.length === 0 || min > max;
}

function union<T>(a: readonly T[], b: readonly T[], keyOf: (item: T) => string): T[] {
  return [...new Map([...a, ...b].map((item) => [keyOf(item), item])).values()];
}
