// What the generators in JavaScript share: checks each shape by its own library and by ajv, and writes them, one a line.

import { writeFileSync } from "node:fs";
import { Ajv } from "ajv";
import { Ajv2019 } from "ajv/dist/2019.js";
import { Ajv2020 } from "ajv/dist/2020.js";
import formats from "ajv-formats";

/**
 * @param shapes name, type, an instance, what is refused, and what makes of JSON what the type itself holds
 * @param options.holds the library's own check
 * @param options.ways each from a type to a schema; the shapes take turns, and the next one where one throws or loses something
 * @param options.strict the same, of schemas that are sent with `strict: true`
 */
export async function writeShapes(library, shapes, { holds, ways, strict }) {
  const [lines, problems] = [[], []];
  for (const [i, [name, type, instance, invalid, read = (value) => value]] of shapes.entries()) {
    const claim = (held, what) => {
      if (!held) problems.push(`${name}: ${what}`);
    };
    claim(holds(type, read(instance)), "its library refuses the instance");
    claim(invalid === undefined || !holds(type, read(invalid)), "its library takes what is meant to be refused");
    const fits = (schema) => isValid(schema, instance) && (invalid === undefined || !isValid(schema, invalid));
    const made = make(ways, type, name, i, fits);
    claim(made, "none of its schemas admits the instance and refuses the other");
    const strictly = make(strict, type, name, i, (schema) => fits(schema) && isStrict(schema));
    const more = strictly && { strictBy: strictly.by, strict: strictly.schema };
    lines.push(JSON.stringify({ name, ...made, ...more, instance, invalid }));
  }
  if (problems.length > 0) throw new Error([library, ...problems].join("\n"));
  writeFileSync(`${library}.json`, `[\n${lines.join(",\n")}\n]\n`);
}

function make(ways, type, name, i, fits) {
  const all = Object.entries(ways);
  for (const turn of all.keys()) {
    const [by, toSchema] = all[(i + turn) % all.length];
    try {
      const schema = toSchema(type, name.replaceAll(/\W+/g, "_"));
      if (fits(schema)) return { by, schema };
    } catch {
      // This way makes none: openai's for fields that may be missing, LangChain's for getters that name themselves.
    }
  }
  return undefined;
}

/** By the draft that it says, or whose tuples it has. Patterns are read as libraries escape them: `\\#` is none with the flag u. */
function isValid(schema, value) {
  const Validator = String(schema.$schema).includes("draft-07") ? Ajv : JSON.stringify(schema).includes('"items":[') ? Ajv2019 : Ajv2020;
  const ajv = new Validator({ strict: false, logger: false, unicodeRegExp: !JSON.stringify(schema).includes("\\\\#") });
  formats.default(ajv);
  return ajv.validate(schema, value);
}

/** As OpenAI takes it: objects are closed and require what they name. */
function isStrict(schema) {
  if (typeof schema !== "object" || schema === null) return true;
  if (Array.isArray(schema)) return schema.every(isStrict);
  const { type, properties = {}, required = [], additionalProperties } = schema;
  if (type === "object" && (additionalProperties !== false || Object.keys(properties).some((key) => !required.includes(key)))) return false;
  return Object.entries(schema).every(([key, value]) => {
    if (["const", "enum", "default", "examples"].includes(key)) return true;
    return isStrict(["properties", "$defs", "definitions"].includes(key) ? Object.values(value) : value);
  });
}
