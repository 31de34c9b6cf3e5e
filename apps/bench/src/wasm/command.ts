// `bench wasm`: our C++ as WebAssembly, beside our own native kernels, the reference and wllama.

import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { count } from "../arguments.ts";
import { machineText, watchOthers } from "../machine.ts";
import { updateTable } from "../report.ts";
import { revision } from "../revision.ts";
import { table } from "../table.ts";
import { wllamaVersion } from "./engines.ts";
import { columns, fieldsOf } from "./figures.ts";
import { measurePart, type Part, type PartName, parts, usualParts } from "./parts.ts";

const help = `bench wasm: our C++ as WebAssembly, in ratios of alternating runs in processes of their own

  --only ops,start   parts: ${parts.join(", ")}; all but profile if not given
  --rounds N         of each part (3)
  --json FILE  --results FILE
  --work DIR         where models are made and wllama ${wllamaVersion} is installed (apps/bench/.work)

npm fetches Node 20, 22 and 24 where this is another one. wllama, start and a part of step want Chromium: CHROMIUM, or where systems have it.
`;

interface Measured extends Part {
  readonly name: PartName;
  readonly others: number;
}

export async function wasm(args: string[]): Promise<void> {
  const { values } = parseArgs({
    args,
    options: {
      only: { type: "string", default: usualParts.join(",") },
      rounds: { type: "string", default: "3" },
      json: { type: "string" },
      results: { type: "string" },
      work: { type: "string", default: fileURLToPath(new URL("../.work", import.meta.url)) },
      help: { type: "boolean", short: "h", default: false },
    },
  });
  if (values.help) return void process.stdout.write(help);
  const names = namesOf(values.only);
  const options = { rounds: count("--rounds", values.rounds), work: values.work, log };
  const measured: Measured[] = [];
  for (const name of names) {
    const start = performance.now();
    const others = watchOthers();
    log(name);
    const part = await measurePart[name](options);
    measured.push({ name, ...part, others: others() });
    log(`${name}: ${((performance.now() - start) / 1000).toFixed(0)} s`);
    save(measured, args, values);
  }
  const { name, lines } = contentOf(measured, args);
  process.stdout.write(`${name}\n${lines.map((line) => `  ${line}\n`).join("")}\n`);
  process.stdout.write(table([columns, ...measured.flatMap(({ comparisons }) => comparisons.map(fieldsOf))]));
  for (const { name, notes } of measured) process.stdout.write(`\n${name}\n${notes.map((note) => `  ${note}\n`).join("")}`);
}

function namesOf(only: string): PartName[] {
  return only.split(",").map((name) => {
    const part = parts.find((one) => one === name);
    if (!part) throw new Error(`--only: expected some of ${parts.join(", ")}, found ${JSON.stringify(name)}`);
    return part;
  });
}

function save(measured: readonly Measured[], args: readonly string[], { json, results }: { json?: string; results?: string }): void {
  if (json) writeFileSync(json, `${JSON.stringify(contentOf(measured, args), undefined, 1)}\n`);
  const last = measured.at(-1);
  if (!results || !last) return;
  const { name, lines, date } = contentOf([last], args);
  const old = existsSync(results) ? readFileSync(results, "utf8") : "# Results\n";
  const above = [...lines, ...last.notes, `date: ${date}`].map((line) => `- ${line.trim()}`);
  if (last.comparisons.length > 0)
    writeFileSync(results, updateTable(old, `WebAssembly, ${last.name}, ${name}`, above, [columns, ...last.comparisons.map(fieldsOf)]));
}

function contentOf(measured: readonly Measured[], args: readonly string[]) {
  const machine = machineText();
  return {
    date: new Date().toISOString().slice(0, 10),
    name: machine.name,
    lines: [
      ...machine.lines,
      `ours: ${revision()}`,
      `cores that others used meanwhile: ${measured.map(({ name, others }) => `${name} ${others.toFixed(2)}`).join(", ")}`,
      `command: bench ${["wasm", ...args].join(" ")}`,
    ],
    measured,
  };
}

function log(line: string): void {
  process.stderr.write(`${line}\n`);
}
