// Shapes of valibot. Run by make.mjs in a folder that has the libraries.
// toJsonSchema is @valibot/to-json-schema's; toStandardJsonSchema is how the AI SDK and LangChain read it; standardFunction, of openai, makes schemas that may be strict.

import { toJsonSchema, toStandardJsonSchema } from "@valibot/to-json-schema";
import { standardFunction } from "openai/helpers/standard-schema";
import * as v from "valibot";
import { writeShapes } from "./write.mjs";

const { object, strictObject, string, number, boolean, array, pipe, optional, nullable, literal, picklist } = v;
const int = pipe(number(), v.integer());
const email = pipe(string(), v.email());
const url = pipe(string(), v.url());
const address = object({
  street: string(),
  city: string(),
  postcode: pipe(string(), v.regex(/^\d{5}$/)),
  country: pipe(string(), v.length(2)),
});
const money = object({ amount: pipe(number(), v.minValue(0)), currency: picklist(["EUR", "USD", "GBP"]) });
const category = object({ name: string(), children: v.lazy(() => array(category)) });
const node = object({ value: int, left: nullable(v.lazy(() => node)), right: nullable(v.lazy(() => node)) });
const rule = v.variant("op", [
  object({ op: literal("is"), field: string(), value: string() }),
  object({ op: literal("all"), rules: array(v.lazy(() => rule)) }),
]);
const big = object(
  Object.fromEntries(Array.from({ length: 40 }, (_, i) => [`field_${i}`, [string(), number(), boolean(), nullable(string())][i % 4]])),
);
const now = "2026-03-01T09:30:00.000Z";
const id = "3f2b8c1e-5d4a-4f6b-9c7d-8e1f2a3b4c5d";

const shapes = [
  ["flat record", object({ name: string(), age: int, member: boolean() }), { name: "Ada", age: 36, member: true }, { name: "Ada", age: 36.5, member: true }],
  ["strict record", strictObject({ name: string(), age: number() }), { name: "Ada", age: 36 }, { name: "Ada", age: 36, b: 1 }],
  ["optional fields", object({ title: string(), note: optional(string()), rating: optional(number()) }), { title: "Dune" }, { note: "x" }],
  ["exactly optional fields", strictObject({ title: string(), note: v.exactOptional(string()) }), { title: "Dune", note: "x" }, { title: "Dune", note: null }],
  ["nullable fields", object({ title: string(), year: nullable(int), publisher: nullable(object({ name: string() })) }), { title: "Emma", year: null, publisher: { name: "Murray" } }, { title: "Emma", year: "1815", publisher: null }],
  ["nullish fields", object({ title: string(), year: v.nullish(number()) }), { title: "Emma", year: null }, { title: null }],
  ["defaults", object({ limit: optional(int, 10), order: optional(picklist(["asc", "desc"]), "asc"), zoom: v.fallback(number(), 1) }), { limit: 5, order: "desc", zoom: 2 }, { limit: 1.5, zoom: 1 }],
  ["titles, descriptions and metadata", pipe(object({ city: pipe(string(), v.title("City"), v.description('Such as "Paris"'), v.metadata({ source: "map" })), days: pipe(int, v.description("How many\nfrom today"), v.examples([1, 2])) }), v.description("A trip")), { city: "Rome", days: 3 }, { city: "Rome", days: "3" }],
  ["picklist", object({ mood: picklist(["glad", "sad", "so-so"]), stars: picklist([1, 2, 3, 4, 5]) }), { mood: "so-so", stars: 5 }, { mood: "bored", stars: 5 }],
  ["enum", object({ side: v.enum({ Left: "left", Right: "right" }) }), { side: "left" }, { side: "up" }],
  ["literals", object({ kind: literal("order"), version: literal(2), paid: literal(true), parent: v.null() }), { kind: "order", version: 2, paid: true, parent: null }, { kind: "order", version: 3, paid: true, parent: null }],
  ["union of literals", object({ size: v.union([literal("s"), literal("m"), literal(42)]) }), { size: 42 }, { size: "l" }],
  ["union of primitives", object({ id: v.union([string(), number(), boolean()]) }), { id: 7 }, { id: null }],
  ["union of objects", object({ contact: v.union([object({ email }), object({ phone: pipe(string(), v.regex(/^\+\d{6,14}$/)) })]) }), { contact: { phone: "+4930123456" } }, { contact: { phone: "030" } }],
  ["variant", object({ shape: v.variant("type", [object({ type: literal("circle"), radius: pipe(number(), v.gtValue(0)) }), object({ type: literal("square"), side: pipe(number(), v.gtValue(0)) })]) }), { shape: { type: "square", side: 2 } }, { shape: { type: "square", radius: 2 } }],
  ["variant of variants", object({ event: v.variant("kind", [object({ kind: literal("click"), x: int, y: int }), v.variant("kind", [object({ kind: literal("key"), code: string() }), object({ kind: picklist(["focus", "blur"]) })])]) }), { event: { kind: "blur" } }, { event: { kind: "key" } }],
  ["strict variant", strictObject({ job: v.variant("state", [strictObject({ state: literal("queued"), place: pipe(int, v.minValue(1)) }), strictObject({ state: literal("done"), result: string() })]) }), { job: { state: "done", result: "x" } }, { job: { state: "queued", result: "x" } }],
  ["steps of an agent", object({ steps: pipe(array(v.variant("action", [object({ action: literal("search"), query: string() }), object({ action: literal("open"), url }), object({ action: literal("answer"), text: string(), sources: array(int) })])), v.minLength(1), v.maxLength(8)) }), { steps: [{ action: "open", url: "https://example.org/a?b=c" }] }, { steps: [] }],
  ["nested objects", object({ customer: object({ name: string(), address }) }), { customer: { name: "Ada", address: { street: "Main 1", city: "Bonn", postcode: "53111", country: "DE" } } }, { customer: { name: "Ada", address: { street: "Main 1", city: "Bonn", postcode: "5311", country: "DE" } } }],
  ["the same object twice", object({ billing: address, shipping: nullable(address) }), { billing: { street: "A", city: "B", postcode: "12345", country: "FR" }, shipping: null }, { billing: { street: "A" }, shipping: null }],
  ["recursive categories", object({ root: category }), { root: { name: "a", children: [{ name: "b", children: [] }] } }, { root: { name: "a", children: [{ name: "b" }] } }],
  ["recursive tree", object({ tree: node }), { tree: { value: 1, left: { value: 2, left: null, right: null }, right: null } }, { tree: { value: 1 } }],
  ["recursive rules", object({ rule }), { rule: { op: "all", rules: [{ op: "is", field: "a", value: "b" }] } }, { rule: { op: "is", field: "a" } }],
  ["unknown values", object({ before: v.unknown(), after: v.any() }), { before: 1, after: { b: [] } }],
  ["array with bounds", object({ tags: pipe(array(pipe(string(), v.minLength(1), v.maxLength(20))), v.minLength(1), v.maxLength(5)) }), { tags: ["a", "b"] }, { tags: [] }],
  ["array of a length", object({ rgb: pipe(array(pipe(int, v.minValue(0), v.maxValue(255))), v.length(3)) }), { rgb: [0, 128, 255] }, { rgb: [0, 128, 256] }],
  ["nonempty arrays", object({ to: pipe(array(email), v.nonEmpty()), subject: pipe(string(), v.nonEmpty()) }), { to: ["a.b@example.org"], subject: "x" }, { to: [], subject: "x" }],
  ["matrix", object({ rows: array(array(number())) }), { rows: [[1, 2.5], [-3]] }, { rows: [1] }],
  ["tuple", object({ range: v.tuple([number(), number()]) }), { range: [1, 2] }, { range: ["1", 2] }],
  ["strict and loose tuples", object({ exact: v.strictTuple([string(), int]), more: v.looseTuple([string()]) }), { exact: ["a", 1], more: ["a", 2, null] }, { exact: ["a", 1, 2], more: ["a"] }],
  ["tuple with rest", object({ command: v.tupleWithRest([picklist(["git", "npm"])], string()) }), { command: ["git", "commit", "-m", "x"] }, { command: ["rm"] }],
  ["record", object({ labels: v.record(string(), string()), counts: v.record(string(), int) }), { labels: { env: "prod" }, counts: { a: 1 } }, { labels: { env: 1 }, counts: {} }],
  ["record with keys of a pattern", object({ headers: v.record(pipe(string(), v.regex(/^x-[a-z-]+$/)), string()) }), { headers: { "x-trace": "1" } }, { headers: { trace: "1" } }],
  ["record with bounds", object({ votes: pipe(v.record(string(), int), v.minEntries(1), v.maxEntries(3)) }), { votes: { ada: 1 } }, { votes: {} }],
  ["object with rest", v.objectWithRest({ id: string() }, number()), { id: "a", b: 1 }, { id: "a", b: "1" }],
  ["loose object", v.looseObject({ id: string() }), { id: "a", b: [1] }, { id: 1 }],
  ["formats of strings", object({ email, url, id: pipe(string(), v.uuid()), at: pipe(string(), v.isoTimestamp()) }), { email: "ada@example.org", url: "https://example.org", id, at: now }, { email: "ada", url: "https://example.org", id, at: now }],
  ["dates and times", object({ day: pipe(string(), v.isoDate()), at: pipe(string(), v.isoTimestamp()) }), { day: "2026-02-28", at: now }, { day: "28.2.2026", at: now }],
  ["addresses of machines", object({ v4: pipe(string(), v.ipv4()), v6: pipe(string(), v.ipv6()) }), { v4: "192.168.0.1", v6: "::1" }, { v4: "192.168.0.256", v6: "::1" }],
  ["bytes and numbers as text", object({ image: pipe(string(), v.base64()), nano: pipe(string(), v.nanoid()), colour: pipe(string(), v.hexColor()), digits: pipe(string(), v.digits()), amount: pipe(string(), v.decimal()) }), { image: "aGVsbG8=", nano: "V1StGXR8_Z5jdHi6B-myT", colour: "#00ff7f", digits: "0042", amount: "-12.5" }, { image: "?", nano: "?", colour: "red", digits: "x", amount: "x" }],
  ["identifiers", object({ cuid: pipe(string(), v.cuid2()), ulid: pipe(string(), v.ulid()), bic: pipe(string(), v.bic()), mac: pipe(string(), v.mac48()) }), { cuid: "tz4a98xxat96iws9zmbrgj3a", ulid: "01ARZ3NDEKTSV4RRFFQ69G5FAV", bic: "DEUTDEFF", mac: "00:1b:44:11:3a:b7" }, { cuid: "-", ulid: "x", bic: "x", mac: "x" }],
  ["patterns", object({ sku: pipe(string(), v.regex(/^[A-Z]{3}-\d{4}$/)), slug: pipe(string(), v.slug()), part: pipe(string(), v.regex(/v\d+/)) }), { sku: "ABC-0042", slug: "a-b2", part: "at v12" }, { sku: "abc", slug: "a-b2", part: "v1" }],
  ["strings in bounds", object({ name: pipe(string(), v.minLength(1), v.maxLength(100)), bio: pipe(string(), v.maxLength(500)), code: pipe(string(), v.length(6)) }), { name: "Ada", bio: "", code: "abcdef" }, { name: "", bio: "", code: "abcdef" }],
  ["numbers in bounds", object({ score: pipe(number(), v.minValue(0), v.maxValue(1)), kelvin: pipe(number(), v.gtValue(-273.15)), percent: pipe(int, v.minValue(0), v.maxValue(100)), step: pipe(number(), v.multipleOf(5)) }), { score: 0.5, kelvin: -3.5, percent: 100, step: 15 }, { score: 1.5, kelvin: 0, percent: 1, step: 5 }],
  ["a value", object({ answer: pipe(number(), v.value(42)), word: pipe(string(), v.value("yes")) }), { answer: 42, word: "yes" }, { answer: 41, word: "yes" }],
  ["intersection", v.intersect([object({ id: string() }), object({ created: pipe(string(), v.isoTimestamp()) })]), { id: "a", created: now }, { id: "a" }],
  ["extended, omitted and partial", object({ ...v.omit(address, ["country"]).entries, geo: v.partial(object({ x: number(), y: number() })) }), { street: "A", city: "B", postcode: "12345", geo: { x: 1 } }, { street: "A", city: "B", postcode: "12345", geo: { x: "1" } }],
  ["checks, brands and transforms", pipe(object({ password: pipe(string(), v.minLength(8)), again: string(), user: pipe(string(), v.uuid(), v.brand("UserId")), tags: pipe(array(string()), v.readonly()) }), v.check(({ password, again }) => password === again)), { password: "12345678", again: "12345678", user: id, tags: [] }, { password: "1234567", again: "1234567", user: id, tags: [] }],
  ["invoices", object({ number: string(), due: pipe(string(), v.isoDate()), total: money, lines: pipe(array(object({ text: string(), quantity: pipe(int, v.minValue(1), v.maxValue(999)), price: money })), v.minLength(1)) }), { number: "R-1", due: "2026-04-01", total: { amount: 12.5, currency: "EUR" }, lines: [{ text: "Tea", quantity: 2, price: { amount: 6.25, currency: "EUR" } }] }, { number: "R-1", due: "2026-04-01", total: { amount: -1, currency: "EUR" }, lines: [] }],
  ["forty fields", big, Object.fromEntries(Object.keys(big.entries).map((key, i) => [key, ["x", 1.5, true, null][i % 4]])), { field_0: "x" }],
]; // biome-ignore format: a table

await writeShapes("valibot", shapes, {
  holds: (type, value) => v.safeParse(type, value).success,
  ways: {
    toJsonSchema: (type) => toJsonSchema(type, { errorMode: "ignore" }),
    "toStandardJsonSchema, draft 7": (type) => toStandardJsonSchema(type)["~standard"].jsonSchema.input({ target: "draft-07" }),
    "toStandardJsonSchema, draft 2020-12": (type) => toStandardJsonSchema(type)["~standard"].jsonSchema.input({ target: "draft-2020-12" }),
  },
  strict: {
    "openai standardFunction": (type, name) => standardFunction({ name, parameters: toStandardJsonSchema(type) }).function.parameters,
  },
});
