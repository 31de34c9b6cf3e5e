// `unevaluatedProperties` and `unevaluatedItems`, where it is plain which keywords have looked at a value: own ones, `allOf`, `$ref`.

import type { Node } from "./nodes.ts";
import { intersect, type Sets, type Shape, Unenforceable } from "./shapes.ts";
import { isList, isObject, type Json, type JsonObject } from "./words.ts";

/** Keywords beside which it depends on the value what has been looked at. */
const dependent = ["anyOf", "oneOf", "not", "if", "dependentSchemas", "dependencies", "$dynamicRef", "$recursiveRef", "contains"];

export function unevaluated(word: string, schema: JsonObject, node: Node, path: string, shapes: readonly Shape[], sets: Sets): Shape[] {
  if (node === sets.nodes.any) return [...shapes];
  if (!isPlain(schema, true)) throw new Unenforceable(path, `no ${dependent.join(", ")} beside it or in its allOf`);
  return shapes.flatMap((shape) => {
    if (word === "unevaluatedProperties" && shape.type === "object" && shape.additional === undefined)
      return intersect({ ...shape, additional: node }, shape, sets) ?? [];
    if (word === "unevaluatedItems" && shape.type === "array" && shape.rest === sets.nodes.any && !hasItems(schema))
      return intersect({ ...shape, rest: node }, shape, sets) ?? [];
    return [shape];
  });
}

function isPlain(schema: Json, isTop: boolean): boolean {
  if (!isObject(schema)) return true;
  if (dependent.some((word) => Object.hasOwn(schema, word))) return false;
  if (
    !isTop &&
    (Object.hasOwn(schema, "$ref") || Object.hasOwn(schema, "unevaluatedProperties") || Object.hasOwn(schema, "unevaluatedItems"))
  )
    return false;
  return !isList(schema.allOf) || schema.allOf.every((part) => isPlain(part, false));
}

function hasItems(schema: JsonObject): boolean {
  return Object.hasOwn(schema, "items") && !isList(schema.items);
}
