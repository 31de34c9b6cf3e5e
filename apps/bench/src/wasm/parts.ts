// What `bench wasm` measures, part by part: which sides take turns, and what is compared.

import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import type { WasmLevel } from "@jamba/backend-cpu";
import { parseConfig } from "jamba";
import { writeGguf } from "../gguf.ts";
import { configOf, type Format, presets } from "../presets.ts";
import type { Target } from "../structured/figures.ts";
import { findChromium, visit } from "./chromium.ts";
import { findNode, installWllama, type Node, runIn, wllamaVersion } from "./engines.ts";
import type { Comparison } from "./figures.ts";
import { type Door, type Job, type OpCase, type OpMs, type Told, unitOf } from "./sides.ts";

export const parts = ["ops", "step", "reference", "threads", "wllama", "start", "profile"] as const;
export type PartName = (typeof parts)[number];

/** What is measured where nothing is named: not what has nothing to hold. */
export const usualParts = parts.filter((part) => part !== "profile");

export interface Options {
  readonly rounds: number;
  /** Folder for what is made and installed. */
  readonly work: string;
  readonly log: (line: string) => void;
}

export interface Part {
  readonly comparisons: readonly Comparison[];
  /** Engines and devices that were measured; for `profile`, its tables. */
  readonly notes: readonly string[];
}

export const measurePart: Readonly<Record<PartName, (options: Options) => Promise<Part>>> = {
  ops,
  step,
  reference,
  threads,
  wllama,
  start,
  profile,
};

/** Our own yardstick: what half of all processors run. */
const avx2 = { kind: "cpu", level: "avx2" } as const;
const wasm = (level?: WasmLevel) => ({ kind: "wasm", level }) as const;

interface Side {
  readonly name: string;
  readonly run: () => Promise<Told>;
  /** Takes part in the first round alone. */
  readonly once?: boolean;
}

/** Each side once a round, in turned order every other one. @returns what each told, by name and round */
async function inTurns(sides: readonly Side[], { rounds, log }: Options): Promise<Map<string, Told[]>> {
  const found = new Map<string, Told[]>(sides.map(({ name }) => [name, []]));
  for (let round = 0; round < rounds; round++) {
    const present = sides.filter(({ once }) => !once || round === 0);
    for (const { name, run } of round % 2 === 0 ? present : present.reverse()) {
      const told = await run();
      found.get(name)!.push(told);
      const { speeds, values, firstTokenMs } = told;
      const numbers = values ?? (speeds ? [speeds.prefill, speeds.decode] : [firstTokenMs ?? 0]);
      log(`  ${round + 1} ${name}: ${numbers.map((n) => n.toPrecision(3)).join(" ")}`);
    }
  }
  return found;
}

const devices = (found: Map<string, Told[]>) => [...found].map(([name, [told]]) => `${name}: ${told.device}`);

const matmuls = (["q4", "q8"] as const).flatMap((dtype): { name: string; target: keyof Targets; one: OpCase }[] => [
  { name: `${dtype}, one token, in cache`, target: "cached", one: { op: "matmul", dtype, tokens: 1, matrices: 1, times: 64 } },
  {
    name: `${dtype}, one token, from memory`,
    target: "streamed",
    // More than the largest caches hold.
    one: { op: "matmul", dtype, tokens: 1, matrices: dtype === "q4" ? 160 : 88, times: 1 },
  },
  { name: `${dtype}, 64 tokens`, target: "prefill", one: { op: "matmul", dtype, tokens: 64, matrices: 1, times: 4 } },
]);
const opCases = [
  ...matmuls,
  { name: "q4_k, one token, in cache", one: { op: "matmul", dtype: "q4_k", tokens: 1, matrices: 1, times: 64 } as OpCase },
  { name: "q4_k, 64 tokens", one: { op: "matmul", dtype: "q4_k", tokens: 64, matrices: 1, times: 4 } as OpCase },
  { name: "bf16, one token, in cache", one: { op: "matmul", dtype: "bf16", tokens: 1, matrices: 1, times: 16 } as OpCase },
  { name: "bf16, 64 tokens", one: { op: "matmul", dtype: "bf16", tokens: 64, matrices: 1, times: 2 } as OpCase },
  { name: "convolution, 64 tokens", one: { op: "causalConv", tokens: 64 } as OpCase },
  { name: "scan, 64 tokens", one: { op: "selectiveScan", tokens: 64 } as OpCase },
  { name: "scan, one token", one: { op: "selectiveScan", tokens: 1 } as OpCase },
  { name: "attention, 64 tokens after 2048", one: { op: "attention", tokens: 64, seen: 2048 } as OpCase },
  { name: "attention, one token after 8192", one: { op: "attention", tokens: 1, seen: 8192 } as OpCase },
];

interface Targets {
  readonly cached: number;
  readonly streamed: number;
  readonly prefill: number;
}
const relaxedTargets: Targets = { cached: 50, streamed: 60, prefill: 45 };
const simdTargets: Readonly<Record<string, Targets>> = {
  q4: { cached: 20, streamed: 20, prefill: 20 },
  q8: { cached: 50, streamed: 50, prefill: 33 },
};

function opTarget(side: string, name: string, target: keyof Targets | undefined): Target | undefined {
  if (!target || !side.endsWith("Node 24")) return undefined;
  const targets = side.startsWith("simd128") ? simdTargets[name.slice(0, 2)] : relaxedTargets;
  return [">=", targets[target]];
}

async function ops(options: Options): Promise<Part> {
  const nodes = { 20: findNode(20), 22: findNode(22), 24: findNode(24) };
  const side = (name: string, node: Node, door: Door): Side => ({
    name,
    run: () => runIn(node, { door, threads: 1, what: "ops", cases: opCases.map(({ one }) => one) }),
  });
  const modules = [
    side("relaxed-dot, Node 24", nodes[24], wasm("relaxed-dot")),
    side("relaxed, Node 24", nodes[24], wasm("relaxed")),
    side("simd128, Node 24", nodes[24], wasm("simd128")),
    { ...side("its choice, Node 22", nodes[22], wasm()), once: true },
    { ...side("relaxed, Node 22", nodes[22], wasm("relaxed")), once: true },
    { ...side("its choice, Node 20", nodes[20], wasm()), once: true },
  ];
  const found = await inTurns([side("avx2", nodes[24], avx2), ...modules], options);
  const comparisons = opCases.flatMap(({ name: what, one, ...more }, i) =>
    modules.map(({ name }): Comparison => {
      const valuesOf = (name: string) => ({ name, values: found.get(name)!.map(({ values }) => values![i]) });
      const target = opTarget(name, what, "target" in more ? more.target : undefined);
      return { what, unit: unitOf(one), ours: valuesOf(name), beside: valuesOf("avx2"), as: "%", target };
    }),
  );
  return { comparisons, notes: [...nodeNotes(Object.values(nodes)), ...devices(found)] };
}

const nodeNotes = (nodes: readonly Node[]) => [`engines: ${nodes.map(({ version }) => `Node ${version}`).join(", ")}`];

async function step(options: Options): Promise<Part> {
  const node = findNode(24);
  const job = (door: Door, threads: number): Job => ({ door, threads, what: "ops", cases: [{ op: "step" }] });
  const inNode = (name: string, door: Door, threads: number): Side => ({ name, run: () => runIn(node, job(door, threads)) });
  const sides = [1, 2].flatMap((threads) => [
    inNode(`avx2, ${threads} threads`, avx2, threads),
    inNode(`Node 24, ${threads} threads`, wasm(), threads),
    ...pageSides(`Chromium, ${threads} threads`, job(wasm(), threads)),
  ]);
  const found = await inTurns(sides, options);
  const comparisons = sides.map(
    ({ name }): Comparison => ({
      what: "a step of next to nothing, there and back",
      unit: "µs",
      ours: { name, values: found.get(name)!.map(({ values }) => values![0]) },
    }),
  );
  return { comparisons, notes: [...nodeNotes([node]), ...browserNotes()] };
}

/** Of the small model, which every machine has. */
async function reference(options: Options): Promise<Part> {
  const node = findNode(24);
  const job = { what: "model", model: "tiny", tokens: 64, said: 16, prompts: 3, seed: 1 } as const;
  const side = (name: string, door: Door): Side => ({ name, run: () => runIn(node, { ...job, door, threads: 1 }) });
  const found = await inTurns([side("simd128", wasm("simd128")), side("reference", { kind: "reference" })], options);
  const compared = speedsOf(found, "simd128", "reference", "small model, 1 thread", ["64 tokens", "16 tokens"], [8, 8]);
  return { comparisons: compared, notes: [...nodeNotes([node]), ...devices(found)] };
}

async function threads(options: Options): Promise<Part> {
  const node = findNode(24);
  const comparisons: Comparison[] = [];
  for (const [name, model] of [
    ["small model", "tiny"],
    ["tiny-dev q4", ggufOf("q4", options)],
  ]) {
    options.log(name);
    const job = { door: wasm(), what: "model", model, tokens: 512, said: 32, prompts: model === "tiny" ? 5 : 2, seed: 2 } as const;
    const side = (threads: number): Side => ({ name: `${threads} threads`, run: () => runIn(node, { ...job, threads }) });
    const found = await inTurns([side(2), side(1)], options);
    comparisons.push(...speedsOf(found, "2 threads", "1 threads", name, ["512 tokens", "32 tokens"], [1.7]));
  }
  return { comparisons, notes: nodeNotes([node]) };
}

/** @param targets of prefill and decode */
function speedsOf(
  found: Map<string, Told[]>,
  ours: string,
  beside: string,
  what: string,
  tokens: readonly [string, string],
  targets: readonly number[],
): Comparison[] {
  return (["prefill", "decode"] as const).map((phase, i) => {
    const side = (name: string) => ({ name, values: found.get(name)!.map(({ speeds }) => speeds![phase]) });
    const target: Target | undefined = targets[i] === undefined ? undefined : [">=", targets[i]];
    return { what: `${what}, ${phase} ${tokens[i]}`, unit: "tokens/s", ours: side(ours), beside: side(beside), as: "x", target };
  });
}

async function wllama(options: Options): Promise<Part> {
  const browser = findChromium();
  if (!browser) return noBrowser;
  const peer = installWllama(options.work, options.log);
  const comparisons: Comparison[] = [];
  const notes = [...browserNotes(), `@wllama/wllama ${wllamaVersion}: n_gpu_layers 0, 2 threads, its own clocks`];
  for (const format of ["q4", "q8"] as const) {
    const file = ggufOf(format, options);
    const folders = { code: pageCode, models: dirname(file), peer };
    const job = { model: `/models/${file.slice(dirname(file).length + 1)}`, tokens: 512, said: 64, prompts: 1, seed: 3, threads: 2 };
    options.log(`tiny-dev ${format}`);
    const told = async (page: Parameters<typeof visit>[2]) => (await visit(browser, "page.js", page, folders)).told;
    const found = await inTurns(
      [
        { name: "ours", run: () => told({ ...job, door: wasm(), what: "model" }) },
        { name: "wllama", run: () => told({ ...job, what: "peer", peer: "/peer" }) },
      ],
      options,
    );
    comparisons.push(...speedsOf(found, "ours", "wllama", `tiny-dev ${format} in Chromium`, ["512 tokens", "64 tokens"], [4, 2]));
    notes.push(`${format}: ${found.get("ours")![0].device}`);
  }
  return { comparisons, notes };
}

async function start(options: Options): Promise<Part> {
  const browser = findChromium();
  if (!browser) return noBrowser;
  const folders = { code: pageCode, tiny: fileURLToPath(new URL("../../../packages/tiny-model", import.meta.url)) };
  const times: Told[] = [];
  const glue = { gzipped: 0, names: [] as string[], all: 0 };
  for (let round = 0; round < options.rounds; round++) {
    const { told, code } = await visit(browser, "start-page.js", { what: "start", model: "tiny" }, folders);
    options.log(`  ${round + 1} first token after ${told.firstTokenMs!.toFixed(0)} ms, loaded after ${told.loadedMs!.toFixed(0)} ms`);
    times.push(told);
    const isGlue = ([name, { text }]: [string, { text: string }]) => name.includes(".wasm-") || text.includes("__wasm_call_ctors");
    const fetched = [...code].filter(isGlue);
    glue.gzipped = fetched.reduce((sum, [, { gzipped }]) => sum + gzipped, 0);
    glue.names = fetched.map(([name, { gzipped }]) => `${name} ${(gzipped / 1000).toFixed(1)}`);
    glue.all = [...code.values()].reduce((sum, { gzipped }) => sum + gzipped, 0);
  }
  const alone = (what: string, unit: string, values: number[], target?: Target): Comparison => ({
    ...{ what, unit, target },
    ours: { name: "Chromium", values },
  });
  return {
    comparisons: [
      alone(
        "first token of the small model, cold page",
        "ms",
        times.map(({ firstTokenMs }) => firstTokenMs!),
        ["<=", 1000],
      ),
      alone(
        "of that, until its code ran",
        "ms",
        times.map(({ runsMs }) => runsMs!),
      ),
      alone(
        "of that, until it was loaded",
        "ms",
        times.map(({ loadedMs }) => loadedMs!),
      ),
      alone("module with its glue, gzipped", "KB", [glue.gzipped / 1000], ["<=", 110]),
      alone("all code that the page fetched, gzipped", "KB", [glue.all / 1000]),
    ],
    notes: [...browserNotes(), `module and glue: ${glue.names.join(", ")} KB`, times[0].device],
  };
}

/** Where the time goes: not compared with anything that must hold. */
async function profile(options: Options): Promise<Part> {
  const node = findNode(24);
  const notes = nodeNotes([node]);
  const job = { what: "model", said: 16, prompts: 1, seed: 4, threads: 1, profile: true } as const;
  for (const [name, model, tokens] of [
    ["small model", "tiny", 512],
    ["4 layers of 3B's shape, q4", sliceOf(options), 128],
  ] as const) {
    options.log(name);
    const side = (name: string, door: Door): Side => ({ name, run: () => runIn(node, { ...job, model, tokens, door }) });
    const names = ["avx2", "relaxed-dot", "simd128"];
    const found = await inTurns([side("avx2", avx2), side("relaxed-dot", wasm("relaxed-dot")), side("simd128", wasm("simd128"))], options);
    for (const [phase, title] of [
      ["prefillMs", `prefill of ${tokens}`],
      ["decodeMs", "one token"],
    ] as const)
      notes.push(`${name}, ${title}`, ...profileLines(found, names, phase));
  }
  return { comparisons: [], notes };
}

function profileLines(found: Map<string, Told[]>, names: readonly string[], phase: "prefillMs" | "decodeMs"): string[] {
  const msOf = (name: string, op: string) =>
    Math.min(...found.get(name)!.map(({ ops }) => ops!.find((one: OpMs) => one.op === op)?.[phase] ?? 0));
  const all = [...new Set(names.flatMap((name) => found.get(name)!.flatMap(({ ops }) => ops!.map(({ op }) => op))))];
  const rows = all.map((op) => ({ op, ms: names.map((name) => msOf(name, op)) })).filter(({ ms }) => ms[0] > 0);
  const total = { op: "all", ms: names.map((_, i) => rows.reduce((sum, { ms }) => sum + ms[i], 0)) };
  const text = ({ op, ms }: (typeof rows)[number]) => {
    const [first, ...others] = ms.map((one) => one.toFixed(3));
    return `  ${op.padEnd(14)} ${names[0]} ${first} ms${others
      .map((one, i) => `, ${names[i + 1]} ${one} (${((100 * ms[0]) / ms[i + 1]).toFixed(0)} %)`)
      .join("")}`;
  };
  return [...rows.sort((a, b) => b.ms[1] - a.ms[1]), total].map(text);
}

const pageCode = fileURLToPath(new URL("./page", import.meta.url));
const noBrowser: Part = { comparisons: [], notes: ["skipped: no Chromium was found (CHROMIUM names one)"] };

function browserNotes(): string[] {
  const browser = findChromium();
  return browser
    ? [`browser: ${execFileSync(browser, ["--version"], { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] }).trim()}`]
    : noBrowser.notes.slice();
}

function pageSides(name: string, job: Job): Side[] {
  const browser = findChromium();
  if (!browser) return [];
  return [{ name, run: async () => (await visit(browser, "page.js", job, { code: pageCode })).told }];
}

function made(path: string, { work, log }: Options, make: () => void): string {
  mkdirSync(work, { recursive: true });
  if (!existsSync(path)) {
    log(`making ${path}`);
    make();
  }
  return path;
}

function ggufOf(format: Format, options: Options): string {
  const path = join(options.work, `tiny-dev-${format}-spread.gguf`);
  return made(path, options, () => writeGguf(path, configOf("tiny-dev"), format, `random tiny-dev ${format}`));
}

/** Layers as wide as 3B's, few of them, and a short vocabulary: files of 3B itself take minutes to make. */
function sliceOf(options: Options): string {
  const shape = { ...presets["3b"], vocab_size: 8192, num_hidden_layers: 4, attn_layer_period: 4, attn_layer_offset: 2 };
  const path = join(options.work, "3b-slice-q4.gguf");
  return made(path, options, () => writeGguf(path, parseConfig(shape, "3b-slice"), "q4", "random 3b-slice q4"));
}
