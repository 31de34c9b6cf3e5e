// The shapes of tooling/schema-shapes, and ajv's judgement of what is made of them.

import { readFileSync } from "node:fs";
import { Ajv } from "ajv";
import { Ajv2019 } from "ajv/dist/2019.js";
import { Ajv2020 } from "ajv/dist/2020.js";
import formats from "ajv-formats";

export interface Shape {
  readonly name: string;
  readonly schema: object;
  /** As openai's helpers make it, where they can: sent with `strict: true`. */
  readonly strict?: object;
  readonly instance: unknown;
  /** Refused by the library as well as by `schema`. */
  readonly invalid?: unknown;
}

const libraries = ["zod3", "zod4", "valibot", "typebox", "pydantic"];

export function readShapes(): { library: string; shapes: Shape[] }[] {
  const read = (library: string) =>
    readFileSync(new URL(`../../../tooling/schema-shapes/fixtures/${library}.json`, import.meta.url), "utf8");
  return libraries.map((library) => ({ library, shapes: JSON.parse(read(library)) }));
}

/** By the draft that a schema names, or whose tuples it has. @returns what is wrong with `value` */
export function validates(schema: object, value: unknown): string[] {
  const text = JSON.stringify(schema);
  const Validator = text.includes("draft-07") ? Ajv : text.includes('"items":[') ? Ajv2019 : Ajv2020;
  // zod 3 escapes what the flag u has no escape for.
  const ajv = new Validator({ strict: false, logger: false, unicodeRegExp: !text.includes("\\\\#") });
  formats.default(ajv);
  const isValid = ajv.compile(schema);
  return isValid(value) ? [] : isValid.errors!.map(({ instancePath, message }) => `${instancePath} ${message}`);
}
