// The models on this disk that can be named: what comes along, and what the hub's cache holds.

import { join } from "node:path";
import { type CachedRepository, type Checkpoint, openCheckpoint } from "@jamba/loader";
import { JambaError, parseConfig } from "jamba";
import { checkpointOf } from "./checkpoint.ts";

export interface LocalModel {
  /** What commands take as MODEL. */
  readonly id: string;
  /** Of the weights' bytes, most of them first. */
  readonly dtypes: readonly string[];
  readonly sizeBytes: number;
  /** When it came; unknown of what comes along. */
  readonly changed?: Date;
  readonly path: string;
}

export interface OtherRepository {
  readonly id: string;
  readonly sizeBytes: number;
  readonly changed?: Date;
  /** Why it is no model here. */
  readonly reason: string;
}

export async function tinyModel(): Promise<LocalModel> {
  await using checkpoint = await checkpointOf("tiny", {});
  return { id: "tiny", ...sizesOf(checkpoint), path: checkpoint.name };
}

/** The models of a repository of the cache: one, or one for each GGUF file; or why there is none. */
export async function modelsOf(repository: CachedRepository): Promise<{ models: LocalModel[]; other?: OtherRepository }> {
  const { id, revisions, sizeBytes, problem } = repository;
  const models: LocalModel[] = [];
  let reason = problem ?? "the download was stopped; jamba download goes on with it";
  const [revision] = revisions.toSorted((a, b) => Number(b.names.includes("main")) - Number(a.names.includes("main")));
  const names = [...(revision?.files.keys() ?? [])];
  const ggufs = names.filter((name) => /\.gguf$/i.test(name) && !/-(?!00001)\d{5}-of-\d{5}\.gguf$/i.test(name));
  const isSafetensors = names.some((name) => /^[^/]+\.safetensors$/.test(name));
  for (const file of revision ? [...(isSafetensors ? [undefined] : []), ...ggufs] : []) {
    const path = file === undefined ? revision.folder : join(revision.folder, ...file.split("/"));
    try {
      await using checkpoint = await openCheckpoint(path, {});
      parseConfig(checkpoint.config, "config.json");
      models.push({ id: file === undefined ? id : `${id}:${file}`, ...sizesOf(checkpoint), changed: revision.changed, path });
    } catch (error) {
      if (!(error instanceof JambaError)) throw error;
      reason = error.message;
    }
  }
  if (models.length > 0) return { models };
  if (revision && !isSafetensors && ggufs.length === 0) reason = "no weights in safetensors or GGUF";
  return { models, other: { id, sizeBytes, changed: revision?.changed, reason } };
}

function sizesOf({ tensors }: Checkpoint): Pick<LocalModel, "dtypes" | "sizeBytes"> {
  const bytes = new Map<string, number>();
  for (const { dtype, sizeBytes } of tensors.values()) bytes.set(dtype, (bytes.get(dtype) ?? 0) + sizeBytes);
  const sorted = [...bytes].sort(([, a], [, b]) => b - a);
  return { dtypes: sorted.map(([dtype]) => dtype.toLowerCase()), sizeBytes: sorted.reduce((sum, [, some]) => sum + some, 0) };
}
