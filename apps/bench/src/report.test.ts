import { expect, test } from "vitest";
import { againstBefore, beforeColumns, chart, columns, fieldsOf, profileTable, type Row, rowOf, updateResults } from "./report.ts";
import { type Cell, isClean, median, type Pair, type Sample, spreadOf } from "./statistics.ts";
import { table } from "./table.ts";

const sample = (value: number, others = 0, base?: number): Sample => ({ value, others, base, peakBytes: 2e9 });
const cell = (pairs: Pair[], work: Cell["work"] = "prefill-512"): Cell => ({ model: "3b", format: "q4", work, pairs, dropped: 1 });
const pair = (ours: number, theirs: number): Pair => ({ ours: sample(ours), theirs: sample(theirs), limit: 150, theirLimit: 150 });

test("the median lies between the middle values, the spread from least to most", () => {
  expect([median([3]), median([4, 1]), median([9, 1, 5])]).toEqual([3, 2.5, 5]);
  expect(spreadOf([2, 7, 3])).toEqual({ median: 3, min: 2, max: 7 });
});

test("a round counts unless something else used more than a fifth of a core beside either side", () => {
  expect(isClean({ ours: sample(1, 0.2), theirs: sample(1, 0.1) })).toBe(true);
  expect(isClean({ ours: sample(1, 0.21), theirs: sample(1) })).toBe(false);
  expect(isClean({ ours: sample(1), theirs: sample(1, 0.5) })).toBe(false);
  expect(isClean({ ours: sample(1), before: sample(1, 0.5) })).toBe(false);
  expect(isClean({ ours: sample(1) })).toBe(true);
});

const rows = [
  rowOf(cell([pair(100, 33), pair(90, 36), pair(96, 32)])),
  rowOf(cell([{ ours: sample(0.5), theirs: sample(2) }], "load")),
  rowOf(cell([{ ours: sample(6, 0, 10), theirs: sample(2, 0, 8), limit: 20, theirLimit: 20 }], "decode-busy")),
  rowOf(cell([], "decode-16")),
];

test("ratios are taken within a round, and above 1 is ours for times too", () => {
  expect(rows[0].summary!.ratio).toEqual({ median: 3, min: 2.5, max: 100 / 33 });
  expect(rows[1].summary!.ratio!.median).toBe(4);
});

test("the table", () => {
  expect(table([columns, ...rows.map(fieldsOf)])).toMatchInlineSnapshot(`
    "cell                       ours           node-llama-cpp  ratio              of the limit  peak MB      rounds
    3b q4 prefill 512          96.0 tokens/s  33.0 tokens/s   3.00 [2.50..3.03]  64 % / 22 %   2000 / 2000  3, 1 dropped
    3b q4 load                 0.500 s        2.00 s          4.00 [4.00..4.00]                2000 / 2000  1, 1 dropped
    3b q4 decode, a core busy  6.00 tokens/s  2.00 tokens/s   3.00 [3.00..3.00]  60 % / 25 %   2000 / 2000  1, 1 dropped
    3b q4 decode at 16         machine busy                                                                 0, 1 dropped
    "
  `);
});

test("the table of samplers has their share of greedy, and that against another checkout has that one's", () => {
  const sampled = cell([{ ours: sample(90, 0, 100), before: sample(60, 0, 96), theirs: sample(40, 0, 50) }], "sampled-top-p");
  expect(table([columns, fieldsOf(rowOf(sampled))])).toMatchInlineSnapshot(`
    "cell                     ours           node-llama-cpp  ratio              of the limit  peak MB      rounds
    3b q4 decode, top-p 0.9  90.0 tokens/s  40.0 tokens/s   2.25 [2.25..2.25]  90 % / 80 %   2000 / 2000  1, 1 dropped
    "
  `);
  expect(table([beforeColumns, fieldsOf(rowOf(againstBefore(sampled)))])).toMatchInlineSnapshot(`
    "cell                     ours           before         ratio              of the limit  peak MB      rounds
    3b q4 decode, top-p 0.9  90.0 tokens/s  60.0 tokens/s  1.50 [1.50..1.50]  90 % / 63 %   2000 / 2000  1, 1 dropped
    "
  `);
});

test("a row is replaced, what was not measured stays", () => {
  const machine = { name: "A CPU, avx2, 2 threads", lines: ["system: 23 GiB", "3b q4: 2 GB"] };
  const first = updateResults("# Results\n\n## Other, 4 cores\n\n| 3b q4 load | 9 s |\n", machine, rows, "2026-01-01");
  const second = updateResults(first, { ...machine, lines: ["system: 24 GiB"] }, [rows[0]], "2026-02-02");
  expect(second).toMatchInlineSnapshot(`
    "# Results

    ## Other, 4 cores

    | 3b q4 load | 9 s |

    ## A CPU, avx2, 2 threads

    - system: 24 GiB
    - 3b q4: 2 GB

    | cell | ours | node-llama-cpp | ratio | of the limit | peak MB | rounds | date |
    | --- | --- | --- | --- | --- | --- | --- | --- |
    | 3b q4 prefill 512 | 96.0 tokens/s | 33.0 tokens/s | 3.00 [2.50..3.03] | 64 % / 22 % | 2000 / 2000 | 3, 1 dropped | 2026-02-02 |
    | 3b q4 load | 0.500 s | 2.00 s | 4.00 [4.00..4.00] |  | 2000 / 2000 | 1, 1 dropped | 2026-01-01 |
    | 3b q4 decode, a core busy | 6.00 tokens/s | 2.00 tokens/s | 3.00 [3.00..3.00] | 60 % / 25 % | 2000 / 2000 | 1, 1 dropped | 2026-01-01 |
    | 3b q4 decode at 16 | machine busy |  |  |  |  | 0, 1 dropped | 2026-01-01 |
    "
  `);
});

test("the chart draws a bar for each ratio", () => {
  const svg = chart(rows, "A CPU");
  expect(svg).toMatch(/^<svg [^>]*xmlns="http:\/\/www.w3.org\/2000\/svg"/);
  expect(svg.match(/<rect /g)?.length).toBe(3);
  expect(svg).toContain("3b q4 prefill 512");
});

test("a profile is sorted by time", () => {
  const ops = [
    { op: "scan", ms: 25, calls: 2 },
    { op: "matmul", ms: 75, calls: 10 },
  ];
  expect(profileTable(ops)).toMatchInlineSnapshot(`
    "op      ms    calls  share
    matmul  75.0  10     75.0 %
    scan    25.0  2      25.0 %
    "
  `);
});

test("nothing is claimed of a cell whose rounds were all disturbed", () => {
  expect(fieldsOf(rows[3] satisfies Row)).toEqual(["3b q4 decode at 16", "machine busy", "", "", "", "", "0, 1 dropped"]);
});
