// Listens: node's HTTP server around the application, with limits that keep slow and broken clients from holding it.

import type { Server as HttpServer } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import { createAdaptorServer, type Http2Bindings, type HttpBindings } from "@hono/node-server";
import { JambaError, type JambaModel } from "jamba";
import { createApp } from "./app.ts";
import { ApiError } from "./errors.ts";
import type { ServerStats } from "./metrics.ts";
import { expectInRange } from "./ranges.ts";
import { type AppOptions, Service } from "./service.ts";
import { type ModelsOptions, Services } from "./services.ts";
import { type ConnectionLimits, defaultConnections, guardSockets, mostConnections } from "./sockets.ts";

export interface ListenOptions {
  /** "127.0.0.1" if not given. Another than a loopback one needs `apiKeys`. */
  host?: string;
  /** 8080 if not given; 0 takes any that is free. */
  port?: number;
  /**
   * Connections in all; if not given, half of the files that this process may have open, 4,096 at most. Beyond it, one that asks nothing
   * makes room for a new one; where all are being answered the new one is closed.
   */
  maxConnections?: number;
  /** The same for one IPv4 address, or one /64 of IPv6; half of `maxConnections` if not given. */
  maxConnectionsPerAddress?: number;
}

export interface ServeOptions extends AppOptions, ListenOptions {}
/** For models that the server loads and disposes. */
export interface ServeModelsOptions extends ModelsOptions, ListenOptions {}

export interface Server {
  readonly url: string;
  readonly port: number;
  /** Resolves when the first model is there. @throws what loading it throws */
  readonly ready: Promise<void>;
  stats(): ServerStats;
  /** Takes no more requests, lets those under way end for `graceMs` (10 seconds), then cancels them. A model that was given stays open. */
  close(options?: { graceMs?: number }): Promise<void>;
}

/** Milliseconds for a request's headers, for all of a request, and without taking any of an answer. */
const [headersTimeout, requestTimeout, stuckTimeout] = [10_000, 60_000, 60_000];

/**
 * Starts listening at once; GET /health is 503 until `model` is there.
 * @param name the model's id for clients, unless there is an `alias`
 * @throws JambaError OPTION for a host that others reach without a key, for numbers out of their range, and where the port can't be had
 */
export async function serve(model: JambaModel | Promise<JambaModel>, name: string, options?: ServeOptions): Promise<Server>;
/**
 * The same for several models, each loaded when a request first names it; the first at once. While one loads its requests wait.
 * @throws JambaError OPTION also for models that can't be told apart by name
 */
export async function serve(options: ServeModelsOptions): Promise<Server>;
export async function serve(
  of: JambaModel | Promise<JambaModel> | ServeModelsOptions,
  name = "",
  given: ServeOptions = {},
): Promise<Server> {
  const options = "models" in of ? of : given;
  const { host = "127.0.0.1", port = 8080 } = options;
  expectInRange({ port });
  const limits = connectionLimits(options);
  if (!isLoopback(host) && !options.apiKeys?.length)
    throw new JambaError("OPTION", `host: expected a loopback address or apiKeys, found ${host} without any; anyone could ask`);
  const services = new Services("models" in of ? of : new Service(of, name, given));
  const { metrics } = services;
  const lines: Lines = new Map();
  const server = createAdaptorServer({
    fetch: inTurn(guarded(createApp(services).fetch, !options.apiKeys?.length), lines),
    serverOptions: { headersTimeout, requestTimeout, connectionsCheckingInterval: 2000, maxHeaderSize: 16_384 },
  }) as HttpServer;
  server.setTimeout(stuckTimeout, dropStuck);
  server.on("clientError", refuseBroken);
  guardSockets(server, limits, metrics.sockets, services.options.log);
  await new Promise<void>((resolve, reject) => {
    server.once("error", (cause) =>
      reject(new JambaError("OPTION", `port: expected one that is free, found ${port} on ${host}: ${cause.message}`, { cause })),
    );
    server.listen(port, host, resolve);
  });
  const ready = "models" in of ? services.begin() : Promise.resolve(of).then(() => undefined);
  ready.catch(() => undefined); // heard of by who awaits it, and by every request
  const address = server.address() as AddressInfo;
  const shown = address.family === "IPv6" ? `[${address.address}]` : address.address;
  return {
    url: `http://${shown}:${address.port}`,
    port: address.port,
    ready,
    stats: () => services.metrics.stats(),
    close: ({ graceMs = 10_000 } = {}) => close(server, services, graceMs, () => lines.size === 0),
  };
}

function connectionLimits(options: ListenOptions): ConnectionLimits {
  const most = mostConnections();
  expectInRange(options, { maxConnections: { least: 1, most }, maxConnectionsPerAddress: { least: 1, most } });
  const { maxConnections = defaultConnections(), maxConnectionsPerAddress = Math.ceil(maxConnections / 2) } = options;
  // What a client sends at the moment in which its connection ends is lost. Clients are told of node's 5 seconds, and a busy one may look at its
  // clock much later.
  return { maxConnections, maxConnectionsPerAddress, silentMs: 10_000, keptMs: 60_000 };
}

function isLoopback(host: string): boolean {
  return host === "localhost" || host === "::1" || /^127\.\d+\.\d+\.\d+$/.test(host);
}

type Fetch = (request: Request, env: HttpBindings | Http2Bindings) => Response | Promise<Response>;

/** Of each connection that is being answered, what it asked besides. */
type Lines = Map<Socket, (() => void)[]>;

/**
 * A connection's requests one after another, as their answers have to come: whoever sends many at once takes no more from others than with
 * one. Node tells only the first of them that its connection has ended; those behind it are never begun then.
 */
function inTurn(fetch: Fetch, lines: Lines): Fetch {
  return (request, env) => {
    const { socket } = env.incoming as HttpBindings["incoming"];
    const answer = () => {
      env.outgoing.once("close", () => {
        const next = socket.writable ? lines.get(socket)?.shift() : undefined;
        if (next) next();
        else lines.delete(socket);
      });
      return fetch(request, env);
    };
    const line = lines.get(socket);
    if (line) return new Promise<void>((resolve) => line.push(resolve)).then(answer);
    lines.set(socket, []);
    return answer();
  };
}

/**
 * @param onlyLoopback whether the name that was used must be a loopback one: a page whose name was made to point here is of the
 * same origin for a browser, and only the name gives it away
 */
function guarded(fetch: Fetch, onlyLoopback: boolean): Fetch {
  return (request, env) => {
    const names = env.incoming.rawHeaders.filter((name, i) => i % 2 === 0 && name.toLowerCase() === "host");
    if (names.length > 1) return new ApiError(400, "host: expected one, found several", { code: "bad_request" }).toResponse();
    const { hostname } = new URL(request.url);
    if (!onlyLoopback || isLoopback(hostname.replace(/^\[|\]$/g, ""))) return fetch(request, env);
    return new ApiError(403, "host: expected localhost, found another name; give the server an API key to use others", {
      code: "host_not_allowed",
    }).toResponse();
  };
}

/** A client that takes nothing of its answer; one that waits for it is left in peace. */
function dropStuck(socket: Socket): void {
  if (socket.writableLength > 0) socket.destroy();
}

/** What node's parser does not take for HTTP: told in JSON like everything else. */
function refuseBroken(error: NodeJS.ErrnoException, socket: Socket): void {
  if (!socket.writable || error.code === "ECONNRESET") return void socket.destroy();
  const [status, message] =
    error.code === "HPE_HEADER_OVERFLOW"
      ? ["431 Request Header Fields Too Large", "headers: expected at most 16,384 bytes, found more"]
      : error.code === "ERR_HTTP_REQUEST_TIMEOUT"
        ? ["408 Request Timeout", "request: expected all of it sooner"]
        : ["400 Bad Request", "request: expected HTTP/1.1, found something else"];
  const body = JSON.stringify(new ApiError(400, message, { code: "bad_request" }).body);
  const headers = `content-type: application/json\r\ncontent-length: ${Buffer.byteLength(body)}\r\nconnection: close`;
  socket.write(`HTTP/1.1 ${status}\r\n${headers}\r\n\r\n${body}`);
  // A client that does not close its side would keep it open for ever.
  socket.destroySoon();
}

async function close(server: HttpServer, services: Services, graceMs: number, isQuiet: () => boolean): Promise<void> {
  expectInRange({ graceMs });
  services.drain();
  const closed = new Promise<void>((resolve) => server.close(() => resolve()));
  const grace = setTimeout(() => services.stop(), graceMs);
  // Clients keep connections open that ask nothing any more, or never did.
  const sweep = () => isQuiet() && server.closeAllConnections();
  sweep();
  const sweeping = setInterval(sweep, 20);
  const last = setTimeout(() => server.closeAllConnections(), graceMs + 2000);
  await closed;
  clearTimeout(grace);
  clearTimeout(last);
  clearInterval(sweeping);
  await services.dispose();
}
