// JSON Schema's words: those that are enforced, those that assert nothing, and readers of their values.

import { JambaError } from "@jamba/core";

export type Schema = Readonly<Record<string, unknown>>;

export const annotations = new Set(
  "title description default example examples deprecated readOnly writeOnly $schema $id id $anchor $comment $defs definitions contentMediaType contentEncoding".split(
    " ",
  ),
);
export const keywordsOf = {
  object: ["properties", "required", "additionalProperties", "patternProperties", "minProperties", "maxProperties"],
  array: ["items", "prefixItems", "additionalItems", "minItems", "maxItems"],
  string: ["pattern", "format", "minLength", "maxLength"],
  number: ["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"],
} as const;
export const enforced = new Set<string>(["$ref", "allOf", "anyOf", "oneOf", "enum", "const", "type", ...Object.values(keywordsOf).flat()]);

const year = "([0-9]{4}-((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])|(0[469]|11)-(0[1-9]|[12][0-9]|30)|02-(0[1-9]|1[0-9]|2[0-8])))";
const clock = "([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\\.[0-9]{1,6})?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])";
const byte = "(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])";
export const formats: Readonly<Record<string, string>> = {
  date: year,
  time: clock,
  "date-time": `${year}T${clock}`,
  uuid: "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
  ipv4: `${byte}(\\.${byte}){3}`,
  email: "[A-Za-z0-9_+-]+(\\.[A-Za-z0-9_+-]+)*@[A-Za-z0-9]([A-Za-z0-9-]{0,30}[A-Za-z0-9])?(\\.[A-Za-z0-9]{2,20})+",
  uri: "https?://[A-Za-z0-9]([A-Za-z0-9-]{0,30}[A-Za-z0-9])?(\\.[A-Za-z0-9]{2,20})*(:[1-9][0-9]{1,3})?(/[A-Za-z0-9._~-]+)*/?(\\?[A-Za-z0-9._~=&-]*)?",
};

/** Without what asserts nothing. */
export function meaning(schema: Schema): Schema {
  return Object.fromEntries(Object.entries(schema).filter(([keyword, value]) => value !== undefined && !annotations.has(keyword)));
}

export function decodePart(part: string): string {
  let text = part;
  try {
    text = decodeURIComponent(part);
  } catch {
    // A percent sign that stands for itself.
  }
  return text.replaceAll("~1", "/").replaceAll("~0", "~");
}

/** json.dumps of Python, on one line. */
export function pythonLine(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(pythonLine).join(", ")}]`;
  if (typeof value !== "object" || value === null) return JSON.stringify(value) ?? "null";
  return `{${Object.entries(value)
    .map(([key, inner]) => `${JSON.stringify(key)}: ${pythonLine(inner)}`)
    .join(", ")}}`;
}

export function isSchema(value: unknown): value is Schema {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

export function isOfType(value: unknown, type: string): boolean {
  if (type === "null") return value === null;
  if (type === "array") return Array.isArray(value);
  if (type === "object") return isSchema(value);
  if (type === "integer") return Number.isInteger(value);
  return typeof value === type;
}

export function same(a: unknown, b: unknown): boolean {
  return a === b || JSON.stringify(a) === JSON.stringify(b);
}

export function expectList(value: unknown, path: string): readonly unknown[] {
  return Array.isArray(value) ? value : fail(path, "an array", value);
}

export function expectSome(value: unknown, path: string): readonly unknown[] {
  return Array.isArray(value) && value.length > 0 ? value : fail(path, "an array that is not empty", value);
}

export function expectCount(value: unknown, path: string): number {
  const isCount = value === Number.POSITIVE_INFINITY || (Number.isSafeInteger(value) && (value as number) >= 0);
  return isCount ? (value as number) : fail(path, "a count", value);
}

export function expectNumber(value: unknown, path: string): number | undefined {
  return value === undefined || (typeof value === "number" && Number.isFinite(value)) ? value : fail(path, "a number", value);
}

export function fail(path: string, expected: string, found: unknown): never {
  throw new JambaError("OPTION", `${path}: expected ${expected}, found ${show(found)}`);
}

export function show(value: unknown): string {
  const text = typeof value === "string" ? JSON.stringify(value) : (JSON.stringify(value) ?? String(value));
  return text.length > 80 ? `${text.slice(0, 80)}…` : text;
}
