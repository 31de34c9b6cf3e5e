import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { expect, test } from "vitest";
import { openBytes } from "./byte-grammar.ts";
import { judge, readGroups, suitePath, tableOf } from "./official-suite.ts";

const table = new URL("../SCHEMAS.md", import.meta.url);

/** Whatever the widths of the columns are. */
const plain = (text: string) => text.replaceAll(/[ -]+/g, "");

// UPDATE_TABLE=1 writes the table anew.
test.skipIf(!existsSync(suitePath))("the official suite is enforced as SCHEMAS.md says, and nothing invalid is admitted", async () => {
  const vocabulary = openBytes();
  const rows = await judge(readGroups(), vocabulary);
  vocabulary.dispose();
  expect(rows.flatMap((row) => row.wronglyAdmitted)).toEqual([]);
  if (process.env.UPDATE_TABLE) writeFileSync(table, tableOf(rows));
  expect(plain(tableOf(rows))).toBe(plain(readFileSync(table, "utf8")));
});
