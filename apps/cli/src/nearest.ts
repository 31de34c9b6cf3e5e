// What somebody who mistyped a name may have meant.

export function nearest(name: string, known: readonly string[]): string | undefined {
  const begun = known.filter((one) => name.length > 1 && one.startsWith(name));
  if (begun.length === 1) return begun[0];
  const far = (one: string) => editDistance(one, name);
  const [best] = [...known].sort((a, b) => far(a) - far(b));
  return best !== undefined && far(best) <= Math.min(3, Math.ceil(name.length / 2)) ? best : undefined;
}

/** Slips of a hand that it takes from one to the other: letters more, fewer, others or swapped; all the same ones in another order are one. */
export function slips(a: string, b: string): number {
  const sorted = (text: string) => [...text].sort().join("");
  return a !== b && sorted(a) === sorted(b) ? 1 : editDistance(a, b);
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
