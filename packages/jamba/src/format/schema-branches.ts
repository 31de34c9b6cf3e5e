// Whether a value may be of two branches of `oneOf` at once, as far as their types, constants and required properties tell.

import { isSchema, type Schema, same } from "./schema-keywords.ts";

/** What a schema is without references at its top; undefined for one that is no object. */
export type Resolve = (schema: unknown) => Schema | undefined;

/** Whether no answer in the form of one branch satisfies another; false where that can't be told. */
export function areExclusive(branches: readonly (Schema | undefined)[], resolve: Resolve): boolean {
  return branches.every((a, i) => branches.slice(i + 1).every((b) => a !== undefined && b !== undefined && isApart(a, b, resolve)));
}

function isApart(a: Schema, b: Schema, resolve: Resolve): boolean {
  if (haveNothingShared(a, b)) return true;
  return isObject(a) && isObject(b) && isNeither(a, b, resolve) && isNeither(b, a, resolve);
}

/** Whether some property keeps what is written for `a` from satisfying `b`. */
function isNeither(a: Schema, b: Schema, resolve: Resolve): boolean {
  const [ofA, ofB] = [propertiesOf(a), propertiesOf(b)];
  const isLost = (name: string) => !Object.hasOwn(ofA, name) && !requiredOf(a).includes(name) && !mayHaveOthers(a);
  const differs = (name: string) => {
    const [one, other] = [ofA, ofB].map((of) => (Object.hasOwn(of, name) ? resolve(of[name]) : undefined));
    return one !== undefined && other !== undefined && haveNothingShared(one, other);
  };
  return requiredOf(b).some(isLost) || requiredOf(a).some(differs);
}

function haveNothingShared(a: Schema, b: Schema): boolean {
  const [valuesA, valuesB] = [valuesOf(a), valuesOf(b)];
  if (valuesA && valuesB) return valuesA.every((value) => valuesB.every((other) => !same(value, other)));
  const [typesA, typesB] = [typesOf(a), typesOf(b)];
  return typesA !== undefined && typesB !== undefined && typesA.every((type) => !typesB.includes(type));
}

function valuesOf({ const: constant, enum: listed }: Schema): readonly unknown[] | undefined {
  if (constant !== undefined) return [constant];
  return Array.isArray(listed) ? listed : undefined;
}

/** With integers as numbers. */
function typesOf(schema: Schema): readonly string[] | undefined {
  const types = schema.type === undefined ? valuesOf(schema)?.map(typeOf) : [schema.type].flat().map(String);
  return types?.map((type) => (type === "integer" ? "number" : type));
}

function typeOf(value: unknown): string {
  if (value === null) return "null";
  return Array.isArray(value) ? "array" : typeof value;
}

function isObject({ type }: Schema): boolean {
  return [type].flat().join() === "object";
}

function propertiesOf({ properties }: Schema): Schema {
  return isSchema(properties) ? properties : {};
}

function requiredOf({ required }: Schema): readonly string[] {
  return Array.isArray(required) ? required.map(String) : [];
}

/** See `schemaGrammar`: objects have no others than their properties, unless the schema says so or lists none. */
function mayHaveOthers({ properties, patternProperties, additionalProperties }: Schema): boolean {
  if (patternProperties !== undefined) return true;
  if (additionalProperties !== undefined) return additionalProperties !== false;
  return !isSchema(properties) || Object.keys(properties).length === 0;
}
