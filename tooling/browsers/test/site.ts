// What pages are served from: files in memory or of a folder, the small model beside them, isolated or not, and a log of what was asked for.

import { readFile } from "node:fs/promises";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { extname, join, normalize } from "node:path";
import { fileURLToPath } from "node:url";

const modelFolder = fileURLToPath(new URL("../../../packages/tiny-model/", import.meta.url));
const types: Readonly<Record<string, string>> = {
  ".html": "text/html",
  ".js": "text/javascript",
  ".mjs": "text/javascript",
  ".css": "text/css",
  ".svg": "image/svg+xml",
  ".json": "application/json",
  ".wasm": "application/wasm",
};

/** Bytes of a file by its path without the first slash; undefined where there is none. */
export type Files = (path: string) => Promise<Uint8Array | undefined> | Uint8Array | undefined;

export interface Site {
  readonly url: string;
  /** Of what was asked for, since the start or the last `forget`. */
  readonly asked: string[];
  close(): Promise<void>;
}

export function filesOf(folder: string): Files {
  const read = new Map<string, Promise<Uint8Array | undefined>>();
  return (path) => {
    if (!read.has(path))
      read.set(
        path,
        readFile(join(folder, normalize(`/${path}`))).catch(() => undefined),
      );
    return read.get(path)!;
  };
}

/** `/model/` is the small model; everything else comes from `files`, and "/" is its index.html. */
export async function serve(files: Files, { isolated }: { isolated: boolean }): Promise<Site> {
  const asked: string[] = [];
  const model = filesOf(modelFolder);
  const server = createServer(async (request, response) => {
    const path = decodeURIComponent(new URL(request.url!, "http://page").pathname).slice(1) || "index.html";
    asked.push(path);
    if (isolated) {
      response.setHeader("cross-origin-opener-policy", "same-origin");
      response.setHeader("cross-origin-embedder-policy", "require-corp");
    }
    const bytes = path.startsWith("model/") ? await model(path.slice("model/".length)) : await files(path);
    send(request, response, path, bytes);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`,
    asked,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

function send(request: IncomingMessage, response: ServerResponse, path: string, bytes: Uint8Array | undefined): void {
  if (!bytes) {
    response.writeHead(404).end();
    return;
  }
  response.setHeader("content-type", types[extname(path)] ?? "application/octet-stream");
  response.setHeader("accept-ranges", "bytes");
  const range = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? "");
  if (!range) {
    response.end(bytes);
    return;
  }
  const [from, to] = [Number(range[1]), Math.min(bytes.length - 1, Number(range[2] || bytes.length - 1))];
  if (from > to) response.writeHead(416, { "content-range": `bytes */${bytes.length}` }).end();
  else response.writeHead(206, { "content-range": `bytes ${from}-${to}/${bytes.length}` }).end(bytes.subarray(from, to + 1));
}
