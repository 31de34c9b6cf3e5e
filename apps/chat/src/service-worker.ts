// Keeps the page, so that it opens without a network, and gives it the headers that let it share memory where its host does not.

/** The names of all that was built, which the build writes here. */
const kept: readonly string[] = JSON.parse("KEPT_FILES");

interface Lifetime extends Event {
  waitUntil(done: Promise<unknown>): void;
}

interface Fetch extends Event {
  readonly request: Request;
  respondWith(response: Promise<Response>): void;
}

/** What TypeScript knows in service workers alone. */
interface Scope extends EventTarget {
  readonly registration: { readonly scope: string };
  readonly clients: { claim(): Promise<void> };
  skipWaiting(): Promise<void>;
}

const scope = globalThis as unknown as Scope;
const prefix = "jamba-page-";

/** Another one for each build. */
async function cacheName(): Promise<string> {
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(kept.join()));
  return prefix + Array.from(new Uint8Array(digest).subarray(0, 6), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

async function install(): Promise<void> {
  const cache = await caches.open(await cacheName());
  await cache.addAll(kept.map((name) => new URL(name, scope.registration.scope).href));
  await scope.skipWaiting();
}

async function activate(): Promise<void> {
  const own = await cacheName();
  for (const name of await caches.keys()) if (name.startsWith(prefix) && name !== own) await caches.delete(name);
  await scope.clients.claim();
}

function isolated(response: Response): Response {
  if (response.type === "opaque" || response.type === "opaqueredirect") return response;
  const headers = new Headers(response.headers);
  headers.set("Cross-Origin-Opener-Policy", "same-origin");
  headers.set("Cross-Origin-Embedder-Policy", "require-corp");
  return new Response(response.body, { status: response.status, statusText: response.statusText, headers });
}

/** The page itself from the network first, so that a new build is seen; all else has a hash in its name. */
async function answer(request: Request): Promise<Response> {
  const cache = await caches.open(await cacheName());
  if (request.mode === "navigate") {
    const page = new URL("index.html", scope.registration.scope).href;
    const found = await fetch(request).catch(() => cache.match(page));
    return found ? isolated(found) : Response.error();
  }
  const found = (await cache.match(request)) ?? (await fetch(request));
  // Workers of an isolated page are isolated themselves.
  return request.destination === "worker" ? isolated(found) : found;
}

addEventListener("install", (event) => (event as Lifetime).waitUntil(install()));
addEventListener("activate", (event) => (event as Lifetime).waitUntil(activate()));
addEventListener("fetch", (event) => {
  const { request, respondWith } = event as Fetch;
  const { origin, pathname } = new URL(request.url);
  const isOurs = origin === location.origin && request.method === "GET" && !request.headers.has("range");
  if (isOurs && (request.mode === "navigate" || kept.some((name) => pathname.endsWith(`/${name}`))))
    respondWith.call(event, answer(request));
});
