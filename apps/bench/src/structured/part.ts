// The parts of the measurement by name, each in a process of its own, and what it is given.

import type { CpuLevel } from "@jamba/backend-cpu";
import type { Figure } from "./figures.ts";

export const parts = ["first-token", "gap", "schemas", "forced", "size"] as const;
export type PartName = (typeof parts)[number];

export interface PartJob {
  readonly part: PartName;
  /** The prepared model with the published tokenizer; none where only the tokenizer is needed. */
  readonly model?: string;
  /** A tokenizer.json. */
  readonly tokenizer: string;
  /** JSON lines of schemas with instances, packed with gzip. */
  readonly schemas: string;
  /** Of those schemas, the first so many. */
  readonly count?: number;
  readonly rounds: number;
  readonly threads: number;
  readonly level?: CpuLevel;
}

export type PartReport =
  | { readonly kind: "figure"; readonly figure: Figure }
  /** Beside the figures: what took longest, what was refused. */
  | { readonly kind: "note"; readonly note: string }
  /** Cores that other programs used meanwhile. */
  | { readonly kind: "others"; readonly others: number }
  | { readonly kind: "failed"; readonly message: string };

/** What a part is given to tell. */
export interface Told {
  figure(figure: Figure): void;
  note(note: string): void;
}
