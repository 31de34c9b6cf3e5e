// An answer as bytes for the web: server-sent events, or its words alone.

import { JambaError } from "@jamba/core";
import type { Part, Result } from "./generate.ts";

export interface WebStreamOptions {
  /**
   * "events" (default): server-sent events, each `data: ` and JSON: `{ type: "part", … }` for each part, then `{ type: "result", result }`
   * or `{ type: "error", error: { code, message } }`. "text": what is said, without thoughts and calls, in UTF-8; with `n` of the first answer.
   */
  readonly as?: "events" | "text";
}

export interface WebResponseOptions extends WebStreamOptions {
  /** 200 if not given. */
  readonly status?: number;
  readonly statusText?: string;
  /** Beside those that a stream needs, or in their place. */
  readonly headers?: ResponseInit["headers"];
}

/** What is read for the stream: the next part, and what is to happen when nobody wants more. */
interface Source {
  next(): Promise<IteratorResult<Part, Result>>;
  cancel(reason: unknown): Promise<void>;
}

/**
 * Reads a part when the reader asks for more, and not before.
 *
 * @throws JambaError OPTION for another `as`
 */
export function webStream({ next, cancel }: Source, { as = "events" }: WebStreamOptions): ReadableStream<Uint8Array> {
  if (as !== "events" && as !== "text") throw new JambaError("OPTION", `as: expected "events" or "text", found ${JSON.stringify(as)}`);
  const encoder = new TextEncoder();
  const fail = (controller: ReadableStreamDefaultController<Uint8Array>, error: unknown) => {
    controller.enqueue(encoder.encode(event({ type: "error", error: told(error) })));
    controller.close();
  };
  const pull = async (controller: ReadableStreamDefaultController<Uint8Array>): Promise<void> => {
    let found: IteratorResult<Part, Result>;
    try {
      do found = await next();
      while (!found.done && as === "text" && wordsOf(found.value) === "");
    } catch (error) {
      // A text has no place for an error: it breaks off, and who reads it hears why.
      if (as === "text") throw error;
      return fail(controller, error);
    }
    if (as === "text" && !found.done) controller.enqueue(encoder.encode(wordsOf(found.value)));
    if (as === "events") {
      try {
        controller.enqueue(encoder.encode(event(found.done ? { type: "result", result: found.value } : { type: "part", ...found.value })));
      } catch (error) {
        // What a tool throws, or a schema makes of an answer, may have no JSON. The answer must not wait for a reader then.
        await cancel(error);
        return fail(controller, error);
      }
    }
    if (found.done) controller.close();
  };
  return new ReadableStream({ pull, cancel }, { highWaterMark: 0 });
}

const contentTypes = { events: "text/event-stream; charset=utf-8", text: "text/plain; charset=utf-8" };

/** @throws as `webStream`; RangeError and TypeError for a status or headers that are none */
export function webResponse(stream: ReadableStream<Uint8Array>, { as = "events", headers, ...init }: WebResponseOptions): Response {
  const response = new Response(stream, { ...init, headers });
  const needed = {
    "content-type": contentTypes[as],
    // Proxies and compressors keep back what they may change or store.
    "cache-control": "no-cache, no-transform",
    "x-accel-buffering": "no",
    // Browsers keep back the beginning of a text to guess what it is.
    "x-content-type-options": "nosniff",
  };
  const given = new Headers(headers);
  for (const [name, value] of Object.entries(needed)) if (!given.has(name)) response.headers.set(name, value);
  return response;
}

function wordsOf({ pieces, index = 0 }: Part): string {
  return index > 0 ? "" : pieces.map((piece) => ("text" in piece ? piece.text : "")).join("");
}

function event(value: object): string {
  return `data: ${JSON.stringify(value, plain)}\n\n`;
}

/** Errors have no JSON of their own, and big integers none at all. */
function plain(_: string, value: unknown): unknown {
  if (value instanceof Error) return told(value);
  return typeof value === "bigint" ? String(value) : value;
}

/** What went wrong inside is for who serves, who finds it in the stream's `result`. */
function told(error: unknown): { code: string; message: string } {
  if (error instanceof JambaError) return { code: error.code, message: error.message };
  const isAbort = error instanceof DOMException && (error.name === "AbortError" || error.name === "TimeoutError");
  return isAbort ? { code: "ABORTED", message: error.message } : { code: "INTERNAL", message: "The answer failed." };
}
