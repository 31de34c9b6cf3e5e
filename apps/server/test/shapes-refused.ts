// Shapes of which the engine refuses the strict schema, by what of it can not be enforced.

const byReason: Readonly<Record<string, readonly string[]>> = {
  "`nullable`": ["zod3: nullable fields", "zod3: nullish fields"],
  "`uniqueItems`": ["zod3: set", "pydantic: sets"],
  "a format": [
    "zod3: dates and times",
    "zod3: addresses of machines",
    "zod4: urls of one kind",
    "zod4: identifiers",
    "zod4: patterns and templates",
    "valibot: addresses of machines",
    "typebox: dates and times",
    "typebox: addresses of machines",
    "pydantic: dates and times",
    "pydantic: addresses of machines",
    "pydantic: paths, bytes and secrets",
  ],
  "a length above 64": ["zod3: trimmed strings in bounds", "valibot: strings in bounds", "pydantic: strings in bounds"],
  "`multipleOf`": [
    "zod3: signs and steps",
    "zod3: pages of invoices",
    "zod4: numbers in bounds",
    "valibot: numbers in bounds",
    "typebox: numbers in bounds",
    "pydantic: numbers in bounds",
  ],
  "a format beside a pattern": [
    "zod4: union of objects",
    "zod4: formats of strings",
    "zod4: dates and times",
    "zod4: addresses of machines",
    "zod4: intersection",
    "zod4: refinements, brands and overwrites",
    "zod4: invoices",
  ],
  "a keyword of its own": ["valibot: titles, descriptions and metadata", "pydantic: titles, descriptions and examples"],
  "a pattern that looks around": ["valibot: identifiers"],
  "a reference to an `$id`": ["typebox: recursive list"],
  "`discriminator`": ["pydantic: discriminated union", "pydantic: steps of an agent", "pydantic: generic result"],
  "a length beside a pattern or a format": ["pydantic: emails, urls and uuids", "pydantic: patterns"],
  "`contentSchema`": ["pydantic: JSON in a string"],
};

/** As `library: name`. */
export const refusedWhereStrict: ReadonlySet<string> = new Set(Object.values(byReason).flat());
