// Tools and formats that nobody has seen before: ordinary ones, and some that mean harm.

import type { Format } from "jamba";

type Json = Readonly<Record<string, unknown>>;

/** Each asks for another piece of grammar. */
const fields: readonly Json[] = [
  { type: "string" },
  { type: "string", format: "email" },
  { type: "string", format: "uri" },
  { type: "integer", minimum: 1, maximum: 500 },
  { type: "array", items: { type: "string" } },
  { type: "string", maxLength: 50 },
  { type: "boolean" },
  { type: "string", format: "date-time" },
  { type: "string", enum: ["celsius", "fahrenheit", "kelvin"] },
  { type: "number" },
];
/** Of each tool; the first five kinds are in the first tool. */
const perTool = 5;

let made = 0;

/** Tools of 5 fields, all names new, so that nothing compiled before is of use. */
export function newTools(count: number): unknown[] {
  return Array.from({ length: count }, (_, at) => {
    const tool = made++;
    const properties = Object.fromEntries(
      Array.from({ length: perTool }, (_, field) => [`field_${tool}_${field}`, fields[(at * perTool + field) % fields.length]]),
    );
    const parameters = { type: "object", properties, required: Object.keys(properties), additionalProperties: false };
    return { type: "function", function: { name: `tool_${tool}`, description: "Does something.", parameters } };
  });
}

const list = <T>(length: number, of: (i: number) => T): T[] => Array.from({ length }, (_, i) => of(i));
const object = (count: number, value: (i: number) => unknown, more: Json = {}) => ({
  type: "object",
  properties: Object.fromEntries(list(count, (i) => [`key_${made}_${i}`, value(i)])),
  ...more,
});
const nested = (depth: number, inner: unknown): unknown =>
  depth === 0 ? inner : { type: "object", properties: { [`at_${made}_${depth}`]: nested(depth - 1, inner) } };
const json = (schema: unknown, strict = true): Format => ({ type: "json", schema: schema as Json, strict });
const regex = (pattern: string): Format => ({ type: "regex", pattern: `${pattern}(?:${made})?` });
const ebnf = (grammar: string): Format => ({ type: "grammar", grammar: `${grammar}\nnobody${made} ::= "x"` });
const lark = (grammar: string): Format => ({ type: "grammar", syntax: "lark", grammar: `${grammar}\nnobody${made}: "x"` });

const string = { type: "string" };
const email = "^(?!\\.)(?!.*\\.\\.)([\\w'+\\-.]*)\\w@(\\w+\\.)+[a-z]{2,}$";
const strong = "^(?=.*[A-Z])(?=.*[a-z])(?=.*\\d)(?=.*[!-/]).{8,64}$";

/** Formats that ask for much work, each of another kind. */
const hostile: Readonly<Record<string, () => Format>> = {
  "a schema of 10,000 properties": () => json(object(10_000, () => string)),
  "an enum of 100,000 words": () => json({ enum: list(100_000, (i) => `word ${made} ${i * 7919}`) }),
  "400 patterns with look-ahead": () => json(object(400, (i) => ({ type: "string", pattern: email.replace("2,", `${2 + (i % 9)},`) }))),
  "40 passwords by four look-aheads": () => json(object(40, (i) => ({ type: "string", pattern: strong.replace("64", String(64 + i)) }))),
  "objects 1,000 deep": () => json(nested(1000, string)),
  "not over a wide object": () => json({ ...object(60, () => string), not: object(60, (i) => ({ const: `no ${i}` })) }),
  "oneOf over 200 objects": () => json({ oneOf: list(200, (i) => object(20, (j) => ({ const: `${i % 7} ${j}` }))) }),
  "allOf of 60 anyOfs": () => json({ allOf: list(60, (i) => ({ anyOf: list(6, (j) => object(4, (k) => ({ minimum: i * j * k }))) })) }),
  "40 strings of 100,000 characters": () => json(object(40, (i) => ({ type: "string", minLength: 100 + i, maxLength: 100_000 - i }))),
  "counts within counts": () => regex("((a{1,99}){1,99}){1,99}"),
  "a counted choice": () => regex("(a|b)*a(a|b){20}"),
  "a counted class of letters": () => regex("(?:(?!--)[\\p{L}-]){1,900}\\b"),
  "two look-aheads over all": () => regex("(?=(?:.*[a-f]){9})(?!(?:.*x.*y){4}).{20,400}"),
  "groups 20,000 deep": () => regex(`${"(".repeat(20_000)}a${")".repeat(20_000)}`),
  "a chain of 20,000 rules": () => ebnf(`root ::= r0\n${list(20_000, (i) => `r${i} ::= "a" r${i + 1}`).join("\n")}\nr20000 ::= "b"`),
  "EBNF of 3,000 classes": () => ebnf(`root ::= (${list(3000, (i) => `[a-${"bcdefgh"[i % 7]}]{1,${1 + (i % 40)}} "${i}"`).join(" | ")})*`),
  "Lark of 5,000 choices": () => lark(`start: ${list(5000, (i) => `x${i}`).join(" | ")}\n${list(5000, (i) => `x${i}: "a"`).join("\n")}`),
  "Lark of 30 conjunctions": () => lark(`start: A\nA: ${list(30, (i) => `/(.|\\n)*x${i}(.|\\n)*/`).join(" & ")}`),
};

export const hostileNames = Object.keys(hostile);

/** Another one each time. */
export function hostileFormat(name: string): Format {
  made++;
  return hostile[name]();
}
