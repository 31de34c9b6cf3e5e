// The official test suite of JSON Schema (draft 2020-12, required tests) against prepared schemas: what is enforced, by keyword.

import { readFileSync } from "node:fs";
import { gunzipSync } from "node:zlib";
import type { Vocabulary } from "../src/index.ts";
import { Admission } from "./byte-grammar.ts";

export const suitePath = new URL("../../../../shared/json-schemas/official-suite.jsonl.gz", import.meta.url);

export interface Group {
  readonly draft: string;
  readonly file: string;
  readonly description: string;
  readonly schema: unknown;
  readonly tests: readonly { readonly valid: boolean; readonly data: unknown; readonly description: string }[];
}

export interface Row {
  readonly keyword: string;
  groups: number;
  enforced: number;
  /** Why not, and how often. */
  readonly reasons: Map<string, number>;
  /** Of enforced groups: valid values that the grammar is too narrow for. */
  narrow: number;
  valid: number;
  readonly wronglyAdmitted: string[];
}

export function readGroups(isWanted = isRequired): Group[] {
  const lines = gunzipSync(readFileSync(suitePath)).toString("utf8").trim().split("\n");
  return lines.map((line): Group => JSON.parse(line)).filter(isWanted);
}

function isRequired({ draft, file }: Group): boolean {
  return draft === "draft2020-12" && !file.includes("optional");
}

export async function judge(groups: readonly Group[], vocabulary: Vocabulary): Promise<Row[]> {
  const rows = new Map<string, Row>();
  for (const { file, description, schema, tests } of groups) {
    const keyword = file.replace(/^.*\//, "").replace(".json", "");
    const row: Row = rows.get(keyword) ?? {
      keyword,
      groups: 0,
      enforced: 0,
      reasons: new Map<string, number>(),
      narrow: 0,
      valid: 0,
      wronglyAdmitted: [],
    };
    rows.set(keyword, row);
    row.groups++;
    const admission = await Admission.of(vocabulary, schema).catch((error: Error) => reasonOf(error));
    if (typeof admission === "string") {
      row.reasons.set(admission, (row.reasons.get(admission) ?? 0) + 1);
      continue;
    }
    row.enforced++;
    for (const { valid, data, description: what } of tests) {
      const isAdmitted = await admission.admits(data);
      if (valid) row.valid++;
      if (valid && !isAdmitted) row.narrow++;
      if (!valid && isAdmitted) row.wronglyAdmitted.push(`${file}: ${description}: ${what}`);
    }
  }
  return [...rows.values()].sort((a, b) => (a.keyword < b.keyword ? -1 : 1));
}

export function tableOf(rows: readonly Row[]): string {
  const sum = (of: (row: Row) => number) => rows.reduce((total, row) => total + of(row), 0);
  const lines = rows.map(({ keyword, groups, enforced, narrow, valid, reasons }) => {
    const why = [...reasons].map(([reason, count]) => `${count}: ${reason}`).join("; ");
    return `| ${keyword} | ${enforced} of ${groups} | ${narrow} of ${valid} | ${why.replaceAll("|", "\\|")} |`;
  });
  return [
    "# What is enforced of JSON Schema",
    "",
    "The official test suite (draft 2020-12, required tests) against schemas prepared with `strict: true`, by `test/official-suite.test.ts`.",
    "A group is enforced when its schema compiles; no value that it calls invalid is admitted. Valid values are refused where the grammar is",
    "narrower than the schema, as `prepareSchema` says: properties in some orders only, numbers of 15 digits without exponents, formats",
    "enforced though the suite takes them for annotations, no control characters.",
    "",
    "| keyword | groups enforced | valid values refused | not enforced, and what is expected instead |",
    "|---|---|---|---|",
    ...lines,
    `| all | ${sum((row) => row.enforced)} of ${sum((row) => row.groups)} | ${sum((row) => row.narrow)} of ${sum((row) => row.valid)} | |`,
    "",
  ].join("\n");
}

/** Without where it was. */
function reasonOf({ message }: Error): string {
  const text = /expected (.*?), found/s.exec(message)?.[1] ?? message;
  return text.replaceAll(/\s+/g, " ").slice(0, 110);
}
