// The schemas of a file: one by itself, those of tools, and that of the answer that a request asks for.

import { UsageError } from "./flags.ts";

export interface Asked {
  /** Its place in the file; a schema by itself is called "schema". */
  readonly name: string;
  readonly schema: unknown;
  readonly strict: boolean;
}

type Fields = Readonly<Record<string, unknown>>;

/** @param strict whether all are; else those are that say it of themselves */
export function askedOf(text: string, strict: boolean): Asked[] {
  let found: unknown;
  try {
    found = JSON.parse(text);
  } catch (cause) {
    throw new UsageError(`schema: expected JSON, found ${(cause as Error).message}`);
  }
  const asked = schemasOf(found).map((one) => ({ ...one, strict: strict || one.strict }));
  if (asked.length === 0) throw new UsageError("schema: expected a schema, or tools with parameters, found none");
  return asked;
}

function schemasOf(found: unknown): Asked[] {
  if (Array.isArray(found)) return found.flatMap((tool, i) => parametersOf(tool, `[${i}]`));
  if (!isObject(found)) return [{ name: "schema", schema: found, strict: false }];
  if (!Array.isArray(found.tools) && !isObject(found.response_format)) return [{ name: "schema", schema: found, strict: false }];
  const tools = Array.isArray(found.tools) ? found.tools : [];
  return [...formatOf(found.response_format), ...tools.flatMap((tool, i) => parametersOf(tool, `tools[${i}]`))];
}

function formatOf(asked: unknown): Asked[] {
  if (!isObject(asked)) return [];
  const [from, name] = isObject(asked.json_schema)
    ? [asked.json_schema, "response_format.json_schema.schema"]
    : [asked, "response_format.schema"];
  return from.schema === undefined ? [] : [{ name, schema: from.schema, strict: from.strict === true }];
}

/** OpenAI's chat completions wrap a function, its responses do not; Anthropic has another word. */
function parametersOf(tool: unknown, place: string): Asked[] {
  if (!isObject(tool)) throw new UsageError(`schema: expected tools with parameters, found ${JSON.stringify(tool)} at ${place}`);
  const [from, path] = isObject(tool.function) ? [tool.function, `${place}.function`] : [tool, place];
  const word = ["parameters", "input_schema"].find((one) => from[one] !== undefined);
  return word === undefined ? [] : [{ name: `${path}.${word}`, schema: from[word], strict: from.strict === true }];
}

function isObject(value: unknown): value is Fields {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
