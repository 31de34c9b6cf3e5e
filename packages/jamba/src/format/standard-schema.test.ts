import { type } from "arktype";
import * as v from "valibot";
import { describe, expect, test } from "vitest";
import * as z from "zod";
import { z as z3 } from "zod-3";
import { z as z40 } from "zod-4-0";
import { isStandardSchema, jsonSchemaOf, type StandardSchema, validate } from "./standard-schema.ts";

const zodOf = (zod: typeof z) =>
  zod.object({
    city: zod.string().describe("Where"),
    days: zod.number().int().min(1).max(14).optional(),
    unit: zod.enum(["c", "f"]).default("c"),
    tags: zod.array(zod.union([zod.string(), zod.null()])),
  });
const schemas: Record<string, StandardSchema> = {
  "zod 4": zodOf(z),
  "zod 4.0": zodOf(z40 as never),
  "zod 3": zodOf(z3 as never),
  "zod before 3.24": Object.create(zodOf(z3 as never), { "~standard": { value: undefined } }),
  valibot: v.object({
    city: v.pipe(v.string(), v.description("Where")),
    days: v.optional(v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(14))),
    unit: v.optional(v.picklist(["c", "f"]), "c"),
    tags: v.array(v.union([v.string(), v.null()])),
  }),
  ArkType: type({
    city: type("string").describe("Where"),
    "days?": "1 <= number.integer <= 14",
    unit: "'c' | 'f' = 'c'",
    tags: "(string | null)[]",
  }),
};

describe.each(Object.entries(schemas))("a schema of %s", (_, schema) => {
  test("is known as one, and its JSON schema says what it takes", () => {
    expect(isStandardSchema(schema)).toBe(true);
    const found = jsonSchemaOf(schema, "schema") as { properties: Record<string, object>; required: string[] };
    expect(found).toMatchObject({ type: "object" });
    expect(found).not.toHaveProperty("$schema");
    expect(found.required.toSorted()).toEqual(["city", "tags"]);
    const { city, days, unit, tags } = found.properties;
    expect(city).toEqual({ type: "string", description: "Where" });
    expect(days).toMatchObject({ type: "integer", minimum: 1, maximum: 14 });
    expect(unit).toMatchObject({ enum: ["c", "f"] });
    expect(tags).toMatchObject({ type: "array" });
  });

  test("says what it makes of a value, or why that does not fit", async () => {
    expect(await validate(schema, { city: "Rome", tags: [null] })).toEqual({ value: { city: "Rome", unit: "c", tags: [null] } });
    const { issues } = await validate(schema, { city: "Rome", days: 0, tags: [7] });
    expect(issues!.map(({ path }) => path![0]).toSorted()).toEqual(["days", "tags"]);
    for (const { message } of issues!) expect(message).not.toBe("");
  });
});

describe("what only the library can check or change is left to it", () => {
  const a = { type: "string" };
  test.each<[string, StandardSchema, unknown, unknown]>([
    ["zod's refine", z.object({ a: z.string().refine((x) => x !== "", "empty") }), a, "empty"],
    ["zod 3's pipe", z3.object({ a: z3.string().transform(Number).pipe(z3.number().min(1)) }), a, expect.any(String)],
    ["zod 3's coerced date", z3.object({ a: z3.coerce.date() }), { ...a, format: "date-time" }, expect.any(String)],
    ["valibot's check", v.object({ a: v.pipe(v.string(), v.check((x) => x !== "", "empty")) }), a, "empty"],
    ["valibot's trim", v.object({ a: v.pipe(v.string(), v.trim(), v.minLength(1, "empty")) }), { ...a, minLength: 1 }, "empty"],
    ["valibot's brand", v.object({ a: v.pipe(v.string(), v.brand("A"), v.nonEmpty("empty")) }), { ...a, minLength: 1 }, "empty"],
    ["valibot's flags", v.object({ a: v.pipe(v.string(), v.regex(/^a$/i, "none")) }), a, "none"],
    ["ArkType's narrow", type({ a: type("string").narrow((x) => x !== "") }), a, expect.any(String)],
  ])("%s", async (_, schema, expected, message) => {
    expect(jsonSchemaOf(schema, "schema")).toMatchObject({ properties: { a: expected } });
    expect((await validate(schema, { a: "" })).issues).toMatchObject([{ message }]);
  }); // biome-ignore format: a table

  test("of several of an object too", async () => {
    const both = v.object({ a: v.string(), b: v.string() });
    const same = v.pipe(
      both,
      v.forward(
        v.partialCheck([["a"], ["b"]], ({ a, b }) => a === b, "differ"),
        ["b"],
      ),
    );
    expect(jsonSchemaOf(same, "schema")).toMatchObject({ required: ["a", "b"] });
    expect((await validate(same, { a: "x", b: "y" })).issues).toEqual([{ message: "differ", path: ["b"] }]);
  });
});

test.each([
  ["a date", z.object({ when: z.date() }), /schema: expected a schema of what JSON can hold, found one that says "Date/],
  ["a date of zod 3", z3.object({ when: z3.date() }), /found one that says "Date/],
  ["a map of zod 3", z3.object({ sizes: z3.map(z3.string(), z3.number()) }), /found one that says "Map/],
  ["a date of valibot", v.object({ when: v.date() }), /expected a schema of what JSON can hold/],
  ["a date of ArkType", type({ when: "Date" }), /found one that says "Date/],
  ["a bigint of ArkType", type({ size: "bigint" }), /found one that says "bigint/],
  ["one of a library that can't say", { "~standard": { version: 1, vendor: "mine", validate: () => ({ value: 1 }) } }, /found one of mine/],
])("%s is refused with what to do", (_, schema, message) => {
  expect(() => jsonSchemaOf(schema as StandardSchema, "schema")).toThrow(
    expect.objectContaining({ code: "OPTION", message: expect.stringMatching(message) }),
  );
});

test.each([{}, { type: "object" }, true, null, "zod", () => 1, { _def: {} }])("%j is no schema of a library", (value) => {
  expect(isStandardSchema(value)).toBe(false);
});
