// Tables, the chart, and RESULTS.md.

import * as Plot from "@observablehq/plot";
import { parseHTML } from "linkedom";
import type { OpTime } from "./sides.ts";
import { type Cell, type Spread, type Summary, summarize } from "./statistics.ts";
import { short, table } from "./table.ts";
import { titleOf, works } from "./works.ts";

export interface Row {
  /** "3b q4 prefill 512" */
  readonly cell: string;
  readonly unit: string;
  readonly summary?: Summary;
  readonly rounds: number;
  readonly dropped: number;
}

export function rowOf(cell: Cell): Row {
  const { unit } = works[cell.work];
  const { model, format, gguf, pairs, dropped } = cell;
  return {
    cell: `${model} ${format} ${gguf ? "GGUF " : ""}${titleOf(cell.work, cell.tokens)}`,
    unit,
    summary: summarize(cell, !unit.endsWith("/s")),
    rounds: pairs.length,
    dropped,
  };
}

export const columns = ["cell", "ours", "node-llama-cpp", "ratio", "of the limit", "peak MB", "rounds"];

export const beforeColumns = columns.map((column) => (column === "node-llama-cpp" ? "before" : column));

/** With the other checkout's build in the place of node-llama-cpp. */
export function againstBefore(cell: Cell): Cell {
  return { ...cell, pairs: cell.pairs.map(({ ours, before, limit }) => ({ ours, theirs: before, limit, theirLimit: limit })) };
}

const spread = ({ median, min, max }: Spread) => `${short(median)} [${short(min)}..${short(max)}]`;

export function fieldsOf({ cell, unit, summary, rounds, dropped }: Row): string[] {
  const count = `${rounds}${dropped > 0 ? `, ${dropped} dropped` : ""}`;
  if (!summary) return [cell, "machine busy", "", "", "", "", count];
  const { ours, theirs, ratio, share, peakBytes } = summary;
  const both = (values: readonly (number | undefined)[], text: (value: number) => string) =>
    values.flatMap((value) => (value === undefined ? [] : text(value))).join(" / ");
  const portion = (value: number) => (unit === "MB" ? `${value.toFixed(2)}x` : `${(100 * value).toFixed(0)} %`);
  return [
    cell,
    `${short(ours.median)} ${unit}`,
    theirs ? `${short(theirs.median)} ${unit}` : "",
    ratio ? `${spread(ratio)}` : "",
    share ? both(share, portion) : "",
    both(peakBytes, (bytes) => (bytes / 1e6).toFixed(0)),
    count,
  ];
}

export function profileTable(ops: readonly OpTime[]): string {
  const total = ops.reduce((sum, { ms }) => sum + ms, 0);
  const sorted = [...ops].sort((a, b) => b.ms - a.ms);
  return table([
    ["op", "ms", "calls", "share"],
    ...sorted.map(({ op, ms, calls }) => [op, ms.toFixed(1), String(calls), `${((100 * ms) / total).toFixed(1)} %`]),
  ]);
}

export interface Machine {
  /** The heading of its section in RESULTS.md. */
  readonly name: string;
  readonly lines: readonly string[];
}

/** RESULTS.md with these rows in the section of this machine. What was not measured this time stays, rows with their date. */
export function updateResults(old: string, { name, lines }: Machine, rows: readonly Row[], date: string): string {
  const [title, ...sections] = old.trimEnd().split(/^(?=## )/m);
  const heading = `## ${name}`;
  const index = indexOf(sections, heading);
  const before = sections[index]?.split("\n") ?? [];
  const keep = (pattern: RegExp, fresh: readonly string[]) => {
    const key = (line: string) => pattern.exec(line)?.[1].trim() ?? line;
    return [...new Map([...before.filter((line) => pattern.test(line)), ...fresh].map((line) => [key(line), line])).values()];
  };
  const section = [
    heading,
    "",
    ...keep(
      /^- ([^:]+):/,
      lines.map((line) => `- ${line}`),
    ),
    "",
    `| ${[...columns, "date"].join(" | ")} |`,
    `|${" --- |".repeat(columns.length + 1)}`,
    ...keep(
      /^\| (\S+ (?:q4|q8|bf16) [^|]+)\|/,
      rows.map((row) => `| ${[...fieldsOf(row), date].join(" | ")} |`),
    ),
  ].join("\n");
  return withSection(title, sections, section);
}

/** RESULTS.md with this table as its section `name`, instead of the one that was there. */
export function updateTable(old: string, name: string, lines: readonly string[], rows: readonly (readonly string[])[]): string {
  const [title, ...sections] = old.trimEnd().split(/^(?=## )/m);
  const [head, ...body] = rows.map((row) => `| ${row.join(" | ")} |`);
  return withSection(title, sections, [`## ${name}`, "", ...lines, "", head, `|${" --- |".repeat(rows[0].length)}`, ...body].join("\n"));
}

const headingOf = (section: string) => section.split("\n")[0];
const indexOf = (sections: readonly string[], heading: string) => sections.findIndex((section) => headingOf(section) === heading);

function withSection(title: string, sections: string[], section: string): string {
  const index = indexOf(sections, headingOf(section));
  if (index >= 0) sections[index] = section;
  else sections.push(section);
  return `${[title, ...sections].map((part) => part.trimEnd()).join("\n\n")}\n`;
}

/** Ratios with the range over rounds, as SVG. */
export function chart(rows: readonly Row[], title: string): string {
  const bars = rows.flatMap(({ cell, summary }) => (summary?.ratio ? [{ cell, ...summary.ratio }] : []));
  const { document } = parseHTML("<html></html>");
  const svg = Plot.plot({
    document,
    width: 860,
    marginTop: 40,
    marginLeft: 230,
    marginBottom: 44,
    style: { background: "white", fontSize: "12px" },
    x: {
      label: "times better than node-llama-cpp: median, and range over rounds",
      labelAnchor: "center",
      labelArrow: "none",
      grid: true,
      domain: [0, 1.12 * Math.max(1.5, ...bars.map(({ max }) => max))], // room for the figure behind the longest bar
    },
    y: { label: null, domain: bars.map(({ cell }) => cell) },
    marks: [
      Plot.text([title], { frameAnchor: "top-left", dy: -26, fontWeight: "bold" }),
      Plot.barX(bars, { x: "median", y: "cell", fill: (bar: Spread) => (bar.median >= 1 ? "#4c78a8" : "#e45756") }),
      Plot.ruleY(bars, { x1: "min", x2: "max", y: "cell", stroke: "#222" }),
      Plot.text(bars, { x: "max", y: "cell", text: (bar: Spread) => `${short(bar.median)}x`, dx: 6, textAnchor: "start" }),
      Plot.ruleX([1], { stroke: "#222", strokeDasharray: "3 3" }),
    ],
  });
  svg.setAttribute("xmlns", "http://www.w3.org/2000/svg");
  return `${svg.outerHTML}\n`;
}
