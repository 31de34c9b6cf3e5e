// One process downloads a blob, the others wait for it. A lock file names its holder, who touches it while he lives.
// Locks keep work from being done twice; whether a blob is right is up to its hash (blob.ts).

import { isSeenDead, leaseMs, machineOf, type Owner, renewMs, timeIn } from "../source/lease.ts";
import { codeOf, ifAbsent, type Node } from "./node.ts";

const pollMs = 200;
/** Whether a holder lives is asked again after so many polls. */
const pollsBetween = 10;
const emptyMs = 2_000;

export interface Held {
  /** @throws LostLock when this process was silent for so long that another one took the lock: nothing may be written any more */
  expectMine(): Promise<void>;
}

/** Another process goes on with the work. */
export class LostLock extends Error {}

/**
 * Runs `run` alone. Undefined when `isDone` says that another one did it.
 * @throws the signal's reason when aborted while it waits, LostLock
 */
export async function withLock<T>(
  { files, paths, randomUUID }: Node,
  path: string,
  { signal, wait, isDone }: { signal?: AbortSignal; wait(ms: number, signal?: AbortSignal): Promise<void>; isDone(): Promise<boolean> },
  run: (held: Held) => Promise<T>,
): Promise<T | undefined> {
  const mine = JSON.stringify({ pid: process.pid, machine: await machineOf(files), id: randomUUID() });
  const read = () => files.readFile(path, "utf8").catch(ifAbsent);
  const take = () =>
    files.writeFile(path, mine, { flag: "wx" }).then(
      () => true,
      (error) => {
        if (codeOf(error) === "EEXIST") return false;
        throw error;
      },
    );
  const breakLock = async (holder: string) => {
    const aside = `${path}-${randomUUID()}`;
    // Only one process can rename it; if that one got a newer lock than it looked at, it is put back.
    await files.rename(path, aside).catch(ifAbsent);
    const found = await files.readFile(aside, "utf8").catch(ifAbsent);
    if (found !== undefined && found !== holder) await files.link(aside, path).catch(() => undefined);
    await files.rm(aside, { force: true });
  };

  for (let polls = 0; ; polls++) {
    signal?.throwIfAborted();
    if (await isDone()) return undefined;
    if (await take()) break;
    const holder = (await read()) ?? "";
    if (polls % pollsBetween === 0 && !(await isHeld({ files, paths }, path, holder))) await breakLock(holder);
    else await wait(pollMs, signal);
  }
  let renewedAt = performance.now();
  const expectMine = async () => {
    if (performance.now() - renewedAt < leaseMs / 2) return;
    if ((await read()) !== mine) throw new LostLock(`${path}: expected the own lock, found that another process took it`);
  };
  // Written anew, not touched: then the time is the folder's own.
  const renew = async () => {
    if ((await read()) !== mine) return;
    await files.writeFile(path, mine, { flag: "r+" });
    renewedAt = performance.now();
  };
  const timer = setInterval(() => void renew().catch(() => undefined), renewMs);
  timer.unref();
  try {
    return (await isDone()) ? undefined : await run({ expectMine });
  } finally {
    clearInterval(timer);
    if ((await read().catch(() => undefined)) === mine) await files.rm(path, { force: true });
  }
}

/** Whether whoever made the lock still lives. @param holder what the lock says, if that was read already */
export async function isHeld({ files, paths }: Pick<Node, "files" | "paths">, path: string, holder?: string): Promise<boolean> {
  const state = await files.stat(path).catch(ifAbsent);
  if (!state) return false;
  const text = holder ?? (await files.readFile(path, "utf8").catch(ifAbsent)) ?? "";
  if (isSeenDead(parse(text), await machineOf(files))) return false;
  // Killed between making and writing it, its holder left it empty.
  return (await timeIn(files, paths.dirname(path))) - state.mtimeMs < (text === "" ? emptyMs : leaseMs);
}

function parse(text: string): Owner {
  try {
    const { pid, machine } = JSON.parse(text) as { pid?: unknown; machine?: unknown };
    return {
      pid: Number.isSafeInteger(pid) && (pid as number) > 0 ? (pid as number) : undefined,
      machine: typeof machine === "string" ? machine : undefined,
    };
  } catch {
    // Its holder is about to write it.
    return {};
  }
}
