// What is measured of one adapter, as plain data that travels as JSON, and the tables that people read.

import { short } from "../table.ts";

export interface OpFigure {
  readonly what: string;
  readonly perSecond: number;
  /** Bytes of weights for one token, operations for many. */
  readonly unit: "GB/s" | "GFLOP/s";
}

export interface ModelFigure {
  readonly what: string;
  readonly tokensPerSecond: number;
  /** That a token must read. */
  readonly bytes?: number;
}

export interface Report {
  readonly format: "jamba-webgpu-1";
  readonly date: string;
  /** The browser, or Node. */
  readonly agent: string;
  readonly adapter: Readonly<Record<string, string | number | boolean>>;
  readonly features: readonly string[];
  /** Of WGSL, as `navigator.gpu` tells. */
  readonly languageFeatures: readonly string[];
  readonly limits: Readonly<Record<string, number>>;
  /** As the backend tells of itself. */
  readonly device: { readonly name: string; readonly numerics: string; readonly features: readonly string[] };
  /** Fewer and smaller works, as an adapter in software has patience for. */
  readonly isSmall: boolean;
  readonly copyGBPerSecond: number;
  readonly conformance: { readonly cases: number; readonly faults: readonly string[] };
  readonly ops: readonly OpFigure[];
  readonly models: readonly ModelFigure[];
  /** What could not be measured, and why. */
  readonly failures: readonly string[];
}

const share = (gigabytes: number, { copyGBPerSecond }: Report) => `${((100 * gigabytes) / copyGBPerSecond).toFixed(0)} %`;

export const columns = ["WebGPU", "measured", "of copying"];

export function rowsOf(report: Report): string[][] {
  const { copyGBPerSecond, ops, models } = report;
  return [
    ["copying, read and written bytes", `${short(copyGBPerSecond)} GB/s`, ""],
    ...ops.map(({ what, perSecond, unit }) => [what, `${short(perSecond)} ${unit}`, unit === "GB/s" ? share(perSecond, report) : ""]),
    ...models.map(({ what, tokensPerSecond, bytes }) => [
      what,
      `${short(tokensPerSecond)} tokens/s`,
      bytes === undefined ? "" : share((bytes * tokensPerSecond) / 1e9, report),
    ]),
  ];
}

/** What stands above the table. */
export function linesOf({
  agent,
  device,
  adapter,
  features,
  languageFeatures,
  isSmall,
  conformance: { cases, faults },
  failures,
}: Report): string[] {
  const told = ["vendor", "architecture", "device", "description"].flatMap((key) => adapter[key] || []);
  return [
    `adapter: ${told.join(", ")}`,
    `backend: ${device.name}, ${device.numerics}${device.features.map((one) => `; ${one}`).join("")}`,
    `has: ${[...features, ...languageFeatures].filter((name) => /subgroup|f16|timestamp|packed/.test(name)).join(", ")}`,
    `in: ${agent}`,
    ...(isSmall ? ["an adapter in software: small works, whose times say nothing of a GPU"] : []),
    ...(cases > 0 ? [`conformance: ${cases - faults.length} of ${cases} cases as the reference has them`] : []),
    ...faults.map((fault) => `wrong: ${fault}`),
    ...failures.map((failure) => `not measured: ${failure}`),
  ];
}
