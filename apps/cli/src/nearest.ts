// What somebody who mistyped a name may have meant.

import { distance } from "fastest-levenshtein";

export function nearest(name: string, known: readonly string[]): string | undefined {
  const begun = known.filter((one) => name.length > 1 && one.startsWith(name));
  if (begun.length === 1) return begun[0];
  const far = (one: string) => distance(one, name);
  const [best] = [...known].sort((a, b) => far(a) - far(b));
  return best !== undefined && far(best) <= Math.min(3, Math.ceil(name.length / 2)) ? best : undefined;
}

/** Slips of a hand that it takes from one to the other: letters more, fewer, others or swapped; all the same ones in another order are one. */
export function slips(a: string, b: string): number {
  const sorted = (text: string) => [...text].sort().join("");
  return a !== b && sorted(a) === sorted(b) ? 1 : distance(a, b);
}
