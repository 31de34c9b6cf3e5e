// What users write where something else was expected: names, and what they may have meant; values, as errors show them.

import { JambaError } from "@jamba/core";

/** @param where what has the name, if it is no option by itself @throws JambaError OPTION, with the known name that is nearest */
export function expectKnown(name: string, known: readonly string[], where?: string): void {
  if (known.includes(name)) return;
  const near = known
    .map((k) => ({ k, distance: editDistance(k.toLowerCase(), name.toLowerCase().replaceAll("_", "")) }))
    .sort((a, b) => a.distance - b.distance)[0];
  const hint = near.distance <= 3 ? `did you mean ${near.k}?` : `known are ${known.join(", ")}`;
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

/** Levenshtein's. */
function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) next[j] = Math.min(row[j] + 1, next[j - 1] + 1, row[j - 1] + (a[i - 1] === b[j - 1] ? 0 : 1));
    row = next;
  }
  return row[b.length];
}
