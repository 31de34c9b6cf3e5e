// A hub of our own on this machine: the routes of huggingface.co that downloads use, with large files on another origin,
// and faults where a test wants them.

import { createHash } from "node:crypto";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

export interface HubRequest {
  readonly server: "hub" | "cdn";
  readonly method: string;
  readonly path: string;
  readonly range?: string;
  readonly authorization?: string;
  /** Requests for this path, by this method, before this one. */
  readonly count: number;
}

export interface StoredFile {
  readonly bytes: Uint8Array;
  /** Served from the other origin, under its SHA-256. */
  readonly lfs?: boolean;
}

/** Answers a request, or leaves it to the server by not returning true. */
export type Fault = (request: HubRequest, response: ServerResponse, file: StoredFile | undefined) => boolean | undefined;

export interface HubRepo {
  readonly files: Record<string, StoredFile>;
  readonly commit: string;
}

export interface Hub {
  readonly endpoint: string;
  readonly cdn: string;
  readonly requests: HubRequest[];
  readonly repos: Map<string, HubRepo>;
  fault?: Fault;
  /** Bytes of bodies that were sent for files. */
  sentBytes: number;
  /** Entries in a page of the list of files. */
  pageSize: number;
  /** Forgets requests, faults and repositories. */
  reset(): void;
  add(id: string, files: Record<string, Uint8Array | StoredFile>): string;
  close(): Promise<void>;
}

const hex = (algorithm: string, ...parts: (string | Uint8Array)[]) => {
  const hash = createHash(algorithm);
  for (const part of parts) hash.update(part);
  return hash.digest("hex");
};
export const gitHash = (bytes: Uint8Array) => hex("sha1", `blob ${bytes.length}\0`, bytes);
export const etagOf = ({ bytes, lfs }: StoredFile) => (lfs ? hex("sha256", bytes) : gitHash(bytes));

/** The range that a request asks for, or all. */
export function rangeOf(range: string | undefined, size: number): { first: number; last: number; whole: boolean } {
  const [, first, last] = /^bytes=(\d+)-(\d*)$/.exec(range ?? "") ?? [];
  if (first === undefined) return { first: 0, last: size - 1, whole: true };
  return { first: Number(first), last: last ? Math.min(Number(last), size - 1) : size - 1, whole: false };
}

export async function startHub(): Promise<Hub> {
  const repos = new Map<string, HubRepo>();
  const counts = new Map<string, number>();
  const serve = async (server: "hub" | "cdn", answer: (request: HubRequest, url: URL, response: ServerResponse) => void) => {
    const started = createServer((message: IncomingMessage, response) => {
      const url = new URL(message.url ?? "/", "http://localhost");
      const key = `${message.method} ${url.pathname}`;
      const { range, authorization } = message.headers;
      const request = { server, method: message.method ?? "", path: url.pathname, range, authorization, count: counts.get(key) ?? 0 };
      counts.set(key, request.count + 1);
      hub.requests.push(request);
      answer(request, url, response);
    });
    await new Promise<void>((resolve) => started.listen(0, "127.0.0.1", resolve));
    return started;
  };
  const origin = (server: Server) => `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const blobs = new Map<string, StoredFile>();

  const onCdn = await serve("cdn", (request, url, response) => {
    const file = blobs.get(request.path);
    if (hub.fault?.(request, response, file)) return;
    if (!file || url.searchParams.get("signature") !== "secret") return void response.writeHead(403).end();
    sendFile(hub, request, response, file, { etag: '"of-the-cdn"' });
  });

  const onHub = await serve("hub", (request, url, response) => {
    const json = (status: number, value: unknown, headers: Record<string, string> = {}) =>
      response.writeHead(status, { "content-type": "application/json", ...headers }).end(JSON.stringify(value));
    const missing = (code: string) => json(404, { error: code }, { "x-error-code": code, "x-error-message": code });
    const { pathname } = url;
    const [, api, list, revision, resolve, file] =
      /^\/(?:api\/models\/([^/]+\/[^/]+)\/(revision|tree)\/([^/]+)|([^/]+\/[^/]+\/resolve\/[^/]+)\/(.+))$/.exec(pathname) ?? [];
    const [owner, name, , at] = (resolve ?? "").split("/");
    const repo = repos.get(api ?? `${owner}/${name}`);
    const path = file === undefined ? undefined : decodeURIComponent(file);
    const stored = path === undefined ? undefined : repo?.files[path];
    if (hub.fault?.(request, response, stored)) return;
    if (!repo) return void missing("RepoNotFound");
    if (!["main", "refs/pr/1", repo.commit].includes(decodeURIComponent(revision ?? at))) return void missing("RevisionNotFound");
    if (list === "revision") return void json(200, { id: api, sha: repo.commit, private: false, gated: false, tags: [], siblings: [] });
    if (list === "tree") {
      const entries = treeOf(repo);
      const from = Number(url.searchParams.get("cursor") ?? 0);
      const next = from + hub.pageSize;
      const link = `<${hub.endpoint}${pathname}?recursive=true&cursor=${next}>; rel="next"`;
      return void json(200, entries.slice(from, next), next < entries.length ? { link } : {});
    }
    if (!stored) return void missing("EntryNotFound");
    const headers = { "x-repo-commit": repo.commit, etag: `"${gitHash(stored.bytes)}"` };
    if (!stored.lfs) return sendFile(hub, request, response, stored, headers);
    const location = `${hub.cdn}/${etagOf(stored)}?signature=secret`;
    const linked = { "x-linked-etag": `"${etagOf(stored)}"`, "x-linked-size": String(stored.bytes.length) };
    response.writeHead(302, { ...headers, ...linked, location }).end();
  });

  const hub: Hub = {
    endpoint: origin(onHub),
    cdn: origin(onCdn),
    requests: [],
    repos,
    sentBytes: 0,
    pageSize: 1000,
    reset() {
      hub.requests.length = 0;
      hub.sentBytes = 0;
      hub.pageSize = 1000;
      hub.fault = undefined;
      repos.clear();
      blobs.clear();
      counts.clear();
    },
    add(id, given) {
      const files: Record<string, StoredFile> = {};
      for (const [path, file] of Object.entries(given)) {
        files[path] = file instanceof Uint8Array ? { bytes: file } : file;
        blobs.set(`/${etagOf(files[path])}`, files[path]);
      }
      const commit = hex("sha1", ...Object.entries(files).flatMap(([path, file]) => [path, file.bytes]));
      repos.set(id, { files, commit });
      return commit;
    },
    async close() {
      for (const server of [onHub, onCdn]) {
        server.closeAllConnections();
        await new Promise((resolve) => server.close(resolve));
      }
    },
  };
  return hub;
}

function treeOf({ files }: HubRepo): object[] {
  const folders = new Set(Object.keys(files).flatMap((path) => (path.includes("/") ? [path.replace(/\/[^/]*$/, "")] : [])));
  return [
    ...[...folders].map((path) => ({ type: "directory", oid: "0".repeat(40), size: 0, path })),
    ...Object.entries(files).map(([path, file]) => {
      const lfs = file.lfs ? { lfs: { oid: etagOf(file), size: file.bytes.length, pointerSize: 132 }, xetHash: "f".repeat(64) } : {};
      return { type: "file", oid: gitHash(file.bytes), size: file.bytes.length, path, ...lfs };
    }),
  ];
}

function sendFile(
  hub: Hub,
  { method, range }: HubRequest,
  response: ServerResponse,
  { bytes }: StoredFile,
  more: Record<string, string>,
): void {
  const { first, last, whole } = rangeOf(range, bytes.length);
  if (!whole && first > last) {
    response.writeHead(416, { "content-range": `bytes */${bytes.length}` }).end();
    return;
  }
  const headers: Record<string, string> = { ...more, "accept-ranges": "bytes", "content-length": String(last - first + 1) };
  if (!whole) headers["content-range"] = `bytes ${first}-${last}/${bytes.length}`;
  response.writeHead(whole ? 200 : 206, headers);
  if (method === "HEAD") return void response.end();
  hub.sentBytes += last - first + 1;
  response.end(bytes.subarray(first, last + 1));
}

/** The whole answer's headers, then `count` bytes of its body, then a closed connection. */
export function cutAfter(hub: Hub, { range }: HubRequest, response: ServerResponse, { bytes }: StoredFile, count: number): true {
  const { first, last, whole } = rangeOf(range, bytes.length);
  const headers: Record<string, string> = { "content-length": String(last - first + 1) };
  if (!whole) headers["content-range"] = `bytes ${first}-${last}/${bytes.length}`;
  response.writeHead(whole ? 200 : 206, headers);
  hub.sentBytes += Math.min(count, last - first + 1);
  response.flushHeaders();
  if (count === 0) setImmediate(() => response.destroy());
  else response.write(bytes.subarray(first, Math.min(last + 1, first + count)), () => response.destroy());
  return true;
}
