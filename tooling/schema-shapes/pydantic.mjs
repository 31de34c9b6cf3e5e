// Writes what shapes_pydantic.py makes and has checked. Run by make.mjs in a folder that has the libraries.

import { execFileSync } from "node:child_process";
import { writeShapes } from "./write.mjs";

const made = JSON.parse(execFileSync("python/bin/python", ["shapes_pydantic.py"], { encoding: "utf8", maxBuffer: 2 ** 26 }));
const shapes = made.map(([name, schemas, instance, invalid]) => [name, { ...schemas, invalid }, instance, invalid ?? undefined]);

await writeShapes("pydantic", shapes, {
  holds: (type, value) => value !== type.invalid,
  ways: { model_json_schema: ({ plain }) => plain },
  strict: { "openai to_strict_json_schema": ({ strict }) => strict },
});
