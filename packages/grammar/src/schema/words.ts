// The words of JSON Schema from draft 4 to 2020-12, and how errors name what is wrong.

import { JambaError } from "@jamba/core";

export type Json = null | boolean | number | string | readonly Json[] | JsonObject;
export interface JsonObject {
  readonly [key: string]: Json;
}

/** Keywords that say what values of one type are like. */
export const wordsOfType = {
  object: words("properties required additionalProperties patternProperties minProperties maxProperties propertyNames"),
  array: words("items prefixItems additionalItems minItems maxItems uniqueItems contains minContains maxContains"),
  string: words("pattern format minLength maxLength"),
  number: words("minimum maximum exclusiveMinimum exclusiveMaximum multipleOf"),
} as const;

/** Keywords that apply whole schemas, or values, to the same place. */
export const applicators = new Set(
  words(
    "$ref $dynamicRef $recursiveRef allOf anyOf oneOf not if enum const dependencies dependentRequired dependentSchemas unevaluatedProperties unevaluatedItems",
  ),
);

/**
 * Assertions of draft 3 and of ajv-keywords, which JSON Schema of today does not know. Whoever writes them means them, so they are not
 * ignored in silence. Every other unknown word is an annotation, as the specification says and as real schemas use them: of 1,551, 169 hold
 * `version`, `name`, `links` and the like, and a few misspell a keyword.
 */
export const foreignAssertions = new Set(
  words(
    "divisibleBy disallow extends instanceof range exclusiveRange regexp transform uniqueItemProperties patternRequired prohibited " +
      "deepProperties deepRequired allRequired anyRequired oneRequired formatMinimum formatMaximum formatExclusiveMinimum formatExclusiveMaximum",
  ),
);

/** Where schemas lie in a schema: alone, in lists, or under names. */
export const schemaWords = new Set(
  words(
    "not if then else additionalProperties propertyNames items additionalItems contains unevaluatedProperties unevaluatedItems contentSchema",
  ),
);
export const schemaListWords = new Set(words("allOf anyOf oneOf prefixItems items"));
export const schemaMapWords = new Set(words("properties patternProperties $defs definitions dependentSchemas dependencies"));

function words(text: string): string[] {
  return text.split(" ");
}

export function isObject(value: Json | undefined): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

export function isList(value: Json | undefined): value is readonly Json[] {
  return Array.isArray(value);
}

export function fail(path: string, expected: string, found: unknown): never {
  throw new JambaError("OPTION", `${path}: expected ${expected}, found ${show(found)}`);
}

/** The same of what JSON has no word for. */
export function failFor(path: string, expected: string, found: string): never {
  throw new JambaError("OPTION", `${path}: expected ${expected}, found ${found}`);
}

export function show(value: unknown): string {
  const text = JSON.stringify(value) ?? String(value);
  return text.length > 80 ? `${text.slice(0, 80)}…` : text;
}

export function expectCount(value: Json, path: string): number {
  if (typeof value === "number" && Number.isInteger(value) && value >= 0) return value;
  return fail(path, "a count", value);
}

export function expectNumber(value: Json, path: string): number {
  return typeof value === "number" ? value : fail(path, "a number", value);
}

export function expectObject(value: Json, path: string): JsonObject {
  return isObject(value) ? value : fail(path, "an object", value);
}

export function expectSome(value: Json, path: string): readonly Json[] {
  return isList(value) && value.length > 0 ? value : fail(path, "an array that is not empty", value);
}

export function expectNames(value: Json, path: string): readonly string[] {
  if (isList(value) && value.every((name) => typeof name === "string")) return value;
  return fail(path, "an array of names", value);
}
