// How many threads, and why.

import { fromNode, hasNode, JambaError } from "@jamba/core";

/** @throws JambaError OPTION for a count that is none */
export async function chosenThreads(asked: number | undefined): Promise<{ threads: number; why: string }> {
  if (asked !== undefined) {
    if (!Number.isSafeInteger(asked) || asked < 1 || asked > 1024)
      throw new JambaError("OPTION", `threads: expected an integer in [1, 1024], found ${JSON.stringify(asked)}`);
    return { threads: asked, why: `${count(asked)}, as asked` };
  }
  if (!hasNode()) {
    // Of a browser's processors two may be one core, and some of a phone's are slow ones that the others would wait for.
    const all = globalThis.navigator?.hardwareConcurrency ?? 1;
    const threads = all <= 2 ? all : Math.min(16, Math.ceil(all / 2));
    return { threads, why: `${count(threads)}: ${threads < all ? "half" : "all"} of the ${all} processors that this browser tells of` };
  }
  const { availableParallelism } = await fromNode<typeof import("node:os")>("node:os");
  const available = availableParallelism();
  const physical = await physicalCores();
  const quota = await cpuQuota();
  const cores = Math.min(available, physical ?? available);
  const threads = Math.min(cores, quota ?? cores);
  const why =
    threads < cores
      ? `what this container may use of ${available} processors`
      : cores < available
        ? `one per physical core; a second one on a core would share its units`
        : `every processor that this process may use`;
  return { threads, why: `${count(threads)}: ${why}` };
}

const count = (threads: number) => `${threads} thread${threads === 1 ? "" : "s"}`;

/** Linux tells; elsewhere it is not known. */
async function physicalCores(): Promise<number | undefined> {
  const { readdir, readFile } = await fromNode<typeof import("node:fs/promises")>("node:fs/promises");
  const folder = "/sys/devices/system/cpu";
  const cores = new Set<string>();
  try {
    for (const cpu of await readdir(folder)) {
      if (!/^cpu\d+$/.test(cpu)) continue;
      // One that is offline has no topology.
      const siblings = await readFile(`${folder}/${cpu}/topology/thread_siblings_list`, "utf8").catch(() => undefined);
      if (siblings) cores.add(siblings);
    }
  } catch {
    return undefined;
  }
  return cores.size || undefined;
}

/** Whole processors that a control group allows, if it sets a limit. */
async function cpuQuota(): Promise<number | undefined> {
  const { readFile } = await fromNode<typeof import("node:fs/promises")>("node:fs/promises");
  const [quota, period] = (await readFile("/sys/fs/cgroup/cpu.max", "utf8").catch(() => "max")).trim().split(" ").map(Number);
  return quota > 0 && period > 0 ? Math.max(1, Math.floor(quota / period)) : undefined;
}
