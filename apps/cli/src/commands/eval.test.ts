import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { jamba } from "../../test/jamba.ts";

const root = mkdtempSync(join(tmpdir(), "jamba-cli-eval-"));
afterAll(() => rmSync(root, { recursive: true }));
function lines(name: string, rows: unknown[]): string {
  writeFileSync(join(root, name), rows.map((row) => `${typeof row === "string" ? row : JSON.stringify(row)}\n`).join(""));
  return join(root, name);
}

const file = lines("mixed.jsonl", [
  { task: "choice", prompt: "Once upon a", continuations: [" zebra of", " time"], answer: 1 },
  { task: "choice", prompt: "Once upon a", continuations: [" zebra of", " time"], answer: 0 },
  { task: "text", prompt: "Once upon a time", continuation: ", a" },
  "",
  { task: "written", prompt: "Once upon a time", expected: ["girl"], check: "contains", maxTokens: 12 },
]);

test("a line for each task and one for all: choices by probability, answers by what is in them", async () => {
  const { rows } = JSON.parse((await jamba(["eval", file, "--json"])).stdout);
  expect(rows.map(({ task, questions, right }: { task: string; questions: number; right?: number }) => [task, questions, right])).toEqual([
    ["choice", 2, 1],
    ["text", 1, undefined],
    ["written", 1, 1],
    ["all", 4, 2],
  ]);
  const score = JSON.parse((await jamba(["score", "--prompt", "Once upon a time", "--continuation", ", a", "--json"])).stdout);
  expect(rows[1].perplexity).toBeCloseTo(score.perplexity, 4);
  const { stdout } = await jamba(["eval", "tiny", file, "--limit", "2", "-q"]);
  expect(stdout).toMatch(/^task +questions +right +perplexity\nall +2 +50\.0 % +\d+\.\d{4}\n$/);
});

test.each([
  ["{", /line 1: expected a question in JSON/],
  ["3", /line 1: expected a question in JSON, found no object/],
  ['{"prompt":"a","continuations":["b","c"]}', /2 continuations and no answer/],
  ['{"prompt":"a","continuations":["b","c"],"answer":2}', /no answer/],
  ['{"prompt":"a","continuation":""}', /no prompt with continuations/],
  ['{"prompt":"a"}', /no check/],
])("%s is refused with its line", async (line, message) => {
  const found = await jamba(["eval", lines("bad.jsonl", [line])]);
  expect([found.code, found.stderr]).toEqual([2, expect.stringMatching(message)]);
});
