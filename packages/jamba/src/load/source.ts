// Where a model comes from: files, the hub, or the package of the small one.

import { fromNode, JambaError, LoadError } from "@jamba/core";
import { type Checkpoint, type CheckpointSource, download, isOnHub, openCheckpoint } from "@jamba/loader";
import type { LoadOptions } from "./load-options.ts";

/**
 * A hub id ("owner/name", "owner/name:file.gguf", "owner/name:Q4_K_M"), a directory, a .safetensors or .gguf file (GGUF under any
 * name), the http(s) URL of either, files of a browser, or "tiny".
 */
export type ModelSource = CheckpointSource;

type SourceOptions = Pick<LoadOptions, "revision" | "cacheDir" | "token" | "offline" | "signal" | "onProgress">;

/**
 * Headers and small files behind `source`; "tiny" is the package @jamba/tiny-model. Weights on the hub stay there.
 * @throws JambaError OPTION for what is no source, naming all kinds of them
 */
export async function openSource(source: ModelSource, options: SourceOptions = {}): Promise<Checkpoint> {
  expectSource(source);
  const { revision, cacheDir, token, offline, signal } = options;
  if (revision !== undefined && !(await isOnHub(source)))
    throw new JambaError("OPTION", `revision: expected it with a hub id, found ${JSON.stringify(source)}, which has none; leave it out`);
  return openCheckpoint(source === "tiny" ? await tinyModel() : source, { revision, cacheDir, token, offline, signal });
}

/** The same, with the weights of a hub id downloaded first. */
export async function fetchSource(source: ModelSource, options: SourceOptions): Promise<Checkpoint> {
  if (!(await isOnHub(source))) return openSource(source, options);
  const { revision, cacheDir, token, offline, signal, onProgress } = options;
  const { folder, file } = await download(source as string, { revision, cacheDir, token, offline, signal, onProgress });
  return openCheckpoint(file === undefined ? folder : `${folder}/${file}`, { signal });
}

/** Each kind of source with an example. */
const kinds = [
  'the small model, "tiny"',
  'a hub id, "ai21labs/AI21-Jamba-Reasoning-3B"',
  'a file of one, "owner/name:model.gguf" or "owner/name:Q4_K_M"',
  'a folder, "./models/jamba"',
  'a file, "./jamba.gguf"',
  'a URL, "https://example.com/jamba.gguf"',
  "files of a browser, [...input.files]",
];

function expectSource(source: unknown): void {
  const isList = typeof source === "object" && source !== null && Symbol.iterator in source && !ArrayBuffer.isView(source);
  const isName = typeof source === "string" && source.trim() !== "" && !/^(?!https?:)[a-z]+:\/\//i.test(source);
  if (isName || (isList && !(Array.isArray(source) && source.length === 0))) return;
  throw new JambaError("OPTION", `model: expected a source, found ${wrongSource(source)}. These are sources: ${kinds.join("; ")}`);
}

function wrongSource(source: unknown): string {
  if (source === undefined) return "nothing";
  if (typeof source === "string") return source.trim() === "" ? "an empty text" : `${source}, which is no http URL; a file has a path`;
  if (typeof source === "function") return "a function";
  if (typeof source !== "object" || source === null) return String(source);
  if ("then" in source) return "a promise; await it first";
  if (source instanceof URL) return "a URL object; pass its href, or the path of a file";
  if (source instanceof Blob) return "one file; put it in an array with the others";
  if (ArrayBuffer.isView(source) || source instanceof ArrayBuffer)
    return 'bytes; wrap them: [{ name: "model.gguf", blob: new Blob([bytes]) }]';
  if (Array.isArray(source)) return "an empty array";
  return "generate" in source ? "a model that is loaded already" : `an object with ${Object.keys(source).join(", ") || "nothing in it"}`;
}

/** Directory of the package @jamba/tiny-model. */
async function tinyModel(): Promise<string> {
  const name = "@jamba/tiny-model";
  const reasons: unknown[] = [];
  const [{ createRequire }, { dirname, join }] = await Promise.all([
    fromNode<typeof import("node:module")>("node:module"),
    fromNode<typeof import("node:path")>("node:path"),
  ]);
  // Beside this package, or else beside the program that uses it: a bundle in CommonJS has no URL.
  for (const from of [import.meta.url, process.argv[1], join(process.cwd(), "package.json")]) {
    try {
      return dirname(createRequire(from).resolve(`${name}/package.json`));
    } catch (reason) {
      reasons.push(reason);
    }
  }
  throw new LoadError(`tiny: expected the package ${name}, found none; run: npm install ${name}`, { cause: reasons[0] });
}
