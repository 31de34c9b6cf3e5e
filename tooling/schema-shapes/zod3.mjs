// Shapes of zod 3. Run by make.mjs in a folder that has the libraries.
// zod-to-json-schema is what LangChain calls; asSchema is the AI SDK's; zodFunction, of openai, makes schemas that may be strict.

import { asSchema } from "ai";
import { zodFunction } from "openai/helpers/zod";
import { z } from "zod";
import { zodToJsonSchema } from "zod-to-json-schema";
import { writeShapes } from "./write.mjs";

const { object, string, number, boolean, array } = z;
const address = object({ street: string(), city: string(), postcode: string().regex(/^\d{5}$/), country: string().length(2) });
const money = object({ amount: number().nonnegative().multipleOf(0.01), currency: z.enum(["EUR", "USD", "GBP"]) });
const file = { path: "src/index.ts", line: 12 };
// As TypeScript compiles an enum.
const Level = { Low: 1, 1: "Low", High: 2, 2: "High" };
const category = object({ name: string(), children: z.lazy(() => array(category)) });
const folder = object({ name: string(), entries: array(z.union([object({ file: string() }), object({ folder: z.lazy(() => folder) })])) });
const json = z.lazy(() => z.union([string(), number(), boolean(), z.null(), array(json), z.record(json)]));
const point = object({ x: number(), y: number() });
const page = (item) => object({ items: array(item), next: string().nullable(), total: number().int().min(0) });
const big = object(Object.fromEntries(Array.from({ length: 40 }, (_, i) => [`field_${i}`, [string(), number(), boolean()][i % 3]])));
const now = "2026-03-01T09:30:00Z";
const id = "3f2b8c1e-5d4a-4f6b-9c7d-8e1f2a3b4c5d";

/** Name, type, an instance, one that both it and its JSON schema refuse; `read` makes of JSON what the type itself holds. */
const shapes = [
  ["flat record", object({ name: string(), age: number(), member: boolean() }), { name: "Ada", age: 36, member: true }, { name: "Ada", age: "36" }],
  ["optional fields", object({ title: string(), note: string().optional(), rating: number().optional() }), { title: "Dune" }, { note: "x" }],
  ["nullable fields", object({ title: string(), year: number().nullable() }), { title: "Emma", year: null }, { title: "Emma", year: "1815" }],
  ["nullish fields", object({ title: string(), year: number().nullish() }), { title: "Emma", year: null }, { title: null }],
  ["defaults", object({ limit: number().int().default(10), order: z.enum(["asc", "desc"]).default("asc") }), { limit: 5, order: "desc" }, { limit: 1.5 }],
  ["described fields", object({ city: string().describe('Such as "Paris"'), days: number().int().describe("How many\nfrom today") }).describe("A trip"), { city: "Rome", days: 3 }, { city: "Rome", days: 2.5 }],
  ["enum", object({ mood: z.enum(["glad", "sad", "so-so"]) }), { mood: "so-so" }, { mood: "bored" }],
  ["native enum of numbers", object({ level: z.nativeEnum(Level) }), { level: 2 }, { level: 3 }],
  ["native enum of strings", object({ side: z.nativeEnum({ Left: "left", Right: "right" }) }), { side: "left" }, { side: "up" }],
  ["literals", object({ kind: z.literal("order"), version: z.literal(2), paid: z.literal(true), reference: z.null() }), { kind: "order", version: 2, paid: true, reference: null }, { kind: "order", version: 3, paid: true, reference: null }],
  ["union of literals", object({ size: z.union([z.literal("s"), z.literal("m"), z.literal(42)]) }), { size: 42 }, { size: "l" }],
  ["union of primitives", object({ id: z.union([string(), number()]) }), { id: 7 }, { id: true }],
  ["union of objects", object({ contact: z.union([object({ email: string().email() }), object({ phone: string().regex(/^\+\d{6,14}$/) })]) }), { contact: { phone: "+4930123456" } }, { contact: { phone: "030" } }],
  ["discriminated union", object({ shape: z.discriminatedUnion("type", [object({ type: z.literal("circle"), radius: number().positive() }), object({ type: z.literal("square"), side: number().positive() })]) }), { shape: { type: "square", side: 2 } }, { shape: { type: "square", radius: 2 } }],
  ["steps of an agent", object({ steps: array(z.discriminatedUnion("action", [object({ action: z.literal("search"), query: string() }), object({ action: z.literal("open"), url: string().url() }), object({ action: z.literal("answer"), text: string(), sources: array(number().int()) })])).min(1).max(8) }), { steps: [{ action: "search", query: "llamas" }, { action: "open", url: "https://example.org/a?b=c" }] }, { steps: [] }],
  ["nested objects", object({ customer: object({ name: string(), address }) }), { customer: { name: "Ada", address: { street: "Main 1", city: "Bonn", postcode: "53111", country: "DE" } } }, { customer: { name: "Ada", address: { street: "Main 1", city: "Bonn", postcode: "5311", country: "DE" } } }],
  ["the same object twice", object({ billing: address, shipping: address.optional() }), { billing: { street: "A", city: "B", postcode: "12345", country: "FR" } }, { billing: { street: "A" } }],
  ["recursive categories", category, { name: "a", children: [{ name: "b", children: [] }] }, { name: "a", children: [{ name: "b" }] }],
  ["recursive folders", folder, { name: "/", entries: [{ file: "a.txt" }, { folder: { name: "b", entries: [] } }] }, { name: "/", entries: [{ folder: {} }] }],
  ["any JSON", object({ payload: json }), { payload: { a: [1, "x", null, { b: true }] } }],
  ["array with bounds", object({ tags: array(string().min(1).max(20)).nonempty().max(5) }), { tags: ["a", "b"] }, { tags: [] }],
  ["array of a length", object({ rgb: array(number().int().min(0).max(255)).length(3) }), { rgb: [0, 128, 255] }, { rgb: [0, 128, 256] }],
  ["matrix", object({ rows: array(array(number())) }), { rows: [[1, 2.5], [-3]] }, { rows: [1] }],
  ["tuple", object({ range: z.tuple([number(), number()]) }), { range: [1, 2] }, { range: ["1", 2] }],
  ["tuple with rest", object({ command: z.tuple([z.enum(["git", "npm"])]).rest(string()) }), { command: ["git", "commit", "-m", "x"] }, { command: ["rm"] }],
  ["set", object({ roles: z.set(z.enum(["admin", "editor", "viewer"])).min(1) }), { roles: ["editor", "admin"] }, { roles: ["root"] }, ({ roles }) => ({ roles: new Set(roles) })],
  ["map", object({ scores: z.map(string(), number()) }), { scores: [["ada", 1]] }, { scores: [["ada", "1"]] }, ({ scores }) => ({ scores: new Map(scores) })],
  ["record", object({ labels: z.record(string()) }), { labels: { env: "prod", team: "core" } }, { labels: { env: 1 } }],
  ["record with keys of an enum", object({ hours: z.record(z.enum(["mon", "tue", "wed"]), number().min(0).max(24)) }), { hours: { mon: 8 } }, { hours: { fri: 8 } }],
  ["record with keys of a pattern", object({ headers: z.record(string().regex(/^x-[a-z-]+$/), string()) }), { headers: { "x-trace": "1" } }, { headers: { trace: "1" } }],
  ["formats of strings", object({ email: string().email(), url: string().url(), id: string().uuid(), at: string().datetime() }), { email: "ada@example.org", url: "https://example.org", id, at: now }, { email: "ada", url: "https://example.org", id, at: now }],
  ["dates and times", object({ day: string().date(), length: string().duration() }), { day: "2026-02-28", length: "PT1H30M" }, { day: "28.2.2026", length: "PT1H30M" }],
  ["moments with offset", object({ at: string().datetime({ offset: true, precision: 3 }) }), { at: "2026-03-01T09:30:00.123+02:00" }, { at: "yesterday" }],
  ["coerced date", object({ born: z.coerce.date() }), { born: now }, { born: "soon" }],
  ["identifiers", object({ cuid: string().cuid(), ulid: string().ulid(), nano: string().nanoid() }), { cuid: "cjld2cjxh0000qzrmn831i7rn", ulid: "01ARZ3NDEKTSV4RRFFQ69G5FAV", nano: "V1StGXR8_Z5jdHi6B-myT" }, { cuid: "x", ulid: "x", nano: "x" }],
  ["addresses of machines", object({ v4: string().ip({ version: "v4" }), either: string().ip(), net: string().cidr({ version: "v4" }) }), { v4: "192.168.0.1", either: "::1", net: "10.0.0.0/8" }, { v4: "192.168.0.256", either: "::1", net: "10.0.0.0/8" }],
  ["bytes as base64", object({ image: string().base64(), token: string().base64url() }), { image: "aGVsbG8=", token: "aGVsbG8" }, { image: 1, token: "aGVsbG8" }],
  ["patterns", object({ sku: string().regex(/^[A-Z]{3}-\d{4}$/), slug: string().regex(/^[a-z0-9]+(?:-[a-z0-9]+)*$/), hex: string().regex(/#[0-9a-f]{6}/i) }), { sku: "ABC-0042", slug: "a-b2", hex: "#00ff7f" }, { sku: "abc", slug: "a-b2", hex: "#00ff7f" }],
  ["prefix, suffix and part", object({ channel: string().startsWith("#"), host: string().endsWith(".example.org"), text: string().includes("@") }), { channel: "#general", host: "www.example.org", text: "to @ada" }, { channel: "general", host: "www.example.org", text: "@" }],
  ["trimmed strings in bounds", object({ name: string().trim().min(1).max(100), bio: string().max(500) }), { name: "Ada", bio: "" }, { name: "", bio: "" }],
  ["numbers in bounds", object({ score: number().min(0).max(1), temperature: number().gt(-273.15), percent: number().int().gte(0).lte(100) }), { score: 0.5, temperature: -3.5, percent: 100 }, { score: 1.5, temperature: 0, percent: 1 }],
  ["signs and steps", object({ count: number().int().positive(), debt: number().negative(), step: number().multipleOf(5), safe: number().safe() }), { count: 1, debt: -0.5, step: 15, safe: 9 }, { count: 0, debt: -1, step: 15, safe: 9 }],
  ["intersection", z.intersection(object({ id: string() }), object({ created: string().datetime() })), { id: "a", created: now }, { id: "a" }],
  ["extended, picked and partial", address.extend({ geo: point.partial() }).omit({ country: true }), { street: "A", city: "B", postcode: "12345", geo: { x: 1 } }, { street: "A", city: "B", postcode: "12345", geo: { x: "1" } }],
  ["refinements", object({ password: string().min(8), again: string() }).refine(({ password, again }) => password === again), { password: "12345678", again: "12345678" }, { password: "1234567", again: "1234567" }],
  ["brands, readonly and transforms", object({ user: string().uuid().brand("UserId"), tags: array(string()).readonly(), size: string().transform((text) => text.length) }), { user: id, tags: [], size: "abc" }, { user: "ada", tags: [], size: "abc" }],
  ["strict, passthrough and catchall", object({ strict: object({ a: string() }).strict(), open: object({ a: string() }).passthrough(), rest: object({ a: string() }).catchall(number()) }), { strict: { a: "x" }, open: { a: "x", b: [1] }, rest: { a: "x", b: 1 } }, { strict: { a: "x", b: 1 }, open: { a: "x" }, rest: { a: "x" } }],
  ["pages of invoices", page(object({ number: string(), due: string().date(), total: money, lines: array(object({ text: string(), quantity: number().int().min(1), price: money })) })), { items: [{ number: "R-1", due: "2026-04-01", total: { amount: 12.5, currency: "EUR" }, lines: [{ text: "Tea", quantity: 2, price: { amount: 6.25, currency: "EUR" } }] }], next: null, total: 1 }, { items: [{ number: "R-1" }], next: null, total: 1 }],
  ["edits of files", object({ edits: array(object({ file: object({ path: string(), line: number().int().min(1) }), old: string(), new: string(), all: boolean().optional() })), dryRun: boolean().default(false) }), { edits: [{ file, old: 'a "b"', new: "c\n\td\\" }], dryRun: true }, { edits: [{ file: { path: "x", line: 0 }, old: "", new: "" }], dryRun: true }],
  ["forty fields", big, Object.fromEntries(Object.keys(big.shape).map((key, i) => [key, ["x", 1.5, true][i % 3]])), { field_0: "x" }],
]; // biome-ignore format: a table

await writeShapes("zod3", shapes, {
  holds: (type, value) => type.safeParse(value).success,
  ways: {
    "zod-to-json-schema": (type) => zodToJsonSchema(type),
    "ai asSchema": (type) => asSchema(type).jsonSchema,
  },
  strict: { "openai zodFunction": (type, name) => zodFunction({ name, parameters: type }).function.parameters },
});
