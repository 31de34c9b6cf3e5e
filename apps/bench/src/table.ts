// Numbers and tables as text.

/** Three digits: more would claim what the spread denies. */
export const short = (value: number) => (value >= 100 ? value.toFixed(0) : value.toPrecision(3));

export function table(rows: readonly (readonly string[])[]): string {
  const widths = rows[0].map((_, i) => Math.max(...rows.map((row) => row[i].length)));
  return rows
    .map(
      (row) =>
        `${row
          .map((field, i) => field.padEnd(widths[i]))
          .join("  ")
          .trimEnd()}\n`,
    )
    .join("");
}
