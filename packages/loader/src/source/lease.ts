// Who owns a file that is being written, when folders are shared by processes of several machines and containers: whoever renews it.
// Names of machines tell nothing, as containers may share one; process numbers only among processes that see each other; and clocks
// differ, so times of files are compared with one of a new file in the same folder.

/** An owner that is alive renews its file every so often … */
export const renewMs = 5_000;
/** … and is taken for gone after so long without. */
export const leaseMs = 60_000;

type Files = Pick<typeof import("node:fs/promises"), "readFile" | "readlink" | "rm" | "stat" | "writeFile">;

export interface Owner {
  /** What `machineOf` gave there. */
  readonly machine?: string;
  readonly pid?: number;
}

/** Equal only among processes that see each other's numbers; undefined where the system does not tell. */
export async function machineOf(files: Files): Promise<string | undefined> {
  try {
    // The boot of a kernel, and the part of its processes that this one sees.
    const boot = (await files.readFile("/proc/sys/kernel/random/boot_id", "utf8")).trim().replaceAll("-", "");
    const [, space] = /^pid:\[(\d+)\]$/.exec(await files.readlink("/proc/self/ns/pid"))!;
    return `${boot.slice(0, 16)}${Number(space).toString(16)}`;
  } catch {
    return undefined;
  }
}

/** The time by the clock that the files in `folder` get theirs from, in milliseconds. @throws the system's error where nothing can be written */
export async function timeIn(files: Files, folder: string): Promise<number> {
  const probe = `${folder}/.jamba-clock-${crypto.randomUUID()}`;
  try {
    await files.writeFile(probe, "", { flag: "wx" });
    return (await files.stat(probe)).mtimeMs;
  } finally {
    await files.rm(probe, { force: true });
  }
}

/** Whether it is certain that the owner does not live, without asking for its lease: only a process that is seen from here can be. */
export function isSeenDead({ machine, pid }: Owner, here: string | undefined): boolean {
  if (here === undefined || machine !== here || pid === undefined || pid === process.pid) return false;
  try {
    process.kill(pid, 0);
    return false;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "ESRCH"; // others are of another user
  }
}
