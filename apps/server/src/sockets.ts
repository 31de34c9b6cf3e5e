// Which connections there are: a bound on all and on those of one address, and none stays that asks nothing.

import { readFileSync } from "node:fs";
import type { Server as HttpServer, IncomingMessage } from "node:http";
import type { Socket } from "node:net";

export interface ConnectionLimits {
  readonly maxConnections: number;
  readonly maxConnectionsPerAddress: number;
  /** Milliseconds that a connection may ask nothing: from its beginning, and after each answer. */
  readonly silentMs: number;
  readonly keptMs: number;
}

export interface SocketCounts {
  open: number;
  /** Turned away at once, since all others were answering. */
  refused: number;
  /** Closed while they asked nothing: for their silence, or to make room. */
  closedIdle: number;
}

/** Requests of one connection that wait for the answers before them; real clients send one after another. */
const maxPipelined = 32;

/** Files that a server needs beside its connections: models, states, logs and what node has open. */
const otherFiles = 64;

/** Connections that this process can have: as many as it may have files open. */
export function mostConnections(): number {
  return Math.max(16, fileLimit() - otherFiles);
}

export function defaultConnections(): number {
  return Math.max(16, Math.min(4096, Math.floor((fileLimit() - otherFiles) / 2)));
}

/** 1,024 where the system does not say. */
function fileLimit(): number {
  try {
    const soft = /^Max open files +(\S+)/m.exec(readFileSync("/proc/self/limits", "utf8"))?.[1];
    return soft === "unlimited" ? 2 ** 20 : Number(soft ?? 1024);
  } catch {
    return 1024;
  }
}

interface Connection {
  readonly socket: Socket;
  readonly address: string;
  readonly peers: Set<Connection>;
  /** Those whose answers have not ended. */
  readonly requests: Set<IncomingMessage>;
  hasAsked: boolean;
  /** When it began, or its last answer ended; in milliseconds as `performance.now` has them. */
  idleSince: number;
}

/**
 * Where there is no room, a new connection takes the place of one that asks nothing, or has not sent all of what it asks: the oldest of
 * the address that has most. Where all are being answered it is closed at once, before it costs anything.
 * @param counts kept up to date
 * @param log hears every ten seconds at most what was closed for want of room
 */
export function guardSockets(server: HttpServer, limits: ConnectionLimits, counts: SocketCounts, log: (line: object) => void): void {
  const byAddress = new Map<string, Set<Connection>>();
  const connections = new WeakMap<Socket, Connection>();
  let told = { ...counts, at: 0 };

  const forget = (connection: Connection) => {
    const { peers, address } = connection;
    if (!peers.delete(connection)) return;
    counts.open--;
    if (peers.size === 0) byAddress.delete(address);
  };
  const close = (connection: Connection) => {
    connection.socket.destroy();
    forget(connection);
  };
  const makeRoom = (peers: Set<Connection>, newest: Connection) => {
    const victim = leastMissed(peers, newest);
    if (victim) counts.closedIdle++;
    else counts.refused++;
    close(victim ?? newest);
  };

  server.on("connection", (socket: Socket) => {
    const address = peerOf(socket.remoteAddress);
    const peers = byAddress.get(address) ?? new Set();
    const connection = { socket, address, peers, requests: new Set<IncomingMessage>(), hasAsked: false, idleSince: performance.now() };
    byAddress.set(address, peers.add(connection));
    connections.set(socket, connection);
    counts.open++;
    socket.once("close", () => forget(connection));
    if (peers.size > limits.maxConnectionsPerAddress) makeRoom(peers, connection);
    if (counts.open > limits.maxConnections) makeRoom(largest(byAddress.values()), connection);
  });

  server.on("request", (request, response) => {
    const connection = connections.get(request.socket)!;
    const { requests } = connection;
    connection.hasAsked = true;
    requests.add(request);
    if (requests.size > maxPipelined) request.socket.destroy();
    response.once("close", () => {
      requests.delete(request);
      connection.idleSince = performance.now();
    });
  });

  const sweep = setInterval(() => {
    const now = performance.now();
    for (const peers of byAddress.values())
      for (const connection of peers) {
        const { requests, hasAsked, idleSince } = connection;
        if (requests.size > 0 || now - idleSince < (hasAsked ? limits.keptMs : limits.silentMs)) continue;
        counts.closedIdle++;
        close(connection);
      }
    if (now - told.at < 10_000 || counts.refused === told.refused) return;
    log({ event: "connections refused", count: counts.refused - told.refused, open: counts.open });
    told = { ...counts, at: now };
  }, Math.min(limits.silentMs, limits.keptMs) / 10);
  server.once("close", () => clearInterval(sweep));

  // Files that others took: a connection less is room for the next.
  server.on("error", () => {
    const victim = counts.open > 0 && leastMissed(largest(byAddress.values()));
    if (victim) close(victim);
    counts.refused++;
  });
}

/** Of connections whose request has not come whole, the oldest that never asked, else the oldest that asks nothing now, else the oldest. */
function leastMissed(peers: ReadonlySet<Connection>, newest?: Connection): Connection | undefined {
  let found: Connection | undefined;
  let least = 3;
  for (const connection of peers) {
    if (connection === newest) continue;
    const { requests, hasAsked } = connection;
    const rank = !hasAsked ? 0 : requests.size === 0 ? 1 : [...requests].every(({ complete }) => !complete) ? 2 : 3;
    if (rank < least) [found, least] = [connection, rank];
    if (least === 0) break;
  }
  return found;
}

function largest(sets: Iterable<Set<Connection>>): Set<Connection> {
  return [...sets].reduce((most, one) => (one.size > most.size ? one : most));
}

/** Whom a connection counts for: an IPv4 address, or the network of 64 bits that one machine is usually given of IPv6. */
export function peerOf(address = ""): string {
  if (!address.includes(":")) return address;
  const [, mapped] = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address) ?? [];
  if (mapped !== undefined) return mapped;
  const [head, tail] = address.split("::").map((part) => part.split(":").filter(Boolean));
  const zeros = tail === undefined ? 0 : 8 - head.length - tail.length;
  return [...head, ...Array<string>(Math.max(0, zeros)).fill("0"), ...(tail ?? [])].slice(0, 4).join(":");
}
