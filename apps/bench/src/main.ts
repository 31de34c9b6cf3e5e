// The command: which cells, how often, and where the figures go.

import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { dirname, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import type { CpuLevel } from "@jamba/backend-cpu";
import { count } from "./arguments.ts";
import { gaps } from "./gaps/command.ts";
import { headline } from "./headline/command.ts";
import { machineText } from "./machine.ts";
import { installPeer, peerVersion } from "./peer.ts";
import { againstBefore, beforeColumns, chart, columns, fieldsOf, profileTable, rowOf, updateResults, updateTable } from "./report.ts";
import { revision } from "./revision.ts";
import { type Measured, measure } from "./rounds.ts";
import { medianTurns, tablesOf, turnChart } from "./scene-report.ts";
import { median } from "./statistics.ts";
import { structured } from "./structured/command.ts";
import { table } from "./table.ts";
import { wasm } from "./wasm/command.ts";
import { webgpu, webgpuPage } from "./webgpu/command.ts";
import { webgpuPeers } from "./webgpu/peers.ts";
import { allWorks, isNamed, type Limits, plansOf } from "./works.ts";

const help = `bench: jamba beside node-llama-cpp ${peerVersion} on this machine, with random weights

  --only 3b/q4/prefill-512,tiny-dev   cells: model/format/work, * or nothing for all
  --quick           two rounds of the 0.3B model, conversations of 8192 tokens
  --rounds N        quiet rounds per cell (5)
  --threads N       of both sides (2)
  --level L         our kernels: portable, avx2, avx512, …; the best one if not given
  --ours            without the peer
  --ours-from DIR   another checkout in which bench was built: its jamba is measured in the same rounds, as "before"
  --gguf            our side loads the peer's GGUF file too
  --profile         time by kind of op, ours
  --tokens N        length of the conversations, for works whose title ends with one
  --json FILE  --svg FILE  --results FILE
  --turns FILE      picture of the time to first token by turn, of the last chat measured
  --work DIR        where models are made and the peer is installed (apps/bench/.work)
  structured        what formats and tools cost instead; structured --help
  gaps              how long the longest requests hold a server instead; gaps --help
  headline          a jamba beside attention-only and Mamba-only twins instead; headline --help
  wasm              the kernels as WebAssembly instead, beside the native ones and wllama; wasm --help
  webgpu            the kernels on the GPU that Node finds instead; webgpu --help
  webgpu-page       the same in a page, for any browser; webgpu-page --help
  webgpu-peers      beside onnxruntime-web and wllama in headless Chromium; webgpu-peers --help

  models  3b, tiny-dev, mini-slice, nano
  formats q4, q8, bf16
  works   ${allWorks.join(", ")}

All cells take hours and 40 GB of disk. Ratios above 1 are ours. What takes hours alone is measured only when it is named:
${allWorks.filter(isNamed).join(", ")}.
`;

async function main(given: string[]): Promise<void> {
  const args = given.filter((arg) => arg !== "--");
  if (args[0] === "structured") return structured(args.slice(1));
  if (args[0] === "gaps") return gaps(args.slice(1));
  if (args[0] === "headline") return headline(args.slice(1));
  if (args[0] === "wasm") return wasm(args.slice(1));
  if (args[0] === "webgpu") return webgpu(args.slice(1));
  if (args[0] === "webgpu-peers") return webgpuPeers(args.slice(1));
  if (args[0] === "webgpu-page") return webgpuPage(args.slice(1));
  const { values } = parseArgs({
    args,
    options: {
      only: { type: "string", multiple: true, default: [] },
      quick: { type: "boolean", default: false },
      rounds: { type: "string" },
      threads: { type: "string", default: String(Math.min(2, availableParallelism())) },
      level: { type: "string" },
      ours: { type: "boolean", default: false },
      "ours-from": { type: "string" },
      gguf: { type: "boolean", default: false },
      profile: { type: "boolean", default: false },
      tokens: { type: "string" },
      json: { type: "string" },
      svg: { type: "string" },
      turns: { type: "string" },
      results: { type: "string" },
      work: { type: "string", default: fileURLToPath(new URL("../.work", import.meta.url)) },
      help: { type: "boolean", short: "h", default: false },
    },
  });
  if (values.help) {
    process.stdout.write(help);
    return;
  }
  const only = values.only.flatMap((filter) => filter.split(","));
  const plans = plansOf(only.length > 0 ? only : values.quick ? ["tiny-dev/q4"] : ["*"]);
  const log = (line: string) => process.stderr.write(`${line}\n`);
  const options = {
    rounds: count("--rounds", values.rounds ?? (values.quick ? "2" : "5")),
    threads: count("--threads", values.threads),
    level: values.level as CpuLevel | undefined, // the backend checks it
    withPeer: !values.ours,
    oursFrom: values["ours-from"],
    gguf: values.gguf,
    profile: values.profile,
    tokens: values.tokens !== undefined ? count("--tokens", values.tokens) : values.quick ? 8192 : undefined,
    work: values.work,
    log,
  };
  if (options.withPeer) installPeer(values.work, log);
  const parts: Measured[] = [];
  const command = `bench ${args.join(" ")}`.trim();
  for (const plan of plans) {
    parts.push(await measure(plan, options));
    save(parts, command, values); // after each model: the next one may take an hour
  }
  const { name, lines, rows } = contentOf(parts, command);
  process.stdout.write(`${name}\n${lines.map((line) => `  ${line}\n`).join("")}\n${table([columns, ...rows.map(fieldsOf)])}`);
  if (options.oursFrom !== undefined) {
    const rows = parts.flatMap((part) => part.cells.map((cell) => fieldsOf(rowOf(againstBefore(cell)))));
    process.stdout.write(`\nbefore: ${revision(options.oursFrom)}, ${parts[0].devices.before}\n${table([beforeColumns, ...rows])}`);
  }
  for (const { lines, rows } of parts.flatMap((part) => tablesOf(part, name)))
    process.stdout.write(`\n${lines.join("\n")}\n${table(rows)}`);
  for (const { cell, ops } of parts.flatMap(({ profiles }) => profiles)) process.stdout.write(`\n${cell}\n${profileTable(ops)}`);
}

function contentOf(parts: readonly Measured[], command: string) {
  const machine = machineText();
  const limits = parts.flatMap((part) => part.limits);
  const { level, threads } = limits[0];
  const giga = (of: (limit: Limits) => number) => (median(limits.map(of)) / 1e9).toFixed(1);
  const both = (bytes: readonly number[]) => bytes.map((n) => (n / 1e9).toFixed(3)).join(" and ");
  const lines = [
    ...machine.lines,
    `limits: read ${giga((l) => l.readBytesPerSecond)} GB/s, int8 ${giga((l) => l.int8OpsPerSecond)} GOP/s, bf16 ${giga((l) => l.bf16FlopsPerSecond)} GFLOP/s, f32 ${giga((l) => l.f32FlopsPerSecond)} GFLOP/s`,
    `ours: ${revision()}, ${parts[0].devices.ours}`,
    ...(parts[0].devices.theirs ? [`theirs: node-llama-cpp ${peerVersion}, ${parts[0].devices.theirs}`] : []),
    ...parts.map(({ size: { model, file, perToken } }) => {
      const how = file.length < 2 ? "" : model.endsWith("GGUF") ? "; both the same file" : "; ours packed directly, theirs as GGUF";
      return `${model}: files of ${both(file)} GB, ${both(perToken)} GB read per token${how}`;
    }),
    `command: ${command}`,
  ];
  return { name: `${machine.name}, ${level}, ${threads} threads`, lines, limits, rows: parts.flatMap((part) => part.cells.map(rowOf)) };
}

function save(parts: readonly Measured[], command: string, to: { json?: string; svg?: string; turns?: string; results?: string }): void {
  const { name, lines, limits, rows } = contentOf(parts, command);
  const date = new Date().toISOString().slice(0, 10);
  if (to.json) writeFileSync(to.json, `${JSON.stringify({ date, name, lines, rows, limits, parts }, undefined, 1)}\n`);
  if (to.svg) writeFileSync(to.svg, chart(rows, `${name}, ${date}`));
  const talk = parts.findLast(({ chats }) => chats.length > 0);
  if (to.turns && talk) writeFileSync(to.turns, turnChart(medianTurns(talk.chats), `${talk.size.model}: ${name}, ${date}`));
  if (!to.results) return;
  let text = existsSync(to.results) ? readFileSync(to.results, "utf8") : "# Results\n";
  text = updateResults(text, { name, lines }, rows, date);
  const picture = to.turns && relative(dirname(to.results), to.turns);
  for (const part of parts)
    for (const table of tablesOf(part, name, part === talk ? picture : undefined))
      text = updateTable(text, table.name, table.lines, table.rows);
  writeFileSync(to.results, text);
}

try {
  await main(process.argv.slice(2));
} catch (error) {
  process.stderr.write(`bench: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
}
