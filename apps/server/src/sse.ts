// Server-sent events: sends what comes as soon as it comes, and signs of life in between. Knows nothing of what is sent.

import type { HttpBindings } from "@hono/node-server";
import { ApiError, anthropicBody, isAnthropic, toApiError } from "./errors.ts";
import type { Call } from "./route.ts";

/** How long to wait for a first event, so that an error may still become a status; less where signs of life are wanted sooner. */
const patienceMs = 1000;

/** Bytes that may wait for a client: some ten thousand tokens, which is minutes behind. */
const maxUnread = 4 * 2 ** 20;

/**
 * Reads `events` as fast as they come, whether or not the client reads them as fast: a slow one must not hold a place among the running.
 * The connection of one that leaves `maxUnread` bytes unread is closed, and its answer ends.
 * An error before the first event, if it comes soon, is thrown; a later one is sent as the last event.
 */
export async function eventStream(
  events: AsyncIterator<string>,
  call: Pick<Call<unknown>, "service" | "exchange" | "c">,
  /** What an error is sent as, once it is too late for a status. */
  errorEvent = (error: unknown) => errorEventOf(call, error),
): Promise<Response> {
  const { service, exchange } = call;
  const encoder = new TextEncoder();
  const first = events.next();
  const { pingMs } = service.options;
  let patience: NodeJS.Timeout | undefined;
  const waited = new Promise((resolve) => {
    patience = setTimeout(resolve, Math.min(patienceMs, pingMs));
  });
  await Promise.race([first, waited]).finally(() => clearTimeout(patience));
  exchange.isStream = true;
  let isOpen = true;
  const source: UnderlyingDefaultSource<Uint8Array> = {
    start(controller) {
      const drop = () => {
        isOpen = false;
        exchange.error = new ApiError(499, "The client did not read its answer.", { code: "client_too_slow" });
        exchange.left.abort();
        const { outgoing } = (call.c.env ?? {}) as Partial<HttpBindings>;
        if (outgoing) outgoing.destroy();
        else controller.error(exchange.error);
      };
      const send = (text: string) => {
        if (isOpen) controller.enqueue(encoder.encode(text));
        if (isOpen && controller.desiredSize! < 0) drop();
        ping.refresh();
      };
      const ping = setInterval(() => isOpen && controller.enqueue(encoder.encode(": ping\n\n")), pingMs);
      const run = async () => {
        try {
          for (let next = await first; !next.done; next = await events.next()) send(next.value);
          exchange.end();
        } catch (error) {
          send(errorEvent(error));
          exchange.end(error);
        } finally {
          clearInterval(ping);
          if (isOpen) controller.close();
        }
      };
      void run();
    },
    cancel() {
      isOpen = false;
      exchange.left.abort();
    },
  };
  const body = new ReadableStream(source, { highWaterMark: maxUnread, size: ({ byteLength }) => byteLength });
  return new Response(body, {
    headers: { "content-type": "text/event-stream; charset=utf-8", "cache-control": "no-cache", "x-accel-buffering": "no" },
  });
}

/** In the words of the API that was asked, with what ends its streams: clients that wait for the end must not wait for ever. */
function errorEventOf({ exchange, c }: Pick<Call<unknown>, "exchange" | "c">, error: unknown): string {
  const found = toApiError(error, exchange.fieldOf);
  if (isAnthropic(c.req.path)) return event("error", anthropicBody(found, exchange.id));
  if (!c.req.path.endsWith("/responses")) return data(found.body) + done;
  const { message, code, param } = found.body.error;
  return event("error", { type: "error", message, code, param, sequence_number: 0 });
}

/** Those of an answer that can't begin yet. @throws as `answer` does */
export async function* eventsOf(answer: Promise<Response>): AsyncGenerator<string, void> {
  const reader = (await answer).body!.pipeThrough(new TextDecoderStream()).getReader();
  for (let next = await reader.read(); !next.done; next = await reader.read()) yield next.value;
}

export function data(value: unknown): string {
  return `data: ${JSON.stringify(value)}\n\n`;
}

/** One that is sent under a name. */
export function event(type: string, value: object): string {
  return `event: ${type}\n${data(value)}`;
}

export const done = "data: [DONE]\n\n";
