// From the values of alternating rounds to rows of a table.

import { type Spread, spreadOf } from "../statistics.ts";
import type { Target } from "../structured/figures.ts";
import { short } from "../table.ts";

/** Two sides of one measurement, a value a round each; or one side alone. */
export interface Comparison {
  readonly what: string;
  readonly unit: string;
  readonly ours: { readonly name: string; readonly values: readonly number[] };
  readonly beside?: { readonly name: string; readonly values: readonly number[] };
  /** How the ratio is told: as a share of the other side, or as how many times it. */
  readonly as?: "%" | "x";
  /** Of the ratio, or of the value where there is no other side. */
  readonly target?: Target;
}

export const columns = ["WebAssembly", "ours", "", "beside", "", "ratio", "range", "rounds", "must be", ""];

/** Of each round, since both sides then had the same neighbours. */
export function ratioOf({ ours, beside, as }: Comparison): Spread | undefined {
  if (!beside) return undefined;
  return spreadOf(ours.values.map((value, round) => ((as === "%" ? 100 : 1) * value) / beside.values[round]));
}

export function isMet(comparison: Comparison): boolean | undefined {
  if (!comparison.target) return undefined;
  const { median } = ratioOf(comparison) ?? spreadOf(comparison.ours.values);
  const [sense, bound] = comparison.target;
  return sense === "<=" ? median <= bound : median >= bound;
}

export function fieldsOf(comparison: Comparison): string[] {
  const { what, unit, ours, beside, as = "x", target } = comparison;
  const ratio = ratioOf(comparison);
  const range = ratio ?? spreadOf(ours.values);
  const met = isMet(comparison);
  return [
    what,
    ours.name,
    `${short(spreadOf(ours.values).median)} ${unit}`,
    beside?.name ?? "",
    beside ? `${short(spreadOf(beside.values).median)} ${unit}` : "",
    ratio ? `${short(ratio.median)} ${as}` : "",
    range.min === range.max ? "" : `${short(range.min)}..${short(range.max)}`,
    String(ours.values.length),
    target ? `${target.join(" ")} ${ratio ? as : unit}` : "",
    met === undefined ? "" : met ? "met" : "missed",
  ];
}
