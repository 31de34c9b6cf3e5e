// Documents of a data set on this disk, as the hub's folders have them: <config>/<split>-00000-of-00001.parquet, or lines of JSON.

import { readdir, readFile } from "node:fs/promises";
import { basename, dirname, extname, join, sep } from "node:path";
import { UsageError } from "../flags.ts";

export type Doc = Readonly<Record<string, unknown>>;

export interface Dataset {
  /** Its id on the hub; the folder bears the name alone or the whole. */
  readonly hub: string;
  /** Which of its parts: a folder inside. */
  readonly config?: string;
  /** What every document has to have. */
  readonly fields: readonly string[];
}

/** @throws UsageError where there is none, or a document lacks a field: with what was looked for */
export async function documentsOf(folder: string, set: Dataset, split: string): Promise<Doc[]> {
  const files = await filesOf(folder, set, split);
  const docs: Doc[] = [];
  for (const file of files) docs.push(...(await readDocs(file)));
  for (const [i, doc] of docs.entries()) {
    const missing = set.fields.filter((field) => doc[field] === undefined || doc[field] === null);
    if (missing.length === 0) continue;
    const found = Object.keys(doc).join(", ") || "none";
    throw new UsageError(`${files[0]}: document ${i + 1}: expected ${set.fields.join(", ")}, as ${set.hub} has them, found ${found}`);
  }
  return docs;
}

/** All parts of a split, in order, of the shallowest folder that has it. */
async function filesOf(folder: string, { hub, config }: Dataset, split: string): Promise<string[]> {
  const name = hub.split("/")[1];
  const fits = new RegExp(`^${split}([-.].*)?\\.(jsonl|json|parquet)$`);
  for (const root of [join(folder, name), join(folder, hub)]) {
    const all = await readdir(root, { recursive: true, encoding: "utf8" }).catch(() => []);
    const paths = all.filter((path) => fits.test(basename(path)));
    const parts = (path: string) =>
      dirname(path)
        .split(sep)
        .filter((part) => part !== ".");
    const own = paths.filter((path) => config === undefined || parts(path).includes(config));
    const found = (own.length > 0 ? own : paths.filter((path) => parts(path).length === 0)).sort(
      (a, b) => parts(a).length - parts(b).length || (a < b ? -1 : 1),
    );
    // One format of one folder: a data set may be there in two.
    const [first] = found;
    const isBeside = (path: string) => dirname(path) === dirname(first) && extname(path) === extname(first);
    if (first) return found.filter(isBeside).map((path) => join(root, path));
  }
  const place = join(folder, name, config ?? "");
  throw new UsageError(
    `--data: expected ${place}${sep}${split}….parquet or .jsonl, found none; hf download ${hub} --repo-type dataset --local-dir ${join(folder, name)} brings it`,
  );
}

async function readDocs(file: string): Promise<Doc[]> {
  try {
    if (file.endsWith(".parquet")) return await readParquet(file);
    const text = await readFile(file, "utf8");
    if (text.trimStart().startsWith("[")) return JSON.parse(text);
    return text
      .split("\n")
      .filter((line) => line.trim() !== "")
      .map((line) => JSON.parse(line));
  } catch (cause) {
    throw new UsageError(`${file}: expected documents, found ${(cause as Error).message}`);
  }
}

async function readParquet(file: string): Promise<Doc[]> {
  // Only where a file is of this kind: reading it takes a reader.
  const { asyncBufferFromFile, parquetReadObjects } = await import("hyparquet");
  return (await parquetReadObjects({ file: await asyncBufferFromFile(file) })).map((doc) => plain(doc) as Doc);
}

/** Labels are integers of 64 bits, which JavaScript has apart from its numbers. */
function plain(value: unknown): unknown {
  if (typeof value === "bigint") return Number(value);
  if (ArrayBuffer.isView(value)) return Array.from(value as unknown as ArrayLike<unknown>, plain);
  if (Array.isArray(value)) return value.map(plain);
  if (typeof value !== "object" || value === null || value instanceof Date) return value;
  return Object.fromEntries(Object.entries(value).map(([name, one]) => [name, plain(one)]));
}
