import { expect, test } from "vitest";
import { updateTable } from "./report.ts";
import { medianTurns, reuseTable, turnChart, turnTable } from "./scene-report.ts";
import type { Turn } from "./sides.ts";
import { table } from "./table.ts";

const turn = (tokens: number, read: number, firstTokenMs: number): Turn => ({ tokens, read, firstTokenMs, totalMs: 2 * firstTokenMs });
const chats = [
  { ours: [turn(100, 100, 500), turn(200, 90, 400)], theirs: [turn(100, 100, 900), turn(200, 200, 2000)] },
  { ours: [turn(100, 100, 700), turn(200, 90, 600)], theirs: [turn(100, 100, 900), turn(200, 200, 3000)] },
];

test("a chat is shown by the medians of its rounds", () => {
  expect(table(turnTable(medianTurns(chats)))).toMatchInlineSnapshot(`
    "turn  tokens of the prompt  read: ours  theirs  s to first token: ours  theirs
    1     100                   100         100     0.600                   0.900
    2     200                   90          200     0.500                   2.50
    "
  `);
});

test("a chat without the peer", () => {
  expect(turnTable(medianTurns([{ ours: chats[0].ours }]))[1]).toEqual(["1", "100", "100", "", "0.500", ""]);
});

test("the chart of a chat has a line for each side", () => {
  const svg = turnChart(medianTurns(chats), "A CPU");
  expect(svg).toMatch(/^<svg [^>]*xmlns="http:\/\/www.w3.org\/2000\/svg"/);
  expect(svg).toContain("node-llama-cpp");
  expect(svg.match(/stroke="#(4c78a8|e45756)"/g)?.length).toBeGreaterThanOrEqual(2);
});

test("a workload is met when no request reads more than its target", () => {
  const rows = (again: number[]) => [{ workload: "w", again, target: [0, 30, 0] }];
  const theirs = [{ workload: "w", again: [0, 90, 91], target: [0, 30, 0], againByHand: [0, 30, 30] }];
  expect(reuseTable({ ours: rows([0, 30, 0]), theirs })[1]).toEqual(["w", "30, 0", "30, 0", "90, 91", "30, 30", "met"]);
  expect(reuseTable({ ours: rows([0, 0, 1]) })[1]).toEqual(["w", "30, 0", "0, 1", "", "", "missed"]);
});

test("a table of its own replaces the section of its name and no other", () => {
  const rows = [
    ["a", "b"],
    ["1", "2"],
  ];
  const old = updateTable("# Results\n\n## A CPU\n\n- system\n", "Chat", ["Words."], rows);
  expect(old).toContain("- system");
  const next = updateTable(old, "Chat", ["Words."], [rows[0], ["3", "4"]]);
  expect(next).toContain("## Chat\n\nWords.\n\n| a | b |\n| --- | --- |\n| 3 | 4 |\n");
  expect(next).not.toContain("| 1 | 2 |");
});
