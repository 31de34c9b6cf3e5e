// "Did you mean": which known word a mistyped one stands for.

/** `--max`, `--maxTokens`, `--max_tokens` and `--max-tokns` are all max-tokens. */
export function nearest<W extends string>(word: string, known: readonly W[]): W | undefined {
  const wanted = plain(word);
  const begun = wanted.length >= 2 && known.find((k) => plain(k).startsWith(wanted));
  if (begun) return begun;
  const [best] = known.map((k) => ({ k, distance: editDistance(plain(k), wanted) })).sort((a, b) => a.distance - b.distance);
  // A third of the letters wrong is a typo, more is another word.
  return best && best.distance <= Math.ceil(wanted.length / 3) ? best.k : undefined;
}

function plain(word: string): string {
  return word.toLowerCase().replace(/[-_]/g, "");
}

/** Levenshtein's, with a swap of neighbours counted once. */
function editDistance(a: string, b: string): number {
  const rows = [Array.from({ length: b.length + 1 }, (_, j) => j)];
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      row[j] = Math.min(rows[i - 1][j] + 1, row[j - 1] + 1, rows[i - 1][j - 1] + (a[i - 1] === b[j - 1] ? 0 : 1));
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) row[j] = Math.min(row[j], rows[i - 2][j - 2] + 1);
    }
    rows.push(row);
  }
  return rows[a.length][b.length];
}
