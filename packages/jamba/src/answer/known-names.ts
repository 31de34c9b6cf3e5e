// What users write where something else was expected: names, and what they may have meant; values, as errors show them.

import { JambaError } from "@jamba/core";
import { distance } from "fastest-levenshtein";

/** @param where what has the name, if it is no option by itself @throws JambaError OPTION, with the known name that is nearest */
export function expectKnown(name: string, known: readonly string[], where?: string): void {
  if (known.includes(name)) return;
  const near = known
    .map((k) => ({ k, slips: distance(k.toLowerCase(), name.toLowerCase().replaceAll("_", "")) }))
    .sort((a, b) => a.slips - b.slips)[0];
  const hint = near.slips <= 3 ? `did you mean ${near.k}?` : `known are ${known.join(", ")}`;
  throw new JambaError("OPTION", `${where === undefined ? name : `${where}.${name}`}: expected a known option, found this one; ${hint}`);
}

/** Also of what JSON can't hold. */
export function shown(value: unknown): string {
  if (typeof value === "number" || typeof value === "bigint") return String(value);
  try {
    return (JSON.stringify(value) ?? typeof value).slice(0, 200);
  } catch {
    return Object.prototype.toString.call(value);
  }
}
