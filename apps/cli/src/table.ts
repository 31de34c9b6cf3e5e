// Columns of words, for people.

import stringWidth from "string-width";

/** @param columns their names; those that begin with ">" are numbers, which end below each other */
export function table(columns: readonly string[], rows: readonly (readonly string[])[], bold: (text: string) => string): string {
  const names = columns.map((name) => name.replace(/^>/, ""));
  const widths = names.map((name, i) => Math.max(...[name, ...rows.map((row) => row[i])].map((cell) => stringWidth(cell))));
  const line = (cells: readonly string[]) =>
    cells
      .map((cell, i) => {
        const space = " ".repeat(widths[i] - stringWidth(cell));
        return columns[i].startsWith(">") ? space + cell : cell + space;
      })
      .join("  ")
      .trimEnd();
  return [bold(line(names)), ...rows.map(line)].map((text) => `${text}\n`).join("");
}
