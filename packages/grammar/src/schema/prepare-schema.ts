// JSON Schema as the part of it that llguidance enforces exactly.

import { JambaError } from "@jamba/core";
import { SchemaDocument } from "./document.ts";
import { Emitter } from "./emit.ts";
import { Expander } from "./expand.ts";
import { readSchema } from "./input.ts";
import { Nodes } from "./nodes.ts";
import { TooComplex } from "./shapes.ts";
import { fail, type Json, show } from "./words.ts";

export interface PrepareOptions {
  /** Whether what can't be enforced is an error; else it is left out and listed. */
  readonly strict: boolean;
  /** What errors call the schema. */
  readonly name: string;
}

export interface PreparedSchema {
  /** For llguidance's `%json`. */
  readonly schema: unknown;
  /** Paths of what is left out. */
  readonly notEnforced: readonly string[];
  /** Of each of these paths, what would be enforced there: "patterns that can be told to match a key or not". */
  readonly reasons: ReadonlyMap<string, string>;
}

/**
 * One line, with Python's separators: what chat templates show the models. Without `u` no string has two spellings, so that an unlisted key
 * can't be a listed one in disguise; control characters other than tab, newline and their kin can't be written then.
 */
export const guidance = {
  whitespace_flexible: false,
  item_separator: ", ",
  key_separator: ": ",
  json_allowed_escapes: 'nrbtf\\"',
} as const;

/**
 * Narrower than the schema, always:
 * - numbers have at most 15 digits before the point and 9 after it, and no exponent
 * - properties come in the orders of `orders.ts`: that of `properties`, those of `required` first, and few others; keys that it does not list
 *   come last
 * - formats are as in `formats.ts`, a little narrower than ajv-formats; strings hold no control characters but \b \f \n \r \t
 * - what `contains` asks for is among the first 8 items; counted strings have at most 100,000 characters, 2,000 beside a pattern
 * - where alternatives exclude each other only by a key that no schema lists, or by a number's not being an integer, such values are left out
 *
 * Where not strict, objects that list properties have no others unless the schema says so.
 *
 * @throws JambaError OPTION for a schema that is wrong or too large and, where strict, one that can't be enforced; it says where and which
 */
export function prepareSchema(schema: unknown, { strict, name }: PrepareOptions): PreparedSchema {
  const root = readSchema(schema, name);
  try {
    return prepare(root, strict, name, false);
  } catch (error) {
    if (error instanceof RangeError) fail(name, "a schema that is less nested", root);
    if (!(error instanceof TooComplex)) throw error;
    if (strict) fail(name, error.message, root);
  }
  try {
    return prepare(root, strict, name, true);
  } catch (error) {
    if (error instanceof TooComplex || error instanceof RangeError) fail(name, error.message, root);
    throw error;
  }
}

function prepare(root: Json, strict: boolean, name: string, isSimple: boolean): PreparedSchema {
  const nodes = new Nodes();
  const reasons = new Map<string, string>();
  const leave = (path: string, found: Json, expected: string) => {
    if (!reasons.has(path)) reasons.set(path, expected);
    if (!strict) return;
    const what = found === null ? "what can't be enforced" : show(found);
    throw new JambaError("OPTION", `${path}: expected ${expected}, found ${what}; leave it out, or set strict to false`);
  };
  const node = nodes.schema(root, name) ?? fail(name, "a schema", root);
  const expander = new Expander(nodes, new SchemaDocument(root, name), strict, name, leave, isSimple);
  const emitted = new Emitter(expander).emit(node);
  return { schema: { "x-guidance": guidance, ...emitted }, notEnforced: [...reasons.keys()], reasons };
}
