// What the machine is, and who else uses it.

import { readFileSync, writeFileSync } from "node:fs";
import { arch, cpus, platform, release, totalmem } from "node:os";

function proc(path: string): string {
  return platform() === "linux" ? readFileSync(`/proc/${path}`, "utf8") : "";
}

/** In words: model, cores, instruction sets, memory, system. */
export function machineText(): { name: string; lines: string[] } {
  const info = proc("cpuinfo");
  const field = (name: string) => new RegExp(`^${name}\\s*: (.*)$`, "m").exec(info)?.[1];
  const flags = new Set((field("flags") ?? field("Features") ?? "").split(" "));
  const sets = ["avx2", "fma", "f16c", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_int8", "asimddp", "i8mm", "bf16"];
  const family = field("cpu family") ? ` (family ${field("cpu family")}, model ${field("model")})` : "";
  return {
    name: `${cpus()[0].model.trim()}${family}, ${cpus().length} cores`,
    lines: [
      `instruction sets: ${sets.filter((set) => flags.has(set)).join(", ") || "unknown"}`,
      `system: ${(totalmem() / 2 ** 30).toFixed(0)} GiB of memory, ${platform()} ${release()} ${arch()}, Node ${process.versions.node}`,
    ],
  };
}

/** USER_HZ is 100 on every Linux that Node runs on. */
const tickSeconds = 0.01;

/** Seconds that all cores were busy, the hypervisor's theft with them. */
function busySeconds(): number {
  const [, ...ticks] = proc("stat").split("\n")[0].split(/\s+/).map(Number);
  if (ticks.length === 0) return cpus().reduce((sum, { times }) => sum + times.user + times.nice + times.sys + times.irq, 0) / 1000;
  const [user, nice, system, , , irq, softirq, steal] = ticks;
  return (user + nice + system + irq + softirq + steal) * tickSeconds;
}

/** Seconds that a process used, all its threads: itself, or the children that it had. */
function secondsOf(pid: number | "self", whose: "own" | "children"): number {
  const stat = proc(`${pid}/stat`);
  const [user = 0, system = 0, ...children] = stat
    .slice(stat.lastIndexOf(")") + 2)
    .split(" ")
    .slice(11, 15)
    .map(Number);
  return (whose === "own" ? user + system : (children[0] ?? 0) + (children[1] ?? 0)) * tickSeconds;
}

/** Starts to watch; the function tells how many cores others than this process and its child `pid` used since. */
export function watchOthers(pid?: number): () => number {
  const own = () => {
    const { user, system } = process.cpuUsage(); // finer than /proc, which would do
    return (user + system) / 1e6 + secondsOf("self", "children") + (pid === undefined ? 0 : secondsOf(pid, "own"));
  };
  const start = { at: performance.now(), busy: busySeconds(), own: own() };
  return () => {
    const seconds = (performance.now() - start.at) / 1000;
    return Math.max(0, busySeconds() - start.busy - (own() - start.own) - 2 * tickSeconds) / seconds;
  };
}

/** Milliseconds that the thread of this process's JavaScript was running; 0 where the system does not tell. Its waits for a core are no part of it. */
export function mainThreadMs(): number {
  try {
    return Number(proc(`self/task/${process.pid}/schedstat`).split(" ")[0]) / 1e6;
  } catch {
    return 0; // a kernel without these counts
  }
}

/** The most memory this process has had at once. */
export function peakBytes(): number {
  const kib = /^VmHWM:\s*(\d+) kB/m.exec(proc("self/status"))?.[1];
  return (kib ? Number(kib) : process.resourceUsage().maxRSS) * 1024;
}

/** Forgets the peak so far where the system allows that. @returns what this process has at the moment */
export function resetPeak(): number {
  try {
    writeFileSync("/proc/self/clear_refs", "5"); // proc(5)
  } catch {
    // Then the peak is that of all before too.
  }
  return process.memoryUsage.rss();
}
