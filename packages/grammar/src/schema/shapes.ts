// Shapes: what values of one type are like, as plain constraints. Every schema is a union of shapes.

import type { Node, Nodes } from "./nodes.ts";
import { type Bound, intersectNumbers, isNoNumber, type NumberShape } from "./number-shape.ts";
import { intersectStrings, isNoString, type StringShape } from "./string-shape.ts";

export interface ArrayShape {
  readonly type: "array";
  readonly prefix: readonly Node[];
  readonly rest: Node;
  readonly min: number;
  readonly max: number;
  readonly contains: readonly Contains[];
  /** The path of `uniqueItems`. */
  readonly unique?: string;
}

export interface Contains {
  readonly node: Node;
  readonly min: number;
  readonly max: number;
  readonly path: string;
}

export interface ObjectShape {
  readonly type: "object";
  /** In the order in which they are written. */
  readonly properties: ReadonlyMap<string, Node>;
  /** Properties that an alternative lists: "alone" or as well as what the alternatives share. In the order of the alternative. */
  readonly chosen: ReadonlyMap<string, "alone" | "shared">;
  readonly patterns: readonly KeyPattern[];
  /** Of keys that are not listed and match no pattern; undefined where the schema is silent about them. */
  readonly additional?: Node;
  readonly required: ReadonlySet<string>;
  readonly min: number;
  readonly max: number;
  /** What `propertyNames` says of keys. */
  readonly names: readonly Node[];
  readonly path: string;
}

export interface KeyPattern {
  readonly source: string;
  readonly node: Node;
  readonly path: string;
}

export type Shape =
  | { readonly type: "null" }
  | { readonly type: "boolean"; readonly value?: boolean }
  | NumberShape
  | StringShape
  | ArrayShape
  | ObjectShape;
export type { Bound };

/** What shapes ask of the schemas that they hold. */
export interface Sets {
  readonly strict: boolean;
  readonly nodes: Nodes;
  /** Whether certainly no value is in it. */
  isNever(node: Node): boolean;
  /** The only texts that are in it, where it holds nothing else and that is plain. */
  textsOf(node: Node): ReadonlySet<string> | undefined;
  /** Whether a JavaScript pattern is found in a text; undefined where that would take too long to tell. */
  matches(pattern: string, text: string): boolean | undefined;
  /** Counts work, of which a schema may make so much. */
  spend(steps: number): void;
}

/** A keyword, or a negation, that has no form in the engine. */
export class Unenforceable extends Error {
  override readonly name = "Unenforceable";
  constructor(
    readonly path: string,
    readonly what: string,
  ) {
    super(`${path}: ${what}`);
  }
}

/** More work, or a larger grammar, than a schema may ask for. */
export class TooComplex extends Error {
  override readonly name = "TooComplex";
}

export function fullShapes(nodes: Nodes, path = ""): Shape[] {
  return [
    { type: "null" },
    { type: "boolean" },
    { type: "number", integer: false, multiples: [] },
    { type: "string", not: [], min: 0, max: Number.POSITIVE_INFINITY, patterns: [], formats: [] },
    { type: "array", prefix: [], rest: nodes.any, min: 0, max: Number.POSITIVE_INFINITY, contains: [] },
    fullObject(path),
  ];
}

export function fullObject(path: string): ObjectShape {
  return {
    type: "object",
    properties: new Map(),
    chosen: new Map(),
    patterns: [],
    required: new Set(),
    min: 0,
    max: Number.POSITIVE_INFINITY,
    names: [],
    path,
  };
}

/** Whether every value of the type is in it. */
export function isFull(shape: Shape, nodes: Nodes): boolean {
  switch (shape.type) {
    case "null":
      return true;
    case "boolean":
      return shape.value === undefined;
    case "number":
      return !shape.integer && !shape.values && !shape.min && !shape.max && shape.multiples.length === 0;
    case "string":
      return !shape.values && shape.not.length + shape.min + shape.patterns.length + shape.formats.length === 0 && shape.max === Infinity;
    case "array":
      return (
        shape.rest === nodes.any &&
        shape.prefix.every((node) => node === nodes.any) &&
        shape.min + shape.contains.length === 0 &&
        shape.max === Infinity &&
        !shape.unique
      );
    case "object":
      return (
        [...shape.properties.values(), shape.additional ?? nodes.any].every((node) => node === nodes.any) &&
        shape.patterns.every(({ node }) => node === nodes.any) &&
        shape.required.size + shape.min + shape.names.length === 0 &&
        shape.max === Infinity
      );
  }
}

/** @returns undefined where no value is in both */
export function intersect(a: Shape, b: Shape, sets: Sets): Shape | undefined {
  const both = intersectUnchecked(a, b, sets);
  return both && !isEmpty(both, sets) ? both : undefined;
}

export function intersectAll(as: readonly Shape[], bs: readonly Shape[], sets: Sets): Shape[] {
  sets.spend(as.length * bs.length);
  return as.flatMap((a) => bs.flatMap((b) => intersect(a, b, sets) ?? []));
}

function intersectUnchecked(a: Shape, b: Shape, sets: Sets): Shape | undefined {
  if (a.type === "null" && b.type === "null") return a;
  if (a.type === "boolean" && b.type === "boolean")
    return a.value === undefined || a.value === b.value ? b : b.value === undefined ? a : undefined;
  if (a.type === "number" && b.type === "number") return intersectNumbers(a, b);
  if (a.type === "string" && b.type === "string") return intersectStrings(a, b, sets);
  if (a.type === "array" && b.type === "array") return intersectArrays(a, b, sets);
  if (a.type === "object" && b.type === "object") return intersectObjects(a, b, sets);
  return undefined;
}

function intersectArrays(a: ArrayShape, b: ArrayShape, { nodes }: Sets): ArrayShape {
  const both = (one: Node, other: Node) => nodes.all([one, other], one.path || other.path);
  const length = Math.max(a.prefix.length, b.prefix.length);
  return {
    type: "array",
    prefix: Array.from({ length }, (_, i) => both(a.prefix[i] ?? a.rest, b.prefix[i] ?? b.rest)),
    rest: both(a.rest, b.rest),
    min: Math.max(a.min, b.min),
    max: Math.min(a.max, b.max),
    contains: [...a.contains, ...b.contains.filter(({ node }) => !a.contains.some((c) => c.node === node))],
    unique: a.unique ?? b.unique,
  };
}

function intersectObjects(a: ObjectShape, b: ObjectShape, sets: Sets): ObjectShape {
  const { nodes } = sets;
  const both = (one: Node, other: Node) => nodes.all([one, other], one.path || other.path);
  const properties = new Map<string, Node>();
  sets.spend(a.properties.size + b.properties.size);
  for (const [name, node] of a.properties) properties.set(name, both(node, b.properties.get(name) ?? additionalOf(b, name, sets)));
  for (const [name, node] of b.properties) if (!properties.has(name)) properties.set(name, both(additionalOf(a, name, sets), node));
  const patterns: KeyPattern[] = [];
  for (const pattern of a.patterns) {
    const twin = b.patterns.find(({ source }) => source === pattern.source);
    patterns.push({ ...pattern, node: both(pattern.node, twin?.node ?? b.additional ?? nodes.any) });
  }
  for (const pattern of b.patterns)
    if (!a.patterns.some(({ source }) => source === pattern.source))
      patterns.push({ ...pattern, node: both(a.additional ?? nodes.any, pattern.node) });
  return {
    type: "object",
    properties,
    chosen: a.chosen.size + b.chosen.size > 0 ? bothChosen(a, b) : a.chosen,
    patterns,
    additional: a.additional && b.additional ? both(a.additional, b.additional) : (a.additional ?? b.additional),
    required: new Set([...a.required, ...b.required]),
    min: Math.max(a.min, b.min),
    max: Math.min(a.max, b.max),
    names: [...new Set([...a.names, ...b.names])],
    path: a.path || b.path,
  };
}

function bothChosen(a: ObjectShape, b: ObjectShape): ObjectShape["chosen"] {
  const isShared = ({ properties, chosen }: ObjectShape, name: string) => properties.has(name) && chosen.get(name) !== "alone";
  const names = new Set([...a.chosen.keys(), ...b.chosen.keys()]);
  return new Map([...names].map((name) => [name, isShared(a, name) || isShared(b, name) ? "shared" : "alone"]));
}

/** Shapes of which one is chosen, among others or by a condition. */
export function asChosen(shapes: readonly Shape[]): Shape[] {
  return shapes.map((shape) =>
    shape.type === "object" && shape.properties.size > 0
      ? { ...shape, chosen: new Map([...shape.properties.keys()].map((name) => [name, "alone"])) }
      : shape,
  );
}

/** What `additionalProperties` says of a key that `properties` does not list. Patterns are the engine's: it applies them to every listed key. */
function additionalOf(shape: ObjectShape, name: string, sets: Sets): Node {
  const { nodes } = sets;
  if (shape.additional === undefined || shape.additional === nodes.any) return nodes.any;
  const found = shape.patterns.map(({ source }) => sets.matches(source, name));
  if (found.includes(true)) return nodes.any;
  if (found.includes(undefined))
    throw new Unenforceable(`${shape.path}.patternProperties`, "patterns that can be told to match a key or not");
  return shape.additional;
}

/** What is said of the value of a key. */
export function propertyOf(shape: ObjectShape, name: string, sets: Sets): Node {
  const listed = shape.properties.get(name);
  if (shape.patterns.length === 0) return listed ?? shape.additional ?? sets.nodes.any;
  const matching = shape.patterns.filter(({ source }) => sets.matches(source, name) !== false).map(({ node }) => node);
  return sets.nodes.all(
    matching.length > 0 ? [listed ?? sets.nodes.any, ...matching] : [listed ?? shape.additional ?? sets.nodes.any],
    shape.path,
  );
}

/** Whether certainly no value is in the shape. */
export function isEmpty(shape: Shape, sets: Sets): boolean {
  switch (shape.type) {
    case "number":
      return isNoNumber(shape);
    case "string":
      return isNoString(shape);
    case "array":
      if (shape.min > shape.max) return true;
      return (
        shape.prefix.slice(0, shape.min).some((node) => sets.isNever(node)) || (shape.min > shape.prefix.length && sets.isNever(shape.rest))
      );
    case "object": {
      if (shape.min > shape.max || shape.required.size > shape.max) return true;
      return [...shape.required].some((name) => {
        const unsure = shape.patterns.some(({ source }) => sets.matches(source, name) === undefined);
        return !unsure && sets.isNever(propertyOf(shape, name, sets));
      });
    }
    default:
      return false;
  }
}

/**
 * Whether an answer in the form of one is never in the other. `isClosed` says of an object that is silent about other keys than its
 * properties that it is written without any.
 */
export function areApart(a: Shape, b: Shape, sets: Sets, isClosed: (shape: ObjectShape) => boolean): boolean {
  if (a.type !== b.type) return true;
  if (a.type === "object" && b.type === "object") {
    if (isClosed(a) && lacks(a, b)) return true;
    if (isClosed(b) && lacks(b, a)) return true;
    for (const name of a.required) {
      const [texts, others] = [a, b].map((shape) => sets.textsOf(shape.properties.get(name) ?? sets.nodes.any));
      if (texts && others && [...texts].every((text) => !others.has(text))) return true;
    }
    sets.spend(1);
    for (const name of new Set([...a.required, ...b.required]))
      if (sets.isNever(sets.nodes.all([propertyOf(a, name, sets), propertyOf(b, name, sets)], a.path))) return true;
    return false;
  }
  return intersect(a, b, sets) === undefined;
}

function lacks(closed: ObjectShape, other: ObjectShape): boolean {
  return [...other.required].some((name) => !closed.properties.has(name) && !closed.required.has(name));
}
