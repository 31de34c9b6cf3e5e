// The program of one side in one round: loads the model, does the works, tells what it measured.

import { type ChildProcess, spawn } from "node:child_process";
import { setTimeout } from "node:timers/promises";
import { writerOf } from "./conversation.ts";
import { firstTextId } from "./gguf-parts.ts";
import { peakBytes, watchOthers } from "./machine.ts";
import { randomFrom } from "./random.ts";
import { runScene } from "./scenes.ts";
import type { Job, LoadedSide, Report, Side } from "./sides.ts";
import { median, type Sample } from "./statistics.ts";
import { maxDrawn, type Scene, type Work, works } from "./works.ts";

/** Tokens whose speed is one value of the median. */
const windowTokens = 16;
/** /proc/stat counts in 10 ms: what lasts less than this is done again. */
const minMs = 1000;

type Measured = Omit<Sample, "peakBytes">;

const send = (report: Report) => new Promise((sent) => process.send!(report, sent));

async function main(job: Job): Promise<void> {
  // Each process loads only what it measures: memory is measured too.
  if (job.side === "limits") {
    const { measureLimits } = await import("@jamba/backend-cpu");
    await send({ kind: "limits", limits: await measureLimits({ threads: job.threads, level: job.level }) });
    return;
  }
  const side = job.side === "theirs" ? await (await import("./peer.ts")).startPeer(job) : await (await import("./ours.ts")).startOurs(job);
  await send({ kind: "device", device: side.device });
  if (job.scene) await playScene(job, job.scene, await side.load());
  else await measureWorks(job, side);
}

async function playScene(job: Job, scene: Scene, engine: LoadedSide): Promise<void> {
  await engine.check();
  const others = watchOthers();
  await runScene[scene]({
    engine,
    writer: writerOf(randomFrom(job.seed), job.vocabSize),
    tokens: job.sceneTokens,
    works: job.works,
    tell: async (report) => void (await send(report)),
    async figure(work, value, base) {
      // Counts and sizes are the same on a busy machine.
      const isSpeed = !["tokens", "MB"].includes(works[work].unit);
      const sample = { value, base, others: isSpeed ? others() : 0, peakBytes: peakBytes() };
      if (job.works.includes(work)) await send({ kind: "sample", work, sample });
    },
  });
  await engine.close();
}

async function measureWorks(job: Job, side: Side): Promise<void> {
  const random = randomFrom(3 + process.pid);
  const randomId = () => firstTextId + Math.floor(random() * (job.vocabSize - firstTextId));
  const prompt = (tokens: number) => Array.from({ length: tokens }, randomId);
  const report = async (work: Work, measured: Measured) => {
    if (job.works.includes(work)) await send({ kind: "sample", work, sample: { ...measured, peakBytes: peakBytes() } });
  };
  const others = watchOthers();
  const start = performance.now();
  const seconds = () => (performance.now() - start) / 1000;
  const engine = await side.load();
  await report("load", { value: seconds(), others: others() });
  await engine.generate(prompt(works["first-token"].tokens), () => undefined);
  await report("first-token", { value: seconds(), others: others() });
  await engine.check();

  for (const work of job.works) {
    if (!work.startsWith("prefill") && !work.startsWith("decode")) continue;
    if (job.profile) await engine.profile?.();
    const { tokens } = works[work];
    const decode = () => measureDecode(engine, prompt(tokens), randomId, work === "decode-4096");
    if (work.startsWith("prefill")) await report(work, await measurePrefill(engine, () => prompt(tokens)));
    else if (work === "decode-busy")
      await report(work, await measureBusy(decode, (hog) => measureDecode(engine, prompt(tokens), randomId, false, hog)));
    else await report(work, await decode());
    if (job.profile && engine.profile) await send({ kind: "profile", work, ops: await engine.profile() });
  }
  await report("memory", { value: peakBytes() / 1e6, others: 0 });
  await engine.close();
}

/** Tokens per second up to the first one drawn. */
async function measurePrefill(engine: LoadedSide, prompt: () => number[]): Promise<Measured> {
  const others = watchOthers();
  const speeds: number[] = [];
  const start = performance.now();
  while (speeds.length === 0 || performance.now() - start < minMs) {
    const ids = prompt();
    const start = performance.now();
    let end = start;
    await engine.generate(ids, () => {
      end = performance.now();
      return undefined;
    });
    speeds.push((ids.length * 1000) / (end - start));
  }
  return { value: median(speeds), others: others() };
}

/** Tokens per second after the first: the median over windows. */
async function measureDecode(
  engine: LoadedSide,
  ids: number[],
  randomId: () => number,
  goOn: boolean,
  hog?: ChildProcess,
): Promise<Measured> {
  const times: number[] = [];
  let others = () => 0;
  await engine.generate(
    ids,
    () => {
      times.push(performance.now());
      if (times.length === 1) others = watchOthers(hog?.pid);
      const drawn = times.length - 1;
      const ms = times[drawn] - times[0];
      const enough = drawn >= maxDrawn || (drawn >= 2 * windowTokens && ms >= 2 * minMs) || ms >= 10 * minMs;
      return enough && drawn % windowTokens === 0 && drawn > 0 ? undefined : randomId();
    },
    goOn,
  );
  const used = others();
  const speeds: number[] = [];
  for (let at = windowTokens; at < times.length; at += windowTokens)
    speeds.push((windowTokens * 1000) / (times[at] - times[at - windowTokens]));
  return { value: median(speeds), others: used };
}

/** The speed while a child keeps one core busy, and the one without it just before. */
async function measureBusy(alone: () => Promise<Measured>, accompanied: (hog: ChildProcess) => Promise<Measured>): Promise<Measured> {
  const idle = await alone();
  const hog = spawn(process.execPath, ["-e", "for (const end = Date.now() + 3e5; Date.now() < end; );"], { stdio: "ignore" });
  const kill = () => hog.kill("SIGKILL");
  process.once("exit", kill);
  try {
    await setTimeout(200); // until it spins
    const busy = await accompanied(hog);
    return { value: busy.value, base: idle.value, others: Math.max(idle.others, busy.others) };
  } finally {
    kill();
    process.off("exit", kill);
  }
}

process.once("disconnect", () => process.exit());
process.once("message", async (job: Job) => {
  try {
    await main(job);
  } catch (error) {
    await send({ kind: "failed", message: error instanceof Error ? (error.stack ?? error.message) : String(error) });
  }
  process.disconnect();
});
