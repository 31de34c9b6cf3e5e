// What is measured of a loaded model, and how much of the machine's limit that is.

import type { costsOf, Format, PresetName } from "./presets.ts";

export interface WorkInfo {
  readonly unit: "tokens/s" | "s" | "MB";
  /** Tokens of the prompt. */
  readonly tokens: number;
  readonly title: string;
}

export const works = {
  load: { unit: "s", tokens: 0, title: "load" },
  "first-token": { unit: "s", tokens: 16, title: "load and first token of 16" },
  "prefill-128": { unit: "tokens/s", tokens: 128, title: "prefill 128" },
  "prefill-512": { unit: "tokens/s", tokens: 512, title: "prefill 512" },
  "decode-16": { unit: "tokens/s", tokens: 16, title: "decode at 16" },
  "decode-busy": { unit: "tokens/s", tokens: 16, title: "decode, a core busy" },
  "prefill-2048": { unit: "tokens/s", tokens: 2048, title: "prefill 2048" },
  "decode-4096": { unit: "tokens/s", tokens: 4096, title: "decode at 4096" },
  memory: { unit: "MB", tokens: 0, title: "peak memory" },
} as const satisfies Record<string, WorkInfo>;

/** In the order in which a process does them. */
export type Work = keyof typeof works;
export const allWorks = Object.keys(works) as Work[];

/** Tokens drawn at most after a prompt. */
export const maxDrawn = 256;

/** What one run of the processes covers. */
export interface Plan {
  readonly model: PresetName;
  readonly format: Format;
  readonly works: readonly Work[];
}

/** `nano` is no model to compare, so that `*` leaves it out. */
const grid: readonly { model: PresetName; formats: readonly Format[] }[] = [
  { model: "3b", formats: ["q4", "q8", "bf16"] },
  { model: "tiny-dev", formats: ["q4", "q8"] },
  { model: "mini-slice", formats: ["q4"] },
  { model: "nano", formats: ["q4", "q8", "bf16"] },
];

/**
 * The cells that filters such as `3b/q4/prefill-512` or `3b` name; a part may be `*`.
 * @throws Error for a filter that names none
 */
export function plansOf(filters: readonly string[]): Plan[] {
  const fits = (filter: string, { model, format }: Omit<Plan, "works">, work: Work) => {
    const [m = "*", f = "*", w = "*"] = filter.split("/");
    const is = (part: string, value: string) => part === "*" || part === value;
    return (m === model || (m === "*" && model !== "nano")) && is(f, format) && is(w, work);
  };
  const all = grid.flatMap(({ model, formats }) => formats.map((format) => ({ model, format })));
  for (const filter of filters) {
    if (!all.some((plan) => allWorks.some((work) => fits(filter, plan, work))))
      throw new Error(`--only: expected model/format/work of those in --help, found ${JSON.stringify(filter)}`);
  }
  return all
    .map((plan) => ({ ...plan, works: allWorks.filter((work) => filters.some((filter) => fits(filter, plan, work))) }))
    .filter(({ works }) => works.length > 0);
}

export interface Limits {
  readonly level: string;
  readonly threads: number;
  readonly readBytesPerSecond: number;
  readonly int8OpsPerSecond: number;
  readonly bf16FlopsPerSecond: number;
  readonly f32FlopsPerSecond: number;
}

/** What the machine could do at best, in the work's unit; for memory, what must be there. */
export function limitOf(
  work: Work,
  format: string,
  costs: ReturnType<typeof costsOf>,
  limits: Limits,
  context: number,
): number | undefined {
  const { tokens } = works[work];
  if (work === "memory") return (costs.weightBytes + costs.stateBytes(context)) / 1e6;
  if (work.startsWith("prefill")) {
    const peak = format === "bf16" ? limits.bf16FlopsPerSecond : limits.int8OpsPerSecond;
    return (peak / costs.prefillOps(tokens)) * tokens;
  }
  return work.startsWith("decode") ? limits.readBytesPerSecond / costs.decodeBytes(tokens) : undefined;
}
