// Schemas of zod, valibot, ArkType and whatever else follows Standard Schema (https://standardschema.dev), as JSON schemas.

import { JambaError } from "@jamba/core";
import type { StandardSchemaV1 } from "@standard-schema/spec";
import { toJsonSchema as fromValibot } from "@valibot/to-json-schema";
import { toJSONSchema as fromZod4 } from "zod/v4/core";
import { zodToJsonSchema as fromZod3, ignoreOverride } from "zod-to-json-schema";

/** Anything with `~standard`, of whatever library; `Output` is what it makes of a value that fits. */
export type StandardSchema<Output = unknown> = StandardSchemaV1<unknown, Output>;

/** What a value must be: a schema of a library, which also says its type, or a JSON schema. */
export type SchemaOf<Output = unknown> = StandardSchema<Output> | object | boolean;

/** Why a value does not fit, in the words of the schema's library. */
export interface SchemaIssue {
  readonly message: string;
  readonly path?: readonly (string | number)[];
}

/** zod before 3.24 has no `~standard`. */
interface OldZod {
  readonly _def: { readonly typeName: string };
  safeParseAsync(value: unknown): Promise<{ success: true; data: unknown } | { success: false; error: { issues: SchemaIssue[] } }>;
}

export function isStandardSchema(value: unknown): value is StandardSchema | OldZod {
  if ((typeof value !== "object" && typeof value !== "function") || value === null) return false;
  return "~standard" in value || isOldZod(value);
}

/**
 * The JSON schema of what `schema` takes: of its input, where it makes something else of that.
 * @param where what errors call it
 * @throws JambaError OPTION for what JSON can't hold, and for a library that can't say its JSON schema
 */
export function jsonSchemaOf(schema: StandardSchema | OldZod, where: string): Readonly<Record<string, unknown>> {
  try {
    const found = convert(schema);
    if (found !== undefined) {
      const { $schema: _, ...rest } = found;
      return rest;
    }
  } catch (cause) {
    throw new JambaError("OPTION", `${where}: expected a schema of what JSON can hold, found one that says "${(cause as Error).message}"`, {
      cause,
    });
  }
  const { vendor } = (schema as StandardSchema)["~standard"];
  throw new JambaError(
    "OPTION",
    `${where}: expected a schema that knows its JSON schema (~standard.jsonSchema), found one of ${vendor} that does not; pass the JSON schema itself`,
  );
}

function convert(schema: StandardSchema | OldZod): Record<string, unknown> | undefined {
  if (isOldZod(schema)) return fromZod3(schema as never, { pipeStrategy: "input", override: refuseOldZod }) as Record<string, unknown>;
  const standard = schema["~standard"] as StandardSchema["~standard"] & {
    readonly jsonSchema?: { input(options: object): Record<string, unknown> };
  };
  // ArkType leaves out what it has no JSON schema of.
  const libraryOptions = standard.vendor === "arktype" ? { fallback: { date: refuse, domain: refuse, proto: refuse } } : undefined;
  if (standard.jsonSchema) return standard.jsonSchema.input({ target: "draft-2020-12", libraryOptions });
  if (standard.vendor === "valibot") {
    // A check or a change of the value that JSON schema has no word for is the library's own to make.
    return fromValibot(schema as never, { typeMode: "input", overrideAction: ({ jsonSchema }) => jsonSchema }) as Record<string, unknown>;
  }
  if (standard.vendor !== "zod") return undefined;
  return fromZod4(schema as never, {
    io: "input",
    // Descriptions are in a registry of the schema's own copy of zod.
    override: ({ zodSchema, jsonSchema }) => {
      const { description } = zodSchema as { description?: string };
      if (description !== undefined) jsonSchema.description = description;
    },
  }) as Record<string, unknown>;
}

const unlikeJson = ["Date", "BigInt", "Map", "Set", "Function", "Symbol", "NaN", "Promise"];

/** What coerces takes the JSON that is written for it. */
function refuseOldZod(def: object): typeof ignoreOverride {
  const { typeName, coerce } = def as { readonly typeName: string; readonly coerce?: boolean };
  const name = typeName.slice("Zod".length);
  if (unlikeJson.includes(name) && !coerce) throw new Error(`${name} cannot be represented in JSON Schema`);
  return ignoreOverride;
}

function refuse({ proto, domain }: { readonly proto?: { readonly name: string }; readonly domain?: string }): never {
  throw new Error(`${proto?.name ?? domain ?? "Date"} cannot be represented in JSON Schema`);
}

/** What `schema` makes of `value`, or why it does not fit. */
export async function validate(
  schema: StandardSchema | OldZod,
  value: unknown,
): Promise<{ readonly value?: unknown; readonly issues?: readonly SchemaIssue[] }> {
  if (isOldZod(schema)) {
    const found = await schema.safeParseAsync(value);
    return found.success ? { value: found.data } : { issues: found.error.issues.map(({ message, path }) => ({ message, path })) };
  }
  const found = await schema["~standard"].validate(value);
  if (!found.issues) return { value: found.value };
  const keyOf = (part: PropertyKey | { readonly key: PropertyKey }) => {
    const key = typeof part === "object" ? part.key : part;
    return typeof key === "number" ? key : String(key);
  };
  return { issues: found.issues.map(({ message, path }) => ({ message, ...(path && { path: path.map(keyOf) }) })) };
}

function isOldZod(value: object): value is OldZod {
  const { _def } = value as Partial<OldZod>;
  return typeof _def?.typeName === "string" && _def.typeName.startsWith("Zod");
}
