// One shape without another, as a union of shapes: what `not`, `oneOf` and `if` need. Exact, or refused. Only what can't be said of the parts
// of a value that is kept for other reasons is dropped (`isNarrower`): that an object has some key that no schema lists, that a number is no
// integer, that a string is not in a format.

import type { Node } from "./nodes.ts";
import { firstInteger, holds, isMultipleOf, lastInteger, type NumberShape } from "./number-shape.ts";
import {
  type ArrayShape,
  asChosen,
  fullObject,
  fullShapes,
  intersect,
  type ObjectShape,
  propertyOf,
  type Sets,
  type Shape,
  Unenforceable,
} from "./shapes.ts";
import type { StringShape } from "./string-shape.ts";

export interface Rest {
  readonly shapes: readonly Shape[];
  readonly isNarrower: boolean;
}

/** More pieces than this are not worth a grammar. */
const maxPieces = 64;
/** Integers that are told one by one. */
const maxFew = 300;

export function subtractAll(from: readonly Shape[], taken: readonly Shape[], sets: Sets, path: string): Rest {
  let shapes = from;
  let isNarrower = false;
  for (const shape of taken) {
    const rests = shapes.map((piece) => subtract(piece, shape, sets, path));
    shapes = rests.flatMap((rest) => rest.shapes);
    isNarrower ||= rests.some((rest) => rest.isNarrower);
    if (shapes.length > from.length + maxPieces)
      throw new Unenforceable(path, `alternatives that come apart into at most ${maxPieces} pieces`);
  }
  return { shapes, isNarrower };
}

/** All values but those of the shapes. */
export function complement(shapes: readonly Shape[], sets: Sets, path: string): Rest {
  let isNarrower = false;
  const rests = fullShapes(sets.nodes, path).flatMap((full) => {
    try {
      const rest = subtractAll([full], shapes, sets, path);
      isNarrower ||= rest.isNarrower;
      return rest.shapes;
    } catch (error) {
      // Values of other types may do.
      if (!(error instanceof Unenforceable) || (full.type !== "number" && full.type !== "string")) throw error;
      isNarrower = true;
      return [];
    }
  });
  return { shapes: rests, isNarrower };
}

export function subtract(a: Shape, b: Shape, sets: Sets, path: string): Rest {
  if (a.type !== b.type || intersect(a, b, sets) === undefined) return { shapes: [a], isNarrower: false };
  const narrower = { is: false };
  const pieces = asChosen(piecesOf(a, b, sets, path, narrower)).flatMap((piece) => intersect(a, piece, sets) ?? []);
  if (narrower.is && pieces.length === 0) throw new Unenforceable(path, "a schema whose opposite can be said");
  return { shapes: pieces, isNarrower: narrower.is };
}

function piecesOf(a: Shape, b: Shape, sets: Sets, path: string, narrower: { is: boolean }): Shape[] {
  switch (b.type) {
    case "null":
      return [];
    case "boolean":
      return b.value === undefined ? [] : [{ type: "boolean", value: !b.value }];
    case "number":
      return numbersBut(a as NumberShape, b, path);
    case "string":
      return stringsBut(a as StringShape, b, sets, path);
    case "array":
      return arraysBut(a as ArrayShape, b, sets, path);
    case "object":
      return objectsBut(a as ObjectShape, b, sets, path, narrower);
  }
}

function numbersBut(a: NumberShape, b: NumberShape, path: string): NumberShape[] {
  const any: NumberShape = { type: "number", integer: false, multiples: [] };
  const few = fewIntegers(a);
  if (few) return [{ ...any, values: few.filter((value) => !holds(b, value)) }];
  if (b.values) {
    if (a.values) return [{ ...any, values: a.values.filter((value) => !b.values!.includes(value)) }];
    const sorted = [...b.values].sort((one, other) => one - other);
    const between = [...sorted.keys()].map((i) => ({ ...any, min: exclusive(sorted[i - 1]), max: exclusive(sorted[i]) }));
    return [...between, { ...any, min: exclusive(sorted.at(-1)) }];
  }
  const pieces: NumberShape[] = [];
  if (b.min) pieces.push({ ...any, max: { value: b.min.value, exclusive: !b.min.exclusive } });
  if (b.max) pieces.push({ ...any, min: { value: b.max.value, exclusive: !b.max.exclusive } });
  if (a.values) {
    const other = a.values.filter(
      (value) => (b.integer && !Number.isInteger(value)) || b.multiples.some((step) => !isMultipleOf(value, step)),
    );
    return [...pieces, { ...any, values: other }];
  }
  if (b.integer && !a.integer) throw new Unenforceable(path, "numbers that need not be told from integers");
  if (b.multiples.some((step) => !a.multiples.includes(step))) throw new Unenforceable(path, "numbers that may be multiples");
  return pieces;
}

/** All numbers of a short range of integers. */
function fewIntegers(shape: NumberShape): number[] | undefined {
  if (!shape.integer || !shape.min || !shape.max) return undefined;
  const [first, last] = [firstInteger(shape.min), lastInteger(shape.max)];
  if (last - first >= maxFew || !Number.isSafeInteger(first)) return undefined;
  return Array.from({ length: last - first + 1 }, (_, i) => first + i).filter((value) => holds(shape, value));
}

function exclusive(value: number | undefined): { value: number; exclusive: boolean } | undefined {
  return value === undefined ? undefined : { value, exclusive: true };
}

function stringsBut(a: StringShape, b: StringShape, { nodes }: Sets, path: string): StringShape[] {
  const any = fullShapes(nodes).find((shape) => shape.type === "string") as StringShape;
  if (b.values && b.patterns.length + b.formats.length === 0) return [{ ...any, not: b.values }];
  if (b.values) throw new Unenforceable(path, "values whose patterns can be tried");
  const pieces: StringShape[] = [];
  if (b.not.length > 0) pieces.push({ ...any, values: b.not });
  if (b.min > 0) pieces.push({ ...any, max: b.min - 1 });
  if (b.max < Infinity) pieces.push({ ...any, min: b.max + 1 });
  for (const pattern of b.patterns) pieces.push({ ...any, patterns: [{ ...pattern, absent: !pattern.absent }] });
  for (const { format } of b.formats)
    if (!a.formats.some((other) => other.format === format)) throw new Unenforceable(path, `strings that may be in the format ${format}`);
  return pieces;
}

function arraysBut(a: ArrayShape, b: ArrayShape, { nodes }: Sets, path: string): ArrayShape[] {
  const any = fullShapes(nodes).find((shape) => shape.type === "array") as ArrayShape;
  const not = (node: Node) => nodes.not(node, node.path || path);
  const pieces: ArrayShape[] = [];
  if (b.min > 0) pieces.push({ ...any, max: b.min - 1 });
  if (b.max < Infinity) pieces.push({ ...any, min: b.max + 1 });
  b.prefix.forEach((node, i) => {
    if (node === nodes.any) return;
    pieces.push({ ...any, min: i + 1, prefix: [...Array.from({ length: i }, () => nodes.any), not(node)] });
  });
  const isSameRest = a.rest === b.rest && a.prefix.length <= b.prefix.length;
  if (b.rest === nodes.never) pieces.push({ ...any, min: b.prefix.length + 1 });
  else if (b.rest !== nodes.any && !isSameRest) {
    if (b.prefix.length > 0) throw new Unenforceable(path, "arrays without items after the listed ones, or with any");
    pieces.push({ ...any, contains: [{ node: not(b.rest), min: 1, max: Infinity, path }] });
  }
  for (const { node, min, max } of b.contains) {
    if (min !== 1 || max < Infinity) throw new Unenforceable(path, "contains without counts");
    pieces.push({ ...any, rest: not(node) });
  }
  if (b.unique && !a.unique && a.max > 1) throw new Unenforceable(path, "arrays that need no item twice");
  return pieces;
}

function objectsBut(a: ObjectShape, b: ObjectShape, sets: Sets, path: string, narrower: { is: boolean }): ObjectShape[] {
  const { nodes } = sets;
  const any = fullObject(path);
  const not = (node: Node) => nodes.not(node, node.path || path);
  const pieces: ObjectShape[] = [];
  for (const name of new Set([...b.properties.keys(), ...b.required])) {
    const node = propertyOf(b, name, sets);
    if (b.required.has(name)) pieces.push({ ...any, properties: new Map([[name, not(node)]]) });
    else if (node !== nodes.any) pieces.push({ ...any, properties: new Map([[name, not(node)]]), required: new Set([name]) });
  }
  const isTold = (name: string) => b.properties.has(name) || b.required.has(name);
  for (const name of new Set([...a.properties.keys(), ...a.required])) {
    if (isTold(name)) continue;
    const node = propertyOf(b, name, sets);
    if (node !== nodes.any && propertyOf(a, name, sets) !== nodes.never)
      pieces.push({ ...any, properties: new Map([[name, not(node)]]), required: new Set([name]) });
  }
  if (saysMoreOfOthers(a, b, sets)) narrower.is = true;
  if (b.min > 0) pieces.push({ ...any, max: b.min - 1 });
  if (b.max < Infinity) pieces.push({ ...any, min: b.max + 1 });
  if (b.names.some((node) => !a.names.includes(node))) narrower.is = true;
  return pieces;
}

/** Whether a key that neither lists may be fine in `a` and not in `b`. */
function saysMoreOfOthers(a: ObjectShape, b: ObjectShape, { nodes }: Sets): boolean {
  const silent = [nodes.any, undefined];
  const isLimit = ({ node }: { node: Node | undefined }) => !silent.includes(node);
  const isClosed = a.additional === nodes.never && a.patterns.length === 0;
  if (isClosed) return false;
  if (isLimit({ node: b.additional }) && a.additional !== b.additional) return true;
  return b.patterns.some(
    (pattern) => isLimit(pattern) && !a.patterns.some(({ source, node }) => source === pattern.source && node === pattern.node),
  );
}
