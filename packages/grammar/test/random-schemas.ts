// Schemas drawn at random from the words that are enforced.

type Random = () => number;

/** As a key of a literal, it would make a value that is waited for. */
const yes = "then";
const names = ["a", "b", "kind", "x-1"];
const leaves: readonly ((random: Random) => object | boolean)[] = [
  () => ({ type: "string" }),
  () => ({ type: "integer" }),
  () => ({ type: "null" }),
  () => ({ type: "boolean" }),
  () => true,
  (random) => ({ type: ["string", "integer", "null"].slice(Math.floor(random() * 2)) }),
  (random) => ({
    enum: pick(
      [
        [1, 2, "a"],
        ["a", "b", null],
        [true, { a: 1 }],
        [[1, "b"], 0.5],
      ],
      random,
    ),
  }),
  (random) => ({ const: pick([1, "a", "b", null, false], random) }),
  (random) => ({ type: "string", pattern: pick(["^a", "b$", "^[a-c]{1,3}$", "x|^y$", "^(?!a)", "\\d"], random) }),
  (random) => ({
    type: "string",
    format: pick(["date", "date-time", "time", "email", "uri", "uuid", "ipv4", "ipv6", "hostname", "duration"], random),
  }),
  (random) => ({ type: "string", minLength: Math.floor(random() * 3), maxLength: 2 + Math.floor(random() * 4) }),
  (random) => ({ type: "integer", minimum: Math.floor(random() * 20) - 10, exclusiveMaximum: 12 + Math.floor(random() * 90) }),
  (random) => ({ type: "number", exclusiveMinimum: Math.floor(random() * 6) / 4, maximum: 2 + random() }),
  (random) => ({ type: "number", multipleOf: pick([0.5, 3, 0.25], random), minimum: -7 }),
];

export function randomSchema(random: Random, depth = 3): object | boolean {
  if (depth === 0 || random() < 0.2) return pick(leaves, random)(random);
  const inner = () => randomSchema(random, depth - 1);
  const some = <T>(make: () => T, most = 3): T[] => Array.from({ length: 1 + Math.floor(random() * most) }, make);
  const object = () => ({
    type: "object",
    properties: Object.fromEntries(some(() => [pick(names, random), inner()])),
    ...(random() < 0.5 && { required: [...new Set(some(() => pick(names, random), 2))] }),
    ...(random() < 0.4 && { additionalProperties: random() < 0.6 ? false : inner() }),
    ...(random() < 0.15 && { patternProperties: { [pick(["^x", "d$", "a|b"], random)]: inner() } }),
    ...(random() < 0.15 && { minProperties: 1 }),
    ...(random() < 0.1 && { maxProperties: 2 }),
    ...(random() < 0.1 && { propertyNames: { pattern: "^[a-k]" } }),
    ...(random() < 0.1 && { dependentRequired: { [pick(names, random)]: [pick(names, random)] } }),
    ...(random() < 0.1 && { dependentSchemas: { [pick(names, random)]: inner() } }),
  });
  const array = () => ({
    type: "array",
    ...(random() < 0.8 && { items: inner() }),
    ...(random() < 0.3 && { prefixItems: some(inner, 2) }),
    ...(random() < 0.3 && { minItems: 1 }),
    ...(random() < 0.4 && { maxItems: 2 }),
    ...(random() < 0.2 && { contains: inner() }),
    ...(random() < 0.1 && { uniqueItems: true, items: { enum: [1, 2, "c"] } }),
  });
  const kinds = [
    object,
    object,
    object,
    array,
    () => ({ anyOf: some(inner) }),
    () => ({ oneOf: some(inner) }),
    () => ({ allOf: some(inner, 2) }),
    () => ({ ...object(), oneOf: some(() => ({ required: [pick(names, random)] }), 2) }),
    () => ({ ...object(), not: inner() }),
    () => ({ not: inner() }),
    () =>
      Object.fromEntries([
        ["if", inner()],
        [yes, inner()],
        ["else", inner()],
      ]),
    () => ({
      ...object(),
      ...Object.fromEntries([
        ["if", { properties: { [pick(names, random)]: { const: 1 } } }],
        [yes, inner()],
      ]),
    }),
  ];
  return pick(kinds, random)();
}

export function randomNumbers(seed: number): Random {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

function pick<T>(from: readonly T[], random: Random): T {
  return from[Math.floor(random() * from.length)];
}
