// Headless Chromium without a driver: a page asks its server for its job and posts what it found.

import { spawn } from "node:child_process";
import { createReadStream, existsSync, mkdtempSync, readFileSync, rmSync, statSync } from "node:fs";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { extname, join } from "node:path";
import { gzipSync } from "node:zlib";
import type { Told } from "./sides.ts";

const names = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];

/** @returns where it is, of `CHROMIUM` or where systems have it */
export function findChromium(): string | undefined {
  return [process.env.CHROMIUM ?? "", ...names].find((path) => path !== "" && existsSync(path));
}

const types: Readonly<Record<string, string>> = {
  ".js": "text/javascript",
  ".mjs": "text/javascript",
  ".wasm": "application/wasm",
  ".json": "application/json",
};

export interface Visit {
  readonly told: Told;
  /** Code that the page fetched, by name, gzipped. */
  readonly code: ReadonlyMap<string, { readonly gzipped: number; readonly text: string }>;
}

/** Between two signs of life. */
const patienceMs = 300_000;

/**
 * Opens one page in a browser of its own, which knows nothing from before.
 * @param folders by the first part of the address
 */
export async function visit(
  browser: string,
  page: string,
  job: object,
  folders: Readonly<Record<string, string>>,
  gpuFlags: readonly string[] = ["--disable-gpu"],
): Promise<Visit> {
  const code = new Map<string, { gzipped: number; text: string }>();
  let tell!: (told: Told) => void;
  let fail!: (error: Error) => void;
  const heard = new Promise<Told>((resolve, reject) => {
    tell = resolve;
    fail = reject;
  });
  let log = "";
  const timer = setTimeout(
    () => fail(new Error(`chromium: expected to hear of it in ${patienceMs / 1000} s, found none: ${log}`)),
    patienceMs,
  );
  const server = createServer((request, response) => {
    response.setHeader("Cross-Origin-Opener-Policy", "same-origin");
    response.setHeader("Cross-Origin-Embedder-Policy", "require-corp");
    const { pathname } = new URL(request.url!, "http://127.0.0.1");
    if (pathname === "/") {
      response.setHeader("Content-Type", "text/html");
      response.end(`<!doctype html><script type="module" src="/code/${page}"></script>`);
    } else if (pathname === "/job") response.end(JSON.stringify(job));
    else if (pathname === "/told") {
      const parts: Buffer[] = [];
      request
        .on("data", (part) => parts.push(part))
        .on("end", () => {
          response.end();
          tell(JSON.parse(Buffer.concat(parts).toString()));
        });
    } else if (pathname === "/on-its-way") {
      timer.refresh();
      response.end();
    } else {
      const [, first, ...rest] = pathname.split("/");
      const folder = folders[first];
      const path = folder && join(folder, ...rest);
      if (!path || !existsSync(path) || !statSync(path).isFile()) return void response.writeHead(404).end();
      if (first === "code") {
        const text = readFileSync(path, "utf8");
        code.set(rest.join("/"), { gzipped: gzipSync(text, { level: 9 }).length, text });
      }
      sendFile(path, request, response);
    }
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  const profile = mkdtempSync(join(tmpdir(), "bench-chromium-"));
  const flags = [
    ...["--headless=new", "--no-sandbox", ...gpuFlags, "--disable-dev-shm-usage", "--no-first-run", "--disable-extensions"],
    ...[
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-default-apps",
      "--disable-sync",
      "--metrics-recording-only",
    ],
    ...["--disable-renderer-backgrounding", "--disable-background-timer-throttling", "--no-proxy-server", `--user-data-dir=${profile}`],
  ];
  // A group of its own, so that all its processes end with it.
  const child = spawn(browser, [...flags, `http://127.0.0.1:${port}/`], { stdio: ["ignore", "ignore", "pipe"], detached: true });
  child.stderr.on("data", (text) => {
    if (!String(text).includes("dbus")) log = `${log}${text}`.slice(-4000);
  });
  const closed = new Promise<void>((resolve) =>
    child.once("exit", (status) => {
      fail(new Error(`chromium: expected it to go on, ended with ${status}: ${log}`));
      resolve();
    }),
  );
  child.once("error", fail);
  try {
    const told = await heard;
    if (told.failed) throw new Error(`chromium: ${page}: ${told.failed}`);
    return { told, code };
  } finally {
    clearTimeout(timer);
    if (child.pid !== undefined && child.exitCode === null) {
      process.kill(-child.pid, "SIGKILL");
      await closed;
    }
    server.closeAllConnections();
    server.close();
    rmSync(profile, { recursive: true, force: true, maxRetries: 5 });
  }
}

function sendFile(path: string, request: IncomingMessage, response: ServerResponse): void {
  const { size } = statSync(path);
  const range = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? "");
  const [start, end] = range ? [Number(range[1]), range[2] ? Math.min(Number(range[2]), size - 1) : size - 1] : [0, size - 1];
  response.setHeader("Content-Type", types[extname(path)] ?? "application/octet-stream");
  response.setHeader("Accept-Ranges", "bytes");
  response.setHeader("Content-Length", end - start + 1);
  if (range) response.writeHead(206, { "Content-Range": `bytes ${start}-${end}/${size}` });
  if (request.method === "HEAD") response.end();
  else createReadStream(path, { start, end }).pipe(response);
}
