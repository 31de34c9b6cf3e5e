// `bench structured`: what formats and tools cost, with the real vocabulary, beside what must hold.

import { fork } from "node:child_process";
import { once } from "node:events";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import type { CpuLevel } from "@jamba/backend-cpu";
import { count } from "../arguments.ts";
import { machineText } from "../machine.ts";
import type { PresetName } from "../presets.ts";
import { updateTable } from "../report.ts";
import { revision } from "../revision.ts";
import { prepare } from "../rounds.ts";
import { table } from "../table.ts";
import { withPublished } from "../text-model.ts";
import { columns, type Figure, fieldsOf } from "./figures.ts";
import { type PartJob, type PartName, type PartReport, parts } from "./part.ts";

const help = `bench structured: what formats and tools cost, with a real vocabulary and random weights

  --only gap,schemas   parts: ${parts.join(", ")}; all if not given
  --rounds N           repeats (3); four times as many of what is quick
  --threads N          (2)
  --level L            our kernels: portable, avx2, avx512, …; the best one if not given
  --tokenizer FILE     a tokenizer.json of Jamba 1.5 (../shared/tokenizer/tokenizer.json beside the checkout)
  --schemas FILE       { name, schema, tests: [{ valid, data }] } a line, gzipped (../shared/json-schemas/real-world.jsonl.gz)
  --count N            the first N of those schemas
  --notes              what took longest, what was refused
  --json FILE  --results FILE
  --work DIR           where models are made (apps/bench/.work)

first-token and gap ask a tiny-dev of q4, forced a 3b of q4.
`;

/** What each part is measured on. */
const models: Readonly<Partial<Record<PartName, PresetName>>> = { "first-token": "tiny-dev", gap: "tiny-dev", forced: "3b" };

const shared = (path: string) => fileURLToPath(new URL(`../../../../shared/${path}`, import.meta.url));

interface Measured {
  readonly part: PartName;
  readonly model?: string;
  readonly figures: readonly Figure[];
  readonly notes: readonly string[];
  readonly others?: number;
}

export async function structured(args: string[]): Promise<void> {
  const { values } = parseArgs({
    args,
    options: {
      only: { type: "string", default: parts.join(",") },
      rounds: { type: "string", default: "3" },
      threads: { type: "string", default: String(Math.min(2, availableParallelism())) },
      level: { type: "string" },
      tokenizer: { type: "string", default: shared("tokenizer/tokenizer.json") },
      schemas: { type: "string", default: shared("json-schemas/real-world.jsonl.gz") },
      count: { type: "string" },
      notes: { type: "boolean", default: false },
      json: { type: "string" },
      results: { type: "string" },
      work: { type: "string", default: fileURLToPath(new URL("../.work", import.meta.url)) },
      help: { type: "boolean", short: "h", default: false },
    },
  });
  if (values.help) return void process.stdout.write(help);
  const { tokenizer, schemas, work } = values;
  if (!existsSync(tokenizer)) return void process.stdout.write(`skipped, for there is no vocabulary: ${tokenizer} (--tokenizer FILE)\n`);
  const job = {
    tokenizer,
    schemas,
    count: values.count === undefined ? undefined : count("--count", values.count),
    rounds: count("--rounds", values.rounds),
    threads: count("--threads", values.threads),
    level: values.level as CpuLevel | undefined, // the backend checks it
  };
  const measured: Measured[] = [];
  for (const part of namesOf(values.only)) {
    const preset = models[part];
    const model = preset && withPublished(await prepare(preset, "q4", { ...job, work, log }), tokenizer);
    measured.push(await measure({ ...job, part, model }, preset && `${preset} q4`));
    save(measured, args, values); // the next may take long
  }
  const { name, lines } = contentOf(measured, args);
  process.stdout.write(`${name}\n${lines.map((line) => `  ${line}\n`).join("")}\n`);
  process.stdout.write(table([columns, ...measured.flatMap(({ figures }) => figures.map(fieldsOf))]));
  for (const { part, notes } of measured)
    for (const note of notes) if (values.notes || note.startsWith("skipped")) process.stdout.write(`${part}: ${note}\n`);
}

function save(measured: readonly Measured[], args: readonly string[], { json, results }: { json?: string; results?: string }): void {
  if (json) writeFileSync(json, `${JSON.stringify(contentOf(measured, args), undefined, 1)}\n`);
  const last = measured.at(-1);
  if (!results || !last) return;
  const { name, lines, date } = contentOf([last], args);
  const old = existsSync(results) ? readFileSync(results, "utf8") : "# Results\n";
  const rows = [columns, ...last.figures.map(fieldsOf)];
  writeFileSync(
    results,
    updateTable(
      old,
      `Structured output, ${last.part}, ${name}`,
      [...lines, `date: ${date}`].map((line) => `- ${line}`),
      rows,
    ),
  );
}

function namesOf(only: string): PartName[] {
  return only.split(",").map((name) => {
    const part = parts.find((one) => one === name);
    if (!part) throw new Error(`--only: expected some of ${parts.join(", ")}, found ${JSON.stringify(name)}`);
    return part;
  });
}

function contentOf(measured: readonly Measured[], args: readonly string[]) {
  const machine = machineText();
  const busy = measured.map(({ part, model, others }) => `${part}${model ? ` on ${model}` : ""} ${(others ?? 0).toFixed(2)}`);
  return {
    date: new Date().toISOString().slice(0, 10),
    name: machine.name,
    lines: [
      ...machine.lines,
      `ours: ${revision()}`,
      `cores that others used meanwhile: ${busy.join(", ")}`,
      `command: bench ${["structured", ...args].join(" ")}`,
    ],
    measured,
  };
}

async function measure(job: PartJob, model: string | undefined): Promise<Measured> {
  log(`${job.part}${model ? ` on ${model}` : ""}`);
  const child = fork(fileURLToPath(new URL("./structured.js", import.meta.url)), { stdio: ["ignore", "ignore", "inherit", "ipc"] });
  const reports: PartReport[] = [];
  child.on("message", (report: PartReport) => {
    reports.push(report);
    if (report.kind === "figure") log(`  ${fieldsOf(report.figure).slice(0, 2).join("  ")}`);
  });
  child.send(job);
  const [code, signal] = await once(child, "exit");
  const failed = reports.find((report) => report.kind === "failed");
  if (failed || code !== 0) throw new Error(`${job.part}: ${failed?.message ?? `ended with ${signal ?? code}`}`);
  return {
    part: job.part,
    model,
    figures: reports.flatMap((report) => (report.kind === "figure" ? [report.figure] : [])),
    notes: reports.flatMap((report) => (report.kind === "note" ? [report.note] : [])),
    others: reports.find((report) => report.kind === "others")?.others,
  };
}

function log(line: string): void {
  process.stderr.write(`${line}\n`);
}
