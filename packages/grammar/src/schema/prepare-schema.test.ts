import { afterAll, describe, expect, test } from "vitest";
import { Admission, openBytes } from "../../test/byte-grammar.ts";
import { prepareSchema } from "./index.ts";

const vocabulary = openBytes();
afterAll(() => vocabulary.dispose());

async function verdicts(schema: unknown, values: readonly unknown[], strict = true): Promise<boolean[]> {
  const admission = await Admission.of(vocabulary, schema, strict);
  const found: boolean[] = [];
  for (const value of values) found.push(await admission.admits(value));
  return found;
}

const refusal = (schema: unknown, strict = true) => {
  try {
    prepareSchema(schema, { strict, name: "schema" });
  } catch (error) {
    return error as Error;
  }
  throw new Error("expected a refusal");
};

describe("combinations that the engine lacks", () => {
  const person = { type: "object", properties: { kind: { const: "person" }, name: { type: "string" } }, required: ["kind"] };
  const place = { type: "object", properties: { kind: { const: "place" }, at: { type: "number" } }, required: ["kind"] };

  test.each([
    ["not over an enum", { enum: ["a", "b", 3], not: { const: "b" } }, ["a", 3], ["b", "c"]],
    ["not of a text", { type: "string", not: { enum: ["ab", "ac", ""] } }, ["a", "abc", "b"], ["ab", "ac", ""]],
    [
      "not of a required key",
      { type: "object", properties: { a: {}, b: {} }, not: { required: ["a", "b"] } },
      [{ a: 1 }, { b: 2 }],
      [{ a: 1, b: 2 }],
    ],
    [
      "what is unevaluated, before what evaluates it",
      {
        unevaluatedProperties: false,
        type: "object",
        allOf: [
          { type: "object", properties: { a: { type: "string" } }, required: ["a"] },
          { type: "object", properties: { b: { type: "integer" } }, required: ["b"] },
        ],
      },
      [{ a: "x", b: 1 }],
      [{ a: "x" }, { a: "x", b: 1, c: 2 }],
    ],
    ["oneOf with a discriminator", { oneOf: [person, place] }, [{ kind: "place", at: 1 }], [{ kind: "other" }, { kind: "place", at: "x" }]],
    [
      "oneOf that overlaps",
      {
        oneOf: [
          { type: "integer", maximum: 9 },
          { type: "integer", minimum: 5 },
        ],
      },
      [4, 12],
      [5, 6],
    ],
    [
      "if over a constant",
      {
        type: "object",
        properties: { a: { enum: [1, 2] }, b: {} },
        required: ["a"],
        if: { properties: { a: { const: 1 } } },
        ...JSON.parse('{"then": {"required": ["b"]}}'),
      },
      [{ a: 1, b: 0 }, { a: 2 }],
      [{ a: 1 }],
    ],
    [
      "dependentRequired",
      { type: "object", properties: { a: {}, b: {} }, dependentRequired: { a: ["b"] } },
      [{ b: 1 }, { a: 1, b: 1 }],
      [{ a: 1 }],
    ],
    ["uniqueItems over an enum", { type: "array", items: { enum: [1, 2] }, uniqueItems: true }, [[], [2, 1]], [[1, 1]]],
    ["contains", { type: "array", contains: { const: 1 }, maxItems: 3 }, [[0, 1], [1]], [[], [0, 2]]],
    ["propertyNames", { type: "object", propertyNames: { pattern: "^a" } }, [{}, { ab: 1 }], [{ b: 1 }]],
    [
      "minProperties",
      { type: "object", properties: { a: {}, b: {} }, minProperties: 1, additionalProperties: false },
      [{ a: 1 }, { b: 1 }],
      [{}],
    ],
    ["$anchor", { $ref: "#x", $defs: { a: { $anchor: "x", type: "integer" } } }, [1], ["1"]],
    ["$id", { $id: "http://a/b", $ref: "http://a/b#/$defs/a~1b", $defs: { "a/b": { type: "integer" } } }, [1], ["1"]],
    ["a reference beside keywords", { $ref: "#/$defs/a", minimum: 3, $defs: { a: { type: "integer", maximum: 5 } } }, [3, 5], [2, 6]],
  ])("%s", async (_, schema, valid, invalid) => {
    expect(await verdicts(schema, [...valid, ...invalid])).toEqual([...valid.map(() => true), ...invalid.map(() => false)]);
  });

  test("a schema that holds itself", async () => {
    const tree = { type: "object", properties: { next: { allOf: [{ $ref: "#" }, { required: ["v"] }] }, v: { type: "integer" } } };
    expect(await verdicts(tree, [{ next: { next: { v: 1 }, v: 2 } }, { next: { next: {}, v: 2 } }])).toEqual([true, false]);
  });
});

describe("what the engine reads more widely", () => {
  test.each([
    ["numbers beyond a double's", { type: "number" }, ["1e999", "1234567890123456", "12.5"], [false, false, true]],
    ["an exclusive bound", { type: "number", exclusiveMinimum: 0, maximum: 0.5 }, ["0", "0.0", "0.1", "0.5"], [false, false, true, true]],
    [
      "a listed key in disguise",
      { type: "object", properties: { a: { type: "integer" } } },
      ['{"\\u0061": "x"}', '{"a": 1, "b": 2}'],
      [false, true],
    ],
    ["29 February", { type: "string", format: "date" }, ['"2023-02-29"', '"2024-02-29"', '"1900-02-29"'], [false, true, false]],
    [
      "a key of the engine's own",
      { "x-guidance": { item_separator: "x" }, type: "array", items: { const: 1 } },
      ["[1x1]", "[1, 1]"],
      [false, true],
    ],
  ])("%s", async (_, schema, texts, expected) => {
    const admission = await Admission.of(vocabulary, schema);
    const found: boolean[] = [];
    for (const text of texts) found.push(await admission.admitsText(text));
    expect(found).toEqual(expected);
  });
});

describe("orders of properties", () => {
  const open = (names: string) => Object.fromEntries([...names].map((name) => [name, {}]));
  const object = (names: string) => Object.fromEntries([...names].map((name) => [name, 1]));
  const long = "abcdefgh";
  test.each([
    ["all are required, as listed", { type: "object", properties: open("ab"), required: ["a", "b"] }, ["ab"], ["ba"]],
    ["the required ones first", { type: "object", properties: open(long), required: ["f", "c"] }, ["cf", "fcabh", "abcdefgh"], ["fchb"]],
    ["few in any order", { type: "object", properties: open("abc") }, ["cba", "bac", ""], []],
    ["two neighbours swapped, or one in front", { type: "object", properties: open("abcde") }, ["abdce", "eabcd"], ["edcba"]],
    [
      "those of a branch last or first",
      {
        type: "object",
        allOf: [{ anyOf: [{ properties: open("ab"), required: ["a"] }] }, { properties: open("mnopqr") }],
        additionalProperties: true,
      },
      ["mnopqrab", "abmnopqr"],
      ["mabn"],
    ],
  ])("%s", async (_, schema, valid, invalid) => {
    const values = [...valid, ...invalid].map(object);
    expect(await verdicts(schema, values)).toEqual([...valid.map(() => true), ...invalid.map(() => false)]);
  });
});

describe("an object that is silent about other keys", () => {
  const schema = { type: "object", properties: { a: {} } };
  test("is open where strict", async () => {
    expect(await verdicts(schema, [{ z: 1 }])).toEqual([true]);
  });
  test("is closed else", async () => {
    expect(await verdicts(schema, [{ z: 1 }, { a: 1 }], false)).toEqual([false, true]);
  });
});

describe("what can't be enforced", () => {
  const schema = { type: "object", properties: { a: { type: "array", uniqueItems: true, items: { type: "string", format: "stars" } } } };
  test("is an error with its path where strict", () => {
    expect(refusal(schema)).toMatchObject({
      code: "OPTION",
      message: expect.stringContaining("schema.properties.a.items.format: expected one of date-time"),
    });
  });
  test("values that a format may refuse are not taken to be there", () => {
    const few = { type: "array", items: { enum: [1, "c"] }, contains: { type: "string", format: "email" }, uniqueItems: true };
    expect(refusal(few).message).toContain("schema.uniqueItems: expected items of few values");
  });
  test("is listed else", () => {
    const { notEnforced } = prepareSchema(schema, { strict: false, name: "schema" });
    expect([...notEnforced].sort()).toEqual(["schema.properties.a.items.format", "schema.properties.a.uniqueItems"]);
  });
  test.each([[{ type: 7 }], [{ properties: [] }], [{ minLength: -1 }], [{ enum: [] }], ["x"], [{ a: Number.NaN }]])(
    "%j is wrong in itself",
    (wrong) => {
      expect(refusal(wrong, false)).toMatchObject({ code: "OPTION" });
    },
  );
});

describe("input that is not to be trusted", () => {
  test("a ring of objects", () => {
    const ring: Record<string, unknown> = { type: "object" };
    ring.properties = { ring };
    expect(refusal(ring).message).toContain("levels deep");
  });
  test("an accessor", () => {
    const schema = Object.defineProperty({}, "type", { enumerable: true, get: () => "string" });
    expect(refusal(schema).message).toContain("accessor");
  });
  test("a $schema that is no text", () => {
    expect(refusal({ $schema: [{}], type: 7 })).toMatchObject({ code: "OPTION" });
    expect(refusal(JSON.parse('{"$schema": {"__proto__": 1}, "type": 7}'))).toMatchObject({ code: "OPTION" });
  });
  test("a key named __proto__", async () => {
    const schema = JSON.parse('{"type": "object", "properties": {"__proto__": {"type": "integer"}}, "required": ["__proto__"]}');
    const admission = await Admission.of(vocabulary, schema);
    expect([await admission.admitsText('{"__proto__": 1}'), await admission.admitsText('{"__proto__": "x"}')]).toEqual([true, false]);
  });
});
