// The HTTP application: who may ask, how much, what is logged; routes do the rest. Runs wherever hono does.

import { createHash, timingSafeEqual } from "node:crypto";
import { setMaxListeners } from "node:events";
import { type Context, Hono, type MiddlewareHandler } from "hono";
import { cors } from "hono/cors";
import type { Tenant } from "jamba";
import { ApiError, anthropicBody, isAnthropic, shuttingDown, toApiError } from "./errors.ts";
import { follow } from "./follow.ts";
import { loggableError, loggableNotes } from "./loggable.ts";
import { headersOf, noteHeaders } from "./notes.ts";
import { openApiDocument } from "./openapi.ts";
import { type Call, type Env, type Exchange, pathOf, type Route, readBody } from "./route.ts";
import { routes } from "./routes.ts";
import { newId, Service } from "./service.ts";
import { Services } from "./services.ts";
import { eventStream, eventsOf } from "./sse.ts";

/** @param of what all requests share, or the only model; see `serve` for a server that listens */
export function createApp(of: Service | Services): Hono<Env> {
  const services = of instanceof Service ? new Services(of) : of;
  const app = new Hono<Env>();
  const { cors: origins, apiKeys, shareCache } = services.options;
  app.use(exchanges(services));
  app.use(origin(origins));
  if (origins.length > 0) {
    const exposeHeaders = ["x-request-id", "retry-after", ...Object.values(noteHeaders)];
    app.use(cors({ origin: origins.includes("*") ? "*" : [...origins], exposeHeaders, maxAge: 600 }));
  }
  app.use(keys(apiKeys, shareCache));
  for (const route of routes) app.on(route.method.toUpperCase(), [...route.paths], handler(services, route));
  app.get("/openapi.json", (c) => c.json(openApiDocument({ options: services.options, model: services.only?.loaded })));
  app.notFound((c) => {
    throw unknown(c.req.method, c.req.path);
  });
  app.onError((error, c) => failed(c, error));
  return app;
}

function failed(c: Context<Env>, error: unknown): Response {
  const exchange = c.get("exchange");
  const found = toApiError(error, exchange.fieldOf);
  if (!exchange.left.signal.aborted) exchange.error = found;
  return refusal(c, found);
}

/** In the words of the API that was asked. */
function refusal(c: Context<Env>, error: ApiError): Response {
  return error.toResponse(isAnthropic(c.req.path) ? anthropicBody(error, c.get("exchange").id) : undefined);
}

function handler(services: Services, route: Route): (c: Context<Env>) => Response | Promise<Response> {
  const { request, paths, query, needsNoModel, streams, handle } = route;
  return async (c) => {
    const exchange = c.get("exchange");
    exchange.route = pathOf(paths[0]);
    const body = request && (await readBody(c, services, request, { isOptional: query !== undefined }));
    if (needsNoModel) return handle({ services, c, exchange } as Call<unknown>);
    const { model = c.req.query("model"), stream } = (body ?? {}) as { model?: string; stream?: boolean };
    const service = services.find(model);
    if (services.all.length > 1) exchange.facts.model = service.id;
    const answer = async () => {
      exchange.atEnd(await services.use(service, exchange.left.signal, exchange.tenant?.name));
      return handle({ services, service, body, c, exchange });
    };
    if (!streams || !stream || services.isThere(service)) return answer();
    return eventStream(eventsOf(answer()), { service, exchange, c });
  };
}

/** Opens an exchange for each request; logs and counts it once its answer is out. */
function exchanges(services: Services): MiddlewareHandler<Env> {
  const { options, metrics } = services;
  return async (c, next) => {
    const start = performance.now();
    const left = new AbortController();
    // Each of the answers that one request is for listens.
    setMaxListeners(0, left.signal);
    const unfollow = follow(left, c.req.raw.signal);
    let isOver = false;
    const ends: (() => void)[] = [];
    const exchange: Exchange = {
      id: newId("req_"),
      // Never the path itself, which may hold anything.
      route: "none",
      facts: {},
      notes: { notEnforced: [], leftOut: [] },
      left,
      isStream: false,
      atEnd(end) {
        if (isOver) end();
        else ends.push(end);
      },
      end(failure) {
        if (isOver) return;
        isOver = true;
        unfollow();
        for (const end of ends) end();
        const { route, facts, error = failure === undefined ? undefined : toApiError(failure, exchange.fieldOf) } = exchange;
        const status = left.signal.aborted ? 499 : c.res.status;
        metrics.request(route, status);
        const ms = Math.round(performance.now() - start);
        options.log({
          requestId: exchange.id,
          method: c.req.method,
          route,
          status,
          ms,
          stream: exchange.isStream,
          ...facts,
          ...loggableNotes(exchange.notes),
          ...(error && { error: loggableError(error) }),
        });
      },
    };
    c.set("exchange", exchange);
    if (services.draining) c.res = refusal(c, shuttingDown());
    else {
      try {
        await next();
      } catch (error) {
        // hono hands on what is no Error, such as the reason of a client that left.
        c.res = failed(c, error);
      }
    }
    c.res.headers.set("x-request-id", exchange.id);
    if (isAnthropic(c.req.path)) c.res.headers.set("request-id", exchange.id);
    for (const [name, value] of headersOf(exchange.notes)) c.res.headers.set(name, value);
    if (!exchange.isStream) exchange.end();
  };
}

/** Pages may ask only where that was configured: a browser would send the question even if it kept the answer from the page. */
function origin(allowed: readonly string[]): MiddlewareHandler<Env> {
  return async (c, next) => {
    const from = c.req.header("origin");
    const host = c.req.header("host");
    const isOwn = from !== undefined && (from === `http://${host}` || from === `https://${host}`);
    if (from !== undefined && !isOwn && !allowed.includes("*") && !allowed.includes(from))
      throw new ApiError(403, "origin: expected one that this server was configured for (cors), found another", {
        code: "origin_not_allowed",
      });
    await next();
  };
}

const openPaths = routes.filter(({ isOpen }) => isOpen).flatMap(({ paths }) => paths);

/** Compares in constant time, and with every key, so that time tells nothing about any of them. */
function keys(all: readonly string[], shares: Tenant["shares"]): MiddlewareHandler<Env> {
  const digest = (key: string) => createHash("sha256").update(key).digest();
  const known = all.map(digest);
  return async (c, next) => {
    if (known.length > 0 && !openPaths.includes(c.req.path)) {
      // Clients send both, where one is for another service.
      const bearer = /^Bearer +(\S+) *$/i.exec(c.req.header("authorization") ?? "")?.[1];
      const given = [c.req.header("x-api-key"), bearer].filter((key) => key !== undefined).map(digest);
      const found = given.flatMap((one) => known.filter((key) => timingSafeEqual(key, one)));
      if (found.length > 0) c.get("exchange").tenant = { name: found[0].toString("hex"), shares };
      else
        throw new ApiError(
          401,
          given.length === 0 ? "Expected an API key (Authorization: Bearer …), found none." : "Incorrect API key provided.",
          { code: "invalid_api_key", headers: { "www-authenticate": "Bearer" } },
        );
    }
    await next();
  };
}

/** Paths as patterns: 405 says which methods a path has. */
const known = [...routes, { method: "get", paths: ["/openapi.json"] }].flatMap(({ method, paths }) =>
  paths.map((path) => ({
    method: method.toUpperCase(),
    pattern: new RegExp(`^${path.replace(/:\w+\{(.+)\}/, "$1").replace(/:\w+/, "[^/]+")}$`),
  })),
);

function unknown(method: string, path: string): ApiError {
  const methods = [...new Set(known.filter(({ pattern }) => pattern.test(path)).map((one) => one.method))];
  if (methods.length === 0) return new ApiError(404, "Unknown URL. GET /openapi.json lists what there is.", { code: "unknown_url" });
  return new ApiError(405, `expected ${methods.join(" or ")}, found ${method}`, {
    code: "method_not_allowed",
    headers: { allow: methods.join(", ") },
  });
}
