// What one process or page is asked to measure, and what it tells. Plain data: it travels as JSON.

import type { CpuLevel, WasmLevel } from "@jamba/backend-cpu";

export type Door =
  | { readonly kind: "cpu"; readonly level: CpuLevel }
  /** The module that the engine would take, if `level` does not say. */
  | { readonly kind: "wasm"; readonly level?: WasmLevel }
  | { readonly kind: "reference" };

export type OpCase =
  /** `matrices` of 2048 x 2048, multiplied one after another, `times` each. */
  | {
      readonly op: "matmul";
      readonly dtype: "q4" | "q4_k" | "q8" | "bf16";
      readonly tokens: number;
      readonly matrices: number;
      readonly times: number;
    }
  | { readonly op: "selectiveScan" | "causalConv"; readonly tokens: number }
  | { readonly op: "attention"; readonly tokens: number; readonly seen: number }
  /** What a step with next to nothing in it takes. */
  | { readonly op: "step" };

/** More is better, but for a step's time. */
export const unitOf = (one: OpCase) =>
  ({
    matmul: one.op === "matmul" && one.tokens === 1 ? "GB/s" : "GOP/s",
    selectiveScan: "G states/s",
    causalConv: "GOP/s",
    attention: "GOP/s",
    step: "µs",
  })[one.op];

export interface ModelJob {
  /** A path, "tiny", or what a page fetches. */
  readonly model: string;
  /** Of the prompt, and said after it. */
  readonly tokens: number;
  readonly said: number;
  /** Prompts, after one that does not count. */
  readonly prompts: number;
  readonly seed: number;
  /** Adds the time by op. */
  readonly profile?: boolean;
}

export type Job = { readonly door: Door; readonly threads: number } & (
  | { readonly what: "ops"; readonly cases: readonly OpCase[] }
  | ({ readonly what: "model" } & ModelJob)
);

/** What a page is asked for; `peer` is where wllama's files are. */
export type PageJob =
  | Job
  | ({ readonly what: "peer"; readonly peer: string; readonly threads: number } & ModelJob)
  | { readonly what: "start"; readonly model: string };

/** Tokens per second. */
export interface Speeds {
  readonly prefill: number;
  readonly decode: number;
}

export interface OpMs {
  readonly op: string;
  /** Of one prompt, or of one token said. */
  readonly prefillMs: number;
  readonly decodeMs: number;
}

export interface Told {
  /** The device, in words. */
  readonly device: string;
  /** One value per case. */
  readonly values?: readonly number[];
  readonly speeds?: Speeds;
  readonly ops?: readonly OpMs[];
  readonly firstTokenMs?: number;
  readonly loadedMs?: number;
  /** Of a page: when its code began. */
  readonly runsMs?: number;
  readonly failed?: string;
}
