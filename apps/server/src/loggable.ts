// What the log may say of a request: words of this server's own, and nothing that who asks has written.

import { z } from "zod";
import type { ApiError } from "./errors.ts";
import { type Notes, noteHeaders } from "./notes.ts";
import { routes } from "./routes.ts";

/** Names of fields, of all requests, and the keywords that a schema in one may have. */
const words = new Set([
  ...routes.flatMap(({ request }) => (request ? namesIn(z.toJSONSchema(request, { io: "input" })) : [])),
  "properties",
  "items",
]);

/** All keys of all `properties`, at any depth. */
function namesIn(schema: unknown): string[] {
  if (Array.isArray(schema)) return schema.flatMap(namesIn);
  if (typeof schema !== "object" || schema === null) return [];
  return Object.entries(schema).flatMap(([key, value]) => [...(key === "properties" ? Object.keys(value) : []), ...namesIn(value)]);
}

/**
 * A path with a star for parts that are no fields of ours: `logit_bias.17` is `logit_bias.*`.
 */
export function loggablePath(path: string): string {
  const parts = path.split(".");
  const known = parts.map((part) => {
    const [, name, rest] = /^([A-Za-z_]\w*)?((?:\[\d{1,9}\])*)$/.exec(part) ?? [];
    return rest !== undefined && (name === undefined || words.has(name)) ? part : "*";
  });
  return known.filter((part, i) => part !== "*" || known[i - 1] !== "*").join(".");
}

/** By the names of the headers that tell who asks. */
export function loggableNotes(notes: Notes): Record<string, string> {
  const found = (["notEnforced", "leftOut"] as const).map(
    (kind) => [noteHeaders[kind], [...new Set(notes[kind].map(loggableNote))]] as const,
  );
  return Object.fromEntries(found.filter(([, all]) => all.length > 0).map(([name, all]) => [name, all.slice(0, 20).join(", ")]));
}

/** What stands in brackets behind a path is a kind that who asks may have made up, or a count of ours. */
function loggableNote(note: string): string {
  const [path] = note.split(" (", 1);
  const [ours = ""] = / \(the \d+ oldest messages\)$/.exec(note) ?? [];
  return loggablePath(path) + ours;
}

/** Why the server itself failed: what was thrown where, without its message, which may quote the request. */
export function loggableError({ status, type, details }: ApiError): object {
  const { code, param, cause } = details;
  const named = { code, ...(param !== undefined && { param: loggablePath(param) }), type };
  if (status < 500 || !(cause instanceof Error)) return named;
  const { name, message, stack = "" } = cause;
  // What failed before there was a request quotes none.
  if (code === "model_failed" || code === "model_too_large") return { ...named, message, stack };
  const header = `${name}: ${message}\n`;
  const frames = stack.includes(header) ? stack.slice(stack.indexOf(header) + header.length) : undefined;
  return { ...named, cause: (cause as { code?: unknown }).code ?? name, stack: frames };
}
