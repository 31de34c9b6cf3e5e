// What a route is, and how its request is read: once checked here, a body is what its schema says.

import type { Context } from "hono";
import type { Result, Tenant } from "jamba";
import type { z } from "zod";
import { bodyText } from "./body.ts";
import { expectBounded } from "./bounds.ts";
import { ApiError } from "./errors.ts";
import { ownTurn } from "./line.ts";
import type { FieldOf, Notes } from "./notes.ts";
import type { Service } from "./service.ts";
import type { Services } from "./services.ts";

export interface Route {
  readonly method: "get" | "post" | "delete";
  /** The first is the one to use; others are what older clients and llama.cpp's call it. */
  readonly paths: readonly string[];
  readonly summary: string;
  /** Of `:id` in the path. */
  readonly id?: z.ZodType;
  /** Of the body. Without one, none is read. */
  readonly request?: z.ZodType;
  /** What has to stand behind the `?`. A route with one needs no body. */
  readonly query?: Readonly<Record<string, readonly string[]>>;
  readonly returns: string;
  /** Of an answer in JSON; without one it is text. */
  readonly answer?: z.ZodType;
  /** Whether it may answer with server-sent events. */
  readonly streams?: boolean;
  /** Whether who has no key may ask too. */
  readonly isOpen?: boolean;
  /** Whether no model has to be there for it. */
  readonly needsNoModel?: boolean;
  /** Whether it is there only if the server has a folder for slots. */
  readonly needsSlots?: boolean;
  readonly handle: (call: Call<unknown>) => Response | Promise<Response>;
}

export interface Call<Body> {
  readonly services: Services;
  /** Of the model that the request names, which stays until the answer has ended. */
  readonly service: Service;
  readonly body: Body;
  readonly c: Context<Env>;
  readonly exchange: Exchange;
}

export interface Env {
  Variables: { exchange: Exchange };
}

/** A request and its answer, as the log tells of it. */
export interface Exchange {
  readonly id: string;
  /** Its path as the route's first. */
  route: string;
  /** What else the log tells. */
  readonly facts: Record<string, unknown>;
  readonly notes: Notes;
  /** The request's own words for the engine's options, once a handler has read it. */
  fieldOf?: FieldOf;
  error?: ApiError;
  /** Aborted when the client goes away. */
  readonly left: AbortController;
  /** A stream goes on after the handler, and calls `end` when it is over. */
  isStream: boolean;
  /** By the digest of the key that it came with; undefined where the server has no keys. What is one tenant's is nobody else's. */
  tenant?: Tenant;
  /** Has something done when it ends, such as letting the model go; at once if it has ended. */
  atEnd(end: () => void): void;
  end(error?: unknown): void;
}

type TypedRoute<T extends z.ZodType> = Omit<Route, "handle" | "request"> & {
  readonly request: T;
  readonly handle: (call: Call<z.output<T>>) => Response | Promise<Response>;
};

/** As people write it, without hono's patterns. */
export function pathOf(path: string): string {
  return path.replace(/:(\w+)(\{[^}]*\})?/g, "{$1}");
}

/** Gives the handler the type of its body. */
export function withBody<T extends z.ZodType>(route: TypedRoute<T>): Route {
  return route as unknown as Route;
}

/** Gives the handler of a route for which no model has to be there nothing that would have to do with one. */
export function withoutModel(
  route: Omit<Route, "handle" | "needsNoModel"> & {
    readonly handle: (call: Omit<Call<unknown>, "service" | "body">) => Response | Promise<Response>;
  },
): Route {
  return { ...route, needsNoModel: true };
}

/** Characters of a body from which on looking at it takes longer than a few milliseconds. */
const longText = 2 ** 16;

/**
 * @param isOptional whether no body at all is as good as {}
 * @throws ApiError 415, 400 with the field at fault, and as `bodyText` and `expectBounded`
 */
export async function readBody<T extends z.ZodType>(
  c: Context<Env>,
  services: Services,
  schema: T,
  { isOptional = false } = {},
): Promise<z.output<T>> {
  const type = c.req.header("content-type") ?? "";
  const isJson = /^application\/(?:[\w.-]+\+)?json\s*(?:;|$)/i.test(type);
  // Before anything of it is read, unless there may be none.
  if (!isJson && !isOptional) throw wrongType(type);
  const text = await bodyText(c, services);
  if (isOptional && text === "") return schema.parse({});
  if (!isJson) throw wrongType(type);
  const value = await parseJson(text);
  const parsed = text.length > longText ? await schema.safeParseAsync(value) : schema.safeParse(value);
  await ownTurn();
  if (parsed.success) return parsed.data;
  const { path, message } = deepestIssue(parsed.error.issues);
  const param = pathText(path) || undefined;
  throw new ApiError(400, param === undefined ? message : `${param}: ${message}`, { param, code: "invalid_value" });
}

function wrongType(found: string): ApiError {
  return new ApiError(415, `content-type: expected application/json, found ${JSON.stringify(found)}`);
}

/** What holds the process takes its turn by itself: others have theirs between. */
async function parseJson(text: string): Promise<unknown> {
  await ownTurn();
  expectBounded(text);
  await ownTurn();
  try {
    return JSON.parse(text);
  } catch {
    throw new ApiError(400, "body: expected JSON, found something else", { code: "invalid_json" });
  } finally {
    await ownTurn();
  }
}

type Issue = z.core.$ZodIssue;

/** Of a union's branches, the one that went furthest says what is wrong. Those that are for another kind of value or another `type` count last. */
function deepestIssue(issues: readonly Issue[]): { path: readonly PropertyKey[]; message: string } {
  const [first] = issues;
  if (first.code !== "invalid_union" || first.errors.length === 0) return first;
  const tried = first.errors.filter((branch) => branch.length > 0);
  const fitting = tried.filter((branch) => !branch.some(isOfAnotherKind));
  const inner = (fitting.length > 0 ? fitting : tried).map(deepestIssue);
  const best = [...inner].sort((a, b) => b.path.length - a.path.length)[0];
  if (best && (best.path.length > 0 || inner.length === 1)) return { path: [...first.path, ...best.path], message: best.message };
  return { path: first.path, message: inner.length > 0 ? joined(inner.map(({ message }) => message)) : first.message };
}

/** Messages of kinds of values that would do as one. */
function joined(messages: readonly string[]): string {
  const kinds = messages.map((message) => /^Invalid input: expected (.+?)(, received \w+)?$/.exec(message));
  if (kinds.includes(null)) return [...new Set(messages)].join(" or ");
  const expected = [...new Set(kinds.map((kind) => kind![1]))];
  return `Invalid input: expected ${expected.join(" or ")}${kinds[0]![2] ?? ""}`;
}

function isOfAnotherKind({ code, path }: Issue): boolean {
  return path.length === 0 ? code === "invalid_type" || code === "invalid_value" : path.length === 1 && path[0] === "type";
}

function pathText(path: readonly PropertyKey[]): string {
  return path.map((key, i) => (typeof key === "number" ? `[${key}]` : i === 0 ? String(key) : `.${String(key)}`)).join("");
}

/** What the log says of an answer. */
export function resultFacts({ usage, timings, finishReason, cacheMissReason }: Result): Record<string, unknown> {
  const { firstTokenMs, formatMs, forcedTokens } = timings;
  const format = formatMs > 0 ? { formatMs: Math.round(formatMs), forcedTokens } : {};
  return { ...usage, firstTokenMs: Math.round(firstTokenMs), ...format, finishReason, cacheMissReason };
}
