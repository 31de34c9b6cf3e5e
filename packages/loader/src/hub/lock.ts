// One process downloads a blob, the others wait for it. A lock file names its holder, who touches it while he lives.
// Locks keep work from being done twice; whether a blob is right is up to its hash (blob.ts).

import { codeOf, ifAbsent, type Node } from "./node.ts";

const pollMs = 200;
const touchMs = 5_000;
// For locks whose holder can't be asked whether it lives: of another machine, or of a process whose number another one has by now.
const staleMs = 60_000;
const emptyMs = 2_000;

/**
 * Runs `run` alone. Undefined when `isDone` says that another one did it.
 * @throws the signal's reason when aborted while it waits
 */
export async function withLock<T>(
  { files, os, randomUUID }: Node,
  path: string,
  { signal, wait, isDone }: { signal?: AbortSignal; wait(ms: number, signal?: AbortSignal): Promise<void>; isDone(): Promise<boolean> },
  run: () => Promise<T>,
): Promise<T | undefined> {
  const mine = JSON.stringify({ pid: process.pid, host: os.hostname(), id: randomUUID() });
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

  for (;;) {
    signal?.throwIfAborted();
    if (await isDone()) return undefined;
    if (await take()) break;
    const holder = (await read()) ?? "";
    if (!(await isHeld({ files, os }, path, holder))) await breakLock(holder);
    else await wait(pollMs, signal);
  }
  const touch = () => void files.utimes(path, new Date(), new Date()).catch(() => undefined);
  const timer = setInterval(touch, touchMs);
  timer.unref();
  try {
    return (await isDone()) ? undefined : await run();
  } finally {
    clearInterval(timer);
    if ((await read().catch(() => undefined)) === mine) await files.rm(path, { force: true });
  }
}

/** Whether whoever made the lock still lives. @param holder what the lock says, if that was read already */
export async function isHeld({ files, os }: Pick<Node, "files" | "os">, path: string, holder?: string): Promise<boolean> {
  const state = await files.stat(path).catch(ifAbsent);
  const text = holder ?? (await files.readFile(path, "utf8").catch(ifAbsent)) ?? "";
  // Killed between making and writing it, its holder left it empty.
  if (!state || Date.now() - state.mtimeMs > (text === "" ? emptyMs : staleMs)) return false;
  const { pid, host } = parse(text);
  return host !== os.hostname() || pid === undefined || isAlive(pid);
}

function parse(text: string): { pid?: number; host?: string } {
  try {
    const { pid, host } = JSON.parse(text) as { pid?: unknown; host?: unknown };
    return { pid: Number.isSafeInteger(pid) && (pid as number) > 0 ? (pid as number) : undefined, host: String(host) };
  } catch {
    // Its holder is about to write it.
    return {};
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return codeOf(error) !== "ESRCH";
  }
}
