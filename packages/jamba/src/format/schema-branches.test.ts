import { expect, test } from "vitest";
import { areExclusive } from "./schema-branches.ts";
import { schemaGrammar } from "./schema-grammar.ts";
import { isSchema, type Schema } from "./schema-keywords.ts";

const object = (properties: object, required: string[], more: object = {}) => ({ type: "object", properties, required, ...more });
const kind = (value: string, more: object = {}) => object({ kind: { const: value }, ...more }, ["kind"]);

const apart: Record<string, Schema[]> = {
  types: [{ type: "string" }, { type: "integer" }, { type: ["null", "boolean"] }, { type: "object" }],
  constants: [{ const: 1 }, { enum: [2, "1"] }, { const: null }],
  "a constant and a type": [{ const: "a" }, { type: "number" }],
  "a property that tells them apart": [kind("a", { x: {} }), kind("b", { x: {} }), kind("c")],
  "properties that the other does not have": [object({ a: {} }, ["a"]), object({ b: {} }, ["b"])],
};
const together: Record<string, (Schema | undefined)[]> = {
  "an integer is a number": [{ type: "integer" }, { type: "number" }],
  "any value": [{ type: "string" }, {}],
  "shared constants": [{ enum: [1, 2] }, { enum: [2, 3] }],
  "a property that may lack": [kind("a"), object({ kind: { const: "b" } }, [])],
  "properties that both may have": [object({ a: {}, b: {} }, ["a"]), object({ a: {}, b: {} }, ["b"])],
  "a property that is required but not listed": [object({ a: {} }, ["a", "b"]), object({ b: {} }, ["b"])],
  "properties that come beside the listed ones": [object({ a: {} }, ["a"], { additionalProperties: true }), object({ b: {} }, ["b"])],
  "no type: other values satisfy it too": [{ required: ["a"], properties: { a: {} } }, { type: "string" }],
  "one is none that is known": [{ type: "string" }, undefined],
};
const resolve = (schema: unknown) => (isSchema(schema) ? schema : undefined);

test.each(Object.entries(apart))("branches of oneOf exclude one another by %s, in any order", (_, branches) => {
  for (const order of [branches, [...branches].reverse()]) expect(areExclusive(order, resolve)).toBe(true);
});

test.each(Object.entries(together))("branches of oneOf may overlap: %s", (_, branches) => {
  for (const order of [branches, [...branches].reverse()]) expect(areExclusive(order, resolve)).toBe(false);
});

test("oneOf whose branches may overlap is refused, or named where that is wanted; references are followed", () => {
  const schema = { $defs: { a: kind("a"), b: { $ref: "#/$defs/c" }, c: kind("b") }, oneOf: [{ $ref: "#/$defs/a" }, { $ref: "#/$defs/b" }] };
  expect(schemaGrammar(schema)).toContain("root");
  const overlapping = { properties: { x: { oneOf: [{ type: "integer" }, { type: "number" }] } } };
  expect(() => schemaGrammar(overlapping)).toThrow(/^schema\.properties\.x\.oneOf: expected a schema that can be enforced.*overlap/);
  const notEnforced = new Set<string>();
  schemaGrammar(overlapping, { notEnforced });
  expect([...notEnforced]).toEqual(["schema.properties.x.oneOf"]);
  const within = { type: "object", properties: { a: {}, b: {} }, oneOf: [{ required: ["a"] }, { required: ["b"] }] };
  expect(() => schemaGrammar(within)).toThrow(/overlap/);
});
