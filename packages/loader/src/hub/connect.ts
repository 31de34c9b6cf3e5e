// Whether the hub can be reached at all. fetch waits ten seconds for a connection and can't be told otherwise; a slow answer is
// another matter, for which the client waits much longer.

import { LoadError } from "@jamba/core";
import type { Environment } from "./environment.ts";
import { codeOf, type Node } from "./node.ts";
import { reasonOf, Transient } from "./transient.ts";

/** A second attempt of TCP, which comes after one second, is still waited for. */
const connectMs = 1500;

/** Opens a connection to the hub, or to the proxy before it, and closes it again. @throws LoadError naming what else could be done */
export async function expectReachable(
  { net }: Node,
  endpoint: string,
  repo: string,
  env: Environment,
  signal?: AbortSignal,
): Promise<void> {
  const proxy = proxyOf(new URL(endpoint), env);
  const { protocol, hostname, port } = proxy?.url ?? new URL(endpoint);
  const socket = net.connect({ host: hostname.replace(/^\[|\]$/g, ""), port: Number(port || (protocol === "https:" ? 443 : 80)) });
  try {
    await new Promise<void>((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`no connection within ${connectMs / 1000} s`)), connectMs);
      const onAbort = () => reject(signal!.reason);
      signal?.addEventListener("abort", onAbort);
      socket.once("connect", resolve).once("error", reject);
      socket.once("close", () => {
        clearTimeout(timer);
        signal?.removeEventListener("abort", onAbort);
      });
    });
  } catch (cause) {
    signal?.throwIfAborted();
    // Of several addresses each failed in its own way.
    const [first = cause] = (cause as { errors?: unknown[] }).errors ?? [];
    const through = proxy ? ` through the proxy that ${proxy.variable} names, ${proxy.url.host}` : "";
    throw unreachable(repo, `${endpoint}${through}`, reasonOf(first), cause);
  } finally {
    socket.destroy();
  }
}

/** Its cause is Transient, as of all that may be gone later. */
export function unreachable(repo: string, where: string, reason: string, cause: unknown): LoadError {
  return new LoadError(
    `${repo}: ${where} can't be reached: ${reason}; is this machine online? HF_ENDPOINT names another hub. Without one: ` +
      "offline (--offline, HF_HUB_OFFLINE=1) takes what was downloaded before, and the path of a folder or file is a model too",
    { cause: new Transient(reason, undefined, { cause }) },
  );
}

/** Whether fetch failed before there was a connection. */
export function isUnconnected(error: unknown): boolean {
  const code = codeOf((error as { cause?: unknown } | null)?.cause) ?? "";
  return /^(ECONNREFUSED|ENOTFOUND|EAI_\w+|E(HOST|NET)(UNREACH|DOWN)|UND_ERR_CONNECT_TIMEOUT|ETIMEDOUT|ERR_(TLS|SSL)\w*|EPROTO|CERT_\w+|\w*SELF_SIGNED\w*|UNABLE_TO_\w+)$/.test(
    code,
  );
}

/** The proxy that the environment names for a URL, as curl and node read it; for this machine itself there is none. */
export function proxyOf(url: URL, env: Environment): { readonly url: URL; readonly variable: string } | undefined {
  const without = (env.NO_PROXY || env.no_proxy || "").split(/[\s,]+/).filter(Boolean);
  const isWithout = without.some((entry) => {
    const [, host, port] = /^\*?\.?(.*?)(?::(\d+))?$/.exec(entry.toLowerCase())!;
    const isHost = entry === "*" || url.hostname === host || (host !== "" && url.hostname.endsWith(`.${host}`));
    return isHost && (port === undefined || port === (url.port || (url.protocol === "https:" ? "443" : "80")));
  });
  if (isWithout || /^(localhost|127\..*|\[::1\])$/.test(url.hostname)) return undefined;
  for (const variable of url.protocol === "https:" ? ["HTTPS_PROXY", "https_proxy"] : ["HTTP_PROXY", "http_proxy"]) {
    const value = env[variable];
    if (!value) continue;
    const text = /^\w+:\/\//.test(value) ? value : `http://${value}`;
    if (URL.canParse(text)) return { url: new URL(text), variable };
  }
  return undefined;
}
