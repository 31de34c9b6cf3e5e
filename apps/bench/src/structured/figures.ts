// What the parts tell: figures with their targets, and how a list of times becomes some.

import { median } from "../statistics.ts";
import { short } from "../table.ts";

export interface Figure {
  readonly what: string;
  readonly value: number;
  readonly unit: "ms" | "tokens/s" | "x" | "%" | "KB" | "MiB" | "";
  /** Of repeated measurements, of which `value` is the median. */
  readonly range?: readonly [min: number, max: number];
  readonly runs?: number;
  readonly target?: Target;
}

/** What must hold: at most, or at least. */
export type Target = readonly ["<=" | ">=", number];

export function meets({ value, target }: Figure): boolean | undefined {
  if (!target) return undefined;
  return target[0] === "<=" ? value <= target[1] : value >= target[1];
}

export function medianOf(what: string, unit: Figure["unit"], values: readonly number[], target?: Target): Figure {
  return { what, value: median(values), unit, range: [Math.min(...values), Math.max(...values)], runs: values.length, target };
}

/** The value below which this share of all lies. */
export function quantile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))];
}

/** p50, p95, p99 and the longest. */
export function quantilesOf(what: string, values: readonly number[], targets: Readonly<Record<string, Target>> = {}): Figure[] {
  const of = { p50: quantile(values, 0.5), p95: quantile(values, 0.95), p99: quantile(values, 0.99), max: quantile(values, 1) };
  return Object.entries(of).map(([name, value]) => ({
    what: `${what}, ${name}`,
    value,
    unit: "ms",
    runs: values.length,
    target: targets[name],
  }));
}

export const columns = ["structured output", "measured", "range", "runs", "target", ""];

export function fieldsOf(figure: Figure): string[] {
  const { what, value, unit, range, runs, target } = figure;
  const held = meets(figure);
  return [
    what,
    `${text(value)} ${unit}`.trimEnd(),
    range && range[0] !== range[1] ? `${text(range[0])}..${text(range[1])}` : "",
    runs === undefined ? "" : String(runs),
    target ? `${target.join(" ")} ${unit}`.trimEnd() : "",
    held === undefined ? "" : held ? "met" : "missed",
  ];
}

/** Counts and noughts as they are. */
const text = (value: number) => (Number.isInteger(value) ? String(value) : Math.abs(value) < 0.001 ? value.toFixed(4) : short(value));
