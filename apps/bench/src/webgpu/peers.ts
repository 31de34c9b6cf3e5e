// `bench webgpu-peers`: our kernels beside onnxruntime-web's, our model beside wllama's, on the same adapter of the same headless Chromium.

import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { count } from "../arguments.ts";
import { writeGguf } from "../gguf.ts";
import { machineText } from "../machine.ts";
import { configOf, type PresetName } from "../presets.ts";
import { updateTable } from "../report.ts";
import { revision } from "../revision.ts";
import { table } from "../table.ts";
import { findChromium, visit } from "../wasm/chromium.ts";
import { installWllama, wllamaVersion } from "../wasm/engines.ts";
import { type Comparison, columns, fieldsOf } from "../wasm/figures.ts";
import type { Told } from "../wasm/sides.ts";
import type { PeerJob } from "./peers-page.ts";

const ortVersion = "1.30.0";

const help = `bench webgpu-peers: beside onnxruntime-web ${ortVersion} and wllama ${wllamaVersion}, on the adapter that headless Chromium has

  --only products    parts: products, model
  --rounds N         how often the sides take turns (3)
  --model NAME       tiny-dev; nano is smaller
  --tokens N         of the prompt (64)
  --said N           after it (8)
  --results FILE
  --work DIR         where models are made and peers are installed (apps/bench/.work)

Without a GPU the adapter is SwiftShader, whose times tell of work done, not of a GPU's memory.
`;

const pageCode = fileURLToPath(new URL("./page", import.meta.url));
const side = 2048;
const products = 4;
const tokens = [1, 64] as const;

export async function webgpuPeers(args: string[]): Promise<void> {
  const { values } = parseArgs({
    args,
    options: {
      only: { type: "string", default: "products,model" },
      rounds: { type: "string", default: "3" },
      model: { type: "string", default: "tiny-dev" },
      tokens: { type: "string", default: "64" },
      said: { type: "string", default: "8" },
      results: { type: "string" },
      work: { type: "string", default: fileURLToPath(new URL("../.work", import.meta.url)) },
      help: { type: "boolean", short: "h", default: false },
    },
  });
  if (values.help) return void process.stdout.write(help);
  const browser = findChromium();
  if (!browser) throw new Error("webgpu-peers: expected a Chromium (CHROMIUM names one), found none");
  const { work } = values;
  mkdirSync(work, { recursive: true });
  const rounds = count("--rounds", values.rounds);
  const notes: string[] = [];
  /** A side that failed has nothing to stand beside. */
  const besideOf = (name: string, values: readonly number[]) =>
    values.length < rounds ? {} : ({ beside: { name, values }, as: "x", target: [">=", 1] } as const);
  const turns = async (name: string, folders: Record<string, string>, jobs: Readonly<Record<"ours" | "theirs", PeerJob>>) => {
    const found = { ours: [] as Told[], theirs: [] as Told[] };
    for (let round = 0; round < rounds; round++) {
      for (const who of round % 2 === 0 ? (["ours", "theirs"] as const) : (["theirs", "ours"] as const)) {
        const told = await visit(browser, "peers-page.js", jobs[who], { code: pageCode, ...folders }, ["--enable-unsafe-webgpu"]).then(
          ({ told }) => told,
          (error: Error) => error.message.split("\n")[0],
        );
        if (typeof told === "string") {
          // What a peer can't do here is a finding; ours must go.
          if (who === "ours") throw new Error(told);
          if (!notes.includes(told)) notes.push(told);
          log(`${name}, ${who}, ${round + 1}: ${told}`);
          continue;
        }
        found[who].push(told);
        const numbers = told.values ?? [told.speeds!.prefill, told.speeds!.decode];
        log(`${name}, ${who}, ${round + 1}: ${numbers.map((n) => n.toPrecision(3)).join(" ")}`);
      }
    }
    return found;
  };
  const comparisons: Comparison[] = [];
  if (values.only.includes("products")) {
    const job = { side, products, tokens };
    const found = await turns(
      "products",
      { ort: installOrt(work) },
      { ours: { what: "our products", ...job }, theirs: { what: "their products", ort: "/ort", ...job } },
    );
    notes.push(`ours on ${found.ours[0].device}`);
    for (const [i, n] of tokens.entries())
      comparisons.push({
        what: `q4, [${side}, ${side}] with ${n === 1 ? "one token" : `${n} tokens`}`,
        unit: "GFLOP/s",
        ours: { name: "jamba", values: found.ours.map(({ values }) => values![i]) },
        ...besideOf(
          "onnxruntime-web",
          found.theirs.map(({ values }) => values![i]),
        ),
      });
  }
  if (values.only.includes("model")) {
    const file = modelOf(values.model as PresetName, work);
    const asked = {
      ...{ model: `/models/${file.slice(dirname(file).length + 1)}`, prompts: 1, seed: 3 },
      ...{ tokens: count("--tokens", values.tokens), said: count("--said", values.said) },
    };
    const found = await turns(
      values.model,
      { models: dirname(file), peer: installWllama(work, log) },
      { ours: { what: "our model", ...asked }, theirs: { what: "their model", peer: "/peer", threads: 1, gpuLayers: 999, ...asked } },
    );
    for (const phase of ["prefill", "decode"] as const)
      comparisons.push({
        what: `${values.model} q4, ${phase} of ${phase === "prefill" ? asked.tokens : asked.said}`,
        unit: "tokens/s",
        ours: { name: "jamba", values: found.ours.map(({ speeds }) => speeds![phase]) },
        ...besideOf(
          "wllama",
          found.theirs.map(({ speeds }) => speeds![phase]),
        ),
      });
  }
  report(comparisons, notes, args, browser, values.results);
}

function report(comparisons: readonly Comparison[], notes: readonly string[], args: readonly string[], browser: string, to?: string): void {
  const rows = [["WebGPU", ...columns.slice(1)], ...comparisons.map(fieldsOf)];
  const { name } = machineText();
  const version = execFileSync(browser, ["--version"], { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] }).trim();
  const lines = [
    ...notes,
    `peers: onnxruntime-web ${ortVersion}, the better of its accuracy levels 0 and 4; @wllama/wllama ${wllamaVersion}, all layers on the GPU, its own clocks`,
    `in ${version}, headless`,
    `ours: ${revision()}`,
    `command: bench ${["webgpu-peers", ...args].join(" ")}`,
  ];
  process.stdout.write(`${lines.map((line) => `  ${line}\n`).join("")}\n${table(rows)}`);
  if (!to) return;
  const old = existsSync(to) ? readFileSync(to, "utf8") : "# Results\n";
  const above = [...lines, `date: ${new Date().toISOString().slice(0, 10)}`].map((line) => `- ${line}`);
  writeFileSync(to, updateTable(old, `WebGPU beside its peers, ${name}`, above, rows));
}

function modelOf(preset: PresetName, work: string): string {
  const path = join(work, `${preset}-q4-spread.gguf`);
  if (!existsSync(path)) writeGguf(path, configOf(preset), "q4", `random ${preset} q4`);
  return path;
}

/** @returns the folder of its modules */
function installOrt(work: string): string {
  const folder = join(work, "onnxruntime-web");
  const modules = join(folder, "node_modules/onnxruntime-web/dist");
  if (existsSync(modules)) return modules;
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, "package.json"), '{ "private": true }\n');
  log(`installing onnxruntime-web ${ortVersion}`);
  const flags = ["install", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"];
  execFileSync("npm", [...flags, `onnxruntime-web@${ortVersion}`], { cwd: folder, stdio: ["ignore", "ignore", "inherit"] });
  return modules;
}

function log(line: string): void {
  process.stderr.write(`${line}\n`);
}
