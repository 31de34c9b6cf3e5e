// Values of unknown origin: what they are, and how an error shows them.

import { dumpJson } from "./jinja/json.ts";
import { fromJs } from "./jinja/values.ts";

export type Json = Readonly<Record<string, unknown>>;

export function isObject(value: unknown): value is Json {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

const shownChars = 80;

/** Looks at the top of a value only: a file may nest deeper than JSON.stringify can follow. */
export function show(value: unknown): string {
  if (typeof value === "string") return JSON.stringify(value.length > shownChars ? `${value.slice(0, shownChars)}…` : value);
  if (value === undefined) return "nothing";
  if (Array.isArray(value)) return `an array of ${value.length}`;
  if (!isObject(value)) return typeof value === "function" || typeof value === "symbol" ? `a ${typeof value}` : String(value);
  const keys = Object.keys(value);
  return `an object with ${keys.length === 0 ? "no keys" : `the keys ${keys.join(", ").slice(0, shownChars)}`}`;
}

/** JSON as Python's json.dumps writes it, which is what the models were trained on. */
export function pythonJson(value: unknown, indent?: number): string {
  return dumpJson(fromJs(value), indent === undefined ? {} : { indent: " ".repeat(indent) });
}
