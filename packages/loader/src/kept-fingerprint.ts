// Fingerprints that are kept beside the weights, so that these need not be read again. One counts only while every file is what it was,
// by its number, size and times: the time of a file's last change of any kind can't be set back.

import type { Checkpoint } from "./checkpoint.ts";
import type { Fingerprint, FingerprintOptions } from "./fingerprint.ts";
import { keptFingerprintSuffix } from "./hub/node.ts";
import type { FileStamp } from "./source/byte-source.ts";
import { lookAtStamp, readTrusted, realPathOf } from "./source/file-source.ts";
import { isObject } from "./source/untrusted.ts";
import { wholeFile } from "./source/whole-file.ts";

const keepFromBytes = 64 * 2 ** 20;
/** Some 200 bytes a file. */
const maxBytes = 2 ** 20;
/** Times of files may be so coarse: a change right after the last one may leave the same time behind. */
const settledMs = 2000;

interface Kept extends Fingerprint {
  readonly version: 1;
  /** Hash of config and places of tensors. */
  readonly of: string;
  readonly files: Readonly<Record<string, FileStamp>>;
}

/** Whether the weights are local files that are worth it. */
export function mayKeep({ stamps, tensors }: Checkpoint, options: FingerprintOptions): boolean {
  if (!stamps) return false;
  const sizeBytes = [...tensors.values()].reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  return sizeBytes >= (options.keepFromBytes ?? keepFromBytes);
}

export async function findKept(checkpoint: Checkpoint, of: string): Promise<Fingerprint | undefined> {
  try {
    const text = await readTrusted(await pathFor(checkpoint), maxBytes);
    const kept: unknown = text === undefined ? undefined : JSON.parse(text);
    if (!isKept(kept) || kept.of !== of || !isDeepEqual(kept.files, Object.fromEntries(checkpoint.stamps!))) return undefined;
    return { model: kept.model, sampled: kept.sampled };
  } catch {
    return undefined; // whatever it is, it is no fingerprint
  }
}

/** Tells `warn` where nothing can be kept. */
export async function keepFingerprint(checkpoint: Checkpoint, of: string, found: Fingerprint, options: FingerprintOptions): Promise<void> {
  if (!mayKeep(checkpoint, options)) return;
  const stamps = [...checkpoint.stamps!];
  try {
    const youngest = Math.max(...stamps.map(([, { ctimeNs, mtimeNs }]) => Math.max(Number(ctimeNs), Number(mtimeNs)) / 1e6));
    await passed(youngest + settledMs - Date.now());
    for (const [file, stamp] of stamps) {
      const now = await lookAtStamp(checkpoint.pathOf!(file)).catch(() => undefined);
      if (!isDeepEqual(now, stamp)) return; // replaced meanwhile: the next load makes its own
    }
    const kept: Kept = { version: 1, of, ...found, files: Object.fromEntries(stamps) };
    const bytes = new TextEncoder().encode(`${JSON.stringify(kept)}\n`);
    await wholeFile(await pathFor(checkpoint), { sizeBytes: bytes.length, overwrite: true, mode: 0o644 }, (write) => write(bytes));
  } catch (error) {
    options.warn?.(
      `${checkpoint.name}: its fingerprint, which names it in saved states, can't be kept beside its files (${(error as Error).message}): each load that needs it reads all weights once more; make the folder writable, or run once as who may write there`,
    );
  }
}

/** Beside what the name of the first file leads to: in the hub's cache that is among the blobs. */
async function pathFor({ stamps, pathOf }: Checkpoint): Promise<string> {
  const [first] = stamps!.keys();
  return `${await realPathOf(pathOf!(first))}${keptFingerprintSuffix}`;
}

function isKept(v: unknown): v is Kept {
  return isObject(v) && v.version === 1 && [v.model, v.sampled].every((hex) => typeof hex === "string" && /^[\da-f]{64}$/.test(hex));
}

function isDeepEqual(a: unknown, b: unknown): boolean {
  if (!isObject(a) || !isObject(b)) return a === b;
  const keys = Object.keys(a);
  return keys.length === Object.keys(b).length && keys.every((key) => Object.hasOwn(b, key) && isDeepEqual(a[key], b[key]));
}

/** Holds up no program that ends meanwhile. */
async function passed(ms: number): Promise<void> {
  if (ms <= 0) return;
  await new Promise<void>((resolve) => {
    const timer: unknown = setTimeout(resolve, ms);
    (timer as { unref?(): void }).unref?.();
  });
}
