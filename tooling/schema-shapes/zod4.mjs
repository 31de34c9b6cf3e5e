// Shapes of zod 4. Run by make.mjs in a folder that has the libraries.
// z.toJSONSchema is the library's own; asSchema is the AI SDK's; toJsonSchema is LangChain's; zodFunction, of openai, makes schemas that may be strict.

import { toJsonSchema } from "@langchain/core/utils/json_schema";
import { asSchema } from "ai";
import { zodFunction } from "openai/helpers/zod";
import { z } from "zod";
import { writeShapes } from "./write.mjs";

const { object, string, number, boolean, array, int } = z;
const person = object({ name: string().min(1), email: z.email().optional() }).meta({ id: "Person", title: "Person" });
const address = object({ street: string(), city: string(), postcode: string().regex(/^\d{5}$/), country: string().length(2) });
const money = object({ amount: number().nonnegative(), currency: z.enum(["EUR", "USD", "GBP"]) });
const category = object({
  name: string(),
  get children() {
    return array(category);
  },
});
const comment = object({
  author: string(),
  text: string(),
  get answers() {
    return array(comment).max(3).optional();
  },
});
const expression = z.discriminatedUnion("op", [
  object({ op: z.literal("number"), value: number() }),
  object({
    op: z.literal("add"),
    get left() {
      return expression;
    },
    get right() {
      return expression;
    },
  }),
]);
const result = (value) =>
  z.discriminatedUnion("ok", [object({ ok: z.literal(true), value }), object({ ok: z.literal(false), error: string() })]);
const big = object(
  Object.fromEntries(Array.from({ length: 40 }, (_, i) => [`field_${i}`, [string(), number(), boolean(), string().nullable()][i % 4]])),
);
const now = "2026-03-01T09:30:00Z";
const id = "3f2b8c1e-5d4a-4f6b-9c7d-8e1f2a3b4c5d";

const shapes = [
  ["flat record", object({ name: string(), age: int(), member: boolean() }), { name: "Ada", age: 36, member: true }, { name: "Ada", age: 36.5, member: true }],
  ["optional fields", object({ title: string(), note: string().optional(), rating: number().optional() }), { title: "Dune" }, { note: "x" }],
  ["nullable fields", object({ title: string(), year: int().nullable(), publisher: object({ name: string() }).nullable() }), { title: "Emma", year: null, publisher: { name: "Murray" } }, { title: "Emma", year: "1815", publisher: null }],
  ["nullish fields", object({ title: string(), year: number().nullish() }), { title: "Emma", year: null }, { title: null }],
  ["defaults and prefaults", object({ limit: int().default(10), order: z.enum(["asc", "desc"]).default("asc"), q: string().trim().prefault("*") }), { limit: 5, order: "desc", q: "x" }, { limit: 1.5, order: "asc", q: "x" }],
  ["caught values", object({ theme: z.enum(["light", "dark"]).catch("light"), zoom: number().min(0.5).max(4) }), { theme: "dark", zoom: 1.25 }, { theme: "dark", zoom: 5 }],
  ["titles, descriptions and examples", object({ city: string().meta({ title: "City", description: 'Such as "Paris"', examples: ["Paris", "Rome"] }), days: int().describe("How many\nfrom today") }).describe("A trip"), { city: "Rome", days: 3 }, { city: "Rome", days: "3" }],
  ["enum", object({ mood: z.enum(["glad", "sad", "so-so"]) }), { mood: "so-so" }, { mood: "bored" }],
  ["enum of an object", object({ level: z.enum({ Low: 1, High: 2 }), side: z.enum({ Left: "left", Right: "right" }) }), { level: 2, side: "left" }, { level: 3, side: "left" }],
  ["literals", object({ kind: z.literal("order"), version: z.literal(2), paid: z.literal(true) }), { kind: "order", version: 2, paid: true }, { kind: "order", version: 3, paid: true }],
  ["literal of several", object({ status: z.literal([200, 201, 404]), reason: z.literal(["ok", "gone"]) }), { status: 404, reason: "gone" }, { status: 500, reason: "ok" }],
  ["null literal", object({ parent: z.null(), root: z.literal(null) }), { parent: null, root: null }, { parent: 0, root: null }],
  ["union of primitives", object({ id: z.union([string(), number(), z.null()]) }), { id: 7 }, { id: true }],
  ["union of objects", object({ contact: z.union([object({ email: z.email() }), object({ phone: z.e164() })]) }), { contact: { phone: "+4930123456" } }, { contact: { phone: "030" } }],
  ["discriminated union", object({ shape: z.discriminatedUnion("type", [object({ type: z.literal("circle"), radius: number().positive() }), object({ type: z.literal("square"), side: number().positive() })]) }), { shape: { type: "square", side: 2 } }, { shape: { type: "square", radius: 2 } }],
  ["discriminated by booleans", object({ result: result(object({ rows: int() })) }), { result: { ok: true, value: { rows: 3 } } }, { result: { ok: true, error: "x" } }],
  ["steps of an agent", object({ thought: string(), steps: array(z.discriminatedUnion("action", [object({ action: z.literal("search"), query: string() }), object({ action: z.literal("open"), url: z.url() }), object({ action: z.literal("answer"), text: string(), sources: array(int()) })])).min(1).max(8) }), { thought: "hm", steps: [{ action: "search", query: "llamas" }] }, { thought: "hm", steps: [] }],
  ["nested objects", object({ customer: object({ name: string(), address }) }), { customer: { name: "Ada", address: { street: "Main 1", city: "Bonn", postcode: "53111", country: "DE" } } }, { customer: { name: "Ada", address: { street: "Main 1", city: "Bonn", postcode: "5311", country: "DE" } } }],
  ["the same object twice", object({ billing: address, shipping: address.nullable() }), { billing: { street: "A", city: "B", postcode: "12345", country: "FR" }, shipping: null }, { billing: { street: "A" }, shipping: null }],
  ["named definitions", object({ owner: person, members: array(person).max(4) }), { owner: { name: "Ada" }, members: [{ name: "Bob", email: "bob@example.org" }] }, { owner: { name: "" }, members: [] }],
  ["recursive categories", category, { name: "a", children: [{ name: "b", children: [] }] }, { name: "a", children: [{ name: "b" }] }],
  ["recursive comments", object({ thread: comment }), { thread: { author: "a", text: "b", answers: [{ author: "c", text: "d" }] } }, { thread: { author: "a" } }],
  ["recursive expressions", object({ formula: expression }), { formula: { op: "add", left: { op: "number", value: 1 }, right: { op: "number", value: 2 } } }, { formula: { op: "add", left: { op: "number", value: 1 } } }],
  ["any JSON", object({ payload: z.json() }), { payload: { a: [1, "x", null, { b: true }] } }],
  ["unknown values", object({ before: z.unknown(), after: z.any() }), { before: 1, after: { b: [] } }],
  ["array with bounds", object({ tags: array(string().min(1).max(20)).min(1).max(5) }), { tags: ["a", "b"] }, { tags: [] }],
  ["array of a length", object({ rgb: array(int().min(0).max(255)).length(3) }), { rgb: [0, 128, 255] }, { rgb: [0, 128, 256] }],
  ["matrix", object({ rows: array(array(number())) }), { rows: [[1, 2.5], [-3]] }, { rows: [1] }],
  ["tuples", object({ range: z.tuple([number(), number()]), pair: z.tuple([string(), boolean()]) }), { range: [1, 2], pair: ["x", true] }, { range: ["1", 2], pair: ["x", true] }],
  ["tuple with rest", object({ command: z.tuple([z.enum(["git", "npm"])], string()) }), { command: ["git", "commit", "-m", "x"] }, { command: ["rm"] }],
  ["record", object({ labels: z.record(string(), string()), counts: z.record(string(), int().min(0)) }), { labels: { env: "prod" }, counts: { a: 1 } }, { labels: { env: 1 }, counts: {} }],
  ["record with keys of an enum", object({ hours: z.record(z.enum(["mon", "tue", "wed"]), number().min(0).max(24)) }), { hours: { mon: 8, tue: 8, wed: 0 } }, { hours: { mon: 8 } }],
  ["record with some keys of an enum", object({ hours: z.partialRecord(z.enum(["mon", "tue", "wed"]), number().min(0).max(24)) }), { hours: { mon: 8 } }, { hours: { fri: 8 } }],
  ["record with keys of a pattern", object({ headers: z.record(string().regex(/^x-[a-z-]+$/), string()) }), { headers: { "x-trace": "1" } }, { headers: { trace: "1" } }],
  ["formats of strings", object({ email: z.email(), url: z.url(), id: z.uuid(), at: z.iso.datetime() }), { email: "ada@example.org", url: "https://example.org", id, at: now }, { email: "ada", url: "https://example.org", id, at: now }],
  ["urls of one kind", object({ site: z.httpUrl(), host: z.hostname(), mail: z.url({ protocol: /^mailto$/ }) }), { site: "https://example.org/a?b=c", host: "example.org", mail: "mailto:ada@example.org" }, { site: "https://example.org", host: "-", mail: "mailto:a@example.org" }],
  ["dates and times", object({ day: z.iso.date(), from: z.iso.time(), length: z.iso.duration(), at: z.iso.datetime({ offset: true, precision: 3 }) }), { day: "2028-02-29", from: "09:30:00", length: "PT1H30M", at: "2026-03-01T09:30:00.123+02:00" }, { day: "28.2.2026", from: "09:30:00", length: "PT1H", at: "2026-03-01T09:30:00.123Z" }],
  ["local times", object({ at: z.iso.datetime({ local: true }), minute: z.iso.time({ precision: -1 }) }), { at: "2026-03-01T09:30:00", minute: "09:30" }, { at: "soon", minute: "09:30" }],
  ["identifiers", object({ cuid: z.cuid2(), ulid: z.ulid(), nano: z.nanoid(), v7: z.uuidv7(), guid: z.guid(), ksuid: z.ksuid() }), { cuid: "tz4a98xxat96iws9zmbrgj3a", ulid: "01ARZ3NDEKTSV4RRFFQ69G5FAV", nano: "V1StGXR8_Z5jdHi6B-myT", v7: "0190163d-8694-739b-aea5-966c26f8ad91", guid: id, ksuid: "0ujsszwN8NRY24YaXiTIE2VWDTS" }, { cuid: "-", ulid: "x", nano: "x", v7: id, guid: id, ksuid: "x" }],
  ["addresses of machines", object({ v4: z.ipv4(), v6: z.ipv6(), net: z.cidrv4(), net6: z.cidrv6() }), { v4: "192.168.0.1", v6: "::1", net: "10.0.0.0/8", net6: "2001:db8::/32" }, { v4: "192.168.0.256", v6: "::1", net: "10.0.0.0/8", net6: "2001:db8::/32" }],
  ["bytes as text", object({ image: z.base64(), token: z.base64url(), digest: z.hash("sha256"), raw: z.hex() }), { image: "aGVsbG8=", token: "aGVsbG8", digest: `${"0".repeat(63)}f`, raw: "beef" }, { image: "?", token: "aGVsbG8", digest: "0", raw: "beef" }],
  ["patterns and templates", object({ sku: string().regex(/^[A-Z]{3}-\d{4}$/), slug: string().regex(/^[a-z0-9]+(?:-[a-z0-9]+)*$/), width: z.templateLiteral([number(), z.enum(["px", "em", "%"])]), emoji: z.emoji() }), { sku: "ABC-0042", slug: "a-b2", width: "12px", emoji: "🦊" }, { sku: "abc", slug: "a-b2", width: "12px", emoji: "🦊" }],
  ["prefix, suffix, part and case", object({ channel: string().startsWith("#").max(30), host: string().endsWith(".example.org"), text: string().includes("@"), code: string().uppercase(), both: string().min(2).regex(/a/).regex(/b$/) }), { channel: "#general", host: "www.example.org", text: "to @ada", code: "A1", both: "ab" }, { channel: "general", host: "www.example.org", text: "@", code: "A", both: "ab" }],
  ["numbers in bounds", object({ score: number().min(0).max(1), kelvin: number().gt(-273.15), percent: int().gte(0).lte(100), port: z.uint32(), ratio: z.float32(), step: number().multipleOf(5) }), { score: 0.5, kelvin: -3.5, percent: 100, port: 8080, ratio: 1.5, step: 15 }, { score: 1.5, kelvin: 0, percent: 1, port: 1, ratio: 1, step: 5 }],
  ["intersection", z.intersection(object({ id: string() }), object({ created: z.iso.datetime() })), { id: "a", created: now }, { id: "a" }],
  ["extended, picked and partial", address.extend({ geo: object({ x: number(), y: number() }).partial() }).omit({ country: true }), { street: "A", city: "B", postcode: "12345", geo: { x: 1 } }, { street: "A", city: "B", postcode: "12345", geo: { x: "1" } }],
  ["refinements, brands and overwrites", object({ password: string().min(8), again: string(), user: z.uuid().brand(), name: string().trim().toLowerCase(), tags: array(string()).readonly() }).refine(({ password, again }) => password === again), { password: "12345678", again: "12345678", user: id, name: "ada", tags: [] }, { password: "1234567", again: "1234567", user: id, name: "ada", tags: [] }],
  ["strict, loose and catchall", object({ strict: z.strictObject({ a: string() }), loose: z.looseObject({ a: string() }), rest: object({ a: string() }).catchall(number()) }), { strict: { a: "x" }, loose: { a: "x", b: [1] }, rest: { a: "x", b: 1 } }, { strict: { a: "x", b: 1 }, loose: { a: "x" }, rest: { a: "x" } }],
  ["invoices", object({ number: string(), due: z.iso.date(), total: money, lines: array(object({ text: string(), quantity: int().min(1).max(999), price: money })).min(1) }), { number: "R-1", due: "2026-04-01", total: { amount: 12.5, currency: "EUR" }, lines: [{ text: "Tea", quantity: 2, price: { amount: 6.25, currency: "EUR" } }] }, { number: "R-1", due: "2026-04-01", total: { amount: -1, currency: "EUR" }, lines: [] }],
  ["forty fields", big, Object.fromEntries(Object.keys(big.shape).map((key, i) => [key, ["x", 1.5, true, null][i % 4]])), { field_0: "x" }],
]; // biome-ignore format: a table

await writeShapes("zod4", shapes, {
  holds: (type, value) => type.safeParse(value).success,
  ways: {
    "z.toJSONSchema": (type) => z.toJSONSchema(type),
    "ai asSchema": (type) => asSchema(type).jsonSchema,
    "langchain toJsonSchema": (type) => toJsonSchema(type),
  },
  strict: { "openai zodFunction": (type, name) => zodFunction({ name, parameters: type }).function.parameters },
});
