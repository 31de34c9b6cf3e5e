// Shapes of TypeBox, which are JSON schemas as they stand. Run by make.mjs in a folder that has the library.

import { FormatRegistry, TypeRegistry, Type as t } from "@sinclair/typebox";
import { Value } from "@sinclair/typebox/value";
import { writeShapes } from "./write.mjs";

// The library knows no format by itself: a check of each is the application's.
for (const [format, pattern] of Object.entries({
  email: /^[^@\s]+@[^@\s]+$/,
  uri: /^[a-z]+:\/\/\S+$/,
  uuid: /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/,
  date: /^\d{4}-\d\d-\d\d$/,
  time: /^\d\d:\d\d:\d\d(Z|[+-]\d\d:\d\d)$/,
  "date-time": /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(Z|[+-]\d\d:\d\d)$/,
  duration: /^P\S+$/,
  ipv4: /^(25[0-5]|2[0-4]\d|1?\d?\d)(\.(25[0-5]|2[0-4]\d|1?\d?\d)){3}$/,
  ipv6: /^[0-9a-f:]+$/,
  hostname: /^[a-z0-9.-]+$/,
  byte: /^[\w+/=]*$/,
}))
  FormatRegistry.Set(format, (text) => pattern.test(text));

TypeRegistry.Set("Unsafe", ({ enum: values }, value) => values.includes(value));

const closed = { additionalProperties: false };
const str = (options) => t.String(options);
const num = (options) => t.Number(options);
const int = (options) => t.Integer(options);
const object = (fields, options) => t.Object(fields, options);
const nullable = (type) => t.Union([type, t.Null()]);
const oneOf = (values, options) => t.Unsafe({ type: "string", enum: values, ...options });
const address = object(
  { street: str(), city: str(), postcode: str({ pattern: "^\\d{5}$" }), country: str({ minLength: 2, maxLength: 2 }) },
  closed,
);
const money = object({ amount: num({ minimum: 0 }), currency: oneOf(["EUR", "USD", "GBP"]) }, closed);
const kinds = (name, literal, fields) => object({ [name]: t.Literal(literal), ...fields }, closed);
const page = (item) => object({ items: t.Array(item), next: nullable(str()), total: int({ minimum: 0 }) });
const tree = t.Recursive((self) => object({ name: str(), children: t.Array(self) }), { $id: "Tree" });
const list = t.Recursive((self) => object({ value: int(), next: nullable(self) }, closed), { $id: "List" });
const shared = t.Module({
  Author: object({ name: str(), books: t.Array(t.Ref("Book")) }),
  Book: object({ title: str(), sequels: t.Array(t.Ref("Book")) }),
});
const big = object(
  Object.fromEntries(Array.from({ length: 40 }, (_, i) => [`field_${i}`, [str(), num(), t.Boolean(), nullable(str())][i % 4]])),
  closed,
);
const now = "2026-03-01T09:30:00Z";
const id = "3f2b8c1e-5d4a-4f6b-9c7d-8e1f2a3b4c5d";

const shapes = [
  ["flat record", object({ name: str(), age: int(), member: t.Boolean() }), { name: "Ada", age: 36, member: true }, { name: "Ada", age: 36.5, member: true }],
  ["closed record", object({ name: str(), age: num() }, closed), { name: "Ada", age: 36 }, { name: "Ada", age: 36, b: 1 }],
  ["optional fields", object({ title: str(), note: t.Optional(str()), rating: t.Optional(num()) }), { title: "Dune" }, { note: "x" }],
  ["closed with optional fields", object({ title: str(), note: t.Optional(str()), rating: t.Optional(num()) }, closed), { title: "Dune", rating: 4 }, { title: "Dune", more: 4 }],
  ["nullable fields", object({ title: str(), year: nullable(int()), publisher: nullable(object({ name: str() }, closed)) }, closed), { title: "Emma", year: null, publisher: { name: "Murray" } }, { title: "Emma", year: "1815", publisher: null }],
  ["optional and nullable", object({ title: str(), year: t.Optional(nullable(num())) }), { title: "Emma", year: null }, { title: null }],
  ["defaults", object({ limit: int({ default: 10 }), order: oneOf(["asc", "desc"], { default: "asc" }) }), { limit: 5, order: "desc" }, { limit: 1.5, order: "asc" }],
  ["titles, descriptions and examples", object({ city: str({ title: "City", description: 'Such as "Paris"', examples: ["Paris", "Rome"] }), days: int({ description: "How many\nfrom today" }) }, { ...closed, $id: "Trip", description: "A trip" }), { city: "Rome", days: 3 }, { city: "Rome", days: "3" }],
  ["custom keywords", object({ size: num({ unit: "cm", "x-order": 1 }), secret: str({ writeOnly: true }), old: t.Optional(str({ deprecated: true })) }), { size: 1, secret: "x" }, { size: "1", secret: "x" }],
  ["enum", object({ side: t.Enum({ Left: "left", Right: "right" }), level: t.Enum({ Low: 1, High: 2 }) }, closed), { side: "left", level: 2 }, { side: "up", level: 2 }],
  ["string enum", object({ mood: oneOf(["glad", "sad", "so-so"]) }, closed), { mood: "so-so" }, { mood: "bored" }],
  ["literals", object({ kind: t.Literal("order"), version: t.Literal(2), paid: t.Literal(true), parent: t.Null() }), { kind: "order", version: 2, paid: true, parent: null }, { kind: "order", version: 3, paid: true, parent: null }],
  ["union of literals", object({ size: t.Union([t.Literal("s"), t.Literal("m"), t.Literal(42)]) }, closed), { size: 42 }, { size: "l" }],
  ["union of primitives", object({ id: t.Union([str(), num(), t.Boolean()]) }), { id: 7 }, { id: null }],
  ["union of objects", object({ contact: t.Union([object({ email: str({ format: "email" }) }, closed), object({ phone: str({ pattern: "^\\+\\d{6,14}$" }) }, closed)]) }, closed), { contact: { phone: "+4930123456" } }, { contact: { phone: "030" } }],
  ["discriminated union", object({ shape: t.Union([kinds("type", "circle", { radius: num({ exclusiveMinimum: 0 }) }), kinds("type", "square", { side: num({ exclusiveMinimum: 0 }) })]) }, closed), { shape: { type: "square", side: 2 } }, { shape: { type: "square", radius: 2 } }],
  ["open union", object({ result: t.Union([object({ ok: t.Literal(true), rows: int() }), object({ ok: t.Literal(false), error: str() })], { discriminator: { propertyName: "ok" } }) }), { result: { ok: true, rows: 3 } }, { result: { ok: true, error: "x" } }],
  ["steps of an agent", object({ steps: t.Array(t.Union([kinds("action", "search", { query: str() }), kinds("action", "open", { url: str({ format: "uri" }) }), kinds("action", "answer", { text: str(), sources: t.Array(int()) })]), { minItems: 1, maxItems: 8 }) }, closed), { steps: [{ action: "open", url: "https://example.org/a?b=c" }] }, { steps: [] }],
  ["nested objects", object({ customer: object({ name: str(), address }, closed) }, closed), { customer: { name: "Ada", address: { street: "Main 1", city: "Bonn", postcode: "53111", country: "DE" } } }, { customer: { name: "Ada", address: { street: "Main 1", city: "Bonn", postcode: "5311", country: "DE" } } }],
  ["the same object twice", object({ billing: address, shipping: t.Optional(address) }), { billing: { street: "A", city: "B", postcode: "12345", country: "FR" } }, { billing: { street: "A" } }],
  ["recursive tree", object({ root: tree }), { root: { name: "a", children: [{ name: "b", children: [] }] } }, { root: { name: "a", children: [{ name: "b" }] } }],
  ["recursive at the root", tree, { name: "a", children: [] }, { name: "a" }],
  ["recursive list", object({ list }, closed), { list: { value: 1, next: { value: 2, next: null } } }, { list: { value: 1 } }],
  ["definitions of a module", shared.Import("Author"), { name: "a", books: [{ title: "b", sequels: [] }] }, { name: "a", books: [{ title: "b" }] }],
  ["any JSON", object({ payload: t.Any(), more: t.Unknown() }), { payload: { a: [1, "x", null] }, more: 1 }],
  ["array with bounds", object({ tags: t.Array(str({ minLength: 1, maxLength: 20 }), { minItems: 1, maxItems: 5 }) }, closed), { tags: ["a", "b"] }, { tags: [] }],
  ["array of a length", object({ rgb: t.Array(int({ minimum: 0, maximum: 255 }), { minItems: 3, maxItems: 3 }) }, closed), { rgb: [0, 128, 255] }, { rgb: [0, 128, 256] }],
  ["unique items of an enum", object({ roles: t.Array(oneOf(["admin", "editor", "viewer"]), { uniqueItems: true, minItems: 1 }) }), { roles: ["editor", "admin"] }, { roles: ["editor", "editor"] }],
  ["unique strings", object({ tags: t.Array(str({ maxLength: 12 }), { uniqueItems: true, maxItems: 4 }) }), { tags: ["a", "b"] }, { tags: ["a", "a"] }],
  ["array that contains", object({ values: t.Array(num(), { contains: t.Literal(0), minContains: 1, maxItems: 5 }) }), { values: [1, 0] }, { values: [1] }],
  ["matrix", object({ rows: t.Array(t.Array(num())) }, closed), { rows: [[1, 2.5], [-3]] }, { rows: [1] }],
  ["tuples", object({ range: t.Tuple([num(), num()]), pair: t.Tuple([str(), t.Boolean()]) }), { range: [1, 2], pair: ["x", true] }, { range: ["1", 2], pair: ["x", true] }],
  ["record", object({ labels: t.Record(str(), str()), counts: t.Record(str(), int({ minimum: 0 })) }), { labels: { env: "prod" }, counts: { a: 1 } }, { labels: { env: 1 }, counts: {} }],
  ["record with keys of a pattern", object({ headers: t.Record(str({ pattern: "^x-[a-z-]+$" }), str(), closed) }), { headers: { "x-trace": "1" } }, { headers: { trace: "1" } }],
  ["record with keys of literals", object({ hours: t.Record(t.Union([t.Literal("mon"), t.Literal("tue")]), num({ minimum: 0, maximum: 24 })) }), { hours: { mon: 8, tue: 0 } }, { hours: { mon: 8 } }],
  ["record with numbers as keys", object({ pages: t.Record(t.Integer(), str(), closed) }), { pages: { 1: "a", 12: "b" } }, { pages: { a: "b" } }],
  ["open with a schema", object({ id: str() }, { additionalProperties: num(), minProperties: 1, maxProperties: 4 }), { id: "a", b: 1 }, { id: "a", b: "1" }],
  ["formats of strings", object({ email: str({ format: "email" }), url: str({ format: "uri" }), id: str({ format: "uuid" }), at: str({ format: "date-time" }) }, closed), { email: "ada@example.org", url: "https://example.org", id, at: now }, { email: "ada", url: "https://example.org", id, at: now }],
  ["dates and times", object({ day: str({ format: "date" }), from: str({ format: "time" }), length: str({ format: "duration" }) }, closed), { day: "2026-02-28", from: "09:30:00Z", length: "PT1H30M" }, { day: "28.2.2026", from: "09:30:00Z", length: "PT1H" }],
  ["addresses of machines", object({ v4: str({ format: "ipv4" }), v6: str({ format: "ipv6" }), host: str({ format: "hostname" }) }, closed), { v4: "192.168.0.1", v6: "::1", host: "example.org" }, { v4: "192.168.0.256", v6: "::1", host: "example.org" }],
  ["bytes as text", object({ image: str({ contentEncoding: "base64", contentMediaType: "image/png" }), token: str({ format: "byte" }) }), { image: "aGVsbG8=", token: "aGVsbG8=" }],
  ["patterns and templates", object({ sku: str({ pattern: "^[A-Z]{3}-\\d{4}$" }), slug: str({ pattern: "^[a-z0-9]+(?:-[a-z0-9]+)*$" }), size: t.TemplateLiteral([t.Union([t.Literal("0"), t.Literal("1"), t.Literal("2")]), t.Literal("-"), t.Union([t.Literal("small"), t.Literal("big")])]), part: str({ pattern: "v\\d+" }) }, closed), { sku: "ABC-0042", slug: "a-b2", size: "1-big", part: "at v12" }, { sku: "ABC-0042", slug: "a-b2", size: "3-big", part: "v1" }],
  ["numbers in bounds", object({ score: num({ minimum: 0, maximum: 1 }), kelvin: num({ exclusiveMinimum: -273.15 }), percent: int({ minimum: 0, maximum: 100 }), step: num({ multipleOf: 5 }), port: int({ exclusiveMinimum: 0, exclusiveMaximum: 65536 }) }, closed), { score: 0.5, kelvin: -3.5, percent: 100, step: 15, port: 8080 }, { score: 1.5, kelvin: 0, percent: 1, step: 5, port: 1 }],
  ["intersection", t.Intersect([object({ id: str() }), object({ created: str({ format: "date-time" }) })]), { id: "a", created: now }, { id: "a" }],
  ["closed intersection", t.Intersect([object({ id: str() }), object({ size: int() })], { unevaluatedProperties: false }), { id: "a", size: 1 }, { id: "a", size: 1, more: 2 }],
  ["composed, picked and partial", t.Composite([t.Omit(address, ["country"]), object({ geo: t.Partial(object({ x: num(), y: num() })) })], closed), { street: "A", city: "B", postcode: "12345", geo: { x: 1 } }, { street: "A", city: "B", postcode: "12345", geo: { x: "1" } }],
  ["exclusion and negation", object({ name: t.Exclude(t.Union([t.Literal("a"), t.Literal("b"), t.Literal("c")]), t.Literal("b")), port: t.Not(t.Literal(0)) }), { name: "a", port: 80 }, { name: "b", port: 80 }],
  ["pages of invoices", page(object({ number: str(), due: str({ format: "date" }), total: money, lines: t.Array(object({ text: str(), quantity: int({ minimum: 1, maximum: 999 }), price: money }, closed), { minItems: 1 }) }, closed)), { items: [{ number: "R-1", due: "2026-04-01", total: { amount: 12.5, currency: "EUR" }, lines: [{ text: "Tea", quantity: 2, price: { amount: 6.25, currency: "EUR" } }] }], next: null, total: 1 }, { items: [{ number: "R-1" }], next: null, total: 1 }],
  ["edits of files", object({ edits: t.Array(object({ path: str({ minLength: 1 }), line: int({ minimum: 1 }), old: str(), new: str() }, closed)), dryRun: t.Optional(t.Boolean({ default: false })) }, closed), { edits: [{ path: "src/a.ts", line: 12, old: 'a "b"', new: "c\n\td\\" }], dryRun: true }, { edits: [{ path: "x", line: 0, old: "", new: "" }] }],
  ["forty fields", big, Object.fromEntries(Object.keys(big.properties).map((key, i) => [key, ["x", 1.5, true, null][i % 4]])), { field_0: "x" }],
]; // biome-ignore format: a table

await writeShapes("typebox", shapes, {
  holds: (type, value) => Value.Check(type, value),
  ways: { TypeBox: (type) => JSON.parse(JSON.stringify(type)) },
  strict: { TypeBox: (type) => JSON.parse(JSON.stringify(type)) },
});
