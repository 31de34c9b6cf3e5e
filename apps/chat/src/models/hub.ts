// What a repository on the hub has, and which of its files make a model.

import { parseId } from "./family.ts";

export interface HubFile {
  readonly path: string;
  readonly sizeBytes: number;
  readonly url: string;
  /** Of large files. */
  readonly sha256?: string;
  /** Of small ones: git's hash of the blob. */
  readonly sha1?: string;
}

export interface HubModel {
  readonly id: string;
  readonly commit: string;
  readonly files: readonly HubFile[];
  readonly totalBytes: number;
  /** What `planMemory` reads of it. */
  readonly source: string;
}

interface TreeEntry {
  readonly type: string;
  readonly path: string;
  readonly size: number;
  readonly oid?: string;
  readonly lfs?: { readonly oid: string; readonly size: number };
}

const configs =
  /^(config|generation_config|tokenizer|tokenizer_config|special_tokens_map|model\.safetensors\.index)\.json$|^chat_template\.jinja$/;

/**
 * @param hub such as https://huggingface.co
 * @throws Error that tells a person what is wrong
 */
export async function lookUp(hub: string, id: string, signal?: AbortSignal): Promise<HubModel> {
  const parsed = parseId(id);
  if (!parsed) throw new Error(`“${id}” is no name of a model. On the hub they look like “ai21labs/AI21-Jamba-Reasoning-3B”.`);
  const { repo, wanted } = parsed;
  const { sha: commit } = await json<{ sha: string }>(`${hub}/api/models/${repo}`, repo, signal);
  const tree = await json<readonly TreeEntry[]>(`${hub}/api/models/${repo}/tree/${commit}`, repo, signal);
  const chosen = chooseFiles(
    tree.filter(({ type }) => type === "file"),
    wanted,
  );
  if (chosen.length === 0) throw new Error(`${repo} has no ${wanted ? `GGUF file ${wanted}` : "safetensors"} that this page could load.`);
  const root = `${hub}/${repo}/resolve/${commit}/`;
  const files = chosen.map(({ path, size, oid, lfs }) => ({
    path,
    sizeBytes: lfs?.size ?? size,
    url: root + path.split("/").map(encodeURIComponent).join("/"),
    ...(lfs ? { sha256: lfs.oid } : { sha1: oid }),
  }));
  const gguf = files.find(({ path }) => /\.gguf$/i.test(path));
  return { id, commit, files, totalBytes: files.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0), source: gguf?.url ?? root };
}

function chooseFiles(files: readonly TreeEntry[], wanted: string | undefined): readonly TreeEntry[] {
  const weights = files.filter(({ path }) => /^[^/]*\.safetensors$/.test(path));
  if (wanted === undefined && weights.length > 0) return [...files.filter(({ path }) => configs.test(path)), ...weights];
  const ggufs = files.filter(({ path }) => /\.gguf$/i.test(path) && !/mmproj|imatrix/i.test(path));
  const named = (path: string) => path === wanted || path.toLowerCase().includes((wanted ?? "q4_k_m").toLowerCase());
  const first = ggufs.find(({ path }) => named(path));
  if (!first) return [];
  // All parts of one that is in several.
  const stem = first.path.replace(/-\d{5}-of-\d{5}\.gguf$/i, "");
  return stem === first.path ? [first] : ggufs.filter(({ path }) => path.startsWith(`${stem}-`));
}

const refusals: Readonly<Record<number, string>> = {
  401: "the hub gives it only to those who have agreed to its licence and logged in; download it there, and drop the files on this page",
  403: "the hub gives it only to those who have agreed to its licence and logged in; download it there, and drop the files on this page",
  404: "the hub has no such model",
  429: "the hub asks to wait a little",
};

async function json<T>(url: string, name: string, signal?: AbortSignal): Promise<T> {
  const response = await fetch(url, { signal }).catch((cause) => {
    signal?.throwIfAborted();
    throw new Error(`${name}: the hub does not answer. Is this device online?`, { cause });
  });
  if (!response.ok) throw new Error(`${name}: ${refusals[response.status] ?? `the hub answered ${response.status}`}.`);
  return response.json();
}
