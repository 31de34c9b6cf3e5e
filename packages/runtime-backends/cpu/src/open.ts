// Which instruction set, how many threads, and why.

import { type Backend, type DeviceInfo, fromNode, JambaError, openDevice } from "@jamba/core";
import { type Addon, type CpuLevel, loadAddon, type NativeExecutor } from "./addon.ts";
import { CpuDriver, cpuDevice, numericsOf } from "./driver.ts";
import { guarded } from "./errors.ts";
import { chosenThreads } from "./threads.ts";

export interface CpuOptions {
  /** As many as the machine has physical cores that this process may use, if not given. */
  readonly threads?: number;
  /** The best that this machine runs, if neither this nor the environment's `JAMBA_CPU_LEVEL` says otherwise. */
  readonly level?: CpuLevel;
}

const words: Readonly<Record<CpuLevel, string>> = {
  avx512bf16: "AVX-512 with VNNI and BF16",
  avx512: "AVX-512 with VNNI",
  avx2: "AVX2 with FMA",
  i8mm: "NEON with dot products and i8mm",
  neon: "NEON with dot products",
  portable: "128-bit vectors that every processor has",
};
const levelsOf: Readonly<Record<string, readonly CpuLevel[]>> = {
  x64: ["avx512bf16", "avx512", "avx2", "portable"],
  arm64: ["i8mm", "neon", "portable"],
};

/**
 * Opens the native CPU backend: kernels in C++, chosen by what the processor can do, on threads of their own.
 *
 * @throws BackendError when there are no native kernels for this platform; JambaError OPTION for a level that this
 * machine can't run or a count of threads that is none
 */
export async function openCpuBackend(options: CpuOptions = {}): Promise<Backend> {
  const addon = await loadAddon();
  const { Executor, levels } = addon;
  const level = chosenLevel(options.level, levels);
  const { threads, why } = await chosenThreads(options.threads);
  const { cpus } = await fromNode<typeof import("node:os")>("node:os");
  const device: DeviceInfo = {
    kind: "cpu",
    name: cpus()[0]?.model.trim() || process.arch,
    numerics: numericsOf(`cpu-${level}`),
    features: [`${level}: ${words[level] ?? level}`, ...whyNotMore(level, levels), why],
    threads,
    ...cpuDevice,
  };
  return openDevice(new CpuDriver(addon, startExecutor(Executor, level, threads), device));
}

function startExecutor(Executor: Addon["Executor"], level: CpuLevel, threads: number): NativeExecutor {
  return guarded(() => new Executor(level, threads));
}

/** What this machine can do at best, all threads together, measured in loops that do nothing else. */
export interface Limits {
  readonly level: CpuLevel;
  readonly threads: number;
  readonly readBytesPerSecond: number;
  /** A multiply and an add are two operations. Of the dot product that q4 weights go through. */
  readonly int8OpsPerSecond: number;
  /** Of the one that q8 weights go through: the same, where the processor has it for 8 bits. */
  readonly q8OpsPerSecond: number;
  readonly bf16FlopsPerSecond: number;
  readonly f32FlopsPerSecond: number;
}

/**
 * Takes about a second, and all threads.
 * @throws as `openCpuBackend`
 */
export async function measureLimits(options: CpuOptions = {}): Promise<Limits> {
  const { Executor, levels } = await loadAddon();
  const level = chosenLevel(options.level, levels);
  const { threads } = await chosenThreads(options.threads);
  const executor = startExecutor(Executor, level, threads);
  try {
    const [q4, q8, bf16, f32, read] = await executor.measureLimits();
    return {
      level,
      threads,
      readBytesPerSecond: read,
      int8OpsPerSecond: q4,
      q8OpsPerSecond: q8,
      bf16FlopsPerSecond: bf16,
      f32FlopsPerSecond: f32,
    };
  } finally {
    executor.stop();
  }
}

function chosenLevel(asked: CpuLevel | undefined, levels: readonly CpuLevel[]): CpuLevel {
  const wanted = asked ?? process.env.JAMBA_CPU_LEVEL;
  const found = wanted ? levels.find((level) => level === wanted) : levels[0];
  if (!found) {
    const where = asked ? "level" : "JAMBA_CPU_LEVEL";
    throw new JambaError("OPTION", `${where}: expected one that this machine runs (${levels.join(", ")}), found ${JSON.stringify(wanted)}`);
  }
  return found;
}

function whyNotMore(level: CpuLevel, levels: readonly CpuLevel[]): string[] {
  if (level !== levels[0]) return [`${levels[0]} would run here too: ${level} was asked for`];
  const all = levelsOf[process.arch] ?? ["portable"];
  return all.slice(0, all.indexOf(level)).map((better) => `not ${better}: this processor lacks ${words[better]}`);
}
