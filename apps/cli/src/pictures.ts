// Bars of characters: how full something is, at any width of a terminal. They know nothing of what they count.

/** In eighths of a column; something is always to be seen. */
export function bar(share: number, columns: number): string {
  const eighths = Math.max(1, Math.round(share * columns * 8));
  return "█".repeat(Math.floor(eighths / 8)) + ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"][eighths % 8];
}

export interface Gauge {
  readonly name: string;
  readonly value: number;
  readonly of: number;
  readonly unit: string;
}

/** A bar for each, below each other, the frame drawn where there is room: lines of at most `width` columns. */
export function gauges(all: readonly Gauge[], width: number, colour: (text: string) => string): string[] {
  const names = Math.max(...all.map(({ name }) => name.length));
  const said = all.map(({ value, of, unit }) => `${value} of ${of} ${unit}`);
  const columns = Math.min(60, width - names - Math.max(...said.map((text) => text.length)) - 4);
  return all.map(({ name, value, of }, i) => {
    const filled = value > 0 && of > 0 ? bar(Math.min(1, value / of), Math.max(1, columns)) : "";
    const picture = columns > 4 ? `${colour(filled)}${"░".repeat(columns - filled.length)} ` : "";
    return `  ${name.padEnd(names)} ${picture}${said[i]}`;
  });
}
