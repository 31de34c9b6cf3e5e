// Runs both sides in turn, each in a process of its own, and repeats the rounds in which something else used the machine.

import { fork } from "node:child_process";
import { once } from "node:events";
import { closeSync, existsSync, mkdirSync, openSync, readdirSync, readSync, statSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { CpuLevel } from "@jamba/backend-cpu";
import { packedDtypeOf, type StoredDtype, type WeightDtype } from "@jamba/core";
import { openCheckpoint } from "@jamba/loader";
import { preparedOf } from "jamba";
import { blockOf, bytesPerValue } from "./blocks.ts";
import { openBuild } from "./build.ts";
import { writeGguf } from "./gguf.ts";
import { configOf, costsOf, type Format, type PresetName, presets, type TensorSpec } from "./presets.ts";
import type { Job, OpTime, Report, ReuseRow, Turn } from "./sides.ts";
import { type Cell, isClean, type Pair, type Sample } from "./statistics.ts";
import { syntheticCheckpoint } from "./synthetic.ts";
import { withTokenizer } from "./text-model.ts";
import { type Limits, limitOf, maxDrawn, type Plan, sceneInfo, sceneOf, sceneTokens, titleOf, type Work, works } from "./works.ts";

export interface Options {
  readonly rounds: number;
  readonly threads: number;
  readonly level?: CpuLevel;
  readonly withPeer: boolean;
  /** Another checkout of ours, measured in the same rounds as the side `before`. */
  readonly oursFrom?: string;
  /** Our side loads the peer's file too, instead of a prepared folder. */
  readonly gguf: boolean;
  readonly profile: boolean;
  /** Tokens of the scenes' conversations, instead of their own. */
  readonly tokens?: number;
  /** Folder for what is made and installed. */
  readonly work: string;
  readonly log: (line: string) => void;
}

export interface Measured {
  readonly cells: readonly Cell[];
  readonly limits: readonly Limits[];
  /** What the sides say they run on. */
  readonly devices: BySide<string>;
  readonly profiles: readonly Profile[];
  /** The chat of each quiet round. */
  readonly chats: readonly BySide<readonly Turn[]>[];
  readonly reuse?: BySide<readonly ReuseRow[]>;
  /** Bytes of ours and theirs: of the files, and those that one token reads. */
  readonly size: { readonly model: string; readonly file: readonly number[]; readonly perToken: readonly number[] };
}

export interface Profile {
  readonly cell: string;
  readonly ops: readonly OpTime[];
}

type Side = Exclude<Job["side"], "limits">;
export type BySide<T> = { ours?: T; before?: T; theirs?: T };

/** Rounds are repeated until enough were quiet, or until this many times as many were run. */
const patience = 2;

export async function measure({ model, format, works: wanted }: Plan, options: Options): Promise<Measured> {
  const { threads, level, work, tokens: asked, oursFrom: from, log } = options;
  const both: ("ours" | "theirs")[] = options.withPeer ? ["ours", "theirs"] : ["ours"];
  const sides: Side[] = from === undefined ? both : ["before", ...both];
  const config = configOf(model);
  const hasTexts = wanted.some((work) => sceneOf(work) === "http");
  const { files, perValue } = await makeFiles(model, format, options, hasTexts);
  const costs = { ours: costsOf(config, perValue), theirs: costsOf(config, (spec) => bytesPerValue(blockOf(spec, format))) };
  const tokens = Math.max(...wanted.map((work) => works[work].tokens), works["first-token"].tokens);
  const fixed = { work, threads, level, vocabSize: config.vocabSize };
  const pairs = new Map<Work, Pair[]>(wanted.map((work) => [work, []]));
  const chats: BySide<readonly Turn[]>[] = [];
  let reuse: BySide<readonly ReuseRow[]> | undefined;
  const devices: BySide<string> = {};
  const limits: Limits[] = [];
  const profiles: Profile[] = [];

  for (let round = 0; round < options.rounds * patience; round++) {
    const left = wanted.filter((work) => {
      const scene = sceneOf(work);
      return pairs.get(work)!.filter(isClean).length < (scene && sceneInfo(scene).once ? 1 : options.rounds);
    });
    if (left.length === 0) break;
    log(`${model} ${format}: round ${round + 1}, ${left.length} of ${wanted.length} works`);
    const jobs = [...new Set(left.map(sceneOf))].map((scene) => ({
      ...fixed,
      scene,
      works: left.filter((work) => sceneOf(work) === scene),
      contextTokens: Math.min(config.contextLength, maxDrawn + 64 + (scene ? sceneTokens(scene, asked) : tokens)),
      sequences: scene ? sceneInfo(scene).sequences : 1,
      sceneTokens: scene ? sceneTokens(scene, asked) : 0,
      seed: 1 + round,
      profile: options.profile && round === 0,
    }));
    const samples: Record<Side, Map<Work, Sample>> = { ours: new Map(), before: new Map(), theirs: new Map() };
    const told: Record<Side, { turns?: readonly Turn[]; reuse?: readonly ReuseRow[] }> = { ours: {}, before: {}, theirs: {} };
    for (const job of jobs) {
      for (const side of round % 2 === 0 ? sides : [...sides].reverse()) {
        if (job.scene && sceneInfo(job.scene).oursOnly && side === "theirs") continue;
        readThrough(files[side]);
        const isText = job.scene === "http" && side !== "theirs" && !options.gguf;
        const file = isText ? await withTokenizer(files[side], files.theirs) : files[side];
        for (const report of await runSide({ ...job, side, file, from: side === "before" ? from : undefined }, log)) {
          if (report.kind === "device") devices[side] = report.device;
          if (report.kind === "profile") profiles.push({ cell: `${model} ${format} ${works[report.work].title}`, ops: report.ops });
          if (report.kind === "sample") samples[side].set(report.work, report.sample);
          if (report.kind === "turns") told[side].turns = report.turns;
          if (report.kind === "reuse") told[side].reuse = report.rows;
        }
      }
    }
    const [report] = await runSide({ ...jobs[0], side: "limits", file: "" }, log);
    const limit = (report as { limits: Limits }).limits;
    limits.push(limit);
    const limitFor = (work: Work, side: keyof typeof costs) => limitOf(work, format, costs[side], limit, tokens);
    for (const work of left) {
      const [ours, before, theirs] = [samples.ours.get(work)!, samples.before.get(work), samples.theirs.get(work)];
      const pair = { ours, before, theirs, limit: limitFor(work, "ours"), theirLimit: limitFor(work, "theirs") };
      pairs.get(work)!.push(pair);
      if (work === "chat" && isClean(pair)) chats.push({ ours: told.ours.turns, theirs: told.theirs.turns });
      if (work === "reuse") reuse = { ours: told.ours.reuse, theirs: told.theirs.reuse };
    }
  }
  const cells = wanted.map((work) => {
    const all = pairs.get(work)!;
    const clean = all.filter(isClean);
    return { model, format, gguf: options.gguf, work, tokens: asked, pairs: clean, dropped: all.length - clean.length };
  });
  const size = {
    model: `${model} ${format}${options.gguf ? " GGUF" : ""}`,
    file: both.map((side) => bytesOf(files[side])),
    perToken: both.map((side) => costs[side].decodeBytes(0)),
  };
  return { cells, limits, devices, profiles, chats, reuse, size };
}

/** `q8` and `q4` are blocks of 32 with an f16 scale, `q4_1` has a minimum too. */
const oursPerValue: Readonly<Record<WeightDtype, number>> = {
  f32: 4,
  bf16: 2,
  f16: 2,
  q8: 34 / 32,
  q4_1: 20 / 32,
  q4_k: 148 / 256,
  q4: 18 / 32,
};

/** What a weight of ours is held in is in the prepared folder: q4 is a mix, as it is at the peer. */
async function makeFiles(model: PresetName, format: Format, options: Options, hasTexts: boolean) {
  const { work, withPeer, gguf, oursFrom, log } = options;
  mkdirSync(work, { recursive: true });
  const theirs = join(work, `${model}-${format}-spread.gguf`);
  if ((withPeer || gguf || hasTexts) && !existsSync(theirs)) {
    log(`making ${theirs}`);
    writeGguf(theirs, configOf(model), format, `random ${model} ${format}`);
  }
  if (gguf) {
    const held = (spec: TensorSpec) => packedDtypeOf[blockOf(spec, format).toLowerCase() as StoredDtype];
    return { files: { ours: theirs, before: theirs, theirs }, perValue: (spec: TensorSpec) => oursPerValue[held(spec)] };
  }
  const ours = await prepare(model, format, options);
  const before = oursFrom === undefined ? ours : await prepare(model, format, options, oursFrom);
  const checkpoint = await openCheckpoint(ours);
  await checkpoint.close();
  const { weights } = preparedOf(checkpoint)!;
  // Matrices have the names of the checkpoint there, but for stacks of experts; all else is f32.
  const held = (name: string) => weights.get(name.replace(/\.\*\.(\w+)\.weight$/, ".$1"))!.dtype;
  return { files: { ours, before, theirs }, perValue: ({ name, matrix }: TensorSpec) => (matrix ? oursPerValue[held(name)] : 4) };
}

/** @returns the folder; builds whose weights lie alike share it */
export async function prepare(
  model: PresetName,
  format: Format,
  { work, threads, level, log }: Pick<Options, "work" | "threads" | "level" | "log">,
  from?: string,
): Promise<string> {
  mkdirSync(work, { recursive: true });
  const { jamba, cpu } = await openBuild(from);
  const backend = await cpu.openCpuBackend({ threads, level });
  const folder = join(work, `${model}-${format}-spread-${backend.packed!.layout}`);
  if (!existsSync(folder)) {
    log(`making ${folder}`);
    await jamba.prepareModel(syntheticCheckpoint(model, presets[model]), folder, { dtype: format, backend });
  }
  await backend.dispose();
  return folder;
}

function filesOf(path: string): string[] {
  return statSync(path).isDirectory() ? readdirSync(path).map((name) => join(path, name)) : [path];
}

function bytesOf(path: string): number {
  return filesOf(path).reduce((sum, file) => sum + statSync(file).size, 0);
}

/** Brings a model into the page cache, so that a load does not depend on what ran before it. */
function readThrough(path: string): void {
  const buffer = new Uint8Array(2 ** 22);
  for (const name of filesOf(path)) {
    const file = openSync(name, "r");
    while (readSync(file, buffer) > 0);
    closeSync(file);
  }
}

/** @returns what the process told, in order */
async function runSide(job: Job, log: (line: string) => void): Promise<Report[]> {
  // What a library writes to stdout is its log.
  const child = fork(fileURLToPath(new URL("./side.js", import.meta.url)), { stdio: ["ignore", "ignore", "inherit", "ipc"] });
  const reports: Report[] = [];
  child.on("message", (report: Report) => {
    reports.push(report);
    if (report.kind !== "sample") return;
    const { unit } = works[report.work];
    const { value, others } = report.sample;
    log(
      `  ${job.side.padEnd(6)} ${titleOf(report.work, job.sceneTokens).padEnd(26)} ${value.toPrecision(4)} ${unit}, others ${others.toFixed(2)}`,
    );
  });
  child.send(job);
  const [code, signal] = await once(child, "exit");
  const failed = reports.find((report) => report.kind === "failed");
  if (failed || code !== 0) throw new Error(`${job.side} on ${job.file}: ${failed?.message ?? `ended with ${signal ?? code}`}`);
  return reports;
}
