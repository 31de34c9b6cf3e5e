// Requests to the hub: the token stays with the hub's own origin, waits end, and what may pass is tried again.
// Not @huggingface/hub (2.17): it takes only tokens that start with "hf_", hides Retry-After, trusts the form of every
// answer, takes no AbortSignal, and neither resumes nor verifies; two JSON routes are what would be left of it.

import { LoadError } from "@jamba/core";
import { stallMeter } from "../source/rate.ts";
import { quote } from "../source/untrusted.ts";
import { isUnconnected, unreachable } from "./connect.ts";
import { reasonOf, Transient } from "./transient.ts";

export interface ClientOptions {
  readonly endpoint: string;
  readonly token?: string;
  readonly repo: string;
  readonly fetch: typeof fetch;
  /** Sleeps; throws the signal's reason when it is aborted. */
  readonly wait: (ms: number, signal?: AbortSignal) => Promise<void>;
  /** Longest silence of a server. */
  readonly idleMs: number;
  /** Below it an answer counts as stalled, over a minute. */
  readonly leastBytesPerSecond: number;
  /** Before the first request. @throws LoadError when the hub can't be reached */
  readonly connect?: (signal?: AbortSignal) => Promise<void>;
}

export interface Answer {
  readonly status: number;
  readonly headers: Headers;
  chunks(): AsyncGenerator<Uint8Array>;
}

type Use<T> = (answer: Answer) => Promise<T>;

export interface Client {
  readonly options: ClientOptions;
  /**
   * Hands a 200, 206 or 416 to `use`.
   * @throws Transient for what may pass, LoadError for what will not, the signal's reason when aborted
   */
  get<T>(url: string, headers: Readonly<Record<string, string>>, signal: AbortSignal | undefined, use: Use<T>): Promise<T>;
  /**
   * Runs `attempt` until it succeeds, or has failed five times while `progress` stood still.
   * @throws LoadError with the last Transient as its cause
   */
  persist<T>(attempt: () => Promise<T>, progress: () => number, signal: AbortSignal | undefined): Promise<T>;
}

const maxRedirects = 5;
const maxAttempts = 5;
const firstDelayMs = 500;
const maxDelayMs = 30_000;
// Whoever is told to wait longer should know it, and not watch a bar that stands still.
const maxRetryAfterMs = 300_000;

export function hubClient(options: ClientOptions): Client {
  const { repo, wait } = options;
  let connected: Promise<void> | undefined;
  let answered = false;
  return {
    options,
    async get(url, headers, signal, use) {
      signal?.throwIfAborted();
      connected ??= options.connect?.(signal);
      await connected;
      const guard = silenceGuard(options.idleMs, signal);
      try {
        const { response, atHome } = await follow(url, headers, options, guard).catch((error) => {
          const { cause } = error as Error;
          // Who never answered is not there; who did is asked again.
          if (!answered && isUnconnected(cause)) throw unreachable(repo, options.endpoint, reasonOf(cause), cause);
          throw error;
        });
        answered = true;
        try {
          const { status } = response;
          if (status !== 200 && status !== 206 && status !== 416) throw refusal(response, url, atHome, options);
          return await use({ status, headers: response.headers, chunks: () => chunksOf(response, guard, options.leastBytesPerSecond) });
        } finally {
          // Frees the connection when the body was not wanted; a body that was read ignores it.
          response.body?.cancel().catch(() => undefined);
        }
      } finally {
        guard.end();
      }
    },
    async persist(attempt, progress, signal) {
      let best = progress();
      for (let failures = 1; ; failures++) {
        const start = performance.now();
        try {
          return await attempt();
        } catch (error) {
          signal?.throwIfAborted();
          if (!(error instanceof Transient)) throw error;
          // A byte now and then is no progress.
          const least = (options.leastBytesPerSecond * (performance.now() - start)) / 1000;
          if (progress() > best && progress() - best >= least) failures = 1;
          best = Math.max(best, progress());
          const { message, retryAfterMs } = error;
          if (failures >= maxAttempts) throw new LoadError(`${repo}: ${message}; gave up after ${failures} attempts`, { cause: error });
          if ((retryAfterMs ?? 0) > maxRetryAfterMs) {
            const seconds = Math.ceil(retryAfterMs! / 1000);
            throw new LoadError(`${repo}: ${message}; it asks to come back in ${seconds} s`, { cause: error });
          }
          const backoff = Math.min(maxDelayMs, firstDelayMs * 2 ** (failures - 1));
          await wait(Math.max(retryAfterMs ?? 0, backoff * (0.5 + Math.random() / 2)), signal);
        }
      }
    },
  };
}

interface Guard {
  readonly signal: AbortSignal;
  readonly idleMs: number;
  /** @throws Transient when `work` is silent for too long, the outer signal's reason when that is aborted */
  timed<T>(work: Promise<T>): Promise<T>;
  end(): void;
}

function silenceGuard(idleMs: number, outer: AbortSignal | undefined): Guard {
  const controller = new AbortController();
  const { signal } = controller;
  const onAbort = () => controller.abort(outer!.reason);
  outer?.addEventListener("abort", onAbort);
  const aborted = new Promise<never>((_, reject) => signal.addEventListener("abort", () => reject(signal.reason)));
  aborted.catch(() => undefined);
  return {
    signal,
    idleMs,
    async timed(work) {
      const silent = () => controller.abort(new Transient(`the server was silent for ${idleMs / 1000} s`));
      const timer = setTimeout(silent, idleMs);
      try {
        return await Promise.race([work, aborted]);
      } catch (error) {
        signal.throwIfAborted();
        throw error;
      } finally {
        clearTimeout(timer);
      }
    },
    end() {
      outer?.removeEventListener("abort", onAbort);
      controller.abort(new Error("the answer was used"));
    },
  };
}

async function follow(
  from: string,
  headers: Readonly<Record<string, string>>,
  options: ClientOptions,
  guard: Guard,
): Promise<{ response: Response; atHome: boolean }> {
  const { endpoint, token, fetch } = options;
  const home = new URL(endpoint).origin;
  let url = new URL(from);
  // A server elsewhere that sends us back could choose what the token is used for: once left, it stays away.
  let atHome = true;
  for (let redirects = 0; ; redirects++) {
    atHome &&= url.origin === home;
    const sent = { "accept-encoding": "identity", "user-agent": "jamba", ...headers };
    const authorization: Record<string, string> = token !== undefined && atHome ? { authorization: `Bearer ${token}` } : {};
    const response = await reach(
      url,
      fetch(url, { headers: { ...sent, ...authorization }, redirect: "manual", signal: guard.signal }),
      guard,
    );
    if (![301, 302, 303, 307, 308].includes(response.status)) return { response, atHome };
    response.body?.cancel().catch(() => undefined);
    const location = response.headers.get("location") ?? "";
    if (redirects === maxRedirects) throw new LoadError(`${shown(from)}: expected at most ${maxRedirects} redirects, found more`);
    const next = URL.canParse(location, url) && location !== "" ? new URL(location, url) : undefined;
    if (next?.username || next?.password)
      throw new LoadError(`${shown(from)}: expected a redirect to an http(s) URL, found one with a login`);
    if (!next || !/^https?:$/.test(next.protocol) || (url.protocol === "https:" && next.protocol === "http:")) {
      const found = next ? next.protocol : quote(location);
      throw new LoadError(
        `${shown(url)}: expected a redirect to an ${url.protocol === "https:" ? "https" : "http(s)"} URL, found ${found}`,
      );
    }
    url = next;
  }
}

async function reach<T>(url: URL, work: Promise<T>, guard: Guard): Promise<T> {
  try {
    return await guard.timed(work);
  } catch (error) {
    guard.signal.throwIfAborted();
    throw transientOf(error, `${shown(url)} can't be reached`);
  }
}

async function* chunksOf(response: Response, guard: Guard, leastBytesPerSecond: number): AsyncGenerator<Uint8Array> {
  const reader = response.body?.getReader();
  if (!reader) return;
  const isStalled = stallMeter(leastBytesPerSecond, guard.idleMs);
  try {
    for (;;) {
      const next = await guard.timed(reader.read()).catch((error) => {
        guard.signal.throwIfAborted();
        throw transientOf(error, "the connection was cut");
      });
      if (next.done) return;
      if (isStalled(next.value.length))
        throw new Transient(`the server sends less than ${leastBytesPerSecond} bytes a second, the least that is waited for`);
      yield next.value;
    }
  } finally {
    reader.cancel().catch(() => undefined);
    reader.releaseLock();
  }
}

function transientOf(error: unknown, what: string): Transient {
  return new Transient(`${what}: ${reasonOf(error)}`, undefined, { cause: error });
}

/** A URL fit for errors: queries hold signatures. */
export function shown(url: string | URL): string {
  return String(url).replace(/[?#].*/s, "");
}

function refusal(response: Response, url: string, atHome: boolean, { endpoint, token, repo }: ClientOptions): Error {
  const { status, headers } = response;
  const page = `${endpoint}/${repo}`;
  const code = headers.get("x-error-code") ?? "";
  const said = headers.get("x-error-message");
  const says = said ? ` (it says ${quote(said)})` : "";
  if (status === 408 || status === 429 || status >= 500) {
    return new Transient(`${shown(url)}: the server answers ${status}${says}`, retryAfter(headers));
  }
  // The hub let us in; where it sent us, a signature may have run out on the way.
  if (!atHome && status >= 400) return new Transient(`${shown(url)}: the store that the hub leads to answers ${status}${says}`);
  const fail = (hint: string) => new LoadError(`${repo}: the hub answers ${status}${says}: ${hint}`, { cause: { status } });
  if (code === "GatedRepo" || status === 403) {
    const then = token === undefined ? "set HF_TOKEN to a token of that account" : "the token that was sent has no access to it (yet)";
    const gated = code === "GatedRepo" ? "the model is gated" : "access is refused; if the model is gated";
    return fail(`${gated}: accept its licence on ${page} while logged in, then: ${then}`);
  }
  if (code === "RevisionNotFound") return fail(`no such revision; see the branches and tags on ${page}`);
  if (code === "EntryNotFound") return fail(`${shown(url)}: no such file`);
  if (status === 401) {
    return token === undefined
      ? fail(`no such repository, or a private or gated one; check the name, or set HF_TOKEN to a token that may read ${page}`)
      : fail(`no such repository, or the token that was sent may not read it; check the name and HF_TOKEN`);
  }
  if (status === 404)
    return fail(`no such repository or revision; check the name on ${page}${token === undefined ? ", and HF_TOKEN if it is private" : ""}`);
  return fail(`expected 200 or 206 from ${shown(url)}`);
}

/** Milliseconds, from seconds or a date, or from the header in which the hub itself says when its count of requests starts anew. */
function retryAfter(headers: Headers): number | undefined {
  const text = headers.get("retry-after") ?? /;\s*r=0;\s*t=(\d+)/.exec(headers.get("ratelimit") ?? "")?.[1];
  if (text === undefined) return undefined;
  if (/^\s*\d+\s*$/.test(text)) return Number(text) * 1000;
  const date = Date.parse(text);
  return Number.isNaN(date) ? undefined : Math.max(0, date - Date.now());
}
