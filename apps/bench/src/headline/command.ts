// `bench headline`: the announcement's comparison, measured here: a jamba beside its twins, over context and at equal memory.

import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { openCpuBackend } from "@jamba/backend-cpu";
import { type JambaModel, loadModel, type MemoryPlan, parseConfig, planMemory, prepareModel } from "jamba";
import { count } from "../arguments.ts";
import { machineText } from "../machine.ts";
import { updateTable } from "../report.ts";
import { revision } from "../revision.ts";
import { median } from "../statistics.ts";
import { syntheticCheckpoint } from "../synthetic.ts";
import { short, table } from "../table.ts";
import { contextChart, fitChart } from "./charts.ts";
import { promptSeconds, readSeconds, stepSeconds } from "./measure.ts";
import { activeParameters, configsOf, type ShapeName, shapes, type Twin, twins } from "./twins.ts";

const help = `bench headline: a jamba beside an attention-only, a multi-query and a Mamba-only twin of one active size, with random weights

  --shape small       ${Object.keys(shapes).join(", ")}
  --contexts 4K,16K   tokens before an answer (4K,16K,64K,128K); 256K takes 14 GB
  --budget 4          GiB of weights, states, keys and values that all have alike
  --sequences N       answers at the same time at most, as many as fit (16)
  --rounds N          of everything, the twins in turn (3)
  --threads N         (2)
  --only jamba,mamba  twins
  --json FILE  --results FILE
  --svg PREFIX        PREFIX-throughput.svg and PREFIX-context.svg
  --work DIR          where models are made (apps/bench/.work)

Contexts are written, not read: to read them takes attention hours. What reading takes is measured at each depth and summed up.
`;

/** Tokens of an answer, as the paper measures throughput from beginning to end (Lieber et al. 2024, §5.2). */
const answerTokens = 512;

/** One twin after one context. */
export interface Point {
  readonly twin: Twin;
  /** Tokens. */
  readonly context: number;
  /** One answer, or as many as the budget holds. */
  readonly manner: "alone" | "budget";
  /** Answers at the same time. */
  readonly sequences: number;
  /** Tokens per second of all answers. */
  readonly decode: number;
  /** Tokens per second of a prompt, at this depth. */
  readonly prefill: number;
  /** Tokens per second of answers of 512 tokens, their prompts read one after another. */
  readonly endToEnd: number;
  /** The jamba's figures in the same manner by these. */
  readonly ratio?: { readonly decode: number; readonly endToEnd: number };
}

/** What each twin holds in the budget. */
export interface Fit {
  readonly twin: Twin;
  readonly activeParameters: number;
  readonly weightBytes: number;
  readonly stateBytes: number;
  readonly kvBytesPerToken: number;
  /** Tokens of a single sequence. */
  readonly longestContext: number;
}

export async function headline(args: string[]): Promise<void> {
  const { values } = parseArgs({
    args,
    options: {
      shape: { type: "string", default: "small" },
      contexts: { type: "string", default: "4K,16K,64K,128K" },
      budget: { type: "string", default: "4" },
      sequences: { type: "string", default: "16" },
      rounds: { type: "string", default: "3" },
      threads: { type: "string", default: String(Math.min(2, availableParallelism())) },
      only: { type: "string", default: twins.join() },
      json: { type: "string" },
      results: { type: "string" },
      svg: { type: "string" },
      work: { type: "string", default: fileURLToPath(new URL("../.work", import.meta.url)) },
      help: { type: "boolean", short: "h", default: false },
    },
  });
  if (values.help) return void process.stdout.write(help);
  if (!Object.hasOwn(shapes, values.shape))
    throw new Error(`--shape: expected one of ${Object.keys(shapes).join(", ")}, found ${values.shape}`);
  const shape = values.shape as ShapeName;
  const named = values.only.split(",");
  const unknown = named.find((name) => !(twins as readonly string[]).includes(name));
  if (unknown !== undefined) throw new Error(`--only: expected some of ${twins.join(", ")}, found ${unknown}`);
  const chosen = twins.filter((twin) => named.includes(twin));
  const contexts = values.contexts.split(",").map(tokensOf);
  const [rounds, sequences, threads] = (["rounds", "sequences", "threads"] as const).map((name) => count(`--${name}`, values[name]));
  const budget = count("--budget", values.budget) * 2 ** 30;
  const log = (line: string) => process.stderr.write(`${line}\n`);

  const all = await openAll(chosen, { shape, work: values.work, threads, budget, sequences, log });
  const points = await measureAll(all, { contexts, rounds, budget, sequences, log });
  const fits = all.map(({ fit }) => fit);
  await closeAll(all);

  const machine = machineText();
  const lines = [...machine.lines, `node ${process.version}`, `ours: ${revision()}`, `command: bench ${["headline", ...args].join(" ")}`];
  const tables = [fitRows(fits), pointRows(points)];
  process.stdout.write(`${machine.name}\n${lines.map((line) => `  ${line}\n`).join("")}\n${tables.map(table).join("\n")}`);
  const date = new Date().toISOString().slice(0, 10);
  const title = `${machine.name}, ${date}`;
  if (values.json) writeFileSync(values.json, `${JSON.stringify({ machine, date, budget, fits, points }, undefined, 2)}\n`);
  if (values.svg) {
    writeFileSync(`${values.svg}-throughput.svg`, contextChart(points, title));
    writeFileSync(`${values.svg}-context.svg`, fitChart(fits, `${title}, ${values.budget} GiB`));
  }
  if (!values.results) return;
  const marked = [...lines, `date: ${date}`].map((line) => `- ${line}`);
  let text = existsSync(values.results) ? readFileSync(values.results, "utf8") : "# Results\n";
  for (const [name, rows] of [
    ["what fits", tables[0]],
    ["over context", tables[1]],
  ] as const)
    text = updateTable(text, `Headline, ${name}, ${machine.name}`, marked, rows);
  writeFileSync(values.results, text);
}

/** "4K" and "4096" alike. */
export function tokensOf(text: string): number {
  return /K$/i.test(text) ? 1024 * count("--contexts", text.slice(0, -1)) : count("--contexts", text);
}

interface Opened {
  readonly twin: Twin;
  readonly model: JambaModel;
  readonly fit: Fit;
  close(): Promise<void>;
}

interface OpenOptions {
  readonly shape: ShapeName;
  readonly work: string;
  readonly threads: number;
  /** Bytes. */
  readonly budget: number;
  readonly sequences: number;
  readonly log: (line: string) => void;
}

async function openAll(chosen: readonly Twin[], { shape, work, threads, budget, sequences, log }: OpenOptions): Promise<Opened[]> {
  mkdirSync(work, { recursive: true });
  const all: Opened[] = [];
  for (const twin of chosen) {
    const json = configsOf(shape)[twin];
    const backend = await openCpuBackend({ threads });
    const folder = join(work, `headline-${shape}-${twin}-${json.intermediate_size}-${backend.packed!.layout}`);
    if (!existsSync(folder)) {
      log(`making ${folder}`);
      await prepareModel(syntheticCheckpoint(twin, json), folder, { dtype: "q4", backend });
    }
    // As many states as are measured, whatever they take.
    const model = await loadModel(folder, { backend, cache: { bytes: 2 ** 40 }, limits: { sequences, bytes: 2 ** 40 } });
    const { weights, state, kv, largestContext }: MemoryPlan = await planMemory(folder, { backend, memoryBytes: budget });
    const fit = {
      twin,
      activeParameters: activeParameters(parseConfig(json, twin)),
      weightBytes: weights.bytes,
      stateBytes: state.bytesPerSequence,
      kvBytesPerToken: kv.bytesPerToken,
      longestContext: largestContext,
    };
    all.push({
      twin,
      model,
      fit,
      async close() {
        await model.dispose();
        await backend.dispose();
      },
    });
  }
  return all;
}

async function closeAll(all: readonly Opened[]): Promise<void> {
  for (const { close } of all) await close();
}

/** Sequences with this context that fit beside the weights. */
export function sequencesIn({ weightBytes, stateBytes, kvBytesPerToken }: Fit, budget: number, context: number): number {
  return Math.max(0, Math.floor((budget - weightBytes) / (stateBytes + kvBytesPerToken * context)));
}

interface MeasureOptions {
  readonly contexts: readonly number[];
  readonly rounds: number;
  readonly budget: number;
  readonly sequences: number;
  readonly log: (line: string) => void;
}

/** With one sequence, and with as many as the budget holds. */
async function measureAll(all: readonly Opened[], { contexts, rounds, budget, sequences, log }: MeasureOptions): Promise<Point[]> {
  const depths = [0, ...contexts];
  const times = new Map<string, number[]>();
  const add = (key: string, seconds: number) => times.set(key, [...(times.get(key) ?? []), seconds]);
  const secondsOf = (key: string) => median(times.get(key)!);
  const mostOf = ({ fit }: Opened, context: number) => Math.min(sequences, sequencesIn(fit, budget, context));
  // The first run prepares what the others use.
  for (const { model } of all) await readSeconds(model, 0);
  for (let round = 0; round < rounds; round++)
    for (const depth of depths)
      for (let i = 0; i < all.length; i++) {
        const opened = all[(i + round) % all.length];
        const { twin, model } = opened;
        add(`${twin} read ${depth}`, await readSeconds(model, depth));
        if (depth === 0) continue;
        for (const batch of new Set([1, mostOf(opened, depth)])) {
          if (batch === 0) continue;
          const seconds = await stepSeconds(model, depth, batch);
          add(`${twin} step ${depth} ${batch}`, seconds);
          log(`round ${round + 1}: ${twin}, ${batch} after ${depth}: ${short(1000 * seconds)} ms a step`);
        }
      }
  const figuresOf = (opened: Opened, context: number, batch: number) => {
    const { twin } = opened;
    const step = secondsOf(`${twin} step ${context} ${batch}`);
    const reads = depths.map((depth) => ({ depth, seconds: secondsOf(`${twin} read ${depth}`) }));
    const seconds = batch * promptSeconds(reads, context) + answerTokens * step;
    return { decode: batch / step, prefill: 1 / secondsOf(`${twin} read ${context}`), endToEnd: (batch * answerTokens) / seconds };
  };
  return contexts.flatMap((context) =>
    (["alone", "budget"] as const).flatMap((manner) => {
      const points = all.flatMap((opened) => {
        const batch = manner === "alone" ? 1 : mostOf(opened, context);
        return batch === 0 ? [] : [{ twin: opened.twin, context, manner, sequences: batch, ...figuresOf(opened, context, batch) }];
      });
      const jamba = points.find(({ twin }) => twin === "jamba");
      return points.map((point) => ({
        ...point,
        ratio: jamba && { decode: jamba.decode / point.decode, endToEnd: jamba.endToEnd / point.endToEnd },
      }));
    }),
  );
}

function fitRows(fits: readonly Fit[]): string[][] {
  const mb = (bytes: number) => short(bytes / 2 ** 20);
  return [
    ["twin", "active parameters, M", "weights, MiB", "state, MiB", "keys and values, KiB a token", "longest context that fits"],
    ...fits.map(({ twin, activeParameters, weightBytes, stateBytes, kvBytesPerToken, longestContext }) => [
      twin,
      short(activeParameters / 1e6),
      mb(weightBytes),
      mb(stateBytes),
      short(kvBytesPerToken / 1024),
      String(longestContext),
    ]),
  ];
}

function pointRows(points: readonly Point[]): string[][] {
  return [
    [
      "context",
      "twin",
      "sequences",
      "decode, tokens/s",
      "jamba by it",
      "prefill there, tokens/s",
      "512 end to end, tokens/s",
      "jamba by it",
    ],
    ...points.map(({ context, twin, manner, sequences, decode, prefill, endToEnd, ratio }) => [
      String(context),
      manner === "alone" ? "1" : `${sequences} in the budget`,
      twin,
      short(decode),
      ratio ? short(ratio.decode) : "",
      short(prefill),
      short(endToEnd),
      ratio ? short(ratio.endToEnd) : "",
    ]),
  ];
}
