// Objects in the engine's words. What it lacks (names, counts of properties beside optional ones) is spelled out as alternatives.

import { keyRegex } from "./emit-scalar.ts";
import type { Expansion } from "./expand.ts";
import type { RustKey } from "./key-patterns.ts";
import type { Node } from "./nodes.ts";
import { isEmpty, type ObjectShape, propertyOf, type Sets, Unenforceable } from "./shapes.ts";
import type { StringShape } from "./string-shape.ts";

/** Alternatives that counts of properties may be spelled out in. */
const maxAlternatives = 300;

export interface PlainObject {
  readonly shape: ObjectShape;
  /** Instead of the shape's additional properties. */
  readonly keys: readonly RustKey[];
}

export interface Expands extends Sets {
  expand(node: Node): Expansion;
}

/** @returns objects without `propertyNames`, whose counts the engine can keep */
export function plainObjects(shape: ObjectShape, sets: Expands): PlainObject[] {
  const named = shape.names.length > 0 ? withNames(shape, sets) : { shape, keys: [] };
  return counted(named.shape, named.keys.length > 0, sets).map((one) => ({ shape: one, keys: named.keys }));
}

function withNames(shape: ObjectShape, sets: Expands): PlainObject {
  const { nodes } = sets;
  const path = shape.names[0].path;
  const shapes = sets.expand(nodes.all(shape.names, path)).shapes.filter((one) => one.type === "string");
  const properties = new Map<string, Node>();
  for (const name of new Set([...shape.properties.keys(), ...shape.required]))
    properties.set(name, isAllowed(name, shapes, sets, path) ? propertyOf(shape, name, sets) : nodes.never);
  const rest = { ...shape, properties, names: [], additional: nodes.never };
  if (shapes.length === 0) return { shape: { ...rest, patterns: [] }, keys: [] };
  if (shapes.every(({ values, patterns, formats }) => values && patterns.length + formats.length === 0)) {
    for (const name of shapes.flatMap(({ values }) => values ?? []))
      if (!properties.has(name)) properties.set(name, propertyOf(shape, name, sets));
    return { shape: { ...rest, patterns: [] }, keys: [] };
  }
  if (shape.patterns.length > 0) throw new Unenforceable(path, "no patternProperties beside it");
  const told = new Set(shapes.flatMap(({ values, patterns, formats }) => (values && patterns.length + formats.length === 0 ? values : [])));
  const written = shapes.map((one) => keyRegex({ ...one, not: one.not.filter((name) => !told.has(name)) }, path));
  const regex = written.length === 1 ? written[0] : `^(?:${written.map((one) => one.slice(1, -1)).join("|")})$`;
  return { shape: rest, keys: [{ regex, node: shape.additional ?? nodes.any }] };
}

function isAllowed(name: string, shapes: readonly StringShape[], sets: Sets, path: string): boolean {
  return shapes.some(({ values, not, min, max, patterns, formats }) => {
    const length = [...name].length;
    if ((values && !values.includes(name)) || not.includes(name) || length < min || length > max) return false;
    if (formats.length > 0) throw new Unenforceable(path, "names without a format");
    return patterns.every(({ source, absent }) => {
      const found = sets.matches(source, name);
      if (found === undefined) throw new Unenforceable(path, "a pattern that can be tried on the listed names");
      return found !== absent;
    });
  });
}

/** The engine counts only where each listed property is required; keys that it does not know may come twice, and count once. */
function counted(shape: ObjectShape, hasKeys: boolean, sets: Sets): ObjectShape[] {
  const optional = [...shape.properties].filter(([name, node]) => !shape.required.has(name) && !sets.isNever(node)).map(([name]) => name);
  const isClosed = shape.additional !== undefined && sets.isNever(shape.additional) && shape.patterns.length === 0 && !hasKeys;
  const required = shape.required.size;
  const min = shape.min <= required ? 0 : shape.min;
  const max = isClosed && required + optional.length <= shape.max ? Infinity : shape.max;
  if (min === 0 && max === Infinity) return [{ ...shape, min, max }];
  const found: ObjectShape[] = [];
  // Each set of optional properties that are there; of those that are enough, the others may be as well, if there is no maximum.
  const walk = (i: number, there: readonly string[], away: readonly string[]) => {
    if (found.length > maxAlternatives)
      throw new Unenforceable(`${shape.path}.${max < Infinity ? "maxProperties" : "minProperties"}`, "fewer optional properties beside it");
    const count = required + there.length;
    if (count > max) return;
    const isEnough = max === Infinity && count >= min;
    if (isEnough || i === optional.length) {
      const piece = fixed(shape, there, away, sets);
      if (count >= min) found.push({ ...piece, min: 0, max: isClosed ? Infinity : max });
      else if (!isClosed) {
        if (min - count > 1) throw new Unenforceable(`${shape.path}.minProperties`, "at most one more than the required and listed ones");
        found.push({ ...piece, min, max });
      }
      return;
    }
    walk(i + 1, [...there, optional[i]], away);
    walk(i + 1, there, [...away, optional[i]]);
  };
  walk(0, [], []);
  return found.filter((piece) => !isEmpty(piece, sets));
}

function fixed(shape: ObjectShape, there: readonly string[], away: readonly string[], { nodes }: Sets): ObjectShape {
  const properties = new Map(shape.properties);
  for (const name of away) properties.set(name, nodes.never);
  return { ...shape, properties, required: new Set([...shape.required, ...there]) };
}
