// Tools as users define them: checked, with their JSON schemas, and what runs them.

import { JambaError } from "@jamba/core";
import { annotations, enforced } from "../format/schema-keywords.ts";
import { isStandardSchema, jsonSchemaOf, type SchemaOf, validate } from "../format/standard-schema.ts";
import { expectKnown, shown } from "./known-names.ts";

/** What a tool is told when it runs. */
export interface ToolContext {
  /** Of the call. */
  readonly id: string;
  readonly name: string;
  /** Aborts when the answer is cancelled. */
  readonly signal: AbortSignal;
}

/** A tool under its name. */
export interface Tool<Arguments = unknown> {
  /** For the model: what it does, and when to call it. */
  readonly description?: string;
  /** What it takes: a JSON schema of an object, or a schema of zod, valibot or another library. No arguments if not given. */
  readonly parameters?: SchemaOf<Arguments>;
  /** Refuse parameters that can't be enforced, instead of naming them in `Result.notEnforced`. */
  readonly strict?: boolean;
  /**
   * Answers a call; without it calls are left to the caller. What it returns is told to the model: a text as it is, anything else as JSON.
   * What it throws is told to the model as an error.
   */
  // biome-ignore lint/suspicious/noConfusingVoidType: a tool may return nothing
  run?(args: Arguments, context: ToolContext): unknown | void;
}

/** A tool that has its name with it. */
export interface NamedTool<Arguments = unknown> extends Tool<Arguments> {
  readonly type?: string;
  /** Letters, digits and `_ - . : /`, at most 128. */
  readonly name: string;
}

/** OpenAI's form; its type is "function". */
export interface WrappedTool {
  readonly type: string;
  readonly function: NamedTool<never>;
}

/** By name, or in a list; `Arguments` are those of each tool by its name. */
export type Tools<Arguments = Record<string, unknown>> =
  | { readonly [Name in keyof Arguments]: Tool<Arguments[Name]> }
  | readonly (NamedTool<never> | WrappedTool)[];

/** As templates and grammars read them. */
export interface ToolDefinition {
  readonly type: "function";
  readonly function: {
    readonly name: string;
    readonly description?: string;
    readonly parameters?: Readonly<Record<string, unknown>>;
    readonly strict?: boolean;
  };
}

/** Answers one call. @returns what the tool returns @throws what it throws, JambaError OPTION for arguments that it does not take */
export type RunTool = (args: unknown, context: ToolContext) => Promise<unknown>;

export interface ToolSet {
  readonly definitions: readonly ToolDefinition[];
  /** By name, of tools with `run`. */
  readonly runners: ReadonlyMap<string, RunTool>;
}

const knownKeys = ["name", "description", "parameters", "strict", "run", "type", "return"];
/** What other libraries call the parameters. */
const otherNames = ["inputSchema", "input_schema", "schema", "args", "arguments", "params"];

/** @throws JambaError OPTION that says which tool is wrong, and where */
export function readTools(tools: unknown): ToolSet {
  if (typeof tools !== "object" || tools === null || (Symbol.iterator in tools && !Array.isArray(tools)))
    throw wrong("tools", "an array of tools, or tools by name", tools);
  const named: [path: string, tool: unknown, name?: string][] = Array.isArray(tools)
    ? tools.map((tool, i) => [`tools[${i}]`, tool])
    : Object.entries(tools).map(([name, tool]) => [`tools.${name}`, tool, name]);
  const runners = new Map<string, RunTool>();
  const names = new Set<string>();
  const definitions = named.map(([path, tool, key]) => {
    const { name, run, ...rest } = readTool(path, tool, key);
    if (names.has(name)) throw wrong(`${path}.name`, "a name that no other tool has", name);
    names.add(name);
    if (run) runners.set(name, run);
    return { type: "function" as const, function: { name, ...rest } };
  });
  return { definitions, runners };
}

function readTool(path: string, given: unknown, key?: string) {
  if (!isRecord(given)) throw wrong(path, "{ name, description, parameters }", given);
  // Beside the wrapped function clients write things of their own, such as marks for a cache.
  const where = "function" in given ? `${path}.function` : path;
  const tool = "function" in given ? given.function : given;
  if ("type" in given && given.type !== "function") throw wrong(`${path}.type`, '"function"', given.type);
  if (!isRecord(tool)) throw wrong(where, "{ name, description, parameters }", tool);
  for (const one of ["parameters", "run"])
    if (tool !== given && one in given) throw wrong(`${path}.${one}`, `it within ${where}`, given[one]);
  for (const one of Object.keys(tool)) {
    if (otherNames.includes(one)) throw wrong(`${where}.${one}`, "the arguments' schema as `parameters`", one);
    expectKnown(one, knownKeys, where);
  }
  const { name = key, description, parameters, strict, run, return: returns } = tool;
  if (typeof name !== "string" || !/^[\p{L}\p{N}_.:/-]{1,128}$/u.test(name))
    throw wrong(`${where}.name`, "a name of letters, digits and _ - . : /, at most 128", name);
  if (key !== undefined && name !== key) throw wrong(`${where}.name`, `the name it is under, ${key}`, name);
  if (description !== undefined && description !== null && typeof description !== "string")
    throw wrong(`${where}.description`, "a text", description);
  if (strict !== undefined && strict !== null && typeof strict !== "boolean") throw wrong(`${where}.strict`, "true or false", strict);
  if (run !== undefined && typeof run !== "function") throw wrong(`${where}.run`, "a function", run);
  const schema = isStandardSchema(parameters) ? jsonSchemaOf(parameters, `${where}.parameters`) : (parameters ?? undefined);
  return {
    name,
    ...(typeof description === "string" && { description }),
    ...(schema !== undefined && { parameters: expectObjectSchema(`${where}.parameters`, schema) }),
    ...(typeof strict === "boolean" && { strict }),
    ...(returns !== undefined && { return: returns }),
    ...(run !== undefined && { run: runnerOf(tool as Tool<unknown>) }),
  };
}

/** What is no schema of an object would let the model make its arguments up. */
function expectObjectSchema(path: string, schema: unknown): Readonly<Record<string, unknown>> {
  if (!isRecord(schema)) throw wrong(path, "a JSON schema of an object", schema);
  const { type, properties } = schema;
  if (type !== undefined && type !== "object") throw wrong(`${path}.type`, '"object": arguments have names', type);
  if (properties !== undefined && !isRecord(properties)) throw wrong(`${path}.properties`, "schemas by the arguments' names", properties);
  const keys = Object.keys(schema);
  if (keys.length > 0 && !keys.some((key) => enforced.has(key) || annotations.has(key)))
    throw wrong(path, '{ type: "object", properties: { … } }', schema);
  return schema;
}

function runnerOf(tool: Tool<unknown>): RunTool {
  const { parameters } = tool;
  return async (args, context) => {
    if (!isStandardSchema(parameters)) return tool.run!(args, context);
    const found = await validate(parameters, args);
    if (!found.issues) return tool.run!(found.value, context);
    const issues = found.issues.map(({ message, path = [] }) => (path.length > 0 ? `${path.join(".")}: ${message}` : message));
    throw new JambaError(
      "OPTION",
      `${context.name}: expected arguments that fit its parameters, found some that do not: ${issues.join("; ")}`,
    );
  };
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function wrong(path: string, expected: string, found: unknown): JambaError {
  return new JambaError("OPTION", `${path}: expected ${expected}, found ${shown(found)}`);
}
