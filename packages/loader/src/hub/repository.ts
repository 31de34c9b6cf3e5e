// What the hub says a repository holds. Nothing of it is believed before its form was checked.

import { LoadError } from "@jamba/core";
import { isCount } from "../source/byte-source.ts";
import { isObject, quote } from "../source/untrusted.ts";
import { type Client, shown } from "./client.ts";
import { isCommit } from "./hub-id.ts";
import { Transient } from "./transient.ts";

export interface HubFile {
  /** Within the repository. */
  readonly path: string;
  readonly sizeBytes: number;
  /** SHA-256 of an LFS file, git's SHA-1 of another: 64 or 40 hexadecimal digits. */
  readonly etag: string;
}

export interface Repository {
  readonly commit: string;
  readonly files: ReadonlyMap<string, HubFile>;
}

const maxAnswerBytes = 2 ** 25;
// A page has up to 1000 files.
const maxPages = 1000;

/** @throws LoadError; with a Transient as its cause when the hub can't be reached */
export async function listRepository(client: Client, revision: string, signal?: AbortSignal): Promise<Repository> {
  const { endpoint, repo } = client.options;
  const api = `${endpoint}/api/models/${repo}`;
  const commit = isCommit(revision) ? revision : await readCommit(client, `${api}/revision/${encodeURIComponent(revision)}`, signal);
  const files = new Map<string, HubFile>();
  let next: string | undefined = `${api}/tree/${commit}?recursive=true&expand=false`;
  for (let pages = 0; next !== undefined; pages++) {
    if (pages === maxPages) throw new LoadError(`${repo}: expected at most ${maxPages} pages of files, found more`);
    const page: { json: unknown; link: string | null } = await getJson(client, next, signal);
    if (!Array.isArray(page.json)) throw new LoadError(`${shown(next)}: expected a list of files, found something else`);
    for (const entry of page.json) {
      const file = readEntry(entry, `${repo}: list of files`);
      if (!file) continue;
      if (files.has(file.path)) throw new LoadError(`${repo}: list of files: expected ${quote(file.path)} once, found it twice`);
      files.set(file.path, file);
    }
    next = nextPage(page.link, next);
  }
  return { commit, files };
}

async function readCommit(client: Client, url: string, signal?: AbortSignal): Promise<string> {
  const { json } = await getJson(client, url, signal);
  const commit = isObject(json) ? json.sha : undefined;
  if (typeof commit === "string" && isCommit(commit)) return commit;
  throw new LoadError(
    `${shown(url)}: sha: expected a commit of 40 hexadecimal digits, found ${said(commit)}; is ${client.options.endpoint} a hub?`,
  );
}

/** Undefined for a directory. */
function readEntry(entry: unknown, where: string): HubFile | undefined {
  if (!isObject(entry) || typeof entry.path !== "string")
    throw new LoadError(`${where}: expected entries with a path, found ${said(entry)}`);
  if (entry.type === "directory") return undefined;
  const lfs = entry.lfs ?? undefined;
  const from = lfs === undefined ? entry : lfs;
  const digits = lfs === undefined ? 40 : 64;
  if (!isObject(from) || !isCount(from.size)) throw new LoadError(`${where}: ${quote(entry.path)}: expected a size in bytes, found none`);
  if (typeof from.oid !== "string" || !new RegExp(`^[0-9a-f]{${digits}}$`).test(from.oid)) {
    throw new LoadError(`${where}: ${quote(entry.path)}: oid: expected ${digits} hexadecimal digits, found ${said(from.oid)}`);
  }
  return { path: entry.path, sizeBytes: from.size, etag: from.oid };
}

function said(value: unknown): string {
  return value === undefined ? "none" : quote(typeof value === "string" ? value : (JSON.stringify(value) ?? typeof value));
}

/** `<url>; rel="next"` */
function nextPage(link: string | null, current: string): string | undefined {
  const [, url] = /<([^>]*)>\s*;[^,<]*\brel="?next"?/i.exec(link ?? "") ?? [];
  if (url === undefined) return undefined;
  if (URL.canParse(url, current) && /^https?:$/.test(new URL(url, current).protocol)) return new URL(url, current).href;
  throw new LoadError(`${shown(current)}: expected the URL of the next page, found ${quote(url)}`);
}

async function getJson(client: Client, url: string, signal?: AbortSignal): Promise<{ json: unknown; link: string | null }> {
  const attempt = () =>
    client.get(url, { accept: "application/json" }, signal, async ({ status, headers, chunks }) => {
      if (status !== 200) throw new LoadError(`${shown(url)}: expected status 200, found ${status}`);
      const decoder = new TextDecoder();
      let text = "";
      let sizeBytes = 0;
      for await (const chunk of chunks()) {
        sizeBytes += chunk.length;
        if (sizeBytes > maxAnswerBytes) throw new LoadError(`${shown(url)}: expected at most ${maxAnswerBytes} bytes of JSON, found more`);
        text += decoder.decode(chunk, { stream: true });
      }
      try {
        return { json: JSON.parse(text + decoder.decode()) as unknown, link: headers.get("link") };
      } catch (cause) {
        // A server that is restarted answers with half a page, or a proxy with its own.
        throw new Transient(`${shown(url)}: expected JSON: ${(cause as Error).message}`, undefined, { cause });
      }
    });
  return client.persist(attempt, () => 0, signal);
}
