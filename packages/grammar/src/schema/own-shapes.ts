// The shapes that a schema's own keywords describe, without what it refers to or combines.

import { knownFormats, numericFormats } from "./formats.ts";
import type { Node, Nodes } from "./nodes.ts";
import { type Bound, intersectNumbers, type NumberShape } from "./number-shape.ts";
import { type ArrayShape, type Contains, fullObject, fullShapes, type ObjectShape, type Shape } from "./shapes.ts";
import type { StringShape } from "./string-shape.ts";
import {
  expectCount,
  expectNames,
  expectNumber,
  expectObject,
  expectSome,
  fail,
  isList,
  isObject,
  type Json,
  type JsonObject,
  wordsOfType,
} from "./words.ts";

/** Takes what is not enforced: throws where that is not allowed. */
export type Leave = (path: string, found: Json, expected: string) => void;

export class OwnShapes {
  readonly #nodes: Nodes;
  readonly #leave: Leave;

  constructor(nodes: Nodes, leave: Leave) {
    this.#nodes = nodes;
    this.#leave = leave;
  }

  of(schema: JsonObject, path: string): Shape[] {
    const types = this.#types(schema, path);
    return fullShapes(this.#nodes, path).flatMap((shape): Shape[] => {
      const isInteger = shape.type === "number" && types !== undefined && !types.has("number") && types.has("integer");
      if (types && !types.has(shape.type) && !isInteger) return [];
      switch (shape.type) {
        case "number":
          return [this.#number(schema, path, isInteger)];
        case "string":
          return [this.#string(schema, path)];
        case "array":
          return [this.#array(schema, path)];
        case "object":
          return [this.#object(schema, path)];
        default:
          return [shape];
      }
    });
  }

  #types(schema: JsonObject, path: string): ReadonlySet<string> | undefined {
    if (schema.type === undefined) return undefined;
    const types = isList(schema.type) ? expectSome(schema.type, `${path}.type`) : [schema.type];
    const known = new Set(["null", "boolean", "integer", ...Object.keys(wordsOfType)]);
    for (const type of types) {
      if (typeof type !== "string") fail(`${path}.type`, "the name of a type", type);
      if (known.has(type)) continue;
      this.#leave(`${path}.type`, type, "object, array, string, number, integer, boolean or null");
      return undefined;
    }
    // OpenAPI's, which has a meaning beside a type only.
    return new Set([...types.map(String), ...(schema.nullable === true ? ["null"] : [])]);
  }

  #node(schema: Json, path: string): Node {
    return this.#nodes.schema(schema, path) ?? fail(path, "a schema", schema);
  }

  #number(schema: JsonObject, path: string, integer: boolean): NumberShape {
    const { minimum, maximum, exclusiveMinimum, exclusiveMaximum, multipleOf, format } = schema;
    const any: NumberShape = { type: "number", integer, multiples: [] };
    const bound = (value: Json | undefined, word: string, exclusive: boolean): Bound | undefined =>
      value === undefined || typeof value === "boolean" ? undefined : { value: expectNumber(value, `${path}.${word}`), exclusive };
    const parts: NumberShape[] = [
      // Draft 4 says by `true` that the other bound is exclusive.
      { ...any, min: bound(minimum, "minimum", exclusiveMinimum === true), max: bound(maximum, "maximum", exclusiveMaximum === true) },
      { ...any, min: bound(exclusiveMinimum, "exclusiveMinimum", true), max: bound(exclusiveMaximum, "exclusiveMaximum", true) },
    ];
    if (multipleOf !== undefined) {
      const step = expectNumber(multipleOf, `${path}.multipleOf`);
      if (step <= 0) fail(`${path}.multipleOf`, "a number above 0", step);
      parts.push({ ...any, multiples: [step] });
    }
    if (typeof format === "string" && numericFormats.has(format)) {
      const [min, max] = numericFormats.get(format) ?? [];
      if (min !== undefined && max !== undefined)
        parts.push({ ...any, integer: true, min: { value: min, exclusive: false }, max: { value: max, exclusive: false } });
    }
    return parts.reduce(intersectNumbers, any);
  }

  #string(schema: JsonObject, path: string): StringShape {
    const { minLength = 0, maxLength, pattern, format } = schema;
    if (pattern !== undefined && typeof pattern !== "string") fail(`${path}.pattern`, "a text", pattern);
    return {
      type: "string",
      not: [],
      min: expectCount(minLength, `${path}.minLength`),
      max: maxLength === undefined ? Infinity : expectCount(maxLength, `${path}.maxLength`),
      patterns: pattern === undefined ? [] : [{ source: pattern, absent: false, path: `${path}.pattern` }],
      formats: this.#formats(format, pattern !== undefined, `${path}.format`),
    };
  }

  #formats(format: Json | undefined, hasPattern: boolean, path: string): StringShape["formats"] {
    if (format === undefined) return [];
    if (typeof format !== "string") fail(path, "the name of a format", format);
    if (numericFormats.has(format)) return [];
    const known = knownFormats.get(format);
    if (known !== undefined) return known === "" ? [] : [{ format, path }];
    // Beside a pattern, what nobody knows is a hint for readers.
    if (!hasPattern) this.#leave(path, format, `one of ${[...knownFormats.keys()].join(", ")}`);
    return [];
  }

  #array(schema: JsonObject, path: string): ArrayShape {
    const { items, prefixItems, additionalItems, minItems = 0, maxItems, uniqueItems } = schema;
    const isOld = prefixItems === undefined && isList(items); // up to draft 2019-09
    const listWord = isOld ? "items" : "prefixItems";
    const listed = isOld ? items : prefixItems;
    if (listed !== undefined && !isList(listed)) fail(`${path}.${listWord}`, "an array of schemas", listed);
    const rest = isOld ? additionalItems : items;
    return {
      type: "array",
      prefix: (listed ?? []).map((item, i) => this.#node(item, `${path}.${listWord}[${i}]`)),
      rest: rest === undefined ? this.#nodes.any : this.#node(rest, `${path}.${isOld ? "additionalItems" : "items"}`),
      min: expectCount(minItems, `${path}.minItems`),
      max: maxItems === undefined ? Infinity : expectCount(maxItems, `${path}.maxItems`),
      contains: this.#contains(schema, path),
      unique: uniqueItems === true ? `${path}.uniqueItems` : undefined,
    };
  }

  #contains({ contains, minContains = 1, maxContains }: JsonObject, path: string): Contains[] {
    if (contains === undefined) return [];
    const [min, max] = [
      expectCount(minContains, `${path}.minContains`),
      maxContains === undefined ? Infinity : expectCount(maxContains, `${path}.maxContains`),
    ];
    if (min === 0 && max === Infinity) return [];
    return [{ node: this.#node(contains, `${path}.contains`), min, max, path: `${path}.contains` }];
  }

  #object(schema: JsonObject, path: string): ObjectShape {
    const {
      properties = {},
      patternProperties = {},
      additionalProperties,
      required,
      minProperties = 0,
      maxProperties,
      propertyNames,
    } = schema;
    const listed = Object.entries(expectObject(properties, `${path}.properties`));
    const patterns = Object.entries(expectObject(patternProperties, `${path}.patternProperties`));
    if (typeof required === "boolean") this.#leave(`${path}.required`, required, "an array of names");
    return {
      ...fullObject(path),
      properties: new Map(listed.map(([name, value]) => [name, this.#node(value, `${path}.properties.${name}`)])),
      patterns: patterns.map(([source, value]) => {
        const at = `${path}.patternProperties.${source}`;
        return { source, node: this.#node(value, at), path: at };
      }),
      additional: additionalProperties === undefined ? undefined : this.#node(additionalProperties, `${path}.additionalProperties`),
      required: new Set(required === undefined || typeof required === "boolean" ? [] : expectNames(required, `${path}.required`)),
      min: expectCount(minProperties, `${path}.minProperties`),
      max: maxProperties === undefined ? Infinity : expectCount(maxProperties, `${path}.maxProperties`),
      names: propertyNames === undefined ? [] : [this.#node(propertyNames, `${path}.propertyNames`)],
    };
  }
}

/** The shapes of given values. */
export function shapesOfValues(values: readonly Json[], nodes: Nodes, path: string): Shape[] {
  const shapes: Shape[] = [];
  if (values.includes(null)) shapes.push({ type: "null" });
  for (const value of [true, false]) if (values.includes(value)) shapes.push({ type: "boolean", value });
  const numbers = new Set(values.filter((value) => typeof value === "number"));
  if (numbers.size > 0) shapes.push({ type: "number", integer: false, multiples: [], values: [...numbers] });
  const strings = new Set(values.filter((value) => typeof value === "string"));
  if (strings.size > 0) shapes.push({ type: "string", values: [...strings], not: [], min: 0, max: Infinity, patterns: [], formats: [] });
  for (const value of values)
    if (isList(value)) {
      const prefix = value.map((item) => nodes.constant(item, path));
      shapes.push({ type: "array", prefix, rest: nodes.never, min: value.length, max: value.length, contains: [] });
    } else if (isObject(value)) {
      const properties = new Map(Object.entries(value).map(([name, inner]) => [name, nodes.constant(inner, path)]));
      shapes.push({ ...fullObject(path), properties, required: new Set(properties.keys()), additional: nodes.never });
    }
  return shapes;
}
