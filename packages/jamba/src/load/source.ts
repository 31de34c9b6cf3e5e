// Where a model comes from: files, the hub, or the package of the small one.

import { JambaError, LoadError } from "@jamba/core";
import { type Checkpoint, type CheckpointSource, download, isOnHub, openCheckpoint } from "@jamba/loader";
import type { LoadOptions } from "./load-options.ts";

/**
 * A hub id ("owner/name", "owner/name:file.gguf", "owner/name:Q4_K_M"), a directory, a .safetensors or .gguf file, the http(s) URL of
 * either, files of a browser, or "tiny".
 */
export type ModelSource = CheckpointSource;

type SourceOptions = Pick<LoadOptions, "revision" | "cacheDir" | "token" | "offline" | "signal" | "onProgress">;

/** Headers and small files behind `source`; "tiny" is the package @jamba/tiny-model. Weights on the hub stay there. */
export async function openSource(source: ModelSource, options: SourceOptions = {}): Promise<Checkpoint> {
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

/** Directory of the package @jamba/tiny-model. */
async function tinyModel(): Promise<string> {
  const name = "@jamba/tiny-model";
  const reasons: unknown[] = [];
  const [{ createRequire }, { dirname, join }] = await Promise.all([import("node:module"), import("node:path")]);
  // Beside this package, or else beside the program that uses it.
  for (const from of [import.meta.url, join(process.cwd(), "package.json")]) {
    try {
      return dirname(createRequire(from).resolve(`${name}/package.json`));
    } catch (reason) {
      reasons.push(reason);
    }
  }
  throw new LoadError(`tiny: expected the package ${name}, found none; run: npm install ${name}`, { cause: reasons[0] });
}
